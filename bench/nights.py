"""Whole nights, end to end over HTTP: `python -m bench.nights`. Needs Linux.

A `trade-recon serve` process repairs a warehouse (bench/warehouse.py) from an upstream of its own
that computes the same world (bench/computed.py). Three nights: nothing is wrong; one day is missing
for everyone; one account in a hundred lacks days in a table and one in a thousand has drifted (an
audit). Each is damaged by SQL, started by `POST /runs` and polled, while `GET /report` is asked five
times a second; the service takes the world's last day for today. Afterwards each table and date has to hold what it held before the damage.

The floor of requests is what the rows that differ need, 1,000 a page, by endpoint, and the audit's
scan. The rate is high, so that the quota holds nothing up: requests / 15 is beside it.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2

from app.domain.contract.tables import PAGE_ROWS, TABLES, Endpoint
from app.domain.states import RunKind
from app.telemetry import configure_logging
from bench.checks import ENDPOINTS, Sums, differing, sums_of
from bench.computed import COUNTS
from bench.detection import server
from bench.service import Service, serve
from bench.table import Ratio, at_most, figure, machine, render, show
from bench.warehouse import SCHEMA, ensure_warehouse, fill_gaps, make_gaps, table_of
from bench.world import DATES, DAYS, FILLED, LAST_DAY, SETTLED

RATE = 1000
"""Requests a second that the service may send."""
_QUOTA = 15
_LOOKS = 0.2
"""Seconds from one `GET /report` to the next."""
_MOST_REQUESTS, _MOST_MEGABYTES = 1.2, 300.0
_DRIFTED, _FIRST_DRIFTED = 1000, 500
_FINER = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
_DRIFT = """
WITH drifted AS (
    SELECT account_id, max(date) AS date FROM {daily} WHERE account_id IN (
        SELECT 'acc-' || lpad(n::text, 7, '0') FROM generate_series({first}, $1::bigint, {each}) AS n
    ) AND date <= $2
    GROUP BY account_id
), daily AS (
    DELETE FROM {daily} AS stored USING drifted
    WHERE stored.account_id = drifted.account_id AND stored.date = drifted.date
    RETURNING stored.account_id, stored.num_trades, stored.net_profit, stored.total_lots
), hourly AS (
    DELETE FROM {hourly} AS stored USING drifted
    WHERE stored.account_id = drifted.account_id AND stored.date = drifted.date
    RETURNING stored.account_id
), closed AS (
    DELETE FROM {closed} AS stored USING drifted
    WHERE stored.account_id = drifted.account_id AND stored.trade_date = drifted.date
    RETURNING stored.account_id
), alltime AS (
    UPDATE {alltime} AS stored
    SET num_trades = stored.num_trades - daily.num_trades, net_profit = stored.net_profit - daily.net_profit,
        total_lots = stored.total_lots - daily.total_lots
    FROM daily WHERE stored.account_id = daily.account_id
    RETURNING stored.account_id
)
SELECT (SELECT count(*) FROM alltime) AS alltime, (SELECT count(*) FROM daily) AS daily,
    (SELECT count(*) FROM hourly) AS hourly, (SELECT count(*) FROM closed) AS closed
"""
"""The last day of some accounts is taken from all tables, alltime included: they agree, and only
upstream tells.
"""
_FORGET = (
    f"TRUNCATE {SCHEMA}.recon_runs, {SCHEMA}.recon_issue_history CASCADE",
    (
        f"UPDATE {SCHEMA}.trade_recon SET reconciliation_status = 'pending', issues = '[]',"
        " failed_attempts = 0, next_attempt_at = NULL WHERE reconciliation_status <> 'reconciled'"
    ),
)
"""Who was damaged and repaired night after night would be held back: another writer might do it."""
_Damage = Callable[["asyncpg.Connection[asyncpg.Record]", int], Awaitable[Mapping[Endpoint, int]]]


@dataclass(frozen=True, slots=True)
class Night:
    """A damage, which tells how many rows differ by endpoint, and the run that repairs it; `most`
    requests, as a multiple of the floor, if that is asked for.
    """

    name: str
    kind: RunKind
    damage: _Damage
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A warehouse, its upstream, and how the service runs."""

    dsn: str
    accounts: int
    upstream: str
    folder: Path
    rate: int
    batch: int

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[Service]:
        """A fresh process, so that its peak of memory is that of one night."""
        async with serve(
            self.folder, self.dsn, self.upstream, self.rate, LAST_DAY, RECON_BATCH_SIZE=self.batch
        ) as service:
            yield service

    async def counts(self) -> Mapping[Endpoint, int]:
        """Requests that upstream got so far."""
        async with httpx2.AsyncClient(base_url=self.upstream) as http:
            answer = await http.get(COUNTS)
            answer.raise_for_status()
            (counts,) = answer.json()["Data"]["data"]
        return {endpoint: counts.get(endpoint.value, 0) for endpoint in Endpoint}


async def measure(
    dsn: str, accounts: int, *, batch: int | None = None, rate: int = RATE, filled: int = FILLED
) -> list[Ratio]:
    """The lines of the table for the warehouse of `dsn`."""
    with tempfile.TemporaryDirectory(prefix="trade-recon-bench-") as folder:
        async with _upstream(accounts, filled) as address:
            stage = Stage(
                dsn, accounts, address, Path(folder), rate, batch or usual_batch(accounts)
            )
            connection = await asyncpg.connect(dsn)
            try:
                return await _measure(stage, connection, filled)
            finally:
                await connection.close()


def usual_batch(accounts: int) -> int:
    """Accounts in a batch, so that a night has several."""
    return min(5000, max(200, accounts // 20))


async def _measure(
    stage: Stage, connection: "asyncpg.Connection[asyncpg.Record]", filled: int
) -> list[Ratio]:
    await fill_gaps(connection, stage.accounts, filled)
    for statement in _FORGET:
        await connection.execute(statement)
    # It lists the accounts, and repairs what an interrupted night left.
    async with stage.service() as service:
        begun = time.perf_counter()
        state = await service.reconcile(RunKind.AUDIT)
        print(f"an audit before the nights: {time.perf_counter() - begun:.1f} s, {state['status']}")
    before = await sums_of(connection)
    await _check_alltime(connection, before)
    lines: list[Ratio] = []
    for night in _NIGHTS:
        found = await _play(stage, night, connection, before)
        for line in found:
            print(show(line), flush=True)
        lines += found
    return lines


async def _check_alltime(connection: "asyncpg.Connection[asyncpg.Record]", before: Sums) -> None:
    """Alltime counts the trades that are there, or something is missing before any damage."""
    trades = sum(rows for (endpoint, _), (rows, _) in before.items() if endpoint is Endpoint.CLOSED)
    told = await connection.fetchval(f"SELECT sum(num_trades) FROM {table_of(Endpoint.ALLTIME)}")
    if trades != told:
        raise SystemExit(f"The warehouse has {trades} trades, and alltime counts {told}.")


async def _play(
    stage: Stage, night: Night, connection: "asyncpg.Connection[asyncpg.Record]", before: Sums
) -> list[Ratio]:
    differ = await night.damage(connection, stage.accounts)
    floor = {endpoint: -(-rows // PAGE_ROWS) for endpoint, rows in differ.items() if rows}
    if night.kind is RunKind.AUDIT:
        # The scan brings all of alltime.
        floor[Endpoint.ALLTIME] = -(-stage.accounts // PAGE_ROWS)
    asked = await stage.counts()
    async with stage.service() as service:
        begun = time.perf_counter()
        async with _looking(str(service.http.base_url)) as taken:
            state = await service.reconcile(night.kind)
        seconds, peak = time.perf_counter() - begun, service.peak
    requests = {
        endpoint: count - asked[endpoint] for endpoint, count in (await stage.counts()).items()
    }
    wrong = differing(before, await sums_of(connection))
    _tell(night, differ, floor, requests, state)
    for endpoint, date in sorted(wrong, key=str)[:20]:
        print(f"    not as before: {TABLES[endpoint].name} {date or ''}")
    total, fewest = sum(requests.values()), sum(floor.values())
    return [
        figure(f"night, {night.name}", seconds, "s"),
        figure(f"night, {night.name}: rows that differ", sum(differ.values()), "rows"),
        *_requests_beside(night, total, fewest),
        figure(f"night, {night.name}: requests at {_QUOTA} a second", total / _QUOTA, "s"),
        at_most(f"night, {night.name}: memory", peak, _MOST_MEGABYTES, "MB"),
        figure(
            f"night, {night.name}: GET /report, 5 a second: 99 of 100 within",
            sorted(taken)[len(taken) * 99 // 100] * 1000,
            "ms",
        ),
        at_most(f"night, {night.name}: tables and dates not as before", len(wrong), 0, "dates"),
    ]


def _requests_beside(night: Night, total: int, fewest: int) -> list[Ratio]:
    name = f"night, {night.name}: requests"
    if not fewest:
        return [at_most(name, total, 0, "requests")]
    ratio = f"{name} / fewest possible"
    return [
        figure(name, total, "requests"),
        figure(ratio, total / fewest, "x")
        if night.most is None
        else at_most(ratio, total / fewest, night.most),
    ]


def _tell(
    night: Night,
    differ: Mapping[Endpoint, int],
    floor: Mapping[Endpoint, int],
    requests: Mapping[Endpoint, int],
    state: Mapping[str, object],
) -> None:
    print(f"{night.name}: {state['status']}")
    for endpoint in ENDPOINTS:
        print(
            f"    {endpoint.value:16} {differ.get(endpoint, 0):9,} rows differ, floor"
            f" {floor.get(endpoint, 0):6,}, requests {requests[endpoint]:6,}"
        )
    print(f"    seconds by phase, summed over workers: {state['phases']}", flush=True)


@contextlib.asynccontextmanager
async def _looking(address: str) -> AsyncIterator[list[float]]:
    """Ask for the report as long as the context lasts; the seconds that it took, from when it was
    due.
    """
    taken: list[float] = []

    async def look(http: httpx2.AsyncClient) -> None:
        due = time.perf_counter()
        while True:
            (await http.get("/report")).raise_for_status()
            taken.append(time.perf_counter() - due)
            due += _LOOKS
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async with httpx2.AsyncClient(base_url=address, timeout=60) as http:
        (await http.get("/report")).raise_for_status()
        looking = asyncio.create_task(look(http))
        try:
            yield taken
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking


@contextlib.asynccontextmanager
async def _upstream(accounts: int, filled: int) -> AsyncIterator[str]:
    """The address of the computed upstream, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.computed"),
        *("--accounts", str(accounts), "--filled", str(filled)),
        cwd=Path(__file__).parents[1],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("The upstream has no pipes.")
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


async def _nothing(
    _connection: "asyncpg.Connection[asyncpg.Record]", _accounts: int
) -> Mapping[Endpoint, int]:
    """No damage."""
    return {}


async def _one_day(
    connection: "asyncpg.Connection[asyncpg.Record]", _accounts: int
) -> Mapping[Endpoint, int]:
    """A day that ingestion missed."""
    removed = {}
    for endpoint in _FINER:
        done = await connection.execute(
            f"DELETE FROM {table_of(endpoint)} WHERE {TABLES[endpoint].date_column} = $1",
            DATES[DAYS * 2 // 3],
        )
        removed[endpoint] = int(done.rpartition(" ")[2])
    return removed


async def _scattered(
    connection: "asyncpg.Connection[asyncpg.Record]", accounts: int
) -> Mapping[Endpoint, int]:
    """Gaps that tables show, and drift that they do not."""
    removed: dict[Endpoint, int] = {Endpoint.ALLTIME: 0, **await make_gaps(connection, accounts)}
    tables = {endpoint.name.lower(): table_of(endpoint) for endpoint in ENDPOINTS}
    drifted = await connection.fetchrow(
        _DRIFT.format(**tables, first=_FIRST_DRIFTED, each=_DRIFTED), accounts, DATES[SETTLED - 1]
    )
    if drifted is None:
        raise RuntimeError("No row tells how much drifted.")
    return {endpoint: rows + drifted[endpoint.name.lower()] for endpoint, rows in removed.items()}


_NIGHTS = (
    Night("nothing wrong", RunKind.FULL, _nothing),
    Night("one day missing for everyone", RunKind.FULL, _one_day, _MOST_REQUESTS),
    Night("1 % scattered and drift (audit)", RunKind.AUDIT, _scattered),
)


async def _alone(chosen: argparse.Namespace) -> bool:
    async with server(chosen.folder) as running:
        dsn = await ensure_warehouse(running.dsn(), chosen.accounts, chosen.filled)
        lines = await measure(
            dsn, chosen.accounts, batch=chosen.batch, rate=chosen.rate, filled=chosen.filled
        )
        connection = await asyncpg.connect(dsn)
        print(f"\n{machine(await connection.fetchval('SHOW server_version'))}\n")
        await connection.close()
    print(render({f"{chosen.accounts:,} accounts": lines}))
    return all(line.is_met is not False for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--accounts", type=int, default=20_000, help="how large the warehouse is (20,000)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(".bench"), help="where warehouses are kept (.bench)"
    )
    parser.add_argument(
        "--filled", type=int, default=FILLED, help=f"every which column is filled ({FILLED})"
    )
    parser.add_argument("--batch", type=int, help="accounts in a batch (a twentieth, 200 to 5000)")
    parser.add_argument(
        "--rate", type=int, default=RATE, help=f"requests a second that are allowed ({RATE})"
    )
    arguments = parser.parse_args()
    configure_logging(level="WARNING")
    raise SystemExit(not asyncio.run(_alone(arguments)))
