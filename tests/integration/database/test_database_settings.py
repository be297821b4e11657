"""What a role or a database sets for its sessions: limits, spelling and meaning that others chose
do not become ours, read-only does.
"""

import asyncio
import datetime as dt
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.errors import DatabaseUnavailable
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.serving import SandboxServer
from app.store.database.pool import Database as Pool
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.integration.database.test_pgbouncer import needs_pgbouncer, pooled
from tests.support.commands import ended, served, settings_for
from tests.support.engine import difference, engine, run

_HOSTILE: Mapping[str, str] = {
    "statement_timeout": "30ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "30ms",
    "idle_session_timeout": "200ms",
    "transaction_timeout": "60ms",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "search_path": "",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "xmloption": "document",
    "xmlbinary": "hex",
    "check_function_bodies": "off",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "default_tablespace": "pg_default",
    "temp_tablespaces": "pg_default",
    "default_text_search_config": "simple",
    "lc_monetary": "C",
    "lc_time": "C",
    "lo_compat_privileges": "on",
    "synchronize_seqscans": "off",
    "escape_string_warning": "off",
    "event_triggers": "off",
    "stats_fetch_consistency": "snapshot",
    "track_activities": "off",
    "track_counts": "off",
    "max_stack_depth": "100kB",
    "temp_buffers": "800kB",
    "cursor_tuple_fraction": "1",
    "recursive_worktable_factor": "0.001",
    "default_statistics_target": "1",
    "debug_parallel_query": "on",
    "force_parallel_mode": "on",
    "parallel_leader_participation": "off",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "random_page_cost": "0",
    "enable_bitmapscan": "off",
    "enable_hashagg": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_partitionwise_join": "on",
    "enable_partitionwise_aggregate": "on",
    "gin_fuzzy_search_limit": "1",
    "exit_on_error": "on",
    "plan_cache_mode": "force_generic_plan",
    "from_collapse_limit": "1",
    "join_collapse_limit": "1",
    "geqo_threshold": "2",
    "work_mem": "64kB",
    "maintenance_work_mem": "1MB",
    "temp_file_limit": "512MB",
    "enable_hashjoin": "off",
    "enable_indexscan": "off",
    "enable_partition_pruning": "off",
    "jit": "on",
    "jit_above_cost": "0",
    "max_parallel_workers_per_gather": "4",
    "constraint_exclusion": "on",
    "synchronous_commit": "off",
    "row_security": "off",
    "client_min_messages": "debug1",
    "client_encoding": "LATIN1",
    "timezone_abbreviations": "India",
    "lc_messages": "C",
    "lc_numeric": "C",
    "session_replication_role": "origin",
    "password_encryption": "md5",
}


@asynccontextmanager
async def _set(
    server: Server, database: Database, settings: Mapping[str, str], *, on: str
) -> AsyncIterator[str]:
    """A DSN of the database for a new role; the settings stand on that `role`, or on the
    `database`.
    """
    role = f"hostile_{secrets.token_hex(4)}"
    name = urlsplit(database.dsn).path[1:]
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        known = {
            row["name"].lower() for row in await connection.fetch("SELECT name FROM pg_settings")
        }
        for setting, value in settings.items():
            if setting.lower() in known:
                target = f"ROLE {role}" if on == "role" else f"DATABASE {name}"
                await connection.execute(f"ALTER {target} SET {setting} = '{value}'")
        yield urlunsplit(urlsplit(database.dsn)._replace(netloc=f"{role}:@"))
        await connection.execute(f"ALTER DATABASE {name} RESET ALL")
        await connection.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER")
        own = await asyncpg.connect(database.dsn)
        await own.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}")
        await own.close()
        await connection.execute(f"DROP ROLE {role}")
    finally:
        await connection.close()


async def _hurt(database: Database) -> None:
    async with database.connect() as connection:
        await damage(connection, database.schema, seed=3, kinds=HEALABLE_KINDS, accounts_per_kind=1)


@pytest.mark.parametrize("on", ["role", "database"])
async def test_a_heal_is_the_same_under_every_setting_that_a_role_or_a_database_carries(
    postgres: Server, filled: Database, sandbox: SandboxServer, on: str
) -> None:
    await _hurt(filled)
    async with (
        _set(postgres, filled, _HOSTILE, on=on) as dsn,
        engine(filled, sandbox, dsn=dsn, direct_dsn=dsn) as service,
    ):
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], state["error"]) == ("succeeded", None)
        assert (await run(service, RunKind.FULL))["requests"] == 0
    assert (await difference(filled, sandbox)).sample == ()


@needs_pgbouncer
async def test_a_heal_through_a_pooler_is_the_same_under_settings_of_the_role(
    postgres: Server, filled: Database, sandbox: SandboxServer, open_folder: Path
) -> None:
    await _hurt(filled)
    # What a pooler itself trips over is its own.
    settings = {
        name: value
        for name, value in _HOSTILE.items()
        if name not in ("idle_session_timeout", "DateStyle", "exit_on_error")
    }
    config = EngineConfig(workers=2, poll_seconds=0.05, batch_size=6, postpone_seconds=0)
    async with (
        _set(postgres, filled, settings, on="database"),
        pooled(filled.dsn, open_folder, size=3) as way,
        engine(filled, sandbox, config=config, dsn=way, statement_cache=0) as service,
    ):
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], state["error"]) == ("succeeded", None)
    assert (await difference(filled, sandbox)).sample == ()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_copies_of_rows_are_the_same_under_settings_drawn_at_random(
    postgres: Server, database: Database, seed: int
) -> None:
    drawn = random.Random(seed)
    settings = {name: value for name, value in _HOSTILE.items() if drawn.random() < 0.5}
    question = (
        "SELECT concat_ws(' ', to_jsonb(0.1::float8 + 0.2::float8), date '2025-02-03', interval '1"
        " day 2 hours', '\\x00ff'::bytea,"
        r" '\d', quote_ident('a'), NULL = NULL IS NULL, '{NULL}'::text[] = ARRAY[NULL]::text[])"
    )
    answer = r"0.30000000000000004 2025-02-03 1 day 02:00:00 \x00ff \d a t t"
    async with (
        _set(postgres, database, settings, on=drawn.choice(["role", "database"])) as dsn,
        Pool.open(dsn, database.schema) as pool,
        pool.transaction(statement_seconds=5) as connection,
    ):
        assert await connection.fetch_value(question) == answer, (seed, settings)
        assert await pool.fetch_value(question) == answer, (seed, settings)
        assert await connection.fetch_value("SHOW transaction_isolation") == "read committed"


async def test_the_schema_is_made_under_every_setting(postgres: Server) -> None:
    name = f"recon_hostile_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    try:
        database = Database(postgres.database(name), "prop_trading_model")
        async with _set(postgres, database, _HOSTILE, on="database") as dsn:
            assert await migrate(dsn)
            assert await migrate(dsn) == []
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _fail_over(server: Server, database: Database, *, to_read_only: bool) -> None:
    name = urlsplit(database.dsn).path[1:]
    action = (
        "SET default_transaction_read_only = on"
        if to_read_only
        else "RESET default_transaction_read_only"
    )
    await server.execute(f"ALTER DATABASE {name} {action}")
    if to_read_only:
        await server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND"
            " pid <> pg_backend_pid()"
        )


async def test_after_a_failover_no_session_of_the_read_only_server_stays(
    postgres: Server, filled: Database, sandbox: SandboxServer
) -> None:
    await _hurt(filled)
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        begun = await client.post("/runs", json={"kind": "audit"})
        await _fail_over(postgres, filled, to_read_only=True)
        for _ in range(3):
            refused = await client.post("/runs")
            assert refused.status_code == 503, refused.text
            assert "takes no writes" in refused.json()["detail"]
        ready = await client.get("/readyz")
        assert (ready.status_code, "takes no writes" in ready.text) == (503, True)
        assert "takes no writes" in (await client.post("/maintenance")).json()["detail"]
        # What only reads goes on, and its sessions are the ones that would stay.
        await asyncio.gather(*(client.get(begun.headers["Location"]) for _ in range(8)))
        await _fail_over(postgres, filled, to_read_only=False)
        assert (await client.get("/readyz")).status_code == 200
        started = await client.post("/runs", json={"kind": "retry"})
        assert started.status_code == 202, started.text
        assert (await ended(client, begun.headers["Location"]))["status"] == "succeeded"
        assert (await ended(client, started.headers["Location"]))["status"] == "succeeded"
    assert (await difference(filled, sandbox)).is_equal


async def test_a_session_that_is_set_to_read_only_while_it_stands_leaves_the_pool_at_its_first_write(
    database: Database,
) -> None:
    async with Pool.open(database.dsn, database.schema) as pool:
        async with pool.connection() as connection:
            await connection.execute("SET default_transaction_read_only = on")
        for _ in range(2):
            await pool.fetch_value("SELECT 1")
        write = (
            "INSERT INTO prop_trading_model.recon_workers (worker_id, host, pid) VALUES"
            " (gen_random_uuid(), 'a', 1)"
        )
        with pytest.raises(DatabaseUnavailable, match="takes no writes"):
            await pool.execute(write)
        assert await pool.execute(write) == 1


async def test_postgresqls_own_types_are_asked_for_once_in_the_life_of_a_process(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    original = asyncpg.Connection._introspect_types  # type: ignore[attr-defined] # the stubs leave it out

    async def introspect(connection: object, types: object, *arguments: object) -> object:
        asked.append(types)
        return await original(connection, types, *arguments)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", introspect)
    monkeypatch.setattr("app.store.database.session._KNOWN_TYPES", {})
    days = [dt.date(2026, 3, 1), None, dt.date(2026, 2, 28)]
    for _ in range(3):
        async with Pool.open(database.dsn, database.schema) as pool:
            assert await pool.fetch_value("SELECT $1::date[]", days) == days
            assert await pool.fetch_value("SELECT ARRAY[true, NULL, false]") == [True, None, False]
    assert len(asked) == 1
