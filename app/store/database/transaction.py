"""One connection inside a transaction, and the settings of each purpose."""

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
"""Limit of a statement over the whole warehouse."""
LOCK_SECONDS = 0.02
"""Short wait for locks while holding locks on raw rows.

So others never wait for us for long, and we give way in a deadlock, before PostgreSQL looks for a
victim.
"""
CLAIM_LOCK_SECONDS = 0.3
"""The same for rows of trade_recon, which our own workers hold a little longer."""
LATE_SECONDS = 5.0
"""An answer this much later than the server's limit does not come."""
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
    """What a transaction is for, as the settings that it needs beside PostgreSQL's usual ones.

    The usual memory for a sum, 4 MB, holds a few ten thousand entries; a join of wide rows would go
    to disk with it. A batch is read by one process, since others are at theirs; its dates are
    summed up partition by partition, in code that takes longer to compile than to run. Whoever
    reads everything is alone: PostgreSQL's own workers help, which it would not let them do at what
    it believes that their answers cost. Covering indexes are read from end to end, which is no
    random access. Rows of a fetch are written beside other such transactions too. What they meet
    was read for its fingerprint a moment ago and lies in memory: two indexes in one order then cost
    less than a hash table of wide rows. Not so for trades, whose keys would have to be sorted, as
    texts; and they are met under any date: a plan for unknown accounts and dates would look for
    each of them in each partition.
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
    """One connection inside a transaction; the same calls as `Database`."""

    def __init__(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[Record] | asyncpg.Connection[Record]",
        state: SessionState | None = None,
        seconds: float | None = None,
    ) -> None:
        """Wrap an asyncpg connection whose server ends statements after `seconds`."""
        self._connection = connection
        self._state = state or SessionState()
        self._seconds = seconds

    async def fetch(
        self, sql: str, *arguments: object, seconds: float | None = None
    ) -> list[Record]:
        """All rows of a query."""
        with self._asking():
            return await self._connection.fetch(sql, *arguments, timeout=self._patience(seconds))

    async def fetch_row(
        self, sql: str, *arguments: object, seconds: float | None = None
    ) -> Record | None:
        """The first row of a query, or None."""
        with self._asking():
            return await self._connection.fetchrow(sql, *arguments, timeout=self._patience(seconds))

    async def fetch_value(self, sql: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - a column of any type
        """The first column of the first row, or None."""
        with self._asking():
            return await self._connection.fetchval(sql, *arguments, timeout=self._patience(seconds))

    async def execute(self, sql: str, *arguments: object, seconds: float | None = None) -> int:
        """Run a statement; the number of rows that it wrote."""
        with self._asking():
            status = await self._connection.execute(
                sql, *arguments, timeout=self._patience(seconds)
            )
        count = status.rsplit(" ", 1)[-1]
        return int(count) if count.isdigit() else 0

    async def limit_locks(self, seconds: float) -> None:
        """Limit the wait for locks until the end of the transaction."""
        await self.execute("SELECT set_config('lock_timeout', $1, true)", milliseconds(seconds))

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A nested transaction: an error inside undoes only what happened inside."""
        async with self.begun():
            yield

    @contextlib.asynccontextmanager
    async def begun(self, isolation: IsolationLevel | None = None) -> AsyncIterator[None]:
        """A transaction, or a nested one: committed at the end, undone by any exception.

        On a connection that may be dead nothing is undone by us: it would be one more question
        without an answer, and PostgreSQL undoes what was not committed when the connection ends.
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
        """Roll back; a failure makes the connection doubtful and hides no earlier error."""
        with contextlib.suppress(ReconError), self._asking():
            async with asyncio.timeout(FAREWELL_SECONDS):
                await transaction.rollback()

    def _role(self) -> str | None:
        """The session's role, as far as known."""
        return getattr(self._connection.get_settings(), "session_authorization", None)

    def _patience(self, seconds: float | None) -> float | None:
        """The answer's timeout: longer than PostgreSQL's own, so that its error comes first."""
        if self._seconds is None:
            return seconds
        return max(self._seconds, seconds or 0) + LATE_SECONDS

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Around one statement: translate errors, and note what they tell of the connection."""
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
    """Seconds as the text of a setting in milliseconds."""
    return "0" if seconds is None else str(max(1, int(seconds * 1000)))
