"""New sessions."""

import asyncio
from typing import Any

import asyncpg

from app.store.database.codecs import (
    decode_date,
    decode_json,
    decode_moment,
    decode_time,
    encode_date,
    encode_json,
    encode_moment,
    encode_time,
)
from app.store.database.connecting import reach
from app.store.database.session import (
    COMMAND_SECONDS,
    CONNECT_SECONDS,
    Session,
    begin_session,
    pins,
    terminate,
)
from app.store.database.transaction import (
    LATE_SECONDS,
    Record,
)

DEATH_CHECK = "1000"
"""Milliseconds between the server's checks that a client is alive."""
_TYPES = "SELECT " + ", ".join(
    f"NULL::{name}[]"
    for name in (
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "uuid",
        "date",
        "jsonb",
        "timestamptz",
        "bytea",
        "varchar",
        "numeric",
        "double precision",
        "name",
        "oid",
    )
)
_LONGEST_STATEMENT = 256 * 1024


async def open_session(dsn: str, statement_cache: int, **beside: Any) -> Session:  # noqa: ANN401 - what asyncpg's pool adds
    """A new session, ready for use."""
    connection: Session = await reach(
        dsn,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS + LATE_SECONDS,
        statement_cache_size=statement_cache,
        max_cacheable_statement_size=_LONGEST_STATEMENT if statement_cache else 0,
        server_settings={"application_name": "trade-recon"},
        **{"connection_class": Session, **beside},
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection.state = await begin_session(connection)
            await _prepare_connection(connection)
    except asyncpg.QueryCanceledError as error:
        # By a limit of the role or database, on a busy server: the caller's statement is not to
        # blame.
        terminate(connection)
        raise ConnectionAbortedError(
            "a new session was not ready within the limits of the role or the database"
        ) from error
    except BaseException:
        # Not closed in order: the server may not answer.
        terminate(connection)
        raise
    return connection


async def notices_death(session: "asyncpg.pool.PoolConnectionProxy[Record]") -> bool:
    """Whether the server can detect a dead client during a statement."""
    try:
        async with session.transaction():
            await session.execute(
                "SELECT set_config('client_connection_check_interval', $1, true)", DEATH_CHECK
            )
    except asyncpg.InvalidParameterValueError:
        return False
    return True


async def _prepare_connection(connection: Session) -> None:
    """Set codecs, and load array types early.

    While loading, asyncpg sets the session's `jit` to the value found: a transaction's own, or
    behind a pooler for other clients. Here it is rolled back.
    """
    transaction = connection.transaction()
    await transaction.start()
    if not connection.state.is_direct:
        await connection.execute(f"SELECT {pins(is_local=True)}")
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=encode_json, decoder=decode_json, format="binary"
    )
    await connection.set_type_codec(
        "date", schema="pg_catalog", encoder=encode_date, decoder=decode_date, format="tuple"
    )
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=encode_moment,
        decoder=decode_moment,
        format="tuple",
    )
    await connection.set_type_codec(
        "timestamp", schema="pg_catalog", encoder=encode_time, decoder=decode_time, format="tuple"
    )
    await connection.fetch(_TYPES)
    await transaction.rollback()


async def skip_reset(_connection: "asyncpg.Connection[Record]") -> None:
    """Settings end with their transaction.

    asyncpg's reset costs a round trip, and behind a pooler reaches other clients.
    """
