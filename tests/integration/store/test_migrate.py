"""Migrations: once, from any number of processes, into any schema, and never over a table that
stands.
"""

import asyncio
import secrets

from app.domain.contract.tables import TABLES
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull
FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""
_TYPES = {"double": "double precision", "timestamp": "timestamp without time zone"}


async def test_a_second_migration_changes_nothing(database: Database) -> None:
    assert await migrate(database.dsn, database.schema) == []


async def test_two_processes_that_migrate_at_once_do_it_once(postgres: Server) -> None:
    name = f"recon_migrate_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    try:
        applied = await asyncio.gather(*(migrate(postgres.database(name)) for _ in range(4)))
        together = [file for one in applied for file in one]
        assert len(together) == len(set(together)) > 0
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_every_column_of_the_field_list_is_there_with_its_type_and_nullable_but_for_the_key(
    database: Database,
) -> None:
    async with database.connect() as connection:
        for table in TABLES.values():
            found = {row["attname"]: row for row in await connection.fetch(_COLUMNS, table.name)}
            fields = (*table.fields, *table.own_columns)
            assert found.keys() == {field.column for field in fields}
            for field in fields:
                expected = _TYPES.get(
                    field.sql_type, field.sql_type.replace("varchar", "character varying")
                )
                assert found[field.column]["type"] == expected
                assert found[field.column]["attnotnull"] == (field.column in table.key)


async def test_any_plain_schema_name_takes_the_place_of_the_written_one(database: Database) -> None:
    applied = await migrate(database.dsn, "Other_1")
    assert applied
    async with database.connect() as connection:
        assert (
            await connection.fetchval(
                """SELECT count(*) FROM "Other_1".v_reconciliation_progress"""
            )
            == 1
        )
        assert await connection.fetchval(
            """SELECT "Other_1".recon_create_partitions('raw_trades_open', ARRAY[date '2020-02-29'])"""
        ) == ["raw_trades_open_2020_02"]


async def test_a_raw_table_that_stands_already_is_left_as_it_is(postgres: Server) -> None:
    name = f"recon_adopt_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    try:
        dsn = postgres.database(name)
        database = Database(dsn, "prop_trading_model")
        async with database.connect() as connection:
            await connection.execute("CREATE SCHEMA prop_trading_model")
            await connection.execute(
                "CREATE TABLE prop_trading_model.raw_metrics_alltime (account_id text PRIMARY KEY,"
                " login text, platform integer, broker integer, num_trades integer, net_profit"
                " numeric, total_lots numeric, first_trade_date date)"
            )
            await migrate(dsn)
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM pg_attribute WHERE attrelid ="
                    " 'raw_metrics_alltime'::regclass AND attnum > 0"
                )
                == 8
            )
            assert await connection.fetchval(
                "SELECT adopted FROM recon_migrations WHERE name = '0001_raw_metrics_alltime'"
            )
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_partitions_are_made_once_by_month_and_found_under_other_names(
    database: Database,
) -> None:
    async with database.connect() as connection:
        make = "SELECT recon_create_partitions('raw_metrics_daily', $1::text::date[])"
        assert await connection.fetchval(make, "{2019-12-31,2020-01-01,2020-01-31}") == [
            "raw_metrics_daily_2019_12",
            "raw_metrics_daily_2020_01",
        ]
        assert await connection.fetchval(make, "{2020-01-15}") == []
        await connection.execute(
            "CREATE TABLE elsewhere PARTITION OF raw_metrics_daily FOR VALUES FROM ('2018-01-01')"
            " TO ('2019-01-01')"
        )
        assert await connection.fetchval(make, "{2018-06-01}") == []
        assert await connection.fetchval("SELECT to_regclass('raw_metrics_daily_2018_06')") is None
        assert (
            await connection.fetchval(
                "SELECT recon_create_partitions('raw_metrics_alltime', ARRAY[date '2020-01-01'])"
            )
            == []
        )


async def test_the_functions_and_views_of_the_first_system_work(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades)"
            " VALUES ('a', '7', 8, 1, 5)"
        )
        await connection.execute("SELECT update_trade_recon_stats('a')")
        row = await connection.fetchrow(
            "SELECT has_alltime, num_trades_alltime, has_daily, trades_recon_checksum FROM"
            " trade_recon WHERE account_id = 'a'"
        )
        assert tuple(row or ()) == (True, 5, False, False)
        await connection.execute(
            'UPDATE trade_recon SET issues = \'[{"type": "missing_trade_records", "severity": 1}]\''
            " WHERE account_id = 'a'"
        )
        statistics = await connection.fetch("SELECT * FROM get_issue_statistics()")
        assert [tuple(row) for row in statistics] == [("missing_trade_records", 1, 1, ["a"])]
        progress = await connection.fetchrow(
            "SELECT total_accounts, reconciled, needs_reconciliation, has_issues FROM"
            " v_reconciliation_progress"
        )
        assert tuple(progress or ()) == (1, 0, 1, 1)
        await connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY mv_all_account_ids")
        assert (
            await connection.fetchval("SELECT string_agg(account_id, ',') FROM mv_all_account_ids")
            == "a"
        )
