"""What `migrate --print` advises: run by the tables' owner, statement by statement, it ends whole
however often it broke off.
"""

import asyncio
import datetime as dt
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from app.domain.states import RunKind
from app.engine.preparation.maintenance import maintain
from app.engine.repositories import Repositories
from app.errors import ConfigurationError, InvalidRequest
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.database.pool import Database as Pool
from app.store.database.queries import quote
from app.store.dba_script.script import advise
from app.store.schema.migrations.files import baseline_files, statements_of
from app.store.schema.migrations.migrate import migrate
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, difference, engine, fill, run
from tests.support.scripts import statements
from tests.support.waiting import PATIENCE

_PASSWORD = "only-for-this-test"
_OUR_TRADE_KEY = "PRIMARY KEY (platform, broker, login, position, ticket, trade_date)"
_HERITAGE_TRADE_KEY = (
    "PRIMARY KEY (platform, position, trade_date), UNIQUE (position, login, platform, broker,"
    " trade_date)"
)
_HEALED = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")
_RIGHTS = [
    (table, right) for table in _HEALED for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
]
_RIGHTS += [("raw_trades_open", right) for right in ("SELECT", "UPDATE")]

_OLD_SYSTEM = """
CREATE TABLE prop_trading_model.trade_recon (account_id varchar(255) PRIMARY KEY, trades_recon_checksum boolean, issues jsonb DEFAULT '[]');
INSERT INTO prop_trading_model.trade_recon VALUES ('a', true), ('b', false);
CREATE FUNCTION prop_trading_model.update_trade_recon_stats(account varchar) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION prop_trading_model.update_trade_recon_stats(account varchar, force boolean) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION prop_trading_model.get_issue_statistics() RETURNS TABLE (issue_type text) LANGUAGE sql AS 'SELECT NULL::text';
CREATE VIEW prop_trading_model.v_reconciliation_progress AS SELECT count(*) AS total_accounts FROM prop_trading_model.trade_recon;
CREATE MATERIALIZED VIEW prop_trading_model.mv_all_account_ids AS SELECT account_id FROM prop_trading_model.trade_recon;
"""
_OLD_USES = (
    "SELECT count(*) FROM prop_trading_model.v_reconciliation_progress",
    "SELECT count(*) FROM prop_trading_model.mv_all_account_ids",
    "SELECT * FROM prop_trading_model.get_issue_statistics()",
    "SELECT prop_trading_model.update_trade_recon_stats('a', true)",
    "INSERT INTO prop_trading_model.trade_recon VALUES ('c', true)",
    "UPDATE prop_trading_model.trade_recon SET issues = '[]' WHERE account_id = 'c'",
    "DELETE FROM prop_trading_model.trade_recon WHERE account_id = 'c'",
)
_INDEXES = """
SELECT c.oid::regclass::text AS name, i.indisvalid, c.relkind = 'I' AS partitioned,
       (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS attached,
       (SELECT count(*) FROM pg_inherits WHERE inhparent = i.indrelid) AS partitions
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast')
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A database of `owner`, who is no superuser, on which nobody has a right unasked."""

    server: Server
    name: str
    owner: str
    old_system: str
    role: str

    def database(self, user: str | None = None, schema: str = SCHEMA) -> Database:
        parts = urlsplit(self.server.database(self.name))
        if user is not None:
            parts = parts._replace(
                netloc=f"{url_quote(user)}:{_PASSWORD}@{parts.netloc.rpartition('@')[2]}"
            )
        return Database(urlunsplit(parts), schema)

    async def script(self, schema: str = SCHEMA, user: str | None = None) -> str:
        database = self.database(user or self.owner, schema)
        async with Pool.open(database.dsn, schema, pool_size=1) as pool:
            return await advise(pool, self.role)

    async def execute(self, *statements: str, user: str | None = None) -> None:
        async with self.database(user).connect() as connection:
            for statement in statements:
                await connection.execute(statement)

    async def run(
        self, script: str, *, user: str | None = None, goes_on: bool = False
    ) -> list[Exception]:
        """Run a script as a client does that knows nothing of it; the errors, of a client that goes
        on after one.
        """
        errors: list[Exception] = []
        async with self.database(user or self.owner).connect() as connection:
            for statement in statements(script):
                try:
                    await connection.execute(statement)
                except asyncpg.PostgresError as error:
                    if not goes_on:
                        raise
                    errors.append(error)
        await self.server.execute(f"ALTER ROLE {quote(self.role)} PASSWORD '{_PASSWORD}'")
        return errors

    async def indexes(self) -> dict[str, asyncpg.Record]:
        async with self.database().connect() as connection:
            return {row["name"]: row for row in await connection.fetch(_INDEXES)}

    async def assert_whole(self) -> None:
        """Every index is valid, and every partition has its part of its parent's."""
        found = await self.indexes()
        assert [name for name, row in found.items() if not row["indisvalid"]] == []
        assert [
            name
            for name, row in found.items()
            if row["partitioned"] and row["attached"] != row["partitions"]
        ] == []


@pytest.fixture
async def place(postgres: Server) -> AsyncIterator[Place]:
    mark = secrets.token_hex(4)
    place = Place(
        postgres, f"recon_advice_{mark}", f"owner_{mark}", f"old_{mark}", f'Recon "{mark}"'
    )
    await postgres.execute(f"CREATE ROLE {place.owner} LOGIN CREATEROLE PASSWORD '{_PASSWORD}'")
    await postgres.execute(f"CREATE ROLE {place.old_system} LOGIN PASSWORD '{_PASSWORD}'")
    await postgres.execute(f"GRANT {place.old_system} TO {place.owner}")
    await postgres.execute(f"CREATE DATABASE {place.name} OWNER {place.owner}")
    try:
        await place.execute(
            f"REVOKE ALL ON DATABASE {place.name} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {place.name} TO {place.old_system}",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        )
        yield place
    finally:
        await postgres.execute(f"DROP DATABASE {place.name} WITH (FORCE)")
        for name in (place.role, place.old_system, place.owner):
            await postgres.execute(f"DROP ROLE IF EXISTS {quote(name)}")


async def _build(
    place: Place, trade_key: str = _HERITAGE_TRADE_KEY, *, schema: str = SCHEMA, months: int = 3
) -> None:
    """The raw tables of the owner, without an index beyond their keys; partitions by month, the
    newest a month ahead.
    """
    statements = [f"CREATE SCHEMA {quote(schema)}"]
    for path in baseline_files():
        text, table = statements_of(path, schema)
        if table is None:
            continue
        create = text[text.index("CREATE TABLE") : text.index(";")]
        create = re.sub(r"PRIMARY KEY \(platform[^)]*\)", trade_key, create)
        statements.append(re.sub(r" INCLUDE \([^)]*\)", "", create))
        if "PARTITION BY" in create:
            statements += [_partition(schema, table, back) for back in range(-1, months - 1)]
    await place.execute(*statements, user=place.owner)


def _partition(schema: str, table: str, back: int, name: str | None = None) -> str:
    begin, end = _month(back), _month(back - 1)
    partition = name or f"{table}_{begin:%Y_%m}"
    parent = f"{quote(schema)}.{quote(table)}"
    return (
        f"CREATE TABLE {quote(schema)}.{quote(partition)} PARTITION OF {parent} FOR VALUES FROM"
        f" ('{begin}') TO ('{end}')"
    )


def _month(back: int) -> dt.date:
    count = TODAY.year * 12 + TODAY.month - 1 - back
    return dt.date(count // 12, count % 12 + 1, 1)


async def _build_with_old_system(place: Place) -> None:
    await _build(place)
    await place.execute(
        f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {place.old_system}", user=place.owner
    )
    await place.execute(_OLD_SYSTEM, user=place.old_system)


async def test_run_by_the_owner_every_index_is_whole_and_the_next_print_advises_none(
    place: Place,
) -> None:
    await _build_with_old_system(place)
    script = await place.script()
    for table in ("raw_trades_closed", "raw_trades_open"):
        assert f'"{table}_account_day" ON ONLY' in script
        assert f'"{table}_without_account" ON ONLY' in script
    # The old primary key finds a trade, and the metrics' keys serve detection; nothing tells when a
    # row was written.
    assert script.count(" ON ONLY ") == 8
    assert script.count("USING brin") == 4 * 3 + 4 + 1
    await place.run(script)
    await place.assert_whole()
    assert "INDEX" not in await place.script()
    await place.run(script)
    await place.assert_whole()


async def test_printing_changes_nothing_and_needs_no_right_on_the_tables(place: Place) -> None:
    await _build(place)
    async with place.database().connect() as connection:
        versions = (
            "SELECT (SELECT array_agg(xmin::text ORDER BY oid) FROM pg_class), (SELECT"
            " array_agg(xmin::text ORDER BY oid) FROM pg_namespace), (SELECT count(*) FROM pg_roles"
            " WHERE rolname = $1)"
        )
        before = await connection.fetchrow(versions, place.role)
        by_a_stranger = await place.script(user=place.old_system)
        assert await connection.fetchrow(versions, place.role) == before
    assert by_a_stranger == await place.script()
    assert by_a_stranger == await place.script()


async def test_what_an_old_system_left_becomes_the_roles_own_and_its_owner_loses_no_access(
    place: Place,
) -> None:
    await _build_with_old_system(place)
    await place.run(await place.script())
    await place.execute(*_OLD_USES, user=place.old_system)
    async with place.database().connect() as connection:
        owned = await connection.fetch(
            "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'v', 'm') AND"
            " relowner::regrole::text = quote_ident($1) UNION ALL SELECT proname::text FROM pg_proc"
            " WHERE proowner::regrole::text = quote_ident($1)",
            place.role,
        )
    assert sorted(row["name"] for row in owned) == [
        "get_issue_statistics",
        "mv_all_account_ids",
        "trade_recon",
        "update_trade_recon_stats",
        "update_trade_recon_stats",
        "v_reconciliation_progress",
    ]


async def test_the_role_migrates_in_an_old_systems_place_and_the_script_may_be_run_again(
    place: Place,
) -> None:
    await _build_with_old_system(place)
    script = await place.script()
    await place.run(script)
    await migrate(place.database(place.role).dsn, SCHEMA)
    await place.run(script)
    await place.run(await place.script())
    readings = [use for use in _OLD_USES if use.startswith("SELECT") and "FROM" in use]
    await place.execute(*readings, user=place.old_system)


async def test_row_level_security_hides_nothing_from_the_role_nor_from_the_old_owner(
    place: Place,
) -> None:
    await _build_with_old_system(place)
    await place.execute(
        f"INSERT INTO {SCHEMA}.raw_metrics_alltime (account_id) VALUES ('a')",
        f"ALTER TABLE {SCHEMA}.raw_metrics_alltime ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {SCHEMA}.trade_recon ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY not_all ON {SCHEMA}.raw_metrics_alltime AS RESTRICTIVE USING (login <>"
        " 'secret')",
    )
    script = await place.script()
    assert 'The restrictive policy "not_all"' in script
    await place.execute(f"DROP POLICY not_all ON {SCHEMA}.raw_metrics_alltime")
    await place.run(script)
    await place.run(script)
    for table, user, rows in (
        ("raw_metrics_alltime", place.role, 1),
        ("trade_recon", place.role, 2),
        ("trade_recon", place.old_system, 2),
    ):
        async with place.database(user).connect() as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == rows


async def test_a_sequence_behind_a_column_and_a_trigger_are_thought_of(place: Place) -> None:
    await _build(place)
    await place.execute(
        f"ALTER TABLE {SCHEMA}.raw_metrics_alltime ADD COLUMN row_number bigserial",
        f"CREATE FUNCTION {SCHEMA}.audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW;"
        " END'",
        f"CREATE TRIGGER audited BEFORE INSERT ON {SCHEMA}.raw_metrics_alltime FOR EACH ROW EXECUTE"
        f" FUNCTION {SCHEMA}.audit()",
        user=place.owner,
    )
    script = await place.script()
    assert 'The trigger "audited"' in script
    await place.run(script)
    await place.execute(
        f"INSERT INTO {SCHEMA}.raw_metrics_alltime (account_id) VALUES ('a')", user=place.role
    )


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_build_that_was_broken_off_is_made_anew(place: Place, goes_on: bool) -> None:  # noqa: FBT001 - a parameter of the test
    await _build(place)
    script = await place.script()
    async with place.database().connect() as writer:
        writing = writer.transaction()
        await writing.start()
        # Into the partition itself: a concurrent build waits for that, and nothing else does.
        await writer.execute(
            f"INSERT INTO raw_trades_closed_{_month(0):%Y_%m} (platform, broker, login, position,"
            f" ticket, trade_date) VALUES (1, 1, '7', '1', '1', '{_month(0)}')"
        )
        running = asyncio.create_task(place.run(script, goes_on=goes_on))
        await _cancel_build(place)
        await writing.rollback()
    if goes_on:
        errors = await running
        assert isinstance(errors[0], asyncpg.QueryCanceledError)
        # An index that is not whole was not attached: it could never be dropped again.
        assert "run this script again" in str(errors[1])
    else:
        with pytest.raises(asyncpg.QueryCanceledError):
            await running
    assert not all(row["indisvalid"] for row in (await place.indexes()).values())
    printed_again = await place.script()
    for again in (script, script, printed_again):
        await place.run(again)
        await place.assert_whole()
    assert "INDEX" not in await place.script()


async def _cancel_build(place: Place) -> None:
    """Wait until a concurrent build waits for a transaction, and cancel it."""
    waiting = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE datname = $1 AND query LIKE '%CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
    """
    async with asyncio.timeout(PATIENCE), place.database().connect() as connection:
        while not await connection.fetch(waiting, place.name):  # noqa: ASYNC110 - what is waited for is in PostgreSQL
            await asyncio.sleep(0.02)


async def test_a_print_after_a_broken_build_goes_on_with_the_same_names(place: Place) -> None:
    await _build(place)
    script = await place.script()
    parts = list(statements(script))
    begun = next(number for number, statement in enumerate(parts) if "CONCURRENTLY" in statement)
    await place.run("\n".join(parts[: begun + 1]))
    left = f"raw_trades_closed_{_month(0):%Y_%m}_account_day"
    async with place.database().connect() as connection:
        await connection.execute(
            f"CREATE INDEX IF NOT EXISTS {left} ON raw_trades_closed_{_month(0):%Y_%m}"
            " (account_id, trade_date) INCLUDE (login, platform, broker)"
        )
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", left
        )
    again = await place.script()
    assert f'DROP INDEX "{SCHEMA}"."{left}"' in again
    assert not re.search(r"_(day|account|unit)_2\b", again)
    await place.run(again)
    await place.assert_whole()


async def test_behind_a_long_transaction_the_script_gives_up_soon_and_succeeds_later(
    place: Place,
) -> None:
    await _build(place)
    script = await place.script()
    assert "SET lock_timeout = '3s';" in script
    async with place.database().connect() as writer:
        async with writer.transaction():
            await writer.execute("LOCK TABLE raw_trades_closed IN ROW EXCLUSIVE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await place.run(script.replace("'3s'", "'50ms'"))
            # Nobody stands behind it any more.
            async with place.database().connect() as other:
                await other.execute("SET lock_timeout = '5s'")
                await other.execute("DELETE FROM raw_trades_closed WHERE login = 'nobody'")
        await place.run(script)
    await place.assert_whole()


async def test_only_statements_that_keep_nobody_waiting_may_wait_long(place: Place) -> None:
    await _build(place)
    timeout = ""
    concurrent = 0
    for statement in statements(await place.script()):
        if found := re.search(r"^SET lock_timeout = '(\w+)';$", statement, re.MULTILINE):
            timeout = found[1]
        elif "INDEX CONCURRENTLY" in statement:
            concurrent += 1
            assert timeout == "1h"
        elif not re.search("^SET ", statement, re.MULTILINE):
            assert timeout == "3s"
    assert concurrent == 12 + 4 * 3 + 1


async def test_partitions_of_any_name_depth_and_schema_get_their_index_and_fitting_ones_are_used(
    place: Place,
) -> None:
    schema = "Odd_Schema_1"
    await _build(place, schema=schema, months=1)
    long_name = "ü" * 31
    odd_names = [
        'with space; and "quotes"',
        "line\nbreak';\n-- x",
        "dollar $$ and $q$",
        "back\\slash",
        long_name,
    ]
    statements = [
        _partition(schema, "raw_trades_closed", back, name)
        for back, name in enumerate(odd_names, 4)
    ]
    statements += [
        'CREATE SCHEMA "Else where"',
        f"""CREATE TABLE "Else where".deep PARTITION OF {quote(schema)}.raw_trades_closed
            FOR VALUES FROM ('2001-01-01') TO ('2002-01-01') PARTITION BY LIST (platform)""",
        (
            'CREATE TABLE "Else where"."deep 8" PARTITION OF "Else where".deep FOR VALUES IN (8)'
            " PARTITION BY LIST (platform)"
        ),
        'CREATE TABLE "Else where"."deep 8 8" PARTITION OF "Else where"."deep 8" FOR VALUES IN (8)',
        'CREATE TABLE "Else where"."deep rest" PARTITION OF "Else where".deep DEFAULT',
        (
            'CREATE INDEX mine ON "Else where"."deep rest" (account_id, trade_date) INCLUDE (login,'
            " platform, broker)"
        ),
        # The name that ours would have is taken by something else.
        f"CREATE TABLE {quote(schema)}.raw_trades_closed_account_day (x integer)",
    ]
    await place.execute(*statements, user=place.owner)
    script = await place.script(schema)
    assert not re.search(r'CREATE INDEX CONCURRENTLY[^\n]*"deep rest" \("account_id"', script)
    await place.run(script)
    await place.assert_whole()
    names = await place.indexes()
    assert '"Odd_Schema_1".raw_trades_closed_account_day_2' in names
    assert "INDEX" not in await place.script(schema)
    await place.run(script)
    await place.assert_whole()
    assert (await place.indexes()).keys() == names.keys()


async def test_a_new_partition_has_its_index_by_itself(place: Place) -> None:
    await _build(place)
    await place.run(await place.script())
    await place.execute(_partition(SCHEMA, "raw_trades_closed", 20), user=place.owner)
    assert "INDEX" not in await place.script()


async def test_indexes_made_by_hand_for_each_partition_are_enough(place: Place) -> None:
    await _build(place, months=2)
    columns = {
        "account": "(account_id, trade_date)",
        "natural": "(login, broker, platform, trade_date)",
    }
    await place.execute(
        *(
            f"CREATE INDEX {table}_{back + 1}_{name} ON {SCHEMA}.{table}_{_month(back):%Y_%m}"
            f" {listed}"
            for table in ("raw_trades_closed", "raw_trades_open")
            for back in (-1, 0)
            for name, listed in columns.items()
        ),
        *(
            f"CREATE INDEX {table}_{back + 1}_written ON {SCHEMA}.{table}_{_month(back):%Y_%m}"
            f" {kind} (ingestion_timestamp)"
            for table, kind in (
                ("raw_metrics_daily", "USING brin"),
                ("raw_metrics_hourly", "USING brin"),
                ("raw_trades_closed", ""),
                ("raw_trades_open", "USING brin"),
            )
            for back in (-1, 0)
        ),
        f"CREATE INDEX alltime_written ON {SCHEMA}.raw_metrics_alltime (ingestion_timestamp)",
        user=place.owner,
    )
    assert "INDEX" not in await place.script()


@pytest.mark.parametrize(
    "useless",
    [
        "CREATE INDEX other ON raw_metrics_alltime USING hash (account_id)",
        "CREATE INDEX other ON raw_metrics_alltime (account_id text_pattern_ops)",
        """CREATE INDEX other ON raw_metrics_alltime (account_id COLLATE "C")""",
        "CREATE INDEX other ON raw_metrics_alltime (lower(account_id))",
        "CREATE INDEX other ON raw_metrics_alltime (account_id) WHERE login = '7'",
        "CREATE INDEX other ON raw_metrics_alltime (login, account_id)",
        "CREATE INDEX raw_metrics_alltime_account ON raw_metrics_alltime (login)",
    ],
)
async def test_an_index_that_queries_cannot_use_does_not_count(place: Place, useless: str) -> None:
    await _build(place)
    await place.execute(
        f"ALTER TABLE {SCHEMA}.raw_metrics_alltime DROP CONSTRAINT raw_metrics_alltime_pkey",
        useless,
    )
    script = await place.script()
    assert re.search(
        r'CREATE INDEX CONCURRENTLY IF NOT EXISTS "raw_metrics_alltime_account(_2)?" ON [^ ]+'
        r' \("account_id"\);',
        script,
    )
    await place.execute(f"GRANT ALL ON SCHEMA {SCHEMA} TO {place.owner}")
    await place.run(script)
    await place.assert_whole()
    assert '"raw_metrics_alltime_account' not in await place.script()


async def test_a_foreign_partition_is_named_and_left_alone(place: Place) -> None:
    await _build(place)
    await place.execute(
        f"ALTER TABLE {SCHEMA}.raw_metrics_daily DROP CONSTRAINT raw_metrics_daily_pkey",
        user=place.owner,
    )
    await place.execute(
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        f"CREATE FOREIGN TABLE {SCHEMA}.trades_elsewhere PARTITION OF {SCHEMA}.raw_metrics_daily"
        " FOR VALUES FROM ('2000-01-01') TO ('2001-01-01') SERVER files OPTIONS (program 'true',"
        " format 'csv')",
    )
    script = await place.script()
    assert f'-- "{SCHEMA}"."trades_elsewhere" is a foreign table' in script
    await place.run(script)
    assert "INDEX" not in await place.script()


async def test_a_warehouse_of_our_own_migrations_lacks_no_index(database: Database) -> None:
    async with Pool.open(database.dsn, database.schema, pool_size=1) as pool:
        assert "INDEX" not in await advise(pool, "trade_recon")


async def test_a_database_without_the_schema_gets_a_role_that_can_migrate_it(place: Place) -> None:
    script = await place.script("New_1")
    assert "migrate makes them" in script
    await place.run(script)
    async with place.database().connect() as connection:
        assert await connection.fetchval(
            "SELECT has_schema_privilege($1, 'New_1', 'CREATE')", place.role
        )
    await migrate(place.database(place.role).dsn, "New_1")
    assert "INDEX" not in await place.script("New_1")


@pytest.mark.parametrize("name", ["", "ü" * 32, "pg_mine", "public", "none", "line\nbreak"])
async def test_a_name_that_no_role_can_have_is_refused(database: Database, name: str) -> None:
    async with Pool.open(database.dsn, database.schema, pool_size=1) as pool:
        with pytest.raises(InvalidRequest, match="cannot be called"):
            await advise(pool, name)


async def test_the_role_migrates_and_heals_with_what_the_script_gave_it_and_no_more(
    place: Place,
) -> None:
    world = World.generate(
        20, seed=11, today=TODAY, trades_per_account=12, days=60, contradictory=False
    )
    await _build(place, _OUR_TRADE_KEY, months=8)
    await place.run(await place.script())
    ours = place.database(place.role)
    assert await migrate(ours.dsn, ours.schema)
    await place.execute(
        f"REVOKE CREATE ON SCHEMA {SCHEMA} FROM {quote(place.role)}", user=place.owner
    )
    async with SandboxServer(world) as sandbox:
        await fill(place.database(), sandbox)
        async with place.database().connect() as connection:
            assert await damage(
                connection, SCHEMA, seed=3, kinds=HEALABLE_KINDS, accounts_per_kind=1
            )
        assert not (await difference(place.database(), sandbox)).is_equal
        async with engine(ours, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
        assert (await difference(place.database(), sandbox)).sample == ()
    assert state["status"] == "succeeded"


async def test_the_role_maintains_a_warehouse_that_its_owner_migrated(place: Place) -> None:
    await _build(place, _OUR_TRADE_KEY)
    await migrate(place.database(place.owner).dsn, SCHEMA)
    await place.run(await place.script())
    async with Pool.open(place.database(place.role).dsn, SCHEMA) as pool:
        await maintain(await Repositories.build(pool, 60), TODAY)
    for user in (place.role, place.owner):
        await place.execute(
            f"REFRESH MATERIALIZED VIEW CONCURRENTLY {SCHEMA}.mv_all_account_ids", user=user
        )
    assert await migrate(place.database(place.role).dsn, SCHEMA) == []


async def test_without_any_one_of_the_grants_on_tables_the_service_does_not_start(
    place: Place,
) -> None:
    await _build(place, _OUR_TRADE_KEY)
    await place.run(await place.script())
    await migrate(place.database(place.role).dsn, SCHEMA)
    async with Pool.open(place.database(place.role).dsn, SCHEMA) as pool:
        await Repositories.build(pool, 60)
        for table, right in _RIGHTS:
            await place.execute(
                f"REVOKE {right} ON {SCHEMA}.{table} FROM {quote(place.role)}", user=place.owner
            )
            with pytest.raises(ConfigurationError, match=f"{table}.*{right}"):
                await Repositories.build(pool, 60)
            await place.execute(
                f"GRANT {right} ON {SCHEMA}.{table} TO {quote(place.role)}", user=place.owner
            )
        await Repositories.build(pool, 60)
