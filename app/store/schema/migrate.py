"""Migrations: files of db/migrations, each applied once, by name.

1. A lock lets one process at a time migrate.
2. The warehouse is surveyed before any change: obstacles stop the migration.
3. The first migration is one transaction, later ones one for each file.
4. A file that begins with ``-- creates: TABLE`` adopts an existing table unchanged.
5. Staging tables are fitted to the raw tables last.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.wording.counts import choose, counted
from app.errors import ConfigurationError, WriteConflict
from app.store.database.connecting import reach
from app.store.database.errors import connecting, translated
from app.store.database.pool import Database
from app.store.database.queries import SQL_DIRECTORY, for_schema, load_queries, quote
from app.store.database.session import begin_session
from app.store.database.transaction import Connection
from app.store.schema.definitions import compare, keep
from app.store.schema.earlier_system import foretell, keep_state, list_aside, unmet
from app.store.schema.introspect import survey
from app.store.schema.preflight import require
from app.store.schema.put_right import put_right

if TYPE_CHECKING:
    import asyncpg
from app.store.schema.migration_lock import lift_limits, lock_migrations
from app.store.schema.raw.staging_tables import fit_staging

_CREATES = re.compile(r"^-- creates: (\w+)$", re.MULTILINE)
_MIGRATE_SECONDS = 3600.0
_TRIES = 5
_PAUSE_SECONDS = 2.0
_OLDEST_SERVER = 150_000


def _keep_quiet(_: str) -> None:
    pass


async def migrate(
    dsn: str,
    schema: str = "prop_trading_model",
    *,
    statement_cache: int = 100,
    variable: str = "DATABASE_URL",
    tell: Callable[[str], None] = _keep_quiet,
) -> list[str]:
    """Migrate the schema, and restore changed objects of ours; returns the files applied, without
    adopted tables.

    `tell` gets a sentence on each change of earlier objects, before and after. `statement_cache` is
    0 for a transaction pooler; `variable` held the `dsn`. Raises DatabaseUnavailable;
    ConfigurationError before PostgreSQL 15 or in an unfit warehouse; DatabaseError if a file is
    rejected, WriteConflict for long locks: the file, or a whole first migration, is undone.
    """
    with connecting(dsn, variable):
        connection = await reach(
            dsn,
            timeout=15,
            command_timeout=_MIGRATE_SECONDS,
            statement_cache_size=statement_cache,
            server_settings={"application_name": "trade-recon"},
        )
    try:
        with translated(variable):
            await begin_session(connection)
        applied: list[str] = []
        for attempt in range(_TRIES):
            try:
                with translated(variable):
                    await _migrate(connection, schema, applied, tell)
            except WriteConflict as error:
                if attempt == _TRIES - 1:
                    raise WriteConflict(
                        f"Others hold locks that the migration needs ({error});"
                        f" {counted(len(applied), 'file')} {choose(len(applied), 'was', 'were')}"
                        " applied, run it again."
                    ) from error
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                break
        return applied
    finally:
        await connection.close(timeout=5)


async def pending_migrations(database: Database) -> list[str]:
    """Migrations that the schema lacks."""
    return await _pending(database, database.schema)


async def _pending(database: Database | Connection, schema: str) -> list[str]:
    names = [path.stem for path in _files()]
    ledger = for_schema("prop_trading_model.recon_migrations", schema)
    if await database.fetch_value("SELECT to_regclass($1) IS NULL", ledger):
        return names
    applied = {row["name"] for row in await database.fetch(f"SELECT name FROM {ledger}")}
    return [name for name in names if name not in applied]


def _files() -> list[Path]:
    return sorted((SQL_DIRECTORY / "migrations").glob("*.sql"))


async def _migrate(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    applied: list[str],
    tell: Callable[[str], None],
) -> None:
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < _OLDEST_SERVER:
        raise ConfigurationError(
            f"PostgreSQL 15 or newer is needed; DATABASE_URL leads to {version // 10_000}. Nothing"
            " was changed."
        )
    ours = Connection(connection)
    pending = await _pending(ours, schema)
    found = await survey(ours, schema)
    require(
        found,
        schema,
        before_migration=bool(pending),
        besides=await unmet(ours, schema, found, before_migration=True) if pending else (),
    )
    aside = await list_aside(ours, schema)
    if found.schema.is_migrated:
        await _put_right(connection, schema, tell)
    else:
        for sentence in await foretell(ours, schema, found):
            tell(sentence)
    if found.schema.is_migrated:
        for path in _files():
            async with connection.transaction(isolation="read_committed"):
                await lock_migrations(connection, schema)
                if await _apply(
                    connection, schema, path.stem, path.read_text(encoding="utf-8"), applied
                ):
                    # With the file, so that its changes never look foreign.
                    await keep(ours, schema)
    else:
        await _install(connection, schema, applied)
    for name in sorted({*await list_aside(ours, schema)} - {*aside}):
        tell(f"Put aside: {name}.")
    await fit_staging(connection, schema)
    await _fill_list(connection, schema)
    async with connection.transaction(isolation="read_committed"):
        await lock_migrations(connection, schema)
        await keep(ours, schema)


async def _install(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, applied: list[str]
) -> None:
    try:
        async with connection.transaction(isolation="read_committed"):
            await lock_migrations(connection, schema)
            for path in _files():
                await _apply(
                    connection, schema, path.stem, path.read_text(encoding="utf-8"), applied
                )
            await keep(Connection(connection), schema)
    except BaseException:
        applied.clear()
        raise


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    name: str,
    written: str,
    applied: list[str],
) -> bool:
    """Apply a file unless applied or adopted; whether it was executed."""
    sql = for_schema(written, schema)
    await _ensure_ledger(connection, schema)
    statements = load_queries("schema/migrate", schema)
    if await connection.fetchval(statements["is_applied"], name):
        return False
    creates = _CREATES.search(sql)
    adopted = creates is not None and await connection.fetchval(
        statements["has_relation"], schema, creates.group(1)
    )
    if not adopted:
        await connection.execute(sql)
    await connection.execute(statements["note_applied"], name, adopted)
    if not adopted:
        applied.append(name)
    return not adopted


async def _put_right(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, tell: Callable[[str], None]
) -> None:
    """Restore changed objects of ours, putting their replacements aside."""
    async with connection.transaction(isolation="read_committed"):
        await lock_migrations(connection, schema)
        compared = await compare(Connection(connection), schema)
        for stray in compared.strays:
            tell(f"Found: {stray.sentence}.")
        for name in compared.new_triggers:
            tell(
                f"Found: the trigger {name} is new since the last migrate; it stays, and fires on"
                " trade-recon's writes, too."
            )
        done = await put_right(Connection(connection), schema, compared.strays)
    for sentence in done:
        tell(sentence)


async def _fill_list(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Fill the account list once, outside the migrations' locks."""
    statements = load_queries("schema/migrate", schema)
    if await connection.fetchval(statements["is_list_filled"]) is False:
        async with connection.transaction(isolation="read_committed"):
            await lift_limits(connection, schema)
            await connection.execute(statements["fill_list"])


async def _ensure_ledger(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    statements = load_queries("schema/migrate", schema)
    if not await connection.fetchval(statements["has_relation"], schema, "recon_migrations"):
        if not await connection.fetchval(statements["has_schema"], schema):
            await connection.execute(f"CREATE SCHEMA {quote(schema)}")
        await keep_state(Connection(connection), schema)
        await connection.execute(statements["create_ledger"])
