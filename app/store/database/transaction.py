"""A connection inside a transaction, and settings by purpose."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from typing import Any, Literal, TypeVar

import asyncpg

from app.errors import (
    DatabaseUnavailable,
    ReconError,
)
from app.store.database.errors import is_dubious, translated
from app.store.database.session import (
    FAREWELL_SECONDS,
    SessionState,
)

Record = asyncpg.Record
Result = TypeVar("Result")
IsolationLevel = Literal["read_committed", "repeatable_read"]
SWEEP_SECONDS = 7200.0
"""Limit of a statement over the warehouse."""
LOCK_SECONDS = 0.02
"""Lock wait while holding raw rows, below PostgreSQL's deadlock check: we give way first."""
CLAIM_LOCK_SECONDS = 0.3
"""The same for rows of trade_recon, held longer."""
LATE_SECONDS = 5.0
"""An answer this long after the server's limit will not come."""
LIMITS = (
    "set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout',"
    " $2, true), set_config('lock_timeout', $3, true),"
    " set_config('client_connection_check_interval', $4, true)"
)
WRITE = (
    "set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024)"
    " / 1024 || 'kB', true), set_config('max_parallel_workers_per_gather', '0', true),"
    " set_config('jit', 'off', true)"
)
TAKE_ROOM = (
    "CREATE TEMP TABLE recon_room ON COMMIT DROP AS SELECT repeat(md5(n::text), 60) FROM"
    " generate_series(1, 4000) AS n"
)
"""Takes 8 MB of disk for a moment."""


class Purpose(Enum):
    """Planner settings by kind of transaction.

    Batches run side by side, so only whole reads are parallel. Rows to write are in memory, just
    read for fingerprints. Trades are met under any date: generic plans would probe each partition,
    merge joins sort text keys.
    """

    READ_BATCH = (
        "set_config('work_mem', '64MB', true), set_config('max_parallel_workers_per_gather', '0',"
        " true), set_config('enable_partitionwise_aggregate', 'on', true), set_config('jit', 'off',"
        " true)"
    )
    READ_EVERYTHING = (
        "set_config('work_mem', '128MB', true), set_config('parallel_tuple_cost', '0.01', true),"
        " set_config('random_page_cost', '1.1', true)"
    )
    WRITE_METRICS = f"{WRITE}, set_config('random_page_cost', '1.1', true)"
    WRITE_TRADES = (
        f"{WRITE}, set_config('enable_mergejoin', 'off', true), set_config('plan_cache_mode',"
        " 'force_custom_plan', true)"
    )


class Connection:
    """One connection inside a transaction."""

    def __init__(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[Record] | asyncpg.Connection[Record]",
        state: SessionState | None = None,
        seconds: float | None = None,
    ) -> None:
        self._connection = connection
        self._state = state or SessionState()
        self._seconds = seconds

    async def fetch(
        self, sql: str, *arguments: object, seconds: float | None = None
    ) -> list[Record]:
        """All rows."""
        with self._asking():
            return await self._connection.fetch(sql, *arguments, timeout=self._patience(seconds))

    async def fetch_row(
        self, sql: str, *arguments: object, seconds: float | None = None
    ) -> Record | None:
        """The first row, or None."""
        with self._asking():
            return await self._connection.fetchrow(sql, *arguments, timeout=self._patience(seconds))

    async def fetch_value(self, sql: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - a column of any type
        """The first row's first column, or None."""
        with self._asking():
            return await self._connection.fetchval(sql, *arguments, timeout=self._patience(seconds))

    async def execute(self, sql: str, *arguments: object, seconds: float | None = None) -> int:
        """Run a statement; the number of rows written."""
        with self._asking():
            status = await self._connection.execute(
                sql, *arguments, timeout=self._patience(seconds)
            )
        count = status.rsplit(" ", 1)[-1]
        return int(count) if count.isdigit() else 0

    async def limit_locks(self, seconds: float) -> None:
        """Limit lock waits for the rest of the transaction."""
        await self.execute("SELECT set_config('lock_timeout', $1, true)", milliseconds(seconds))

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A nested transaction; an error undoes only it."""
        async with self.begun():
            yield

    @contextlib.asynccontextmanager
    async def begun(self, isolation: IsolationLevel | None = None) -> AsyncIterator[None]:
        """A transaction, or a nested one: committed at the end, undone by any exception.

        A doubtful connection is left to undo it by its end.
        """
        transaction = self._connection.transaction(isolation=isolation)
        with self._asking():
            await transaction.start()
        try:
            yield
        except BaseException:
            if not self._state.is_doubtful:
                await self._undo(transaction)
            raise
        with self._asking():
            await transaction.commit()

    async def _undo(self, transaction: "asyncpg.transaction.Transaction") -> None:
        """Roll back; a failure makes the connection doubtful."""
        with contextlib.suppress(ReconError), self._asking():
            async with asyncio.timeout(FAREWELL_SECONDS):
                await transaction.rollback()

    def _role(self) -> str | None:
        return getattr(self._connection.get_settings(), "session_authorization", None)

    def _patience(self, seconds: float | None) -> float | None:
        """The client's timeout, above the server's."""
        if self._seconds is None:
            return seconds
        return max(self._seconds, seconds or 0) + LATE_SECONDS

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Translate a statement's errors, and note the connection's state."""
        if self._state.is_doubtful:
            raise DatabaseUnavailable(
                "The connection to PostgreSQL was lost before this statement; nothing was left half"
                " done."
            )
        self._state.asked_at = time.monotonic()
        try:
            with translated(role=self._role):
                yield
        except BaseException as error:
            self._state.is_doubtful |= is_dubious(
                error.__cause__ if isinstance(error, ReconError) else error
            )
            self._state.is_read_only |= isinstance(
                error.__cause__, asyncpg.ReadOnlySQLTransactionError
            )
            raise
        finally:
            self._state.asked_at = None
            self._state.used_at = time.monotonic()


def milliseconds(seconds: float | None) -> str:
    """A setting in milliseconds; None is no limit."""
    return "0" if seconds is None else str(max(1, int(seconds * 1000)))
