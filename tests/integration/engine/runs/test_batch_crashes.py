"""Breaks that a review found: what a run that stops half-way must leave behind, and what must stand
alone.
"""

import datetime as dt
import uuid

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.faults import Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.apply.fingerprints import Slice
from tests.conftest import Database
from tests.integration.engine.runs.test_claims import process, queued
from tests.integration.engine.test_truth import edit, issues_of, victim
from tests.support.engine import TODAY, difference, engine, run
from tests.support.plain import plain


async def test_a_drift_that_broke_off_below_daily_is_followed_to_its_end_by_the_next_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        day = await connection.fetchval(
            "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0",
            account_id,
        )
        # The same figures are wrong on every level, the counts right: only an audit can see it, and
        # only daily says where.
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id = $1",
            account_id,
        )
        for table, date in (("raw_metrics_daily", "date"), ("raw_metrics_hourly", "date")):
            await connection.execute(
                f"UPDATE {table} SET net_profit = net_profit + 1 WHERE account_id = $1 AND {date}"
                " = $2",
                account_id,
                day,
            )
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = $1 AND trade_date"
            " = $2",
            account_id,
            day,
        )
        async with engine(warehouse, sandbox) as service:
            sandbox.set_faults(
                Faults(
                    unauthorized=True, only_endpoints=frozenset({Endpoint.HOURLY, Endpoint.CLOSED})
                )
            )
            assert (await run(service, RunKind.AUDIT))["status"] == "failed"
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM recon_descents WHERE account_id = $1", account_id
                )
                == 1
            )
            sandbox.set_faults(Faults())
            state = await run(service, RunKind.FULL)
            assert state["status"] == "succeeded"
            assert await connection.fetchval("SELECT count(*) FROM recon_descents") == 0
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM recon_issue_history WHERE closed_at IS NULL"
                )
                == 0
            )
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_trade_stored_under_two_wrong_dates_becomes_one_under_the_right_one(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        days = await connection.fetch(
            "SELECT DISTINCT trade_date FROM raw_trades_closed WHERE account_id = $1 ORDER BY 1",
            account_id,
        )
        trade = await connection.fetchrow(
            "SELECT * FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2",
            account_id,
            days[1][0],
        )
        assert trade is not None
        await connection.execute(
            "CREATE TEMP TABLE wrong AS SELECT * FROM raw_trades_closed WHERE ticket = $1",
            trade["ticket"],
        )
        await connection.execute("UPDATE wrong SET trade_date = $1", days[0][0])
        await connection.execute("INSERT INTO raw_trades_closed SELECT * FROM wrong")
        await connection.execute(
            "UPDATE raw_trades_closed SET trade_date = $1 WHERE ticket = $2 AND trade_date = $3",
            days[2][0],
            trade["ticket"],
            days[1][0],
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded"
        copies = await connection.fetch(
            "SELECT reason, right_date FROM recon_removed_rows ORDER BY reason"
        )
        # One goes to the right date, the other was its double then.
        assert [tuple(copy) for copy in copies] == [("moved", None), ("removed", days[1][0])]
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_trades_wait_for_the_metrics_that_tell_whose_they_are(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        await connection.execute(
            "DELETE FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
        await connection.execute("DELETE FROM raw_metrics_daily WHERE account_id = $1", account_id)
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE (account_id, date) = (SELECT account_id,"
            " min(date) FROM raw_metrics_hourly WHERE account_id = $1 GROUP BY account_id)",
            account_id,
        )
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE ticket IN (SELECT ticket FROM raw_trades_closed"
            " WHERE account_id = $1 LIMIT 2)",
            account_id,
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_surplus_trade_is_judged_by_upstreams_daily_row_and_not_by_a_stale_one(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        day = await connection.fetchval(
            "SELECT trade_date FROM raw_trades_closed WHERE account_id = $1 GROUP BY 1 HAVING"
            " count(*) > 1 ORDER BY 1 LIMIT 1",
            account_id,
        )
        records = sandbox.world._records[Endpoint.CLOSED, account_id] = sandbox.world.records(
            Endpoint.CLOSED, [account_id]
        )
        lost = next(record for record in records if record.day == day)
        records.remove(lost)
        # Our metrics are stale by just the trade that upstream's trades endpoint fails to send.
        for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
            dated = "" if table.endswith("alltime") else " AND date = $2"
            hour = (
                " AND hour = (SELECT min(hour) FROM raw_metrics_hourly WHERE account_id = $1 AND"
                " date = $2 AND num_trades > 0)"
            )
            arguments = (account_id,) if not dated else (account_id, day)
            await connection.execute(
                f"UPDATE {table} SET num_trades = num_trades - 1 WHERE account_id ="
                f" $1{dated}{hour if 'hourly' in table else ''}",
                *arguments,
            )
        before = await connection.fetchval("SELECT count(*) FROM raw_trades_closed")
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        assert await connection.fetchval("SELECT count(*) FROM raw_trades_closed") == before
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == 0
        )
        # All our rows were right; upstream's own lack of one shows only where counts differ.
        assert await issues_of(connection, account_id) == set()


async def test_an_account_without_a_login_is_seen_like_any_other(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, num_trades) VALUES ('nameless', 5)"
        )
        async with engine(warehouse, sandbox) as service:
            await service.maintain()
            assert (
                await connection.fetchval(
                    "SELECT num_trades_alltime FROM trade_recon WHERE account_id = 'nameless'"
                )
                == 5
            )
            await run(service, RunKind.AUDIT)
        assert await issues_of(connection, "nameless") == {"absent_upstream"}


async def test_a_large_account_is_read_in_time_that_grows_with_its_rows(database: Database) -> None:
    world = World.generate(
        2, seed=1, today=TODAY, trades_per_account=6000, days=30, contradictory=False
    )
    async with SandboxServer(world) as sandbox, engine(database, sandbox) as service:
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "succeeded"
        closed = (await difference(database, sandbox)).tables[Endpoint.CLOSED]
        assert (closed.missing, closed.surplus, closed.differing) == (0, 0, 0)
        async with database.connect() as connection:
            await connection.execute("UPDATE raw_trades_closed SET profit = profit + 1")
            await connection.execute(
                "DELETE FROM raw_trades_closed WHERE trade_date = (SELECT min(trade_date) FROM"
                " raw_trades_closed)"
            )
        again = await run(service, RunKind.FULL)
        assert again["status"] == "succeeded"


@pytest.mark.parametrize("column", ["netProfit", "numTrades"])
async def test_an_audit_sees_an_explicit_null(
    column: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await connection.fetchval(
            "SELECT min(account_id) FROM raw_metrics_alltime WHERE num_trades = 0"
        )
        stored = "net_profit" if column == "netProfit" else "num_trades"
        await connection.execute(
            f"UPDATE raw_metrics_alltime SET {stored} = 0 WHERE account_id = $1", account_id
        )
        edit(sandbox.world, Endpoint.ALLTIME, account_id, lambda row: row.update({column: None}))
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.AUDIT)
        assert (
            await connection.fetchval(
                f"SELECT {stored} FROM raw_metrics_alltime WHERE account_id = $1", account_id
            )
            is None
        )


async def test_a_login_that_only_trades_carry_as_an_id_is_no_account(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        login = await connection.fetchval("SELECT max(login) FROM raw_metrics_alltime")
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', ARRAY[date '2020-01-01'])"
        )
        await connection.execute(
            "INSERT INTO raw_trades_closed (platform, broker, login, position, ticket, trade_date,"
            " account_id) VALUES (1, 1, 'nobody', 'p', 't', '2020-01-05', $1)",
            login,
        )
        async with engine(warehouse, sandbox) as service:
            result = await service.maintain()
            await run(service, RunKind.AUDIT)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE account_id = $1", login
            )
            == 0
        )
        assert result.unmatched_combinations == 1
    assert login not in sandbox.log.ids(Endpoint.ALLTIME)


async def test_history_of_a_run_that_failed_is_closed_once_ingestion_has_mended_the_rows(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        await connection.execute(
            "CREATE TEMP TABLE kept AS SELECT * FROM raw_metrics_hourly WHERE account_id = $1",
            account_id,
        )
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", account_id)
        async with engine(warehouse, sandbox) as service:
            sandbox.set_faults(Faults(unauthorized=True))
            await run(service, RunKind.FULL)
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM recon_issue_history WHERE closed_at IS NULL"
                )
                > 0
            )
            await connection.execute("INSERT INTO raw_metrics_hourly SELECT * FROM kept")
            sandbox.set_faults(Faults())
            assert (await run(service, RunKind.FULL))["requests"] == 0
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_issue_history WHERE closed_at IS NULL"
            )
            == 0
        )


async def test_an_audit_of_some_accounts_on_an_empty_warehouse_still_sees_what_upstream_has(
    database: Database, sandbox: SandboxServer
) -> None:
    async with engine(database, sandbox) as service:
        state = await run(service, RunKind.AUDIT, max_accounts=3)
    assert state["accounts"]["healed"] == 3  # type: ignore[index]
    assert state["accounts"]["skipped"] == 27  # type: ignore[index]
    assert state["status"] == "completed_with_issues"


async def test_a_row_in_the_default_partition_stops_nobody(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        await connection.execute("CREATE TABLE rest PARTITION OF raw_metrics_daily DEFAULT")
        await connection.execute(
            "INSERT INTO raw_metrics_daily (account_id, date) VALUES ('other', '2001-02-03')"
        )
        assert (
            await connection.fetchval(
                "SELECT recon_create_partitions('raw_metrics_daily', ARRAY[date '2001-02-01'])"
            )
            == []
        )
        await connection.execute("DELETE FROM raw_metrics_daily WHERE account_id = $1", account_id)
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL, account_ids=(account_id,))
        assert await issues_of(connection, account_id) == set()


async def test_ingestions_newer_trade_without_an_id_wins_over_our_fetch(
    warehouse: Database,
) -> None:
    async with process(warehouse) as store, warehouse.connect() as connection:
        await queued(store)
        account_id = await victim(connection)
        day = TODAY - dt.timedelta(days=400)
        proven = Slice(Endpoint.CLOSED, (account_id,), (day, TODAY))
        before = await store.applier.fingerprints(proven)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL, lots = 9.99 WHERE account_id = $1",
            account_id,
        )
        without = await store.applier.fingerprints(proven)
        assert without.slices != before.slices
        await connection.execute(
            "UPDATE raw_trades_closed SET lots = 8.88 WHERE account_id IS NULL"
            " AND login IN (SELECT login FROM recon_identity WHERE account_id = $1)",
            account_id,
        )
        assert (await store.applier.fingerprints(proven)).slices != without.slices


async def test_trades_that_fit_no_account_are_named_and_not_upstreams_fault(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await victim(connection)
        for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY):
            edit(sandbox.world, endpoint, account_id, lambda row: row.update(broker=None))
        for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
            await connection.execute(
                f"UPDATE {table} SET broker = NULL WHERE account_id = $1", account_id
            )
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
            account = plain(await service.readings.account(account_id))
        assert "upstream_inconsistent" not in await issues_of(connection, account_id)
        assert "have a natural key that no account has" in account["attempts"][0]["detail"]


async def test_what_upstream_forgot_is_not_asked_for_again_until_something_changes_or_an_audit_comes(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id = await victim(connection)
        sandbox.world.forget(account_id)
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", account_id)
        held = await run(service, RunKind.FULL)
        assert held["status"] == "needs_confirmation"
        # Somebody says that upstream really forgot it.
        confirmed = uuid.UUID(str(held["run_id"]))
        await service.confirm(confirmed)
        await service.pool.run_until_finished(confirmed)
        assert await issues_of(connection, account_id) == {"absent_upstream"}
        history = await connection.fetchval("SELECT count(*) FROM recon_issue_history")
        sandbox.log.reset()
        state = await run(service, RunKind.FULL)
        assert (state["requests"], sandbox.log.total, state["status"]) == (0, 0, "succeeded")
        assert await issues_of(connection, account_id) == {"absent_upstream"}
        assert await connection.fetchval("SELECT count(*) FROM recon_issue_history") == history
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        await run(service, RunKind.FULL)
        assert sandbox.log.total > 0
        sandbox.log.reset()
        await run(service, RunKind.AUDIT)
        assert account_id in sandbox.log.ids(Endpoint.ALLTIME)
        assert await issues_of(connection, account_id) == {"absent_upstream"}
