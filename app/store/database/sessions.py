"""The pool of sessions known to answer, and a connection for urgent statements."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, cast

import asyncpg

from app.telemetry import get_logger

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Record = asyncpg.Record
    Pooled = PoolConnectionProxy[Record]
    _AsyncpgConnection = asyncpg.Connection[Record]
else:
    _AsyncpgConnection = asyncpg.Connection
from app.store.database.session import COMMAND_SECONDS, Session, SessionState, close, terminate

_log = get_logger(__name__)
_RESTED_SECONDS = 5.0
"""Idle time after which a session is probed."""
_PROOF_SECONDS = 2.0
_CLOSE_SECONDS = 1.5
_CHECK_SECONDS = 2.0
_ASK_SECONDS = 2.0
_LONG_SECONDS = 15.0
"""Age at which a statement is checked at the server."""


class Sessions:
    """A pool of sessions known to answer."""

    def __init__(self, pool: "asyncpg.Pool[Record]", lifeline: "Lifeline") -> None:
        self._pool = pool
        self._lifeline = lifeline
        self._used: dict[Pooled, SessionState] = {}
        self._broken = set[int]()
        self._leaving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def use(self) -> "AsyncIterator[tuple[Pooled, SessionState]]":
        """A session; the pool keeps it unless doubtful or read-only."""
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
        """Reuse no open session: most likely all share its fate."""
        await self._pool.expire_connections()

    async def _acquire(self) -> "tuple[Pooled, SessionState]":
        while True:
            connection = await self._pool.acquire(timeout=COMMAND_SECONDS)
            # Read now: a broken connection no longer has it.
            state = cast("Session", connection).state
            if time.monotonic() - state.used_at < _RESTED_SECONDS:
                return connection, state
            try:
                async with asyncio.timeout(_PROOF_SECONDS):
                    await connection.execute("SELECT")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                # The other sessions were idle as long, and most likely died too.
                await self.expire()
                self._leave(connection, state)
            except BaseException:
                self._leave(connection, state)
                raise
            else:
                state.used_at = time.monotonic()
                return connection, state

    def _leave(self, connection: "Pooled", state: SessionState) -> None:
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
        """End sessions whose statement the server no longer runs; never returns."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            # PostgreSQL may be away for a moment: the next round tries again.
            with contextlib.suppress(
                asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError
            ):
                await self._end_broken()
                await self._end_lost()

    async def _end_broken(self) -> None:
        """End broken sessions at the server, where they keep locks."""
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
        """Close all, within a bounded time."""
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
   -- Both sides wait for each other, also between messages of one statement, where the state is
   -- active. No idle limit ends such a session, and others may wait for its locks.
   OR a.wait_event = 'ClientRead' AND a.state_change < clock_timestamp() - make_interval(secs => $2)
"""


def _is_long(state: SessionState) -> bool:
    return (
        state.is_direct
        and state.asked_at is not None
        and time.monotonic() - state.asked_at > _LONG_SECONDS
    )


class Lifeline:
    """Short statements on their own connection, replaced when it fails."""

    def __init__(self, connect: Callable[[], Awaitable[Session]]) -> None:
        self._connect = connect
        self._kept: Session | None = None
        self._slots = asyncio.Semaphore(2)
        self._leaving: set[asyncio.Task[bool]] = set()

    async def ask(self, sql: str, *arguments: object, seconds: float) -> "list[Record]":
        """Rows of a self-committing statement; a new connection gets `seconds` again.

        Raises asyncpg's errors, OSError, TimeoutError.
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
                    # Perhaps only this connection is dead.
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
        """Close the connection."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._leave(kept)
        await asyncio.gather(*self._leaving, return_exceptions=True)
