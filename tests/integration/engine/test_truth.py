"""The rules of truth: what may be removed, what a field that is missing, null or too large does,
how trades move.
"""

import datetime as dt
from collections.abc import Callable

import asyncpg
import pytest

from app.domain.accounts.money import OFF
from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.rows import Record
from app.sandbox.world.trades import Row
from app.sandbox.world.world import World
from app.store.restore.changed_rows import ChangedRows, Picked
from tests.conftest import Database
from tests.integration.engine.conftest import perfect_world
from tests.support.engine import TODAY, difference, engine, run

Connection = asyncpg.Connection


def edit(
    world: World, endpoint: Endpoint, account_id: str, change: Callable[[Row], None]
) -> list[Record]:
    """Make upstream send something else for an account; its records."""
    records = world.records(endpoint, [account_id])
    for record in records:
        change(record.row)
        record._encoded = None
    return records


async def victim(connection: "Connection[asyncpg.Record]") -> str:
    """An account whose trades lie on several settled dates and under one natural key that is its
    alone.
    """
    return str(
        await connection.fetchval(
            "SELECT account_id FROM raw_metrics_daily d WHERE date < $1 GROUP BY 1 HAVING count(*)"
            " >= 4 AND count(DISTINCT (login, platform, broker)) = 1 AND NOT EXISTS (SELECT FROM"
            " raw_metrics_alltime a, raw_metrics_alltime b WHERE a.account_id = d.account_id AND"
            " b.account_id <> a.account_id AND b.login = a.login) ORDER BY 1 LIMIT 1",
            TODAY - dt.timedelta(days=3),
        )
    )


async def issues_of(connection: "Connection[asyncpg.Record]", account_id: str) -> set[str]:
    rows = await connection.fetch(
        "SELECT issue ->> 'type' AS type FROM trade_recon, jsonb_array_elements(issues) AS issue"
        " WHERE account_id = $1",
        account_id,
    )
    return {row["type"] for row in rows}


async def test_a_date_that_upstream_forgot_stays_stored_and_holds_up_nobody_else(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        days = [
            row["date"]
            for row in await connection.fetch(
                "SELECT date FROM raw_metrics_daily WHERE account_id = $1 ORDER BY 1", account_id
            )
        ]
        sandbox.world.forget(account_id, days[2])
        # One forgotten date loses its hourly rows; one that upstream still has loses them too.
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = ANY($2)",
            account_id,
            [days[0], days[3]],
        )
        before = await connection.fetchval("SELECT count(*) FROM raw_metrics_daily")
        closed = await connection.fetchval("SELECT count(*) FROM raw_trades_closed")
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert await connection.fetchval("SELECT count(*) FROM raw_metrics_daily") == before
        assert await connection.fetchval("SELECT count(*) FROM raw_trades_closed") == closed
        assert await issues_of(connection, account_id) == {"absent_upstream"}
        healed = "SELECT count(*) FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2"
        assert await connection.fetchval(healed, account_id, days[3]) > 0
        assert state["accounts"]["explained"] == 1  # type: ignore[index]


async def test_an_account_that_upstream_forgot_is_kept_and_shown_by_an_audit_until_it_is_back(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        sandbox.world.forget(account_id)
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.AUDIT)
            assert await issues_of(connection, account_id) == {"absent_upstream"}
            await run(service, RunKind.FULL)
            assert await issues_of(connection, account_id) == {"absent_upstream"}
        stored = "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1"
        assert await connection.fetchval(stored, account_id) > 0
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == 0
    async with (
        SandboxServer(perfect_world()) as whole,
        engine(warehouse, whole) as service,
        warehouse.connect() as connection,
    ):
        await run(service, RunKind.AUDIT)
        assert await issues_of(connection, account_id) == set()


async def test_a_removed_row_leaves_a_copy(warehouse: Database, sandbox: SandboxServer) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        await connection.execute(
            "CREATE TEMP TABLE made_up AS SELECT * FROM raw_trades_closed WHERE account_id = $1 AND"
            " trade_date < $2 LIMIT 1",
            account_id,
            TODAY - dt.timedelta(days=3),
        )
        await connection.execute("UPDATE made_up SET ticket = 'made-up'")
        await connection.execute("INSERT INTO raw_trades_closed SELECT * FROM made_up")
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["rows"]["removed"] == 1  # type: ignore[index]
        row = await connection.fetchrow(
            "SELECT table_name, account_id, reason, row_data::text FROM recon_removed_rows"
        )
        assert row is not None
        assert (row["table_name"], row["account_id"], row["reason"]) == (
            "raw_trades_closed",
            account_id,
            "removed",
        )
        assert '"made-up"' in row["row_data"]
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_surplus_row_stays_where_upstreams_count_disagrees_with_daily(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        day = await connection.fetchval(
            "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1", account_id
        )

        def one_more(row: Row) -> None:
            if str(row["date"]).replace("-", "")[:8] == day.strftime("%Y%m%d"):
                row["numTrades"] = int(str(row["numTrades"]).split(".")[0]) + 7

        edit(sandbox.world, Endpoint.DAILY, account_id, one_more)
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2", account_id, day
        )
        await connection.execute(
            "CREATE TEMP TABLE made_up AS SELECT * FROM raw_trades_closed WHERE account_id = $1 AND"
            " trade_date = $2 LIMIT 1",
            account_id,
            day,
        )
        await connection.execute("UPDATE made_up SET ticket = 'made-up'")
        await connection.execute("INSERT INTO raw_trades_closed SELECT * FROM made_up")
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.AUDIT)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE ticket = 'made-up'"
            )
            == 1
        )
        assert await issues_of(connection, account_id) >= {"upstream_inconsistent"}


async def test_a_field_that_upstream_does_not_send_keeps_its_value_and_an_explicit_null_clears_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)

        def change(row: Row) -> None:
            row.pop("grossProfit", None)
            row["meanProfit"] = None
            row["unheard_of"] = 1

        edit(sandbox.world, Endpoint.ALLTIME, account_id, change)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 3, gross_profit = 77.5,"
            " mean_profit = 5 WHERE account_id = $1",
            account_id,
        )
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        row = await connection.fetchrow(
            "SELECT gross_profit, mean_profit FROM raw_metrics_alltime WHERE account_id = $1",
            account_id,
        )
        assert row is not None
        assert (str(row["gross_profit"]), row["mean_profit"]) == ("77.50", None)
        assert await issues_of(connection, account_id) == set()


async def test_a_number_out_of_range_becomes_null_is_counted_and_named(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)

        def change(row: Row) -> None:
            row.update(
                successRate=100000,
                medianProfit="1e400000",
                stdProfits="123456789012345678901234567890",
                riskAdjProfit="1e-400",
            )

        edit(sandbox.world, Endpoint.ALLTIME, account_id, change)
        await connection.execute(
            "DELETE FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        row = await connection.fetchrow(
            "SELECT success_rate, median_profit, std_profits, risk_adj_profit FROM"
            " raw_metrics_alltime WHERE account_id = $1",
            account_id,
        )
        assert tuple(row or ()) == (None, None, None, 0.0)
        assert state["values_nulled"] == 3
        reason = await connection.fetchval(
            "SELECT reason FROM recon_set_aside_rows WHERE account_id = $1", account_id
        )
        assert all(column in reason for column in ("success_rate", "median_profit", "std_profits"))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("comment", "x" * 300, "comment is longer than 255 characters"),
        ("ticket", None, "key part ticket is missing"),
        ("broker", 10**12, "key part broker is out of range"),
        ("ticket", "zero \0 byte", "key part ticket holds characters that no text can hold"),
    ],
)
async def test_a_row_that_cannot_be_held_is_set_aside_and_stops_no_other(
    field: str, value: str | int | None, named: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        records = sandbox.world.records(Endpoint.CLOSED, [account_id])
        records[0].row[field] = value
        records[0]._encoded = None
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
            )
            == len(records) - 1
        )
        row = await connection.fetchrow(
            "SELECT table_name, account_id, reason FROM recon_set_aside_rows"
        )
        assert row is not None
        assert (row["table_name"], row["account_id"]) == ("raw_trades_closed", account_id)
        assert named in row["reason"]
        assert state["rows"]["set_aside"] == 1  # type: ignore[index]
        assert state["status"] == "completed_with_issues"
        assert "trades_daily_mismatch" in await issues_of(connection, account_id)


async def test_a_row_that_a_constraint_refuses_is_set_aside_and_the_others_are_written(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        records = sandbox.world.records(Endpoint.CLOSED, [account_id])
        records[1].row["side"] = "Neither"
        records[1]._encoded = None
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        await connection.execute(
            "ALTER TABLE raw_trades_closed ADD CONSTRAINT a_side CHECK (side IN ('Buy', 'Sell'))"
        )
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
            )
            == len(records) - 1
        )
        assert "a_side" in await connection.fetchval("SELECT reason FROM recon_set_aside_rows")


async def test_a_key_of_the_table_that_is_too_narrow_overwrites_nothing_and_is_shown(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        records = sandbox.world.records(Endpoint.CLOSED, [account_id])
        same_day = next(
            (one, other)
            for one in records
            for other in records
            if one is not other
            and one.row["tradeDate"] == other.row["tradeDate"]
            and one.row["position"] != other.row["position"]
        )
        same_day[1].row["position"] = same_day[0].row["position"]
        same_day[1]._encoded = None
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        # The key of the first system: a position that was closed in parts does not fit it.
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id <> $1", account_id)
        await connection.execute(
            "CREATE UNIQUE INDEX narrow ON raw_trades_closed (platform, position, trade_date)"
        )
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL, account_ids=(account_id,))
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
            )
            >= 1
        )
        assert "key_too_narrow" in await issues_of(connection, account_id)


async def test_a_trade_known_under_another_date_is_moved_and_not_doubled(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', ARRAY(SELECT trade_date - 400 FROM"
            " raw_trades_closed))"
        )
        moved = await connection.fetchval(
            "UPDATE raw_trades_closed SET trade_date = trade_date - 400 WHERE (login, position,"
            " ticket) = (SELECT login, position, ticket FROM raw_trades_closed WHERE account_id ="
            " $1 LIMIT 1) RETURNING ticket",
            account_id,
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["rows"]["moved"] == 1  # type: ignore[index]
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE ticket = $1 AND account_id = $2",
                moved,
                account_id,
            )
            == 1
        )
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'moved'"
            )
            == 1
        )
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_timestamps_of_any_zone_are_stored_in_utc_and_dates_are_never_shifted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        record = sandbox.world.records(Endpoint.CLOSED, [account_id])[0]
        day = await connection.fetchval(
            "SELECT trade_date FROM raw_trades_closed WHERE ticket = $1", str(record.row["ticket"])
        )
        record.row.update(
            closeTime=f"{day}T01:30:00.5+02:00",
            openTime=f"{day} 10:00:00",
            tradeDate=f"{day}T23:59:59-11:00",
        )
        record._encoded = None
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        row = await connection.fetchrow(
            "SELECT trade_date, close_time, open_time FROM raw_trades_closed WHERE ticket = $1",
            str(record.row["ticket"]),
        )
        midnight = dt.datetime.combine(day, dt.time())
        assert row is not None
        assert row["trade_date"] == day
        assert row["close_time"] == midnight - dt.timedelta(minutes=30) + dt.timedelta(
            milliseconds=500
        )
        assert row["open_time"] == midnight + dt.timedelta(hours=10)


async def test_two_rows_of_upstream_under_one_key_overwrite_nothing_and_are_shown(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        days = {record.day for record in sandbox.world.records(Endpoint.DAILY, [account_id])}
        double = next(
            record
            for record in sandbox.world.records(Endpoint.DAILY)
            if record.account_id != account_id and record.day in days
        )
        # The other account's row of that date comes under this account's id, with another natural
        # key.
        double.row["accountId"] = account_id
        double._encoded = None
        double.account_id = account_id
        day = double.day
        stored = await connection.fetchval(
            "SELECT net_profit FROM raw_metrics_daily WHERE account_id = $1 AND date = $2",
            account_id,
            day,
        )
        await connection.execute(
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE account_id = $1 AND"
            " date = $2",
            account_id,
            day,
        )
        sandbox.world._records[Endpoint.DAILY, account_id].append(double)
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        kept = await connection.fetchval(
            "SELECT net_profit FROM raw_metrics_daily WHERE account_id = $1 AND date = $2",
            account_id,
            day,
        )
        assert kept == stored
        assert await issues_of(connection, account_id) == {"key_too_narrow"}
        assert (
            await connection.fetchval(
                "SELECT reason FROM recon_set_aside_rows WHERE account_id = $1", account_id
            )
            == "key too narrow: upstream sends several rows with this key"
        )


async def test_a_page_of_odd_values_is_read_and_what_is_no_value_becomes_null_and_is_named(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)

        def odd(row: Row) -> None:
            row.update(
                lots=" 1.5 ",
                swap="",
                commission="-0",
                profit="1e1",
                fee="0.005",
                stopLoss="many",
                openTime="yesterday",
            )

        records = edit(sandbox.world, Endpoint.CLOSED, account_id, odd)
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        # Trades of one profit contradict the daily rows, which is no part of this.
        async with engine(warehouse, sandbox, money=OFF) as service:
            state = await run(service, RunKind.FULL)
        rows = await connection.fetch(
            "SELECT DISTINCT lots::text, swap, commission::text, profit::text, fee::text FROM"
            " raw_trades_closed WHERE account_id = $1",
            account_id,
        )
        assert [tuple(row) for row in rows] == [("1.5000", None, "0.00", "10.00", "0.01")]
        assert state["rows"]["inserted"] == len(records)  # type: ignore[index]
        assert state["status"] == "succeeded"
        assert state["values_nulled"] == 2 * len(records)
        reasons = await connection.fetch("SELECT DISTINCT reason FROM recon_set_aside_rows")
        assert [row["reason"] for row in reasons] == [
            "stored with NULL, since the value cannot be held: stop_loss, open_time"
        ]
        async with engine(warehouse, sandbox) as service:
            shown = await ChangedRows(service.store.database).nulled(
                Picked(account_id=account_id), 100
            )
        assert len(shown) == len(records)
        assert all(row.sent == {"stop_loss": "many", "open_time": "yesterday"} for row in shown)
