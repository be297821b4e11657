"""The change feed names each slice that a heal changed, and no other."""

import datetime as dt
from typing import TYPE_CHECKING

from app.domain.states import RunKind
from app.sandbox.damage.damage import damage
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import engine, run

if TYPE_CHECKING:
    import asyncpg

_DATES = {
    "raw_metrics_alltime": "NULL::date",
    "raw_metrics_daily": "date",
    "raw_metrics_hourly": "date",
    "raw_trades_closed": "trade_date",
    "raw_trades_open": "trade_date",
}


async def _slices(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> dict[tuple[str, str, dt.date | None], str]:
    """What each slice holds, in short."""
    found: dict[tuple[str, str, dt.date | None], str] = {}
    for table, day in _DATES.items():
        rows = await connection.fetch(
            f"SELECT account_id, {day} AS day, md5(string_agg(md5(t::text), '' ORDER BY t::text))"
            f" AS content FROM {table} AS t WHERE account_id IS NOT NULL GROUP BY 1, 2"
        )
        found |= {(table, row["account_id"], row["day"]): row["content"] for row in rows}
    return found


async def test_the_feed_names_the_slices_that_changed_and_no_others(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await damage(connection, warehouse.schema, seed=4)
        before = await _slices(connection)
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
            cursor, told, runs = 0, set(), set()
            while True:
                page = await service.store.feed.since(cursor, 50)
                told |= {(change.table, change.account_id, change.date) for change in page.changes}
                runs |= {change.run_id for change in page.changes}
                cursor = page.next
                if not page.more:
                    break
        after = await _slices(connection)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert changed
        assert told == changed
        # Ids that its own maintenance gave back are the run's work, too.
        assert runs == {state["run_id"]}
