"""The lock under which one process migrates, and the limits of its transaction."""

from typing import TYPE_CHECKING

from app.store.database.queries import load_queries
from app.store.database.session import pins

if TYPE_CHECKING:
    import asyncpg

_LOCK_KEY = 4_721_061_133
_LOCK_TIMEOUT = "3s"


async def lock_migrations(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Be the only one that migrates until the commit, and wait briefly for other locks."""
    # A lock of the transaction, not of the session: it also holds behind a transaction pooler.
    await lift_limits(connection, schema)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
    # Behind a lock that we wait for, everyone else would wait too.
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", _LOCK_TIMEOUT)


async def lift_limits(connection: "asyncpg.Connection[asyncpg.Record]", schema: str) -> None:
    """Override the role's and the database's settings for the transaction."""
    await connection.execute(f"SELECT {pins(is_local=True)}")
    await connection.execute("SELECT set_config('statement_timeout', '0', true)")
    await connection.execute(load_queries("schema/migration_lock", schema)["forget_own_tablespace"])
    # A table with constraints or triggers that wait for the commit can be written, and then not
    # altered.
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
