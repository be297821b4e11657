"""Upstream forgets old data: not one stored row goes for it, and what it still has is healed."""

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import DifferenceKind, compare
from tests.conftest import SCHEMA, Database
from tests.support.engine import TODAY, engine, fill, run
from tests.support.warehouses.story import issues
from tests.support.warehouses.worlds import world

if TYPE_CHECKING:
    import asyncpg

FORGOTTEN = TODAY - dt.timedelta(days=25)
LATER = TODAY - dt.timedelta(days=3)
_COUNTED = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


async def stored_rows(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> dict[str, dict[str, str]]:
    """Every row of every raw table by its key, as JSON."""
    return {
        table.name: {
            row["key"]: row["row"]
            for row in await connection.fetch(
                f"SELECT concat_ws('|', {', '.join(table.key)}) AS key, to_jsonb(t)::text AS row"
                f" FROM {table.name} AS t"
            )
        }
        for table in TABLES.values()
    }


def is_old(row: str) -> bool:
    data = json.loads(row)
    return str(data.get("date") or data.get("trade_date") or TODAY) < FORGOTTEN.isoformat()


async def spoil(
    connection: "asyncpg.Connection[asyncpg.Record]",
    account_ids: list[str],
    first: dt.date,
    end: dt.date,
    part: int,
) -> None:
    """Take rows out of each level in turn, and spoil figures, on dates from `first` to before
    `end`.
    """
    for number, account_id in enumerate(account_ids):
        endpoint = _COUNTED[(number + part) % len(_COUNTED)]
        table = TABLES[endpoint]
        day = await connection.fetchval(
            "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 AND"
            " date >= $2 AND date < $3",
            account_id,
            first,
            end,
        )
        await connection.execute(
            f"DELETE FROM {table.name} WHERE account_id = $1 AND {table.date_column} = $2",
            account_id,
            day,
        )
        await connection.execute(
            "UPDATE raw_metrics_hourly SET num_trades = num_trades + 1, net_profit = 1 WHERE"
            " account_id = $1 AND date = (SELECT max(date) FROM raw_metrics_hourly WHERE account_id"
            " = $1 AND date >= $2 AND date < $3)",
            account_id,
            first,
            end,
        )


@pytest.mark.parametrize(
    "kinds",
    [(RunKind.FULL, RunKind.RETRY, RunKind.AUDIT), (RunKind.AUDIT, RunKind.FULL, RunKind.RETRY)],
    ids=" ".join,
)
async def test_of_all_that_upstream_forgot_not_one_stored_row_is_removed(
    database: Database, kinds: tuple[RunKind, ...]
) -> None:
    made = world()
    async with SandboxServer(made) as sandbox, database.connect() as connection:
        await fill(database, sandbox)
        rows = await connection.fetch(
            "SELECT account_id FROM raw_metrics_daily WHERE num_trades > 0 GROUP BY 1 HAVING"
            " count(*) FILTER (WHERE date < $1) > 0 AND count(*) FILTER (WHERE date >= $1 AND date"
            " < $2) > 0 ORDER BY 1",
            FORGOTTEN,
            LATER,
        )
        account_ids = [row["account_id"] for row in rows]
        assert len(account_ids) >= 9
        before, after = account_ids[: len(account_ids) // 2], account_ids[len(account_ids) // 3 :]
        await spoil(connection, before, dt.date.min, FORGOTTEN, 0)
        await spoil(connection, after, FORGOTTEN, LATER, 1)
        for account_id in made.account_ids:
            made.forget(account_id, FORGOTTEN)
        stored = await stored_rows(connection)
        async with engine(database, sandbox) as service:
            for kind in kinds:
                await run(service, kind)
        left = await stored_rows(connection)
        found = await compare(
            {endpoint: made.rows(endpoint) for endpoint in Endpoint},
            connection,
            SCHEMA,
            sample=100_000,
        )
        shown = await issues(connection, SCHEMA)
        removed = await connection.fetchval(
            "SELECT count(*) FROM recon_removed_rows WHERE reason <> 'overwritten'"
        )
    assert removed == 0
    for table, were in stored.items():
        assert were.keys() <= left[table].keys()
        assert {key: row for key, row in were.items() if is_old(row)} == {
            key: row for key, row in left[table].items() if is_old(row)
        }
    assert {each.kind for each in found.sample} <= {DifferenceKind.SURPLUS}
    assert all(is_old(left[each.table][each.key.replace(" ", "|")]) for each in found.sample)
    assert shown.keys() == set(before)
    for issues_left in shown.values():
        assert IssueCode.ABSENT_UPSTREAM in issues_left
        # Alltime goes on counting days of which upstream has nothing else any more, and of which we
        # lost something too.
        assert issues_left.keys() <= {IssueCode.ABSENT_UPSTREAM, IssueCode.UPSTREAM_INCONSISTENT}
