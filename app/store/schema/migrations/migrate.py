"""Migrations: files of db/migrations, each applied once, by name.

1. A lock lets one process at a time migrate.
2. The warehouse is surveyed before any change: obstacles stop the migration.
3. The first migration is one transaction (the baseline), later ones one for each file.
4. A file that begins with ``-- creates: TABLE`` adopts an existing table unchanged.
5. Staging tables are fitted to the raw tables last.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from app.domain.wording.counts import choose, counted
from app.errors import ConfigurationError, WriteConflict
from app.store.database.connecting import reach
from app.store.database.errors import connecting, translated
from app.store.database.pool import Database
from app.store.database.queries import load_queries
from app.store.database.session import begin_session
from app.store.database.transaction import Connection
from app.store.schema.definitions import compare, keep
from app.store.schema.introspect import survey
from app.store.schema.migrations.applying import bring_forward, install, recorded_names
from app.store.schema.migrations.earlier_system import foretell, list_aside, unmet
from app.store.schema.migrations.files import lacking, newer
from app.store.schema.migrations.lock import lift_limits, lock_migrations
from app.store.schema.migrations.put_right import put_right
from app.store.schema.preflight import require
from app.store.schema.raw.staging_tables import fit_staging

if TYPE_CHECKING:
    import asyncpg

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
    return lacking(await recorded_names(database, database.schema))


async def told_newer(database: Database) -> str | None:
    """The sentence that a newer trade-recon migrated the schema, if so."""
    return _newer_sentence(await recorded_names(database, database.schema), database.schema)


def _newer_sentence(recorded: Collection[str] | None, schema: str) -> str | None:
    names = newer(recorded)
    if not names:
        return None
    return (
        f"The schema {schema} is newer than this trade-recon, which does not know"
        f" {counted(len(names), 'migration')} of it ({names[-1]} is the newest): run the version"
        " that made it."
    )


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
    recorded = await recorded_names(ours, schema)
    pending = lacking(recorded)
    if said := _newer_sentence(recorded, schema):
        tell(said)
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
    if found.schema.is_migrated or not await install(connection, schema, applied):
        await bring_forward(connection, schema, applied)
    for name in sorted({*await list_aside(ours, schema)} - {*aside}):
        tell(f"Put aside: {name}.")
    await fit_staging(connection, schema)
    await _fill_list(connection, schema)
    async with connection.transaction(isolation="read_committed"):
        await lock_migrations(connection, schema)
        await keep(ours, schema)


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
    statements = load_queries("schema/migrations/migrate", schema)
    if await connection.fetchval(statements["is_list_filled"]) is False:
        async with connection.transaction(isolation="read_committed"):
            await lift_limits(connection, schema)
            await connection.execute(statements["fill_list"])
