"""The store's database: a pool, transactions, and our errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg

from app.errors import (
    DatabaseFull,
    ResourcesExhausted,
    WriteConflict,
)
from app.store.database.errors import connecting, translated
from app.store.database.opening import DEATH_CHECK, notices_death, open_session, skip_reset
from app.store.database.queries import for_schema, load_queries
from app.store.database.session import (
    COMMAND_SECONDS,
    Session,
    pins,
)
from app.store.database.sessions import Lifeline, Sessions
from app.store.database.transaction import (
    CLAIM_LOCK_SECONDS,
    LIMITS,
    TAKE_ROOM,
    Connection,
    IsolationLevel,
    Purpose,
    Record,
    Result,
    milliseconds,
)
from app.store.database.window import Window
from app.telemetry import get_logger

_log = get_logger(__name__)
_WAY_TRIES = 6
_WAY_PAUSE_SECONDS = 0.1


class _Settings:
    def __init__(self, *, is_direct: bool, notices_death: bool) -> None:
        self.is_direct = is_direct
        # Behind a pooler each transaction may get another session, shared with other clients:
        # settings are pinned for the transaction alone.
        self.limits = f"SELECT {LIMITS}" if is_direct else f"SELECT {pins(is_local=True)}, {LIMITS}"
        self.death_check = DEATH_CHECK if notices_death else "0"


class Database:
    """A pool, and the warehouse's schema."""

    def __init__(
        self,
        sessions: Sessions,
        lifeline: Lifeline,
        schema: str,
        direct_dsn: str | None,
        idle_seconds: float,
        settings: "_Settings",
    ) -> None:
        self._sessions = sessions
        self._lifeline = lifeline
        self._idle_seconds = idle_seconds
        self._settings = settings
        self.schema = schema
        self.direct_dsn = direct_dsn

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        dsn: str,
        schema: str,
        *,
        pool_size: int = 10,
        statement_cache: int = 100,
        direct_dsn: str | None = None,
        idle_seconds: float = 30.0,
    ) -> AsyncIterator["Database"]:
        """A pool on `dsn`, closed within a bounded time.

        `statement_cache` is 0 for a transaction pooler; `direct_dsn` leads past it. PostgreSQL ends
        transactions idle for `idle_seconds`, which keep locks. Raises DatabaseUnavailable, or
        ConfigurationError for an invalid DSN.
        """

        async def connect(*_arguments: object, **beside: Any) -> Session:  # noqa: ANN401 - what asyncpg's pool adds
            return await open_session(dsn, statement_cache, **beside)

        lifeline = Lifeline(connect)
        with connecting(dsn):
            pool = await asyncpg.create_pool(
                min_size=0,
                max_size=pool_size,
                connection_class=Session,
                connect=connect,
                reset=skip_reset,
            )
        sessions = Sessions(pool, lifeline)
        watching = asyncio.create_task(sessions.watch())
        try:
            with connecting(dsn):
                async with sessions.use() as (session, state):
                    settings = _Settings(
                        is_direct=state.is_direct, notices_death=await notices_death(session)
                    )
            if not state.is_direct and statement_cache:
                _log.warning(
                    "A pooler stands between trade-recon and PostgreSQL: in transaction mode, and"
                    " older than pgbouncer 1.21, it needs RECON_STATEMENT_CACHE=0.",
                    action="database.pooled",
                )
            yield cls(sessions, lifeline, schema, direct_dsn, idle_seconds, settings)
        finally:
            watching.cancel()
            await asyncio.gather(watching, lifeline.shut(), sessions.shut(), return_exceptions=True)

    def queries(
        self, name: str, window: Window | None = None, only: Sequence[str] | None = None
    ) -> Mapping[str, str]:
        """Statements of db/queries/NAME.sql, all or `only` some, the window's tokens filled."""
        sql = load_queries(name, self.schema)
        if window is None:
            return sql
        return {
            key: for_schema(each, self.schema)
            for key, each in window.of({key: sql[key] for key in only or sql}).items()
        }

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, outside a transaction."""
        async with self._session() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _session(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        with translated():
            async with self._sessions.use() as (raw, state):
                try:
                    yield Connection(raw, state, seconds)
                finally:
                    if state.is_read_only:
                        await self._sessions.expire()

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        isolation: IsolationLevel = "read_committed",
        *,
        statement_seconds: float | None = None,
        idle_seconds: float | None = None,
        lock_seconds: float | None = None,
        purpose: Purpose | None = None,
    ) -> AsyncIterator[Connection]:
        """A transaction: committed at the end, rolled back by any exception.

        `lock_seconds` bounds each lock wait (None: a third of `statement_seconds`).
        """
        async with self._session(statement_seconds) as connection, connection.begun(isolation):
            await connection.execute(
                (
                    self._settings.limits
                    if purpose is None
                    else f"{self._settings.limits}, {purpose.value}"
                ),
                milliseconds(statement_seconds),
                milliseconds(idle_seconds or self._idle_seconds),
                # Before the statement's own limit: a locked row is a conflict, not slowness.
                milliseconds(
                    lock_seconds or (None if statement_seconds is None else statement_seconds / 3)
                ),
                # So that a killed process's statement and locks end with it.
                self._settings.death_check,
            )
            yield connection

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float | None) -> AsyncIterator[Connection]:
        is_alone = seconds is None and self._settings.is_direct
        limited = self.connection() if is_alone else self.transaction(statement_seconds=seconds)
        async with limited as connection:
            yield connection

    async def give_way(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Do `work` in a transaction that backs off from locks and retries.

        Raises WriteConflict in the end.
        """
        for attempt in range(1, _WAY_TRIES + 1):
            try:
                async with self.transaction(
                    statement_seconds=COMMAND_SECONDS, lock_seconds=CLAIM_LOCK_SECONDS
                ) as connection:
                    return await work(connection)
            except WriteConflict:
                if attempt == _WAY_TRIES:
                    raise
                await asyncio.sleep(_WAY_PAUSE_SECONDS * attempt)
        raise AssertionError("the last try returns or raises")

    async def require_room(self) -> None:
        """Raise DatabaseFull if the disk is full, so that no account is blamed."""
        try:
            async with self.transaction(statement_seconds=COMMAND_SECONDS) as connection:
                await connection.execute(TAKE_ROOM)
        except ResourcesExhausted as error:
            raise DatabaseFull(
                f"PostgreSQL has no room left for any work; nothing was left half done. {error}"
            ) from error

    async def ask(self, sql: str, *arguments: object, seconds: float) -> list[Record]:
        """Rows of an urgent statement, past the pool.

        Raises DatabaseUnavailable after twice `seconds`.
        """
        with translated():
            try:
                return await self._lifeline.ask(sql, *arguments, seconds=seconds)
            except asyncpg.TooManyConnectionsError:
                # PostgreSQL gives no further connection: wait for the pool.
                return await self.fetch(sql, *arguments, seconds=seconds)

    async def fetch(
        self, sql: str, *arguments: object, seconds: float | None = None
    ) -> list[Record]:
        """All rows, in their own transaction."""
        async with self._limited(seconds) as connection:
            return await connection.fetch(sql, *arguments, seconds=seconds)

    async def fetch_row(
        self, sql: str, *arguments: object, seconds: float | None = None
    ) -> Record | None:
        """The first row, or None."""
        async with self._limited(seconds) as connection:
            return await connection.fetch_row(sql, *arguments, seconds=seconds)

    async def fetch_value(self, sql: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - a column of any type
        """The first row's first column, or None."""
        async with self._limited(seconds) as connection:
            return await connection.fetch_value(sql, *arguments, seconds=seconds)

    async def execute(self, sql: str, *arguments: object, seconds: float | None = None) -> int:
        """Run a statement; the number of rows written."""
        async with self._limited(seconds) as connection:
            return await connection.execute(sql, *arguments, seconds=seconds)
