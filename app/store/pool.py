"""The database as the rest of the store sees it: a pool, transactions, and our errors in place of asyncpg's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Literal, TypeVar

import asyncpg
import msgspec

from app.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    StatementTooSlow,
    WriteConflict,
)
from app.store.queries import load_queries
from app.telemetry import get_logger

_log = get_logger(__name__)
Record = asyncpg.Record
Result = TypeVar("Result")
Isolation = Literal["read_committed", "repeatable_read"]

COMMAND_SECONDS = 120.0
"""A statement on a batch takes at most this long: without a limit a black-holed connection would hang for ever."""
SWEEP_SECONDS = 7200.0
"""A statement over the whole warehouse takes at most this long."""
LOCK_SECONDS = 0.02
"""Where we hold locks on raw rows, we hardly wait for more of them: we let go and try again, so that nobody waits for us meanwhile, and
where two wait for each other it is us who give way, long before PostgreSQL looks for a victim."""
CLAIM_LOCK_SECONDS = 0.3
"""The same for rows of trade_recon, which our own workers hold a little longer, and which others may write too."""
_DEATH_CHECK = "1000"
"""Milliseconds between two looks of the server whether the client of a running statement is still there."""
_WAY_TRIES = 6
_WAY_PAUSE_SECONDS = 0.1
_CONNECT_SECONDS = 15.0
_CLOSE_SECONDS = 5.0
_JSONB_VERSION = b"\x01"
"""What stands before the text of a jsonb value in PostgreSQL's binary format."""
_LIMITS = (
    "SELECT set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true),"
    " set_config('lock_timeout', $3, true), set_config('client_connection_check_interval', $4, true)"
)
_WRITE = (
    "set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024) / 1024 || 'kB', true),"
    " set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)"
)
_TAKE_ROOM = "CREATE TEMP TABLE recon_room ON COMMIT DROP AS SELECT repeat(md5(n::text), 60) FROM generate_series(1, 4000) AS n"
"""Takes 8 MB of disk for a moment."""
_LONGEST_STATEMENT = 256 * 1024
"""Bytes of a statement that is kept prepared. asyncpg's usual 15 kB leave out those on hundreds of columns, which take longest to plan."""

_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_ENDS_SESSION = ("FATAL", "PANIC")
"""Severities with which the server ends the session; after an ERROR the session stands, and the statement alone has failed."""
_CONFLICT = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)
_OF_A_ROW = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.PLPGSQLError,
    asyncpg.WithCheckOptionViolationError,
)
_WRONG_VALUE = (asyncpg.exceptions._base.DataError, asyncpg.UnsupportedClientFeatureError)  # noqa: SLF001 - the public DataError is the server's
_REFUSED_LOGIN = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
_POOLED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What becomes of prepared statements where each transaction may get another connection of the server."""


@contextlib.contextmanager
def translated(variable: str = "DATABASE_URL") -> Iterator[None]:
    """The one place where asyncpg's errors become ours, with the cause chained; `variable` held the DSN of the connection."""
    try:
        yield
    except asyncpg.ClientConfigurationError:
        # Without the cause: asyncpg quotes the DSN, which may hold a password.
        raise ConfigurationError(f"{variable} is not a DSN that asyncpg understands. Correct it and start again.") from None
    except _WRONG_VALUE as error:
        # An InterfaceError by descent, but a defect of ours: waiting for PostgreSQL would not mend it.
        raise DatabaseError(f"A statement was given a value that it cannot take: {error}.") from error
    except asyncpg.PostgresError as error:
        raise _meaning_of(error, variable) from error
    except _GONE as error:
        raise _unreachable(error) from error


def _meaning_of(error: asyncpg.PostgresError, variable: str) -> ReconError:
    """Our error for what the server said.

    The code alone does not tell: a trigger of the table's owner may raise any code, also those of a server that goes away. So an error
    with which the session does not end, and which has a context (code in the database raised it), is the statement's.
    """
    if error.severity_en in _ENDS_SESSION or not error.context:
        if isinstance(error, _POOLED):
            return ConfigurationError(
                f"{variable} leads through a pooler that keeps no prepared statements ({error.__class__.__name__}):"
                " set RECON_STATEMENT_CACHE=0 and start again. Nothing was left half done."
            )
        if isinstance(error, _REFUSED_LOGIN):
            return DatabaseUnavailable(f"PostgreSQL refuses the connection of {variable}: {error}.")
        if error.severity_en in _ENDS_SESSION or (isinstance(error, _GONE) and not isinstance(error, asyncpg.QueryCanceledError)):
            return _unreachable(error)
    return _meaning_of_statement(error)


def _meaning_of_statement(error: asyncpg.PostgresError) -> ReconError:
    """Our error for a statement that failed in a session that stands."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return StatementTooSlow(f"PostgreSQL ended a statement at its time limit: {error}.")
    if isinstance(error, _CONFLICT):
        return WriteConflict(f"Someone else wrote the same rows first: {error}.")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return ResourcesExhausted(f"PostgreSQL ran out of memory, disk or a configured limit in a statement: {error}.")
    if error.context or isinstance(error, _OF_A_ROW):
        return RowRefused(_said_of_row(error), sqlstate=error.sqlstate or "", constraint=error.constraint_name)
    return DatabaseError(f"PostgreSQL refused a statement: {error}.")


def _unreachable(error: BaseException) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"PostgreSQL cannot be reached ({type(error).__name__}: {error}); nothing was left half done.")


def _said_of_row(error: asyncpg.PostgresError) -> str:
    """What PostgreSQL said, without the whole row that it adds where a check fails: whoever refuses the row keeps it."""
    detail = error.detail or ""
    return error.args[0] if not detail or detail.startswith("Failing row") else f"{error.args[0]} ({detail.rstrip('.')})"


@contextlib.contextmanager
def _timed() -> Iterator[None]:
    """Around one statement: a time limit on our side is the statement's, though a connection that died silently looks the same."""
    try:
        yield
    except TimeoutError as error:
        raise StatementTooSlow("A statement did not answer within its time limit.") from error


@contextlib.contextmanager
def connecting(variable: str = "DATABASE_URL") -> Iterator[None]:
    """The same around a first connection, at which asyncpg reads the DSN: what it says of one that it cannot read may quote a password."""
    try:
        with translated(variable):
            yield
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{variable} is not a DSN that asyncpg understands. Correct it and start again.") from None
    except DatabaseError as error:
        raise ConfigurationError(f"{variable} leads to a PostgreSQL that refuses the connection's settings: {error}") from error
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, _REFUSED_LOGIN):
            raise ConfigurationError(f"{error} Correct {variable} and start again.") from error
        raise DatabaseUnavailable(f"The database of {variable} does not answer. {error}") from error


class Purpose(Enum):
    """What a transaction is for, as the settings that it needs beside PostgreSQL's usual ones.

    The usual memory for a sum, 4 MB, holds a few ten thousand entries; a join of wide rows would go to disk with it. A batch is read by
    one process, since others are at theirs; its dates are summed up partition by partition, in code that takes longer to compile than to
    run. Whoever reads everything is alone: PostgreSQL's own workers help, which it would not let them do at what it believes that their
    answers cost. Rows of a fetch are written beside other such transactions too. What they meet was read for its fingerprint a moment ago
    and lies in memory: two indexes in one order then cost less than a hash table of wide rows. Not so for trades, whose keys would have
    to be sorted, as texts; and they are met under any date: a plan for unknown accounts and dates would look for each of them in each
    partition.
    """

    READ_BATCH = (
        "set_config('work_mem', '64MB', true), set_config('max_parallel_workers_per_gather', '0', true),"
        " set_config('enable_partitionwise_aggregate', 'on', true), set_config('jit', 'off', true)"
    )
    READ_EVERYTHING = "set_config('work_mem', '128MB', true), set_config('parallel_tuple_cost', '0.01', true)"
    WRITE_METRICS = f"{_WRITE}, set_config('random_page_cost', '1.1', true)"
    WRITE_TRADES = f"{_WRITE}, set_config('enable_mergejoin', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"


class Connection:
    """One connection inside a transaction; the same calls as `Database`."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[Record] | asyncpg.Connection[Record]") -> None:
        """Wrap an asyncpg connection."""
        self._connection = connection

    async def fetch(self, sql: str, *arguments: object, seconds: float | None = None) -> list[Record]:
        """All rows of a query."""
        with translated(), _timed():
            return await self._connection.fetch(sql, *arguments, timeout=seconds)

    async def fetch_row(self, sql: str, *arguments: object, seconds: float | None = None) -> Record | None:
        """The first row of a query, or None."""
        with translated(), _timed():
            return await self._connection.fetchrow(sql, *arguments, timeout=seconds)

    async def fetch_value(self, sql: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - a column of any type
        """The first column of the first row, or None."""
        with translated(), _timed():
            return await self._connection.fetchval(sql, *arguments, timeout=seconds)

    async def execute(self, sql: str, *arguments: object, seconds: float | None = None) -> int:
        """Run a statement; the number of rows that it wrote."""
        with translated(), _timed():
            status = await self._connection.execute(sql, *arguments, timeout=seconds)
        count = status.rsplit(" ", 1)[-1]
        return int(count) if count.isdigit() else 0

    async def limit_locks(self, seconds: float) -> None:
        """From now on, to the end of the transaction, wait so long for a lock."""
        await self.execute("SELECT set_config('lock_timeout', $1, true)", _milliseconds(seconds))

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A nested transaction: an error inside undoes only what happened inside."""
        with translated():
            async with self._connection.transaction():
                yield


class Database:
    """A pool of connections and the schema in which the warehouse lives."""

    def __init__(
        self, pool: "asyncpg.Pool[Record]", schema: str, direct_dsn: str | None, idle_seconds: float, *, notices_death: bool
    ) -> None:
        """Use `open` instead, which also closes."""
        self._pool = pool
        self._idle_seconds = idle_seconds
        self._death_check = _DEATH_CHECK if notices_death else "0"
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
        """A pool on `dsn`, closed at the end within a bounded time.

        `statement_cache` 0 is for a pooler in transaction mode, which cannot keep prepared statements. `direct_dsn` leads to the same
        database past any pooler: whoever needs a session of the server's takes it; None: nobody knows such a way. PostgreSQL ends
        a transaction that we leave idle for `idle_seconds`: a process that was stopped must not keep its locks.
        Raises DatabaseUnavailable if PostgreSQL cannot be reached, ConfigurationError if the DSN makes no sense.
        """
        with connecting():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=pool_size,
                command_timeout=COMMAND_SECONDS,
                timeout=_CONNECT_SECONDS,
                statement_cache_size=statement_cache,
                max_cacheable_statement_size=_LONGEST_STATEMENT if statement_cache else 0,
                init=_prepare_connection,
                reset=_leave_alone,
                server_settings={"application_name": "trade-recon"},
            )
        try:
            with connecting():
                if await _is_pooled(pool) and statement_cache:
                    _log.warning(
                        "A pooler stands between trade-recon and PostgreSQL: in transaction mode, and older than pgbouncer 1.21, it needs"
                        " RECON_STATEMENT_CACHE=0.",
                        action="database.pooled",
                    )
                notices_death = await _notices_death(pool)
            yield cls(pool, schema, direct_dsn, idle_seconds, notices_death=notices_death)
        finally:
            try:
                await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
            except TimeoutError:
                pool.terminate()

    def queries(self, name: str) -> Mapping[str, str]:
        """The statements of db/queries/NAME.sql for this schema."""
        return load_queries(name, self.schema)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, outside a transaction."""
        with translated():
            async with self._pool.acquire(timeout=COMMAND_SECONDS) as connection:
                yield Connection(connection)

    @contextlib.asynccontextmanager
    async def transaction(
        self,
        isolation: Isolation = "read_committed",
        *,
        statement_seconds: float | None = None,
        idle_seconds: float | None = None,
        lock_seconds: float | None = None,
        purpose: Purpose | None = None,
    ) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, undone by any exception.

        `statement_seconds` bounds each statement, `idle_seconds` the time in which we may leave the transaction idle (None: the usual),
        `lock_seconds` the wait for a lock; without it a lock may take a third of a statement's time.
        """
        with translated():
            async with self._pool.acquire(timeout=COMMAND_SECONDS) as raw, raw.transaction(isolation=isolation):
                await raw.execute(
                    _LIMITS if purpose is None else f"{_LIMITS}, {purpose.value}",
                    _milliseconds(statement_seconds),
                    _milliseconds(idle_seconds or self._idle_seconds),
                    # Well before the statement's own end: a row that someone else holds is a conflict, not slowness.
                    _milliseconds(lock_seconds or (None if statement_seconds is None else statement_seconds / 3)),
                    # A process that was killed: its statement and its locks end with it, not when the statement is done.
                    self._death_check,
                )
                yield Connection(raw)

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float | None) -> AsyncIterator[Connection]:
        """A connection for one statement; one with a time of its own must not meet the limit that the role or the database sets."""
        limited = self.connection() if seconds is None else self.transaction(statement_seconds=seconds)
        async with limited as connection:
            yield connection

    async def give_way(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Do `work` in a transaction that never waits long for a lock while it may hold others; it is tried again when it had to.

        Raises WriteConflict if someone holds the rows for seconds.
        """
        for attempt in range(1, _WAY_TRIES + 1):
            try:
                async with self.transaction(statement_seconds=COMMAND_SECONDS, lock_seconds=CLAIM_LOCK_SECONDS) as connection:
                    return await work(connection)
            except WriteConflict:
                if attempt == _WAY_TRIES:
                    raise
                await asyncio.sleep(_WAY_PAUSE_SECONDS * attempt)
        raise AssertionError("the last try returns or raises")

    async def require_room(self) -> None:
        """Raise DatabaseUnavailable if the disk of PostgreSQL is full for everybody: then no account is to blame for it."""
        try:
            async with self.transaction(statement_seconds=COMMAND_SECONDS) as connection:
                await connection.execute(_TAKE_ROOM)
        except ResourcesExhausted as error:
            raise DatabaseUnavailable(f"PostgreSQL has no room left for any work; nothing was left half done. {error}") from error

    async def fetch(self, sql: str, *arguments: object, seconds: float | None = None) -> list[Record]:
        """All rows of a query, in a transaction of its own."""
        async with self._limited(seconds) as connection:
            return await connection.fetch(sql, *arguments, seconds=seconds)

    async def fetch_row(self, sql: str, *arguments: object, seconds: float | None = None) -> Record | None:
        """The first row of a query, or None."""
        async with self._limited(seconds) as connection:
            return await connection.fetch_row(sql, *arguments, seconds=seconds)

    async def fetch_value(self, sql: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401 - a column of any type
        """The first column of the first row, or None."""
        async with self._limited(seconds) as connection:
            return await connection.fetch_value(sql, *arguments, seconds=seconds)

    async def execute(self, sql: str, *arguments: object, seconds: float | None = None) -> int:
        """Run a statement; the number of rows that it wrote."""
        async with self._limited(seconds) as connection:
            return await connection.execute(sql, *arguments, seconds=seconds)


def _milliseconds(seconds: float | None) -> str:
    return "0" if seconds is None else str(max(1, int(seconds * 1000)))


async def _is_pooled(pool: "asyncpg.Pool[Record]") -> bool:
    """Whether something stands between us and the server: it then names its own number of the session, not the server's."""
    async with pool.acquire(timeout=_CONNECT_SECONDS) as connection:
        return bool(connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()"))


async def _notices_death(pool: "asyncpg.Pool[Record]") -> bool:
    """Whether the server can see in the middle of a statement that the client is gone; not every operating system can."""
    async with pool.acquire(timeout=_CONNECT_SECONDS) as connection:
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('client_connection_check_interval', $1, true)", _DEATH_CHECK)
        except asyncpg.InvalidParameterValueError:
            return False
    return True


async def _prepare_connection(connection: "asyncpg.Connection[Record]") -> None:
    """Set how jsonb travels, and learn the array types of our statements before they are met.

    asyncpg asks the server about them, and sets `jit` for the session while it does, to what it finds: inside of our transactions that
    would be what is meant for them alone, and through a pooler it would stay behind on a connection of the server that others use. Here
    it is undone with the transaction.
    """
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode_json, decoder=_decode_json, format="binary")
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch("SELECT NULL::bigint[], NULL::date[]")
    await transaction.rollback()


async def _leave_alone(_connection: "asyncpg.Connection[Record]") -> None:
    """Nothing is to be reset: what a transaction set ended with it, and nothing else is ever set.

    asyncpg's own reset is one more way to the server and back for each thing that is done, and through a pooler it would reach whichever
    session comes next: somebody else's.
    """


def _encode_json(value: object) -> bytes:
    return _JSONB_VERSION + msgspec.json.encode(value)


def _decode_json(value: bytes) -> object:
    return msgspec.json.decode(memoryview(value)[len(_JSONB_VERSION) :])
