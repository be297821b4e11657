"""One session of PostgreSQL: start, pinned settings, liveness, end.

A connection can die silently: an idle session is probed before use, a doubtful one closed, long
statements are checked over another connection. A read-only session serves one caller, so that none
survives a failover.
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
"""Limit of a statement on a batch."""
FAREWELL_SECONDS = 1.0
"""Time for a doubtful connection's end or rollback."""
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""Reveals a dead peer within half a minute."""
_OF_SOME_VERSIONS = ("transaction_timeout", "restrict_nonsystem_relation_kind")
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
"""Settings relied on, which a role or database may override.

Owner's decisions stay: search_path, TimeZone, default_transaction_read_only.
"""
_FIRST_OTHER_TYPE = 16_384
"""Lower OIDs are PostgreSQL's own, alike everywhere."""
_KNOWN_TYPES: dict[frozenset[int], tuple[object, object]] = {}
_NO_STATEMENT = SimpleNamespace(name="none was asked")


@dataclass(slots=True)
class SessionState:
    """State of a session; `is_direct`: without a pooler between.

    `used_at` is its last answer, `asked_at` the start of its statement.
    """

    is_direct: bool = False
    is_read_only: bool = False
    is_doubtful: bool = False
    used_at: float = 0.0
    asked_at: float | None = None


class Session(_AsyncpgConnection):
    """An asyncpg connection with its state."""

    __slots__ = ("state",)

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - asyncpg's own
        super().__init__(*arguments)
        self.state = SessionState()

    async def _introspect_types(
        self,
        typeoids: Collection[int],
        *arguments: Any,  # noqa: ANN401 - asyncpg's own
    ) -> tuple[object, object]:
        """PostgreSQL's own types, asked once a process: the slowest part of a session's start."""
        types = frozenset(typeoids)
        known = _KNOWN_TYPES.get(types)
        if known is None:
            known = await super()._introspect_types(typeoids, *arguments)  # type: ignore[misc] # the stubs leave it out
            if max(types) < _FIRST_OTHER_TYPE:
                # asyncpg prepares a statement again where this one came between.
                _KNOWN_TYPES[types] = (known[0], _NO_STATEMENT)
        return known


def pins(*, is_local: bool) -> str:
    """SELECT items that pin the settings."""
    return ", ".join(_pin(name, value, str(is_local).lower()) for name, value in _PINNED.items())


def _pin(name: str, value: str, is_local: str) -> str:
    pin = f"set_config('{name}', '{value}', {is_local})"
    return (
        f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN {pin} END"
        if name in _OF_SOME_VERSIONS
        else pin
    )


async def begin_session(connection: _AsyncpgConnection) -> SessionState:
    """Learn where a connection leads; pin its settings unless a pooler shares it."""
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
    """Detect a dead peer by TCP keepalive."""
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
    """Close within `seconds`, else terminate; whether in order."""
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
    """Drop a connection without a goodbye."""
    with contextlib.suppress(asyncpg.InterfaceError):  # it was broken before
        connection.terminate()
