"""How fast a run is undone: `python -m bench.undo [--rows N]`.

A run is played by SQL in one transaction: rows are overwritten in each figure, removed or moved,
with copies. The clock runs from the first copy asked for to the last one restored; then the table
is compared. Hourly rows have 160 filled columns: their cost is shown, the target is for trades. A
plain `INSERT ... SELECT` of the same rows right after it tells the machine's speed.
"""

import argparse
import asyncio
import statistics
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.store.change_feed import ChangeFeed
from app.store.restore.restore import RemovedRows
from app.telemetry import configure_logging
from bench.opened import SCHEMA, opened
from bench.table import Ratio, at_least, figure, show

if TYPE_CHECKING:
    import asyncpg

_TARGET = 10_000.0
_PLAIN_TIMES = 5
_DAYS = 90
_KEPT = frozenset(
    {
        "account_id",
        "login",
        "platform",
        "broker",
        "date",
        "hour",
        "trade_date",
        "position",
        "ticket",
        "ingestion_timestamp",
    }
)
_COPY = (
    "INSERT INTO {schema}.recon_removed_rows (run_id, account_id, table_name, date, reason,"
    " row_data) SELECT $1, account_id, '{table}', {date}, '{reason}', to_jsonb(t) FROM"
    " {schema}.{table} AS t"
)


@dataclass(frozen=True, slots=True)
class _Case:
    """Rows of a table, and what a run does with them."""

    table: str
    reason: str
    keys: str
    values: str
    date: str
    change: str


_HOURS = (
    "account_id, login, platform, broker, date, hour",
    "'acc-' || n % 300, n % 300, 1, 1, $2::date + (n / 300) % 90, n / 27000",
)
_TRADES = (
    "account_id, login, platform, broker, trade_date, position, ticket",
    "'acc-' || n % 300, n % 300, 1, 1, $2::date + (n / 300) % 90, n, n",
)
_CASES = (
    _Case("raw_metrics_hourly", "overwritten", *_HOURS, "date", "UPDATE {table} SET {figures}"),
    _Case(
        "raw_trades_closed", "overwritten", *_TRADES, "trade_date", "UPDATE {table} SET {figures}"
    ),
    _Case(
        "raw_trades_closed",
        "moved",
        *_TRADES,
        "trade_date",
        "UPDATE {table} SET trade_date = trade_date + 1",
    ),
    _Case("raw_trades_closed", "removed", *_TRADES, "trade_date", "DELETE FROM {table}"),
    _Case("raw_metrics_hourly", "removed", *_HOURS, "date", "DELETE FROM {table}"),
)


async def measure(rows: int) -> list[Ratio]:
    """The lines of the table."""
    async with opened() as (looker, database):
        measured = []
        for case in _CASES:
            run_id, marks = await _play(looker, case, rows)
            before = time.perf_counter()
            waiting = await RemovedRows(database, ChangeFeed(database)).waiting_of_run(run_id)
            results = [
                each.is_there
                async for each in RemovedRows(database, ChangeFeed(database)).restore(waiting)
            ]
            seconds = time.perf_counter() - before
            if len(results) != rows or not all(results) or await _marks(looker, case) != marks:
                raise AssertionError(f"{case.table}: not all rows stand as they were")
            name = f"undo of a run, {case.table}, {case.reason}"
            is_wide = case.table == "raw_metrics_hourly"
            measured.append(
                figure(name, rows / seconds, "rows/s")
                if is_wide
                else at_least(name, rows / seconds, _TARGET, "rows/s")
            )
            measured.append(figure(name, seconds / await _plain(looker, case), "x plain"))
        return measured


async def _play(
    looker: "asyncpg.Connection[asyncpg.Record]", case: _Case, rows: int
) -> tuple[uuid.UUID, str]:
    """Fill the table, and do with its rows what a run does; the run, and what the rows were before
    it.
    """
    run_id = uuid.uuid4()
    table = f"{SCHEMA}.{case.table}"
    await looker.execute(f"TRUNCATE {table}, {SCHEMA}.recon_removed_rows, {SCHEMA}.recon_changes")
    first = await looker.fetchval("SELECT date '2024-01-01'")
    await looker.execute(
        f"SELECT {SCHEMA}.recon_create_partitions($1, ARRAY(SELECT $2::date + n FROM"
        f" generate_series(0, {_DAYS}) AS n))",
        case.table,
        first,
    )
    columns = await looker.fetch(
        "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum >"
        " 0 AND atttypid = 'numeric'::regtype",
        table,
    )
    figures = [row["name"] for row in columns if row["name"] not in _KEPT]
    await looker.execute(
        f"INSERT INTO {table} ({case.keys}, {', '.join(figures)}) SELECT"
        f" {case.values}{', round((random() * 100)::numeric, 2)' * len(figures)} FROM"
        " generate_series(0, $1::integer - 1) AS n",
        rows,
        first,
    )
    before = await _marks(looker, case)
    await looker.execute("ANALYZE")
    async with looker.transaction():
        await looker.execute(
            _COPY.format(schema=SCHEMA, table=case.table, date=case.date, reason=case.reason),
            run_id,
        )
        changes = ", ".join(f"{figure} = {figure} + 1" for figure in figures)
        await looker.execute(case.change.format(table=table, figures=changes))
    await looker.execute("ANALYZE")
    await looker.execute("CHECKPOINT")
    return run_id, before


async def _plain(looker: "asyncpg.Connection[asyncpg.Record]", case: _Case) -> float:
    """How many seconds it takes to insert the same rows, and nothing else: the median of some
    times, since each is short.
    """
    table = f"{SCHEMA}.{case.table}"
    await looker.execute(f"CREATE TEMP TABLE same_rows AS SELECT * FROM {table}")
    took = []
    for _ in range(_PLAIN_TIMES):
        await looker.execute(f"TRUNCATE {table}")
        before = time.perf_counter()
        await looker.execute(f"INSERT INTO {table} SELECT * FROM same_rows")
        took.append(time.perf_counter() - before)
    await looker.execute("DROP TABLE same_rows")
    return statistics.median(took)


async def _marks(looker: "asyncpg.Connection[asyncpg.Record]", case: _Case) -> str:
    return str(
        await looker.fetchval(
            "SELECT concat(count(*), ' ', sum(hashtextextended(t::text, 0))) FROM"
            f" {SCHEMA}.{case.table} AS t"
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of a run (20,000)")
    chosen = parser.parse_args()
    configure_logging(level="WARNING")
    lines = asyncio.run(measure(chosen.rows))
    for line in lines:
        print(show(line))
    raise SystemExit(any(line.is_met is False for line in lines))
