"""Odd rows of upstream: a doubled key, a key part that the table refuses, a date at the ends of
time. Each costs itself alone.
"""

import json
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.rows import Record
from app.sandbox.world.trades import Row
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import run

Connection = asyncpg.Connection


def send_again(
    world: World, endpoint: Endpoint, account_id: str, number: int, *changes: Row
) -> Record:
    """Upstream sends a row of the account once more for each of the changes; the row."""
    records = world._of_account(endpoint, account_id)
    record = records[number]
    records[number + 1 : number + 1] = [
        replace(record, row={**record.row, **change}, _encoded=None) for change in changes
    ]
    world._selections.clear()
    return record


async def _trader(connection: "Connection[asyncpg.Record]") -> str:
    return str(
        await connection.fetchval(
            "SELECT account_id FROM raw_trades_closed AS t WHERE (SELECT count(DISTINCT login) FROM"
            " raw_metrics_daily AS d WHERE d.account_id = t.account_id) = 1 AND (SELECT"
            " count(DISTINCT account_id) FROM raw_metrics_daily AS d WHERE d.login = t.login) = 1"
            " GROUP BY 1 HAVING count(*) >= 8 ORDER BY 1 LIMIT 1"
        )
    )


@pytest.mark.parametrize("endpoint", [Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED])
@pytest.mark.parametrize(
    "changes",
    [
        ({},),
        ({"numTrades": 99, "profit": Decimal(7)},),
        ({"numTrades": 1}, {"numTrades": 2, "profit": Decimal(1)}),
    ],
)
async def test_a_key_that_comes_twice_is_shown_and_all_other_rows_are_stored(
    warehouse: Database,
    sandbox: SandboxServer,
    service_of: Engine,
    endpoint: Endpoint,
    changes: tuple[Row, ...],
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _trader(connection)
        send_again(sandbox.world, endpoint, account_id, 2, *changes)
        sent = len(sandbox.world._of_account(endpoint, account_id))
        table = TABLES[endpoint].name
        await connection.execute(f"DELETE FROM {table} WHERE account_id = $1", account_id)
        async with service_of() as service:
            await run(service, RunKind.FULL)
            stored = await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE account_id = $1", account_id
            )
            assert stored == sent - 1 - len(changes)
            issues = json.loads(
                await connection.fetchval(
                    "SELECT issues::text FROM trade_recon WHERE account_id = $1", account_id
                )
            )
            assert "key_too_narrow" in {issue["type"] for issue in issues}
            outcome = await connection.fetchrow(
                "SELECT outcome, detail FROM recon_attempts WHERE account_id = $1", account_id
            )
            assert outcome is not None
            assert outcome["outcome"] == "explained", tuple(outcome)
            aside = await connection.fetch(
                "SELECT row_key, copies FROM recon_set_aside_rows WHERE account_id = $1", account_id
            )
            assert sum(row["copies"] for row in aside) == 1 + len(changes)
            assert len({row["row_key"] for row in aside}) == 1
            assert aside[0]["row_key"] in json.dumps(issues)
            assert (await run(service, RunKind.FULL))["requests"] == 0
        # Upstream is mended: what was set aside is stored, and is shown no more.
        records = sandbox.world._of_account(endpoint, account_id)
        del records[3 : 3 + len(changes)]
        sandbox.world._selections.clear()
        async with service_of() as service:
            await run(service, RunKind.AUDIT)
            await run(service, RunKind.RETRY)
        assert await connection.fetchval(
            f"SELECT count(*) FROM {table} WHERE account_id = $1", account_id
        ) == sent - len(changes)
        assert await connection.fetchval("SELECT count(*) FROM recon_set_aside_rows") == 0


async def test_a_refused_key_part_keeps_the_surplus_of_those_alone_who_may_own_the_row(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _trader(connection)
        day, other = await connection.fetchrow(  # type: ignore[misc]
            "SELECT a.trade_date, b.account_id FROM raw_trades_closed AS a JOIN raw_trades_closed"
            " AS b USING (trade_date) WHERE a.account_id = $1 AND b.account_id <> a.account_id AND"
            " b.login <> a.login AND a.trade_date < '2026-03-10' AND (SELECT count(*) FROM"
            " raw_metrics_alltime AS m WHERE m.login = b.login) = 1 ORDER BY 1, 2 LIMIT 1",
            account_id,
        )
        for record in sandbox.world._of_account(Endpoint.CLOSED, other):
            if record.day == day:
                record.row["ticket"] = "x" * 300
                record._encoded = None
                break
        for owner in (account_id, other):
            await connection.execute(
                "CREATE TEMP TABLE made_up AS SELECT * FROM raw_trades_closed WHERE account_id = $1"
                " AND trade_date = $2 LIMIT 1",
                owner,
                day,
            )
            await connection.execute("UPDATE made_up SET ticket = 'made-up'")
            await connection.execute("INSERT INTO raw_trades_closed SELECT * FROM made_up")
            await connection.execute("DROP TABLE made_up")
        async with service_of() as service:
            await run(service, RunKind.FULL)
        left = await connection.fetch(
            "SELECT account_id FROM raw_trades_closed WHERE ticket = 'made-up'"
        )
        assert [row["account_id"] for row in left] == [other]


async def test_rows_of_far_years_make_no_partitions_and_are_set_aside(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _trader(connection)
        before = await connection.fetchval("SELECT count(*) FROM pg_inherits")
        days = [f"{year}-05-05" for year in range(2100, 2111)] + ["9999-12-31", "0001-01-01"]
        changes: list[Row] = [{"date": day, "numTrades": 0} for day in days]
        send_again(sandbox.world, Endpoint.DAILY, account_id, 0, *changes)
        await connection.execute("DELETE FROM raw_metrics_daily WHERE account_id = $1", account_id)
        async with service_of() as service:
            await run(service, RunKind.FULL)
        assert await connection.fetchval("SELECT count(*) FROM pg_inherits") == before
        aside = await connection.fetch(
            "SELECT date::text, reason FROM recon_set_aside_rows WHERE account_id = $1", account_id
        )
        assert sorted(row["date"] for row in aside) == sorted(days)
        assert all(
            "has the years 2026 to 2026" in row["reason"]
            or "outside of the partitions" in row["reason"]
            for row in aside
        )
        stored = await connection.fetchval(
            "SELECT count(*) FROM raw_metrics_daily WHERE account_id = $1", account_id
        )
        assert stored == len(sandbox.world._of_account(Endpoint.DAILY, account_id)) - len(days)


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01"])
@pytest.mark.parametrize("endpoint", [Endpoint.DAILY, Endpoint.HOURLY])
async def test_a_row_at_an_end_of_time_is_stored_where_the_table_can_hold_it(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, endpoint: Endpoint, day: str
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _trader(connection)
        table = TABLES[endpoint].name
        await connection.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
        send_again(
            sandbox.world,
            endpoint,
            account_id,
            0,
            {"date": day, "numTrades": 0, "netProfit": 0, "totalLots": 0},
        )
        await connection.execute(f"DELETE FROM {table} WHERE account_id = $1", account_id)
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded", state
        assert (
            await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE date = $1::text::date", day
            )
            == 1
        )


@pytest.mark.parametrize(
    "junk",
    [
        '["old text"]',
        '[{"severity": 2}]',
        "[1, null, true]",
        '[["nested"]]',
        '[{"type": "made_up", "severity": "x"}]',
        '{"type": 1}',
        '"x"',
        "7",
    ],
)
async def test_whatever_an_issues_column_holds_is_replaced(
    warehouse: Database, service_of: Engine, junk: str
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _trader(connection)
        async with service_of() as service:
            await run(service, RunKind.FULL)
            await connection.execute(
                "UPDATE trade_recon SET issues = $2::text::jsonb WHERE account_id = $1",
                account_id,
                junk,
            )
            await connection.execute(
                "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date ="
                " (SELECT min(date) FROM raw_metrics_hourly WHERE account_id = $1)",
                account_id,
            )
            await connection.fetch("SELECT * FROM get_issue_statistics()")
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded", state
        assert (
            await connection.fetchval(
                "SELECT issues::text FROM trade_recon WHERE account_id = $1", account_id
            )
            == "[]"
        )
