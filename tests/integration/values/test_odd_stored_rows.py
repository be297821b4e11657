"""Whatever a column of the raw tables can hold: everything goes on, and the account of an odd row
has an issue that names it.
"""

import datetime as dt
import json
from collections.abc import Sequence

import asyncpg
import pytest

from app.domain.states import RunKind
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import run
from tests.support.plain import plain_report

Connection = asyncpg.Connection

_DATED = {
    "raw_metrics_daily": "date",
    "raw_metrics_hourly": "date",
    "raw_trades_closed": "trade_date",
    "raw_trades_open": "trade_date",
}
_IMPOSSIBLE = (
    "infinity",
    "-infinity",
    "0044-03-15 BC",
    "4713-01-01 BC",
    "10000-01-01",
    "294276-12-31",
    "5874897-12-31",
)


async def _take_any_date(connection: "Connection[asyncpg.Record]") -> None:
    for table in _DATED:
        await connection.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")


async def _copy(
    connection: "Connection[asyncpg.Record]", table: str, account_id: str, **changes: str
) -> None:
    """A row of the account once more, with other values as SQL writes them."""
    names = [
        row["attname"]
        for row in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT"
            " attisdropped ORDER BY attnum",
            table,
        )
    ]
    values = ", ".join(changes.get(name, f'"{name}"') for name in names)
    where = "" if table == "raw_trades_open" else f"WHERE account_id = '{account_id}'"
    if table == "raw_trades_open":
        values = ", ".join(
            changes.get(name, f"'{account_id}'" if name == "account_id" else f'"{name}"')
            for name in names
        )
    await connection.execute(
        f"INSERT INTO {table} SELECT {values} FROM {table} {where} LIMIT 1 ON CONFLICT DO NOTHING"
    )


async def _issues(
    connection: "Connection[asyncpg.Record]", account_id: str
) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        await connection.fetchval(
            "SELECT issues::text FROM trade_recon WHERE account_id = $1", account_id
        )
    )
    return found


async def _lose_hourly(
    connection: "Connection[asyncpg.Record]", account_ids: Sequence[str]
) -> None:
    for account_id in account_ids:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = (SELECT min(date) FROM"
            " raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 AND date > '2026-01-01')",
            account_id,
        )


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
async def test_rows_of_impossible_dates_stop_nothing_and_are_named(
    warehouse: Database, service_of: Engine, kind: RunKind
) -> None:
    async with warehouse.connect() as connection:
        await _take_any_date(connection)
        ids = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT account_id FROM raw_metrics_alltime ORDER BY 1"
            )
        ]
        traders = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT DISTINCT account_id FROM raw_trades_closed ORDER BY 1"
            )
        ]
        odd: dict[str, tuple[str, str]] = {}
        for number, (table, date) in enumerate(
            (table, date) for table in _DATED for date in _IMPOSSIBLE[:-1]
        ):
            account_id = traders[number]
            odd[account_id] = (table, date)
            await _copy(connection, table, account_id, **{_DATED[table]: f"'{date}'"})
        await _lose_hourly(connection, ids)
        async with service_of() as service:
            state = await run(service, kind)
            assert state["status"] == "completed_with_issues", state
            again = await run(service, RunKind.FULL)
            assert again["requests"] == 0
            assert plain_report(await service.readings.report())["overall"][
                "total_accounts"
            ] == len(ids)
        for account_id in ids:
            issues = await _issues(connection, account_id)
            assert [issue["type"] for issue in issues] == (
                ["impossible_date"] if account_id in odd else []
            ), account_id
            if account_id in odd:
                table, date = odd[account_id]
                assert date in json.dumps(issues)
                assert issues[0]["affected"] == [table]
        failing = await connection.fetch(
            "SELECT account_id, outcome, detail FROM recon_attempts WHERE outcome NOT IN ('healed',"
            " 'explained')"
        )
        assert failing == []
        for table, date in odd.values():
            assert (
                await connection.fetchval(
                    f"SELECT count(*) FROM {table} WHERE {_DATED[table]} = $1::text::date", date
                )
                == 1
            )


async def test_an_issue_of_an_impossible_date_ends_with_its_row(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        await _take_any_date(connection)
        await _copy(connection, "raw_metrics_daily", "acc-00003", date="'infinity'", num_trades="7")
        async with service_of() as service:
            await run(service, RunKind.FULL)
            assert "infinity" in json.dumps(await _issues(connection, "acc-00003"))
            await connection.execute("DELETE FROM raw_metrics_daily WHERE date = 'infinity'")
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded", state
        assert await _issues(connection, "acc-00003") == []


async def test_the_dates_at_pythons_ends_are_sent_and_read_as_they_are(database: Database) -> None:
    async with Pool.open(database.dsn, database.schema) as pool:
        for day in (
            dt.date.min,
            dt.date(1, 1, 2),
            dt.date(1999, 12, 31),
            dt.date(9999, 12, 30),
            dt.date.max,
        ):
            assert await pool.fetch_value("SELECT $1::date::text", day) == day.isoformat()
            assert await pool.fetch_value("SELECT $1::date[]", [day, day]) == [day, day]
            assert await pool.fetch_value("SELECT $1::text::date", day.isoformat()) == day
        assert (
            await pool.fetch_value("SELECT ARRAY['infinity', '10000-01-01']::date[]")
            == [dt.date.max] * 2
        )
        assert (
            await pool.fetch_value("SELECT ARRAY['-infinity', '0044-03-15 BC']::date[]")
            == [dt.date.min] * 2
        )
