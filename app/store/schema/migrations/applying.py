"""Running the migrations: the baseline at once, or one file after the other what a database lacks.

Each runs under the lock of `migration_lock`; the record says what was done.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from app.store.database.pool import Database
from app.store.database.queries import for_schema, load_queries, quote
from app.store.database.transaction import Connection
from app.store.schema.definitions import keep
from app.store.schema.migrations.earlier_system import keep_state
from app.store.schema.migrations.files import (
    baseline_files,
    lacking,
    later_files,
    names_of_baseline,
    statements_of,
    steps,
    subject,
)
from app.store.schema.migrations.lock import lock_migrations

if TYPE_CHECKING:
    import asyncpg


async def recorded_names(database: Database | Connection, schema: str) -> set[str] | None:
    """The names of the record; None without one."""
    ledger = for_schema("prop_trading_model.recon_migrations", schema)
    if await database.fetch_value("SELECT to_regclass($1) IS NULL", ledger):
        return None
    return {row["name"] for row in await database.fetch(f"SELECT name FROM {ledger}")}


async def install(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, applied: list[str]
) -> bool:
    """Run the baseline and what follows it in one transaction; False if another did so first."""
    statements, ours = load_queries("schema/migrations/applying", schema), Connection(connection)
    try:
        async with connection.transaction(isolation="read_committed"):
            await lock_migrations(connection, schema)
            if await connection.fetchval(statements["has_relation"], schema, "recon_migrations"):
                return False
            if not await connection.fetchval(statements["has_schema"], schema):
                await connection.execute(f"CREATE SCHEMA {quote(schema)}")
            await keep_state(ours, schema)
            await connection.execute(statements["create_ledger"])
            stood = {
                subject(path.stem)
                for path in baseline_files()
                if not await _execute(connection, schema, path)
            }
            names = names_of_baseline()
            await connection.executemany(
                statements["note_applied"], [(name, subject(name) in stood) for name in names]
            )
            applied.append(names[-1])
            for path in later_files():
                await _apply(connection, schema, path.stem, path, applied)
            await keep(ours, schema)
    except BaseException:
        applied.clear()
        raise
    return True


async def bring_forward(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, applied: list[str]
) -> None:
    """Apply what a database lacks that was migrated before, each file in a transaction."""
    files, ours = steps(), Connection(connection)
    for name in lacking(await recorded_names(ours, schema)):
        async with connection.transaction(isolation="read_committed"):
            await lock_migrations(connection, schema)
            if await _apply(connection, schema, name, files[name], applied):
                # Together with the file: its changes must never read as another system's.
                await keep(ours, schema)


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    name: str,
    path: Path | None,
    applied: list[str],
) -> bool:
    """Apply and record a migration in the caller's transaction unless it was; whether its file was
    executed.
    """
    statements = load_queries("schema/migrations/applying", schema)
    if await connection.fetchval(statements["is_applied"], name):
        return False
    is_executed = path is not None and await _execute(connection, schema, path)
    await connection.execute(statements["note_applied"], name, not is_executed)
    if is_executed:
        applied.append(name)
    return is_executed


async def _execute(
    connection: "asyncpg.Connection[asyncpg.Record]", schema: str, path: Path
) -> bool:
    """Execute a file unless the table that it creates stands; whether it was executed."""
    sql, table = statements_of(path, schema)
    has_relation = load_queries("schema/migrations/applying", schema)["has_relation"]
    if table is not None and await connection.fetchval(has_relation, schema, table):
        return False
    await connection.execute(sql)
    return True
