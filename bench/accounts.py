"""Comparing accounts by name, every row: `python -m bench.accounts`.

An account, equal and with a wrong figure in each table, and a hundred that share requests; upstream
takes 20 ms for an answer. Requests are counted, seconds are those a person waits.
"""

import argparse
import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.engine.config import EngineConfig
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.witness.comparison import compare
from app.sandbox.world.world import World
from app.telemetry import configure_logging
from bench.stage import SCHEMA, Stage, filled
from bench.table import Ratio, at_most, figure

_TODAY = dt.date(2026, 11, 1)
_ACCOUNTS = 120
_NAMED = 100
_TRADES = 162
"""Trades of the account that is compared alone, or the nearest there is."""
_DELAY_SECONDS = 0.02
_MOST_REQUESTS, _MOST_SECONDS = 6, 1.0
_FIGURES = {
    Endpoint.ALLTIME: "gross_profit",
    Endpoint.DAILY: "net_profit",
    Endpoint.HOURLY: "net_profit",
    Endpoint.CLOSED: "profit",
}


async def _spoil(stage: Stage, account_ids: list[str]) -> None:
    """Give each account a wrong figure in each table, on a date that is settled."""
    for endpoint, column in _FIGURES.items():
        table = TABLES[endpoint]
        day = (
            f"AND {table.date_column} < '{_TODAY - dt.timedelta(days=7)}'"
            if table.date_column
            else ""
        )
        await stage.warehouse.execute(
            f"UPDATE {SCHEMA}.{table.name} SET {column} = {column} + 500 WHERE (tableoid, ctid) IN"
            f" (SELECT DISTINCT ON (account_id) tableoid, ctid FROM {SCHEMA}.{table.name} WHERE"
            f" account_id = ANY($1) {day} ORDER BY account_id)",
            account_ids,
        )


async def _timed(stage: Stage, work: Callable[[], Awaitable[object]]) -> tuple[int, float]:
    stage.sandbox.log.reset()
    begun = time.monotonic()
    await work()
    return len(stage.sandbox.log.requests), time.monotonic() - begun


async def _is_equal(stage: Stage) -> bool:
    upstream = {endpoint: stage.sandbox.world.rows(endpoint) for endpoint in _FIGURES}
    return (await compare(upstream, stage.warehouse, SCHEMA)).is_equal


async def measure(seed: int = 1) -> list[Ratio]:
    """The lines of the table; rows that are left different are a miss."""
    world = World.generate(
        _ACCOUNTS, seed=seed, today=_TODAY, trades_per_account=_TRADES, days=45, contradictory=False
    )
    trades = Counter(record.account_id for record in world.records(Endpoint.CLOSED))
    one = min(world.account_ids, key=lambda account_id: abs(trades[account_id] - _TRADES))
    named = world.account_ids[:_NAMED]
    async with (
        filled(world) as upstream,
        upstream.stage(EngineConfig(workers=1)) as stage,
        stage.service.pool.running(),
    ):
        stage.sandbox.set_faults(
            Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=_DELAY_SECONDS)
        )

        async def alone() -> object:
            return await stage.service.reconcile_account(one)

        async def together() -> object:
            run_id = await stage.service.start_run(
                RunRequest(RunKind.FULL, account_ids=tuple(map(AccountId, named)))
            )
            status = await stage.service.wait_for_run(run_id)
            if status is not RunStatus.SUCCEEDED:
                raise RuntimeError(f"the run of {len(named)} accounts ended as {status}")
            return status

        await alone()  # statements are prepared
        lines: list[Ratio] = []
        for name, spoilt, work in (
            ("one account by name", [], alone),
            ("one account by name, a wrong figure in each table", [one], alone),
            (f"{_NAMED} accounts by name", [], together),
            (f"{_NAMED} accounts by name, a wrong figure in each table", named, together),
        ):
            await _spoil(stage, list(spoilt))
            requests, seconds = await _timed(stage, work)
            lines += (
                [
                    at_most(name, requests, _MOST_REQUESTS, "requests"),
                    at_most(name, seconds, _MOST_SECONDS, "s"),
                ]
                if work is alone
                else [figure(name, requests, "requests"), figure(name, seconds, "s")]
            )
        lines.append(
            Ratio(
                "compared by name: all equal afterwards",
                float(await _is_equal(stage)),
                ">= 1",
                "",
                await _is_equal(stage),
            )
        )
        rows = {
            endpoint: sum(record.account_id == one for record in world.records(endpoint))
            for endpoint in _FIGURES
        }
        print(
            "the account alone has"
            f" {', '.join(f'{count} rows of {TABLES[endpoint].name}' for endpoint, count in rows.items())}"
        )
        return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the world (1)")
    chosen = parser.parse_args()
    configure_logging(level="WARNING")
    measured = asyncio.run(measure(chosen.seed))
    for line in measured:
        print(f"{line.name:62} {line.measured:10.2f} {line.unit:10} {line.target}")
    raise SystemExit(any(line.is_met is False for line in measured))
