"""The main job on a warehouse whose raw tables Citus spreads over servers: found, healed, brought
back, as on one server.

Needs a PostgreSQL with Citus in shared_preload_libraries, on which databases may be created:
RECON_TEST_CITUS_DSN.
"""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.domain.copies import Wanted
from app.domain.states import RunKind
from app.errors import ConfigurationError
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database as Pool
from app.store.database.queries import SQL_DIRECTORY
from app.store.restore.restore import RemovedRows
from app.store.schema.migrations.migrate import migrate
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, difference, engine, fill, run
from tests.support.plain import plain_report

_DISTRIBUTE = (SQL_DIRECTORY / "citus" / "distribute.sql").read_text(encoding="utf-8")
_KEYS = """
SELECT conrelid::regclass::text AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE contype = 'p' AND conparentid = 0 AND conrelid::regclass::text ~ '^raw_' ORDER BY 1
"""
_MOVED = ("acc-00003", "acc-00004")


@pytest.fixture(scope="session")
def citus() -> Server:
    """A server with the extension."""
    dsn = os.environ.get("RECON_TEST_CITUS_DSN")
    if not dsn:
        pytest.skip("RECON_TEST_CITUS_DSN names no PostgreSQL with Citus")
    return Server(dsn)


@pytest.fixture
def world() -> World:
    return World.generate(30, seed=11, today=TODAY, trades_per_account=15, contradictory=False)


@pytest.fixture(scope="session")
async def filled(citus: Server) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled, not distributed yet."""
    async with citus.clone("template1", "citus") as name:
        await migrate(citus.database(name), SCHEMA)
        async with SandboxServer(
            World.generate(30, seed=11, today=TODAY, trades_per_account=15, contradictory=False)
        ) as sandbox:
            await fill(Database(citus.database(name), SCHEMA), sandbox)
        yield name


@pytest.fixture
async def warehouse(citus: Server, filled: str) -> AsyncIterator[Database]:
    """A filled warehouse of the test's own, not distributed yet."""
    async with citus.clone(filled, "citus") as name:
        yield Database(citus.database(name), SCHEMA)


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world) as server:
        yield server


async def distribute(database: Database) -> None:
    """Run the script as psql does: each statement by itself."""
    async with database.connect() as connection:
        statement = ""
        for line in _DISTRIBUTE.splitlines(keepends=True):
            statement += line
            # A body between $$ and $$ has semicolons of its own.
            if line.endswith(";\n") and statement.count("$$") % 2 == 0:
                await connection.execute(statement)
                statement = ""


async def test_every_kind_of_damage_is_healed_where_the_raw_tables_are_distributed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await damage(
            connection, warehouse.schema, seed=3, kinds=HEALABLE_KINDS, accounts_per_kind=1
        )
        # A month that a heal has to make a partition for.
        days = await connection.fetch(
            "SELECT DISTINCT date_trunc('month', date)::date AS month FROM raw_metrics_hourly ORDER"
            " BY 1"
        )
        await connection.execute(f"DROP TABLE raw_metrics_hourly_{days[0]['month']:%Y_%m}")
    await distribute(warehouse)
    async with engine(warehouse, sandbox) as service:
        await service.maintain()
        state = await run(service, RunKind.AUDIT)
        assert (await difference(warehouse, sandbox)).sample == ()
        assert state["status"] == "succeeded"
        for only in (False, True):
            again = await run(service, RunKind.FULL, changed_only=only)
            assert again["status"] == "succeeded"
            assert again["requests"] == 0
        assert plain_report(await service.readings.report())["overall"]["needs_reconciliation"] == 0


async def test_rows_under_a_login_that_changed_move_to_their_new_shard_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await distribute(warehouse)
    columns = (
        "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid ="
        " $1::text::regclass AND attnum > 0"
    )
    async with warehouse.connect() as connection:
        for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
            listed = await connection.fetchval(columns, table)
            old = listed.replace("login", "'old-' || login", 1).replace(
                "num_trades", "num_trades + 1", 1
            )
            # One account stands under its old login alone, the other under both.
            await connection.execute(
                f"INSERT INTO {table} ({listed}) SELECT {old} FROM {table} WHERE account_id ="
                " ANY($1::text[])",
                _MOVED,
            )
            await connection.execute(
                f"DELETE FROM {table} WHERE account_id = $1 AND login NOT LIKE 'old-%'", _MOVED[0]
            )
    async with engine(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT, account_ids=_MOVED)
    assert (await difference(warehouse, sandbox)).sample == ()
    async with warehouse.connect() as connection:
        assert not await connection.fetchval(
            "SELECT count(*) FROM raw_metrics_daily WHERE login LIKE 'old-%'"
        )
        kept = await connection.fetch(
            "SELECT DISTINCT reason FROM recon_removed_rows WHERE row_data ->> 'login' LIKE 'old-%'"
        )
        assert {row["reason"] for row in kept} == {"moved", "removed"}


async def test_rows_are_brought_back_into_their_shards(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await damage(
            connection, warehouse.schema, seed=5, kinds=HEALABLE_KINDS, accounts_per_kind=1
        )
    await distribute(warehouse)
    async with engine(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT)
    async with Pool.open(warehouse.dsn, warehouse.schema) as pool:
        removed = RemovedRows(pool, ChangeFeed(pool))
        copies = await removed.page(Wanted(), 1000)
        results = [result async for result in removed.restore([copy.removed_id for copy in copies])]
        assert {copy.reason for copy in copies} >= {"overwritten", "moved", "removed"}
        assert all(result.is_there for result in results), [
            result.sentence for result in results if not result.is_there
        ]


async def test_distributing_twice_changes_nothing_and_puts_login_at_the_end_of_the_keys(
    warehouse: Database,
) -> None:
    await distribute(warehouse)
    async with warehouse.connect() as connection:
        keys = {row["name"]: row["definition"] for row in await connection.fetch(_KEYS)}
    assert keys["raw_metrics_alltime"] == "PRIMARY KEY (account_id, login)"
    assert (
        keys["raw_metrics_daily"]
        == "PRIMARY KEY (account_id, date, login) INCLUDE (num_trades, platform, broker)"
    )
    assert (
        keys["raw_metrics_hourly"]
        == "PRIMARY KEY (account_id, date, hour, login) INCLUDE (num_trades)"
    )
    await distribute(warehouse)
    async with warehouse.connect() as connection:
        assert {row["name"]: row["definition"] for row in await connection.fetch(_KEYS)} == keys


async def test_rows_without_login_stop_the_distribution_before_anything_is_changed(
    warehouse: Database,
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_hourly SET login = NULL WHERE account_id = 'acc-00001'"
        )
        keys = await connection.fetch(_KEYS)
        with pytest.raises(
            asyncpg.RaiseError,
            match=r"nothing was changed:\n- raw_metrics_hourly has \d+ rows without login",
        ):
            await distribute(warehouse)
        assert await connection.fetch(_KEYS) == keys
        assert not await connection.fetchval("SELECT count(*) FROM pg_dist_partition")


async def test_a_distributed_state_table_stops_the_start(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await distribute(warehouse)
    async with warehouse.connect() as connection:
        await connection.execute("SELECT create_distributed_table('trade_recon', 'account_id')")
    with pytest.raises(ConfigurationError, match="trade_recon is distributed"):
        async with engine(warehouse, sandbox):
            pass
