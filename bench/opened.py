"""An embedded PostgreSQL with its normal durability and a migrated database, for benchmarks that
write.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from app.embedded_postgres.server import EmbeddedPostgres, create_database
from app.store.database.pool import Database
from app.store.schema.migrations.migrate import migrate

SCHEMA = "prop_trading_model"
_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""A server that is not the smallest possible one; nothing of its durability is changed."""


@contextlib.asynccontextmanager
async def opened(
    connections: int = 10,
) -> AsyncIterator[tuple["asyncpg.Connection[asyncpg.Record]", Database]]:
    """A connection to look at the database, and a pool of so many for the service."""
    with tempfile.TemporaryDirectory(prefix="trade-recon-bench-") as folder:
        server = await EmbeddedPostgres.start(Path(folder), _SETTINGS)
        try:
            await create_database(server.dsn(), "bench")
            dsn = server.dsn("bench")
            await migrate(dsn, SCHEMA)
            looker = await asyncpg.connect(dsn)
            try:
                async with Database.open(dsn, SCHEMA, pool_size=connections) as database:
                    yield looker, database
            finally:
                await looker.close()
        finally:
            await server.stop()
