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
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

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
"""A statement on a batch takes at most this long: without a limit a black-holed connection would
hang for ever.
"""
_RESTED_SECONDS = 5.0
"""A session that was idle for longer proves that it answers before it is used."""
_PROOF_SECONDS = 2.0
FAREWELL_SECONDS = 1.0
"""How long the other side of a doubtful connection gets to end its statement, and a transaction to
roll back.
"""
_CLOSE_SECONDS = 1.5
_LOOK_SECONDS = 2.0
_ASK_SECONDS = 2.0
_LONG_SECONDS = 15.0
"""A statement that is under way for longer is looked for at the server; one that the server has not
worked on for as long is lost.
"""
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""Where the operating system has them: a dead connection is noticed within half a minute, also in
the middle of a long statement.
"""
_OF_SOME_VERSIONS = ("transaction_timeout", "restrict_nonsystem_relation_kind")
"""Settings that not every server has: one came with a version, the other with minor versions of
several.
"""

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
"""PostgreSQL's own types have lower numbers, the same on every server; what a database adds has
higher ones.
"""
_KNOWN_TYPES: dict[frozenset[int], tuple[object, object]] = {}
_NO_STATEMENT = SimpleNamespace(name="none was asked")


@dataclass(slots=True)
class SessionState:
    """What is known of a session: whether it `is_direct` (no pooler between), takes no writes, or
    may be dead.

    `used_at` is when it last answered, `asked_at` when the statement under way was sent.
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
    """The items of a SELECT that pin what trade-recon relies on, for the transaction (`is_local`)
    or for the session.
    """
    return ", ".join(_pin(name, value, str(is_local).lower()) for name, value in _PINNED.items())


def _pin(name: str, value: str, is_local: str) -> str:
    pin = f"set_config('{name}', '{value}', {is_local})"
    return (
        f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN {pin} END"
        if name in _OF_SOME_VERSIONS
        else pin
    )


async def begin_session(connection: _AsyncpgConnection) -> SessionState:
    """Learn what a new connection leads to, and pin the settings of its session unless others use
    it too, behind a pooler.
    """
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
    """Close a connection whose other side may be silent: in order if that is possible within so
    long, else at once; whether in order.
    """
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


class Sessions:
    """The pool, whose sessions are known to answer."""

    def __init__(self, pool: "asyncpg.Pool[Record]", lifeline: "Lifeline") -> None:
        """Bind the pool, and the way past it."""
        self._pool = pool
        self._lifeline = lifeline
        self._used: dict[Pooled, SessionState] = {}
        self._broken = set[int]()
        self._leaving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def use(self) -> "AsyncIterator[tuple[Pooled, SessionState]]":
        """A session for one caller; afterwards it rests in the pool, unless it may be dead or takes
        no writes.
        """
        connection, state = await self._acquire()
        self._used[connection] = state
        try:
            yield connection, state
        finally:
            del self._used[connection]
            if state.is_doubtful or state.is_read_only:
                self._leave(connection, state)
            else:
                await self._pool.release(connection)

    async def expire(self) -> None:
        """Use no session again that is open now: what happened to one has happened to others, most
        likely.
        """
        await self._pool.expire_connections()

    async def _acquire(self) -> "tuple[Pooled, SessionState]":
        while True:
            connection = await self._pool.acquire(timeout=COMMAND_SECONDS)
            # Kept here: a connection that is broken meanwhile does not tell any more.
            state = cast("Session", connection).state
            if time.monotonic() - state.used_at < _RESTED_SECONDS:
                return connection, state
            try:
                async with asyncio.timeout(_PROOF_SECONDS):
                    await connection.execute("SELECT")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                # The others rested as long, and would each be tried in turn.
                await self.expire()
                self._leave(connection, state)
            except BaseException:
                self._leave(connection, state)
                raise
            else:
                state.used_at = time.monotonic()
                return connection, state

    def _leave(self, connection: "Pooled", state: SessionState) -> None:
        """Close a session, and give its place in the pool back, without letting anybody wait for
        its other side.
        """
        task = asyncio.ensure_future(self._close(connection, state))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _close(self, connection: "Pooled", state: SessionState) -> None:
        is_broken = False
        with contextlib.suppress(asyncpg.InterfaceError):  # it is closed already
            pid = connection.get_server_pid()
            try:
                is_broken = not await close(connection)
            finally:
                await self._pool.release(connection)
        if is_broken and state.is_direct:
            self._broken.add(pid)

    async def watch(self) -> None:
        """Break sessions whose statement the server does not work on: its question or its answer is
        lost. Never returns.
        """
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            # As often as it takes: PostgreSQL may not be reached for the moment.
            with contextlib.suppress(
                asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError
            ):
                await self._end_broken()
                await self._end_lost()

    async def _end_broken(self) -> None:
        """End at the server what was broken here: whatever it holds would be held until PostgreSQL
        notices.
        """
        broken = set(self._broken)
        if broken:
            await self._lifeline.ask(_END_LOST, list(broken), 0.0, seconds=_ASK_SECONDS)
            self._broken -= broken

    async def _end_lost(self) -> None:
        waiting = {
            connection.get_server_pid(): connection
            for connection, state in self._used.items()
            if _is_long(state)
        }
        if not waiting:
            return
        rows = await self._lifeline.ask(
            _END_LOST, list(waiting), _LONG_SECONDS, seconds=_ASK_SECONDS
        )
        for pid in (row["pid"] for row in rows):
            connection = waiting[pid]
            state = self._used.get(connection)
            if state is not None and _is_long(state):
                _log.warning(
                    "A connection to PostgreSQL died without a word; its work is done again.",
                    action="database.lost",
                )
                terminate(connection)
                await self.expire()

    async def shut(self) -> None:
        """Close all sessions, within a bounded time."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*self._leaving, return_exceptions=True)
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


_END_LOST = """
SELECT given.pid, pg_terminate_backend(a.pid)
FROM unnest($1::integer[]) AS given (pid)
LEFT JOIN pg_stat_activity AS a ON a.pid = given.pid AND a.datname = current_database()
  AND a.usename = session_user
WHERE a.pid IS NULL
   -- It waits for us as we do for it; also between the messages of one statement, where it
   -- counts as active. What it holds goes with it: no limit of an idle transaction ends such a
   -- one, and others may wait for its locks.
   OR a.wait_event = 'ClientRead' AND a.state_change < clock_timestamp() - make_interval(secs => $2)
"""


def _is_long(state: SessionState) -> bool:
    return (
        state.is_direct
        and state.asked_at is not None
        and time.monotonic() - state.asked_at > _LONG_SECONDS
    )


class Lifeline:
    """Single short statements that must not wait: for the pool, behind long work, or on a
    connection that is dead.

    One connection is kept for them; one that does not answer is replaced by a new one at once.
    """

    def __init__(self, connect: Callable[[], Awaitable[Session]]) -> None:
        """`connect` makes a connection."""
        self._connect = connect
        self._kept: Session | None = None
        self._slots = asyncio.Semaphore(2)
        self._leaving: set[asyncio.Task[bool]] = set()

    async def ask(self, sql: str, *arguments: object, seconds: float) -> "list[Record]":
        """The rows of a statement that commits by itself; a connection gets so many seconds, and a
        new one as many again.

        Raises asyncpg's errors, OSError and TimeoutError.
        """
        async with asyncio.timeout(2 * seconds), self._slots:
            kept, self._kept = self._kept, None
            if kept is not None and not kept.is_closed():
                try:
                    return await self._ask(kept, seconds, sql, arguments)
                except (
                    asyncpg.PostgresConnectionError,
                    asyncpg.InterfaceError,
                    asyncpg.OperatorInterventionError,
                    OSError,
                    TimeoutError,
                ):
                    # Perhaps the connection alone is dead: a new one tells.
                    _log.info(
                        "The connection for heartbeats and probes is replaced.",
                        action="database.lifeline",
                    )
            return await self._ask(None, seconds, sql, arguments)

    async def _ask(
        self, connection: Session | None, seconds: float, sql: str, arguments: tuple[object, ...]
    ) -> "list[Record]":
        try:
            async with asyncio.timeout(seconds):
                connection = connection or await self._connect()
                rows: list[Record] = await connection.fetch(sql, *arguments)
        except BaseException:
            if connection is not None:
                self._leave(connection)
            raise
        if self._kept is None and not connection.state.is_read_only:
            self._kept = connection
        else:
            self._leave(connection)
        return rows

    def _leave(self, connection: Session) -> None:
        task = asyncio.ensure_future(close(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def shut(self) -> None:
        """Close what is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._leave(kept)
        await asyncio.gather(*self._leaving, return_exceptions=True)
