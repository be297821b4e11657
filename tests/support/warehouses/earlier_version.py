"""A warehouse as earlier versions of trade-recon migrated it: one file after the other of those that
the baseline replaces.
"""

import asyncpg
import pytest

from app.store.database.queries import load_queries, quote
from app.store.database.transaction import Connection
from app.store.schema.migrations import applying
from app.store.schema.migrations import files as migration_files
from app.store.schema.migrations.earlier_system import keep_state
from app.store.schema.migrations.migrate import migrate

NEWEST = migration_files.replaced_files()[-1].stem


async def migrate_as_before(dsn: str, schema: str, last: str = NEWEST) -> None:
    """Migrate with the replaced files up to `last`, a name or its beginning."""
    files = {
        path.stem: path
        for path in migration_files.replaced_files()
        if path.stem <= last or path.stem.startswith(last)
    }
    await _begin(dsn, schema)
    with pytest.MonkeyPatch.context() as patch:
        for module in (migration_files, applying):
            patch.setattr(module, "steps", lambda: files)
        await migrate(dsn, schema)


async def _begin(dsn: str, schema: str) -> None:
    """The record of migrations, and the copy of the earlier system's table."""
    statements = load_queries("schema/migrations/applying", schema)
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            if not await connection.fetchval(statements["has_schema"], schema):
                await connection.execute(f"CREATE SCHEMA {quote(schema)}")
            await keep_state(Connection(connection), schema)
            await connection.execute(statements["create_ledger"])
    finally:
        await connection.close()
