"""Triggers, constraints and limits of the tables' owner have their say; nothing hangs, nothing is
hidden, and nobody waits long.
"""

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.errors import ConfigurationError
from app.sandbox.server.serving import SandboxServer
from app.store.database.pool import Database as Pool
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.clock import SETTLED
from tests.support.engine import difference, engine, run
from tests.support.waiting import PATIENCE
from tests.support.warehouses.building import execute, new_database

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_SHORT = 4.0
"""Seconds that no writer waits for us, whatever is refused; what it measures without us takes
milliseconds.
"""


async def _guard(connection: "Connection", table: str, when: str, body: str) -> None:
    await connection.execute(
        f"CREATE FUNCTION guard_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}"
        " END $$"
    )
    await connection.execute(
        f"CREATE TRIGGER guard {when} ON {table} FOR EACH ROW EXECUTE FUNCTION guard_{table}()"
    )


async def _account(connection: "Connection") -> str:
    """An account that alone ever had its natural key, with trades on several settled dates."""
    return str(
        await connection.fetchval(
            f"SELECT account_id FROM raw_metrics_daily AS d WHERE date < '{SETTLED}' AND num_trades"
            " > 0 GROUP BY 1, login HAVING count(*) >= 4 AND (SELECT count(DISTINCT account_id)"
            " FROM raw_metrics_daily AS o WHERE o.login = d.login) = 1 ORDER BY 1 LIMIT 1"
        )
    )


async def _detail(connection: "Connection", account_id: str) -> str:
    return str(
        await connection.fetchval(
            "SELECT detail FROM recon_attempts WHERE account_id = $1 ORDER BY finished_at DESC"
            " LIMIT 1",
            account_id,
        )
    )


async def test_a_trigger_that_sets_ids_back_does_not_keep_maintenance_busy(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _account(connection)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = md5(login || 'x') WHERE account_id = $1",
            account_id,
        )
        await _guard(
            connection,
            "raw_trades_closed",
            "BEFORE UPDATE",
            "NEW.account_id := OLD.account_id; RETURN NEW;",
        )
        async with engine(warehouse, sandbox) as service:
            async with asyncio.timeout(PATIENCE):
                result = await service.maintain()
        assert result.closed_trades_updated == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_changes") == 0


async def test_rows_that_a_trigger_drops_are_refused_and_upstream_is_not_blamed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _account(connection)
        day = await connection.fetchval(
            "SELECT min(trade_date) FROM raw_trades_closed WHERE account_id = $1", account_id
        )
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2",
            account_id,
            day,
        )
        await _guard(connection, "raw_trades_closed", "BEFORE INSERT", "RETURN NULL;")
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["rows"]["inserted"] == 0  # type: ignore[index]
        assert state["rows"]["set_aside"] > 0  # type: ignore[index]
        assert "a trigger or rule of the table's owner drops it" in await _detail(
            connection, account_id
        )
        types = await connection.fetch(
            "SELECT issue ->> 'type' AS type FROM trade_recon, jsonb_array_elements(issues) AS"
            " issue WHERE account_id = $1",
            account_id,
        )
        assert "upstream_inconsistent" not in {row["type"] for row in types}


async def test_a_row_that_may_not_be_removed_holds_up_no_other_of_its_account(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        account_id = await _account(connection)
        days = [
            row["trade_date"]
            for row in await connection.fetch(
                "SELECT DISTINCT trade_date FROM raw_trades_closed WHERE account_id = $1 ORDER"
                " BY 1",
                account_id,
            )
        ]
        # One trade too many on one date, all of another date missing.
        await connection.execute(
            "CREATE TEMP TABLE extra AS SELECT * FROM raw_trades_closed WHERE account_id = $1 AND"
            " trade_date = $2 LIMIT 1",
            account_id,
            days[0],
        )
        await connection.execute("UPDATE extra SET ticket = 'extra', position = 'extra'")
        await connection.execute("INSERT INTO raw_trades_closed SELECT * FROM extra")
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2",
            account_id,
            days[1],
        )
        await _guard(
            connection,
            "raw_trades_closed",
            "BEFORE DELETE",
            "RAISE EXCEPTION 'nothing is ever deleted here';",
        )
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        there = "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2"
        assert await connection.fetchval(there, account_id, days[1]) > 0
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE ticket = 'extra'"
            )
            == 1
        )
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == 0
        )
        assert "nothing is ever deleted here" in await _detail(connection, account_id)


@pytest.mark.parametrize("kind", ["check", "trigger"])
async def test_many_refused_rows_block_no_writer_for_long_and_all_others_are_written(
    kind: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, warehouse.connect() as ingestion:
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE hour % 2 = 0")
        wanted = await connection.fetchval("SELECT count(*) FROM raw_metrics_hourly")
        if kind == "check":
            await connection.execute(
                "ALTER TABLE raw_metrics_hourly ADD CONSTRAINT odd CHECK (hour % 2 = 1 OR hour"
                " >= 12)"
            )
        else:
            body = (
                "IF NEW.hour % 2 = 0 AND NEW.hour < 12 THEN RAISE EXCEPTION 'no even hour before"
                " noon'; END IF; RETURN NEW;"
            )
            await _guard(connection, "raw_metrics_hourly", "BEFORE INSERT", body)
        longest = 0.0
        done = asyncio.Event()

        async def write() -> None:
            nonlocal longest
            while not done.is_set():
                begun = time.monotonic()
                await ingestion.execute(
                    "UPDATE trade_recon SET last_checked = last_checked WHERE account_id = (SELECT"
                    " min(account_id) FROM trade_recon)"
                )
                await ingestion.execute(
                    "UPDATE raw_metrics_hourly SET num_trades = num_trades WHERE (account_id, date,"
                    " hour) = (SELECT account_id, date, hour FROM raw_metrics_hourly WHERE hour ="
                    " 13 ORDER BY 1, 2 LIMIT 1)"
                )
                longest = max(longest, time.monotonic() - begun)
                await asyncio.sleep(0.05)

        writing = asyncio.create_task(write())
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
            done.set()
            await writing
            await run(service, RunKind.RETRY)
        assert longest < _SHORT
        held = await connection.fetchval(
            "SELECT count(*) FROM raw_metrics_hourly WHERE hour % 2 = 0 AND hour < 12"
        )
        assert held == 0
        compared = await difference(warehouse, sandbox)
        hourly = next(
            table for table in compared.tables.values() if table.table == "raw_metrics_hourly"
        )
        refused = await connection.fetchval(
            "SELECT count(*) FROM recon_set_aside_rows WHERE table_name = 'raw_metrics_hourly'"
        )
        assert hourly.missing == refused > 0
        assert hourly.warehouse_rows > wanted


async def test_ingestion_that_updates_statistics_of_rows_without_account_goes_on_after_the_migration(
    postgres: Server,
) -> None:
    async with new_database(postgres, "prop_trading_model") as place:
        trades = (
            "trade_date date, platform integer, broker integer, login text, position text, ticket"
            " text, account_id varchar(255)"
        )
        body = "BEGIN PERFORM SCHEMA.update_trade_recon_stats(NEW.account_id); RETURN NEW; END"
        statements = (
            f"CREATE TABLE SCHEMA.raw_trades_closed ({trades})",
            "CREATE TABLE SCHEMA.trade_recon (account_id varchar(255) PRIMARY KEY)",
            (
                "CREATE FUNCTION SCHEMA.update_trade_recon_stats(p_account_id varchar) RETURNS void"
                " LANGUAGE sql AS 'SELECT'"
            ),
            f"CREATE FUNCTION SCHEMA.count_again() RETURNS trigger LANGUAGE plpgsql AS '{body}'",
            (
                "CREATE TRIGGER count_again AFTER INSERT ON SCHEMA.raw_trades_closed FOR EACH ROW"
                " EXECUTE FUNCTION SCHEMA.count_again()"
            ),
        )
        await execute(place, statements)
        await migrate(place.database.dsn, "prop_trading_model")
        async with place.owner.connect() as connection:
            await connection.execute(
                "INSERT INTO raw_trades_closed VALUES ('2025-01-01', 1, 1, 'l', 'p', 't', NULL),"
                " ('2025-01-01', 1, 1, 'l', 'q', 'u', 'a')"
            )
            await connection.execute("SELECT update_trade_recon_stats(p_account_id => 'a')")
            assert (
                await connection.fetchval(
                    "SELECT num_trades_raw_closed FROM trade_recon WHERE account_id = 'a'"
                )
                == 1
            )
            assert await connection.fetchval("SELECT count(*) FROM trade_recon") == 1


async def test_a_migration_that_waits_for_a_lock_lets_others_pass(database: Database) -> None:
    async with database.connect() as reader, database.connect() as writer:
        await writer.execute("DELETE FROM recon_migrations WHERE name = '0016_adoption'")
        await writer.execute("DROP FUNCTION recon_partition_gaps")
        await writer.execute(
            "DELETE FROM recon_definitions WHERE name LIKE 'recon_partition_gaps%'"
        )
        await reader.execute("BEGIN")
        await reader.execute("SELECT count(*) FROM trade_recon")
        migrating = asyncio.create_task(migrate(database.dsn, database.schema))
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await writer.execute("INSERT INTO trade_recon (account_id) VALUES ('a')")
        assert time.monotonic() - begun < 5
        await reader.execute("COMMIT")
        assert await migrating == ["0016_adoption"]


async def test_a_statement_limit_of_the_role_does_not_cut_what_takes_its_time(
    database: Database,
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            f"ALTER DATABASE {await connection.fetchval('SELECT current_database()')} SET"
            " statement_timeout = '200ms'"
        )
    async with Pool.open(database.dsn, database.schema) as pool:
        assert (
            await pool.fetch_value(
                "SELECT count(*) FROM (SELECT pg_sleep(0.6)) AS slept", seconds=60
            )
            == 1
        )


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "CREATE TABLE SCHEMA.trade_recon (account_id varchar(255) PRIMARY KEY, claim_id text)",
            "claim_id as text",
        ),
        ("CREATE TABLE SCHEMA.trade_recon (account_id varchar(20) PRIMARY KEY)", "too short"),
        (
            "CREATE TABLE SCHEMA.trade_recon (account_id text PRIMARY KEY, login text NOT NULL)",
            "the column login NOT NULL",
        ),
        (
            (
                "CREATE TABLE SCHEMA.trade_recon (account_id text PRIMARY KEY, failed_attempts"
                " integer GENERATED ALWAYS AS (1) STORED)"
            ),
            "generates",
        ),
        ("CREATE VIEW SCHEMA.v_recon_stats AS SELECT 1 AS one", "v_recon_stats"),
        (
            (
                "CREATE FUNCTION SCHEMA.recon_number(text) RETURNS numeric LANGUAGE sql AS 'SELECT"
                " 1::numeric'"
            ),
            "recon_number",
        ),
        (
            (
                "CREATE TABLE SCHEMA.raw_metrics_alltime (account_id char(20), login text, platform"
                " text, broker text, num_trades integer)"
            ),
            "character(20)",
        ),
    ],
)
async def test_what_would_fail_later_stops_the_migration_before_anything_is_changed(
    statement: str, said: str, postgres: Server
) -> None:
    async with new_database(postgres, "prop_trading_model") as place:
        await execute(place, ("CREATE SCHEMA IF NOT EXISTS prop_trading_model", statement))
        with pytest.raises(ConfigurationError) as stopped:
            await migrate(place.database.dsn, "prop_trading_model")
        assert said in str(stopped.value)
        async with place.owner.connect() as connection:
            assert await connection.fetchval(
                "SELECT to_regclass('prop_trading_model.recon_migrations') IS NULL"
            )


async def test_what_an_earlier_adoption_put_aside_is_no_hindrance(postgres: Server) -> None:
    async with new_database(postgres, "prop_trading_model") as place:
        statements = (
            "CREATE VIEW SCHEMA.v_reconciliation_progress AS SELECT 1 AS one",
            "CREATE VIEW SCHEMA.v_reconciliation_progress_before_trade_recon AS SELECT 2 AS two",
            "CREATE MATERIALIZED VIEW SCHEMA.mv_all_account_ids AS SELECT 'a' AS account_id",
            "CREATE INDEX mv_all_account_ids_account_id ON SCHEMA.mv_all_account_ids (account_id)",
            "CREATE PROCEDURE SCHEMA.update_trade_recon_stats(integer) LANGUAGE sql AS 'SELECT'",
        )
        await execute(place, statements)
        await migrate(place.database.dsn, "prop_trading_model")
        async with place.owner.connect() as connection:
            assert (
                await connection.fetchval(
                    "SELECT two FROM v_reconciliation_progress_before_trade_recon"
                )
                == 2
            )
            assert (
                await connection.fetchval(
                    "SELECT one FROM v_reconciliation_progress_before_trade_recon_2"
                )
                == 1
            )
            assert await connection.fetchval("SELECT count(*) FROM mv_all_account_ids") == 0
