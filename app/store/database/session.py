"""Sessions of PostgreSQL: how each begins, that one which may be dead leaves the pool, and a way to
the server past the pool.

A connection can die without a word: a route that is lost or a firewall that forgets it sends
neither FIN nor RST, and whoever waits for an answer waits for ever. So a session that rested proves
that it answers before it is used, one of which an answer did not come is closed and not used again,
and while a statement is under way for long the server is asked, over another connection, whether it
still works on it. A session that began on a server that takes no writes serves one caller: after a
failover none of them stays.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg

from app.telemetry import get_logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Record = asyncpg.Record
    Pooled = PoolConnectionProxy[Record]
    _AsyncpgConnection = asyncpg.Connection[Record]
else:
    _AsyncpgConnection = asyncpg.Connection


_log = get_logger(__name__)
CONNECT_SECONDS = 15.0
COMMAND_SECONDS = 120.0
"""Limit of a statement on a batch; without one a dead connection would hang for ever."""
FAREWELL_SECONDS = 1.0
"""Time for a doubtful connection to end its statement, or to roll back."""
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""A dead connection is noticed within half a minute, even during a long statement."""
_OF_SOME_VERSIONS = ("transaction_timeout", "restrict_nonsystem_relation_kind")
"""Settings that only some versions of PostgreSQL have."""
_PINNED = {
    # Limits: trade-recon sets its own, by transaction.
    "statement_timeout": f"{COMMAND_SECONDS:.0f}s",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # The spelling of values, in casts to text and in copies of rows as JSON.
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    # The meaning of statements.
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "xmloption": "content",
    "gin_fuzzy_search_limit": "0",
    "exit_on_error": "off",
    "check_function_bodies": "on",
    "restrict_nonsystem_relation_kind": "",
    "default_table_access_method": "heap",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # Plans: each statement was written for the planner's usual reach.
    "plan_cache_mode": "auto",
    "from_collapse_limit": "8",
    "join_collapse_limit": "8",
}
"""What a role or a database may set otherwise and what trade-recon relies on.

Left as they are: search_path, since triggers and types of the warehouse's owner may need it and
every name of ours is qualified; TimeZone, in which the owner's defaults stamp rows;
default_transaction_read_only, which is the owner's word; and what only costs time or room.
"""
_FIRST_OTHER_TYPE = 16_384
"""PostgreSQL's own types have lower numbers, alike on every server."""
_KNOWN_TYPES: dict[frozenset[int], tuple[object, object]] = {}
_NO_STATEMENT = SimpleNamespace(name="none was asked")


@dataclass(slots=True)
class SessionState:
    """What is known of a session: `is_direct` (no pooler between), read-only, doubtful.

    `used_at` is its last answer, `asked_at` the start of the statement under way.
    """

    is_direct: bool = False
    is_read_only: bool = False
    is_doubtful: bool = False
    used_at: float = 0.0
    asked_at: float | None = None


class Session(_AsyncpgConnection):
    """A connection of asyncpg's with its state."""

    __slots__ = ("state",)

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - asyncpg's own
        """As asyncpg makes it."""
        super().__init__(*arguments)
        self.state = SessionState()

    async def _introspect_types(
        self,
        typeoids: Collection[int],
        *arguments: Any,  # noqa: ANN401 - asyncpg's own
    ) -> tuple[object, object]:
        """What asyncpg asks a server about types that it does not know: once a process for
        PostgreSQL's own.

        The question takes longer than all else that a new session needs. Where asyncpg calls this
        otherwise, it asks each time.
        """
        types = frozenset(typeoids)
        known = _KNOWN_TYPES.get(types)
        if known is None:
            known = await super()._introspect_types(typeoids, *arguments)  # type: ignore[misc] # the stubs leave it out
            if max(types) < _FIRST_OTHER_TYPE:
                # asyncpg prepares a statement again where this one came between.
                _KNOWN_TYPES[types] = (known[0], _NO_STATEMENT)
        return known


def pins(*, is_local: bool) -> str:
    """SELECT items that pin the settings relied on, for the transaction or the session."""
    return ", ".join(_pin(name, value, str(is_local).lower()) for name, value in _PINNED.items())


def _pin(name: str, value: str, is_local: str) -> str:
    pin = f"set_config('{name}', '{value}', {is_local})"
    return (
        f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN {pin} END"
        if name in _OF_SOME_VERSIONS
        else pin
    )


async def begin_session(connection: _AsyncpgConnection) -> SessionState:
    """Learn what a new connection leads to, and pin its settings unless a pooler shares it."""
    keep_alive(connection)
    (row,) = await connection.fetch(
        "SELECT pg_backend_pid() AS pid, current_setting('transaction_read_only') = 'on' AS"
        " is_read_only"
    )
    # A pooler names its own number of the session, not the server's.
    state = SessionState(
        is_direct=connection.get_server_pid() == row["pid"],
        is_read_only=row["is_read_only"],
        used_at=time.monotonic(),
    )
    if state.is_direct:
        await connection.execute(f"SELECT {pins(is_local=False)}")
    return state


def keep_alive(connection: _AsyncpgConnection) -> None:
    """Let the operating system notice that the other side is gone."""
    raw = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001 - asyncpg has no setting for it
    if raw is None or raw.family == socket.AF_UNIX:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def close(
    connection: "_AsyncpgConnection | Pooled", seconds: float = FAREWELL_SECONDS
) -> bool:
    """Close a connection in order within so long, else at once; whether in order."""
    try:
        async with asyncio.timeout(seconds):
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        terminate(connection)
        return False
    except BaseException:
        terminate(connection)
        raise
    return True


def terminate(connection: "_AsyncpgConnection | Pooled") -> None:
    """Break a connection without a word."""
    with contextlib.suppress(asyncpg.InterfaceError):  # it was broken before
        connection.terminate()
