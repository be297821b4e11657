"""The migrations' lock, and their transaction's limits."""

from typing import TYPE_CHECKING

from app.store.database.queries import load_queries
from app.store.database.session import pins

if TYPE_CHECKING:
    import asyncpg

_LOCK_KEY = 4_721_061_133
_LOCK_TIMEOUT = "3s"


async def lock_migrations(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Exclude other migrations until the commit."""
    # A transaction's lock, which also holds behind a transaction pooler.
    await lift_limits(connection, schema)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
    # Others queue behind a lock that we wait for.
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", _LOCK_TIMEOUT)


async def lift_limits(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Override the role's and database's settings."""
    await connection.execute(f"SELECT {pins(is_local=True)}")
    await connection.execute("SELECT set_config('statement_timeout', '0', true)")
    await connection.execute(
        load_queries("schema/migrations/lock", schema)["forget_own_tablespace"]
    )
    # With deferred constraints or triggers pending, a written table cannot be altered.
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
