"""Detection beside bare aggregates of the same tables: `python -m bench.detection`.

All contenders play on one warehouse (bench/warehouse.py), in turns; ratios are of medians. Bare are
count and sum of trades by account and date of the three tables, with PostgreSQL's own parallel
workers, and once more with the amounts. Against them stand `Sweep.run` with and without amounts,
`maintain`, `Detection.look` of a batch beside its share of bare, for any and for broken accounts,
and `Touched.accounts` for the rows of the last day, and of the last ten.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from app.domain.accounts.money import OFF
from app.embedded_postgres.server import EmbeddedPostgres
from app.engine.config import EngineConfig
from app.engine.preparation.maintenance import maintain
from app.engine.repositories import Repositories
from app.store.database.pool import Database
from app.telemetry import configure_logging
from bench.table import Ratio, at_most, figure, machine, render
from bench.warehouse import SCHEMA, ensure_warehouse

SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB"}
"""Of the embedded server; all else is PostgreSQL's default."""
_TODAY = dt.date(2026, 1, 1)
_ROUNDS = 5
_BATCH = 5000
_BARE = (
    (
        "SELECT account_id, date, count(*), sum(num_trades) FROM {schema}.raw_metrics_daily GROUP"
        " BY 1, 2"
    ),
    (
        "SELECT account_id, date, count(*), sum(num_trades) FROM {schema}.raw_metrics_hourly GROUP"
        " BY 1, 2"
    ),
    (
        "SELECT account_id, trade_date, count(*), sum(lots) FROM {schema}.raw_trades_closed GROUP"
        " BY 1, 2"
    ),
)
_BARE_AMOUNTS = (
    (
        "SELECT account_id, date, count(*), sum(num_trades), sum(net_profit), sum(total_lots) FROM"
        " {schema}.raw_metrics_daily GROUP BY 1, 2"
    ),
    (
        "SELECT account_id, date, count(*), sum(num_trades), sum(net_profit), sum(total_lots) FROM"
        " {schema}.raw_metrics_hourly GROUP BY 1, 2"
    ),
    (
        "SELECT account_id, trade_date, count(*), sum(profit), sum(lots) FROM"
        " {schema}.raw_trades_closed GROUP BY 1, 2"
    ),
)


@dataclass(slots=True)
class Contender:
    """A timed contender; `seconds` are those of its rounds."""

    name: str
    work: Callable[[], Awaitable[object]]
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of a typical round."""
        return statistics.median(self.seconds)

    async def play(self) -> None:
        """One round."""
        begun = time.perf_counter()
        await self.work()
        self.seconds.append(time.perf_counter() - begun)


async def measure(dsn: str, accounts: int, rounds: int = _ROUNDS) -> list[Ratio]:
    """The lines of the table for the warehouse of `dsn`."""
    async with Database.open(dsn, SCHEMA) as database, _connected(dsn) as connection:
        store = await Repositories.build(database, EngineConfig().lease_seconds)
        without = await Repositories.build(database, EngineConfig().lease_seconds, money=OFF)
        # Brings trade_recon up to date, so that the rounds find what a usual night finds.
        await maintain(store, _TODAY)
        await connection.execute("VACUUM ANALYZE")
        size = min(_BATCH, accounts)
        spread = await _accounts(connection, f"ORDER BY md5(account_id) LIMIT {size}")
        broken = await _accounts(
            connection, f"WHERE mismatched_days > 0 ORDER BY md5(account_id) LIMIT {size}"
        )
        days = [row["stamp"] for row in await connection.fetch(_STAMPS)]
        bare = Contender("bare aggregates", lambda: _bare(connection, _BARE))
        amounts = Contender(
            "bare aggregates with amounts", lambda: _bare(connection, _BARE_AMOUNTS)
        )
        sweep = Contender("full detection, all accounts", lambda: store.sweep.run(_TODAY))
        plain = Contender("full detection without amounts", lambda: without.sweep.run(_TODAY))
        night = Contender("maintenance", lambda: maintain(store, _TODAY))
        look = Contender("detection of a batch", lambda: store.detection.look(spread))
        look_plain = Contender(
            "detection of a batch without amounts", lambda: without.detection.look(spread)
        )
        look_broken = Contender(
            "detection of a batch of broken accounts", lambda: store.detection.look(broken)
        )
        touched = [
            Contender(
                f"finding what {number} days wrote", _since(store, days[number - 1], accounts)
            )
            for number in (1, 10)
        ]
        for _ in range(rounds):
            for contender in (
                bare,
                amounts,
                plain,
                sweep,
                night,
                look_plain,
                look,
                look_broken,
                *touched,
            ):
                await contender.play()
        share = bare.median / accounts
        return [
            figure("bare aggregates of all accounts", bare.median, "s"),
            figure("bare aggregates with amounts of all accounts", amounts.median, "s"),
            figure(
                "full detection, all accounts / bare aggregates with amounts",
                sweep.median / amounts.median,
                "x",
            ),
            at_most(
                "full detection, all accounts / bare aggregates", sweep.median / bare.median, 1.7
            ),
            at_most(
                "full detection without amounts / bare aggregates", plain.median / bare.median, 1.6
            ),
            at_most("maintenance, all of it / bare aggregates", night.median / bare.median, 1.7),
            at_most(
                f"{look.name} / its share of bare aggregates", look.median / (share * size), 2.5
            ),
            figure(f"{look_plain.name} / its share", look_plain.median / (share * size), "x"),
            figure(
                f"{look_broken.name} / its share",
                look_broken.median / (share * max(1, len(broken))),
                "x",
            ),
            *(
                figure(f"{each.name} / bare aggregates", each.median / bare.median, "x")
                for each in touched
            ),
        ]


_STAMPS = (
    "SELECT DISTINCT ingestion_timestamp AT TIME ZONE 'UTC' AS stamp FROM"
    f" {SCHEMA}.raw_metrics_daily ORDER BY stamp DESC LIMIT 10"
)


def _since(
    store: Repositories, stamp: dt.datetime, accounts: int
) -> Callable[[], Awaitable[object]]:
    return lambda: store.touched.accounts(stamp, accounts)


async def _bare(
    connection: "asyncpg.Connection[asyncpg.Record]", statements: Sequence[str]
) -> None:
    for statement in statements:
        # The rows are made and counted on the server: sending millions of them would measure the
        # network. Whole rows are counted, or PostgreSQL would leave out the sums, which nobody
        # reads.
        await connection.fetchval(
            f"SELECT count(grouped) FROM ({statement.format(schema=SCHEMA)} OFFSET 0) AS grouped"
        )


async def _accounts(connection: "asyncpg.Connection[asyncpg.Record]", which: str) -> Sequence[str]:
    return [
        row["account_id"]
        for row in await connection.fetch(f"SELECT account_id FROM {SCHEMA}.trade_recon {which}")
    ]


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def server(folder: Path | None) -> AsyncIterator[EmbeddedPostgres]:
    """The embedded server, with its warehouses in `folder`, or in a temporary one."""
    with contextlib.ExitStack() as stack:
        where = folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="trade-recon-bench-"))
        )
        running = await EmbeddedPostgres.start(where, SERVER)
        try:
            yield running
        finally:
            await running.stop()


async def run_alone(
    description: str | None, measure: Callable[[str, int], Awaitable[list[Ratio]]]
) -> None:
    """Measure on the warehouse that the command line names, and print."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--accounts", type=int, default=20_000, help="how large the warehouse is (20,000)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where warehouses are kept for the next time; else they are thrown away",
    )
    arguments = parser.parse_args()
    configure_logging(level="WARNING")
    async with server(arguments.folder) as running:
        dsn = await ensure_warehouse(running.dsn(), arguments.accounts)
        async with _connected(dsn) as connection:
            print(machine(await connection.fetchval("SHOW server_version")))
        print(render({f"{arguments.accounts:,} accounts": await measure(dsn, arguments.accounts)}))


if __name__ == "__main__":
    asyncio.run(run_alone(__doc__, measure))
