"""API requests of a repair beside the fewest possible: `python -m bench.requests`.

Three worlds are damaged, repaired by one run and compared; in one, upstream contradicts itself
about some accounts, which are asked for once more in a second shape. The figures are counts: they
do not depend on the machine.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.witness.comparison import Comparison, compare
from app.sandbox.world.generation import Contradictions
from app.sandbox.world.world import World
from app.telemetry import configure_logging
from bench.floor import Floor, floor_of
from bench.stage import SCHEMA, Filled, Stage, filled
from bench.table import Ratio

_ALL = 10**9
_ACCOUNTS = 1500
_TODAY = dt.date(2026, 11, 1)
_GIANT = "acc-00051"
"""The account that a made-up world makes 30 times as large as the others."""

_METRICS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
_DAMAGED = (*_METRICS, Endpoint.CLOSED)
_TAKEN = f"SELECT account_id FROM {SCHEMA}.recon_attempts WHERE run_id = $1"
_Wreck = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One damage and the run that heals it; `target` is the most requests that it may take, as a
    multiple of the floor.
    """

    name: str
    target: float | None
    kind: RunKind
    wreck: _Wreck


@dataclass(frozen=True, slots=True)
class Result:
    """What one case took."""

    case: Case
    accounts: int
    floor: Floor
    requests: dict[Endpoint, int]
    differences: int

    @property
    def total(self) -> int:
        """Requests to all endpoints."""
        return sum(self.requests.values())

    @property
    def ratio(self) -> float:
        """Requests beside the floor."""
        return self.total / self.floor.total


def _scattered(seed: int, accounts_per_kind: int) -> _Wreck:
    async def wreck(stage: Stage) -> None:
        await damage(
            stage.warehouse,
            SCHEMA,
            seed=seed,
            kinds=HEALABLE_KINDS,
            accounts_per_kind=accounts_per_kind,
            settled_before=_TODAY - dt.timedelta(days=2),
        )

    return wreck


async def _three_days(stage: Stage) -> None:
    days = [_TODAY - dt.timedelta(days=number) for number in (9, 10, 11)]
    for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        table = TABLES[endpoint]
        await stage.warehouse.execute(
            f"DELETE FROM {SCHEMA}.{table.name} WHERE {table.date_column} = ANY($1::date[])", days
        )


def _whole_tables(*endpoints: Endpoint) -> _Wreck:
    async def wreck(stage: Stage) -> None:
        for endpoint in endpoints:
            await stage.warehouse.execute(f"TRUNCATE {SCHEMA}.{TABLES[endpoint].name}")

    return wreck


async def _giant(stage: Stage) -> None:
    for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        table = TABLES[endpoint]
        await stage.warehouse.execute(
            f"DELETE FROM {SCHEMA}.{table.name} WHERE account_id = $1 AND extract(day FROM"
            f" {table.date_column}) > 9",
            _GIANT,
        )


async def _play(case: Case, world: Filled, config: EngineConfig) -> Result:
    async with world.stage(config) as stage:
        await case.wreck(stage)
        await (
            stage.service.maintain()
        )  # account ids are mended without the API: what differs after that needs it
        before = await _difference(stage)
        has_scan = case.kind is RunKind.AUDIT
        differences = [each for table in before.tables.values() for each in table.sample]
        floor = floor_of(stage.sandbox.world, differences, max_ids=stage.max_ids, has_scan=has_scan)
        stage.sandbox.log.reset()
        run_id = await stage.service.start_run(RunRequest(kind=case.kind))
        await stage.service.pool.run_until_finished(run_id)
        after = await _difference(stage)
        # Only an audit sees accounts of which no table tells, and nothing tells of rows that count
        # no trade.
        taken = {row["account_id"] for row in await stage.warehouse.fetch(_TAKEN, run_id)} - set(
            stage.sandbox.world.contradictions
        )
        empty = _rows_without_trades(stage.sandbox.world)
        left = sum(
            1
            for table in after.tables.values()
            for each in table.sample
            if not taken.isdisjoint(each.account_ids) and (each.table, each.key) not in empty
        )
        return Result(case, len(before.account_ids), floor, stage.sandbox.log.counts, left)


def _rows_without_trades(world: World) -> set[tuple[str, str]]:
    """Tables and keys of upstream's rows that count no trade: no row means the same."""
    return {
        (
            TABLES[endpoint].name,
            " ".join(
                str(part)
                for part in (record.account_id, record.day, record.hour)
                if part is not None
            ),
        )
        for endpoint in (Endpoint.DAILY, Endpoint.HOURLY)
        for record in world.records(endpoint)
        if not record.row["numTrades"]
    }


async def _difference(stage: Stage) -> Comparison:
    upstream = {endpoint: stage.sandbox.world.rows(endpoint) for endpoint in _DAMAGED}
    return await compare(upstream, stage.warehouse, SCHEMA, sample=_ALL)


async def _nothing(_: Stage) -> None:
    """No damage: all that is asked for is what upstream contradicts itself about."""


@contextlib.asynccontextmanager
async def _worlds(accounts: int, seed: int) -> AsyncIterator[tuple[Filled, Filled, Filled]]:
    """A world of many accounts, one of few with a giant among them, and one of which upstream
    contradicts itself about a third.
    """
    many = World.generate(accounts, seed=seed, today=_TODAY, contradictory=False)
    few = World.generate(
        60, seed=seed, today=_TODAY, trades_per_account=400, days=365, contradictory=False
    )
    torn = World.generate(60, seed=seed, today=_TODAY, contradictions=Contradictions(5, 5, 5, 5))
    async with filled(many) as first, filled(few) as second, filled(torn) as third:
        yield first, second, third


def _cases(accounts: int, seed: int) -> Sequence[Case]:
    return (
        Case(
            "scattered damage",
            2.0,
            RunKind.AUDIT,
            _scattered(seed, max(1, accounts // len(HEALABLE_KINDS))),
        ),
        Case("three days missing for everyone", 1.2, RunKind.FULL, _three_days),
        *(
            Case(f"whole table missing: {each.value}", 1.2, RunKind.FULL, _whole_tables(each))
            for each in _DAMAGED
        ),
        Case("whole tables missing: all four", 1.2, RunKind.AUDIT, _whole_tables(*_DAMAGED)),
        Case("one giant account", 1.2, RunKind.FULL, _giant),
        Case("20 accounts that upstream contradicts", None, RunKind.AUDIT, _nothing),
    )


def _show(result: Result) -> None:
    each = "  ".join(
        f"{endpoint.value} {result.requests[endpoint]}/{result.floor.requests.get(endpoint, 0)}"
        for endpoint in _DAMAGED
        if result.requests[endpoint] or result.floor.requests.get(endpoint)
    )
    target = result.case.target
    verdict = "" if target is None else "met" if result.ratio <= target else "MISSED"
    print(
        f"{result.case.name:34} {result.accounts:6} {result.floor.total:6} {result.total:9}"
        f" {result.ratio:6.2f} {'' if target is None else f'{target:.1f}':>7} {verdict:7} {each}"
        + (f"  NOT HEALED: {result.differences} rows" if result.differences else ""),
        flush=True,
    )


async def measure(
    accounts: int = _ACCOUNTS, seed: int = 1, batch: int = 5000, only: str = ""
) -> list[Ratio]:
    """Play every case whose name holds `only`, printing a line for each; the lines of the table.

    Rows left unhealed are a miss.
    """
    print(
        f"{'case':34} {'broken':>6} {'floor':>6} {'requests':>9} {'ratio':>6} {'target':>7} {'':7}"
        " requests/floor by endpoint"
    )
    results = []
    async with _worlds(accounts, seed) as (many, few, torn):
        world_of: dict[_Wreck, Filled] = {_giant: few, _nothing: torn}
        for case in _cases(accounts, seed):
            if only in case.name:
                results.append(
                    await _play(
                        case,
                        world_of.get(case.wreck, many),
                        EngineConfig(batch_size=batch, workers=1),
                    )
                )
                _show(results[-1])
    return [
        Ratio(
            f"requests / fewest possible: {each.case.name}",
            each.ratio,
            "" if each.case.target is None else f"<= {each.case.target:g}",
            "x",
            (each.case.target is None or each.ratio <= each.case.target) and not each.differences,
        )
        for each in results
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--accounts", type=int, default=_ACCOUNTS, help=f"accounts of the world ({_ACCOUNTS})"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the world and of its damage (1)"
    )
    parser.add_argument("--batch", type=int, default=5000, help="accounts in a batch (5000)")
    parser.add_argument("--only", default="", help="cases whose names hold this text (all)")
    chosen = parser.parse_args()
    configure_logging(level="WARNING")
    measured = asyncio.run(measure(chosen.accounts, chosen.seed, chosen.batch, chosen.only))
    raise SystemExit(not all(each.is_met for each in measured))
