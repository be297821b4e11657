"""The database as the rest of the store sees it: a pool, transactions, and our errors in place of asyncpg's."""

import asyncio
import contextlib
import datetime as dt
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, TypeVar

import asyncpg
import msgspec

from app.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    MissingRight,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    StatementTooSlow,
    WriteConflict,
)
from app.store.database.connecting import Unreached, plainly, reach, servers
from app.store.database.queries import for_schema, load_queries
from app.store.database.session import (
    COMMAND_SECONDS,
    CONNECT_SECONDS,
    FAREWELL_SECONDS,
    Lifeline,
    Session,
    Sessions,
    SessionState,
    begin_session,
    pins,
    terminate,
)
from app.store.database.window import Window
from app.telemetry import get_logger

_log = get_logger(__name__)
Record = asyncpg.Record
Result = TypeVar("Result")
IsolationLevel = Literal["read_committed", "repeatable_read"]

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
_LATE_SECONDS = 5.0
"""An answer that is later than the server's own limit by so much does not come: the connection is dead."""
_DAY_ZERO = dt.date(2000, 1, 1).toordinal()
"""PostgreSQL counts days from this one."""
_LAST_DAY = dt.date.max.toordinal()
_TIME_ZERO = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - what both types of timestamps count from, in UTC or in no zone
"""PostgreSQL counts microseconds from this moment."""
_MICROSECOND = dt.timedelta(microseconds=1)
_FIRST_TIME = (dt.datetime.min - _TIME_ZERO) // _MICROSECOND  # noqa: DTZ901 - as above
_LAST_TIME = (dt.datetime.max - _TIME_ZERO) // _MICROSECOND  # noqa: DTZ901 - as above
_JSONB_VERSION = b"\x01"
"""What stands before the text of a jsonb value in PostgreSQL's binary format."""
_LIMITS = (
    "set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true),"
    " set_config('lock_timeout', $3, true), set_config('client_connection_check_interval', $4, true)"
)
_WRITE = (
    "set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024) / 1024 || 'kB', true),"
    " set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)"
)
_TAKE_ROOM = "CREATE TEMP TABLE recon_room ON COMMIT DROP AS SELECT repeat(md5(n::text), 60) FROM generate_series(1, 4000) AS n"
"""Takes 8 MB of disk for a moment."""
_TYPES = "SELECT " + ", ".join(
    f"NULL::{name}[]" for name in ("boolean", "smallint", "integer", "bigint", "uuid", "date", "jsonb", "timestamptz", "bytea")
)
"""The array types of our statements, and some to spare."""
_LONGEST_STATEMENT = 256 * 1024
"""Bytes of a statement that is kept prepared. asyncpg's usual 15 kB leave out those on hundreds of columns, which take longest to plan."""

OF_ROWS = (RowRefused, StatementTooSlow, DatabaseError)
"""Errors of a statement that some of its rows may cause: others can be worked on without those."""

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
TAKES_NO_WRITES = (
    "PostgreSQL takes no writes at the moment: it is a standby, or is set to read only. Nothing was left half done, and the work goes on"
    " when it takes writes again."
)
_WRONG_VALUE = (asyncpg.exceptions._base.DataError, asyncpg.UnsupportedClientFeatureError)  # noqa: SLF001 - the public DataError is the server's
_FUNCTION = re.compile(r"(?<=function )\S+\(.*?\)")
"""The first function that the context of an error names, which is the innermost."""
_RAISES = "exec_stmt_raise"
"""The function of PostgreSQL's own that reports what PL/pgSQL's RAISE says, whatever fields that chooses."""
_CHECKS_POLICIES = "ExecWithCheckOptions"
"""The function that refuses a row which a policy does not let in, with the code of a right that is missing."""
_REFUSED_LOGIN = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
_UNKNOWN_PARAMETER = re.compile(r"unrecognized configuration parameter \"?(\w+)|unsupported startup parameter\b[^:]*: \"?(\w+)")
"""How PostgreSQL and pgbouncer refuse a connection for what its DSN hands on to them."""
_POOLED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What becomes of prepared statements where each transaction may get another connection of the server."""


def _no_role() -> None:
    """Of a connection of which it is not known."""


@contextlib.contextmanager
def translated(variable: str = "DATABASE_URL", role: Callable[[], str | None] = _no_role) -> Iterator[None]:
    """The one place where asyncpg's errors become ours, with the cause chained.

    `variable` held the DSN of the connection, `role` tells as whom it was made.
    """
    try:
        yield
    except asyncpg.ClientConfigurationError:
        # Without the cause: asyncpg quotes the DSN, which may hold a password.
        raise ConfigurationError(f"{variable} is not a DSN that asyncpg understands. Correct it and start again.") from None
    except _WRONG_VALUE as error:
        # An InterfaceError by descent, but a defect of ours: waiting for PostgreSQL would not mend it.
        raise DatabaseError(f"A statement was given a value that it cannot take: {error}.") from error
    except asyncpg.PostgresError as error:
        raise _meaning_of(error, variable, role) from error
    except _GONE as error:
        raise _unreachable(error) from error


def _meaning_of(error: asyncpg.PostgresError, variable: str, role: Callable[[], str | None]) -> ReconError:
    """Our error for what the server said.

    The code alone does not tell: a trigger of the table's owner may raise any code, also those of a server that goes away. So an error
    with which the session does not end, and which has a context (code in the database raised it), is the statement's.
    """
    if error.severity_en in _ENDS_SESSION or not error.context:
        if isinstance(error, _POOLED):
            return ConfigurationError(
                f"{variable} leads through a pooler that keeps no prepared statements ({error}):"
                " set RECON_STATEMENT_CACHE=0 and start again. Nothing was left half done."
            )
        if error.severity_en in _ENDS_SESSION and (unknown := _UNKNOWN_PARAMETER.search(str(error))):
            return ConfigurationError(
                f"{variable} holds the parameter {unknown[1] or unknown[2]}, which the server does not know: leave it out and start again."
            )
        if isinstance(error, _REFUSED_LOGIN):
            return DatabaseUnavailable(f"PostgreSQL refuses the connection of {variable}: {error}.")
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            return DatabaseUnavailable(f"{TAKES_NO_WRITES} ({error})")
        if error.severity_en in _ENDS_SESSION or (isinstance(error, _GONE) and not isinstance(error, asyncpg.QueryCanceledError)):
            return _unreachable(error)
    return _meaning_of_statement(error, role)


def _meaning_of_statement(error: asyncpg.PostgresError, role: Callable[[], str | None]) -> ReconError:
    """Our error for a statement that failed in a session that stands."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return StatementTooSlow(f"PostgreSQL ended a statement at its time limit: {error}.")
    # A code that the owner's own code raises says nothing of other writers: to wait for them would be in vain.
    if isinstance(error, _CONFLICT) and error.server_source_function != _RAISES:
        return WriteConflict(f"Someone else wrote the same rows first: {error}.")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return ResourcesExhausted(f"PostgreSQL ran out of memory, disk or a configured limit in a statement: {error}.")
    if error.context or isinstance(error, _OF_A_ROW) or error.server_source_function == _CHECKS_POLICIES:
        return RowRefused(
            _said_of_row(error),
            sqlstate=error.sqlstate or "",
            constraint=error.constraint_name,
            relation=(error.schema_name or "", error.table_name) if error.table_name else None,
            code=found[0] if (found := _FUNCTION.search(error.context or "")) else None,
            is_raised=error.server_source_function == _RAISES,
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return _missing_right(error, role())
    return DatabaseError(f"PostgreSQL refused a statement: {error}.")


def _missing_right(error: asyncpg.PostgresError, role: str | None) -> MissingRight:
    named, option = ("The role", "") if role is None else (f"The role {role}", f" --role {role}")
    lack = f"{named} lacks a right: {error}."
    return MissingRight(
        f"{lack} `trade-recon migrate --print{option}` writes the SQL with which the owner of the tables gives it what it needs; nothing"
        " was left half done.",
        lack=lack,
        role=role,
    )


def _unreachable(error: BaseException) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"PostgreSQL cannot be reached: {plainly(error)}; nothing was left half done.")


def _said_of_row(error: asyncpg.PostgresError) -> str:
    """What PostgreSQL said, without the whole row that it adds where a check fails: whoever refuses the row keeps it."""
    detail = error.detail or ""
    return error.args[0] if not detail or detail.startswith("Failing row") else f"{error.args[0]} ({detail.rstrip('.')})"


@contextlib.contextmanager
def connecting(dsn: str, variable: str = "DATABASE_URL") -> Iterator[None]:
    """The same around a first connection, at which asyncpg reads the DSN: what it says of one that it cannot read may quote a password."""
    try:
        with translated(variable):
            yield
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{variable} is not a DSN that asyncpg understands. Correct it and start again.") from None
    except DatabaseError as error:
        raise ConfigurationError(f"{variable} leads to a PostgreSQL that refuses the connection's settings: {error}") from error
    except DatabaseUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, _REFUSED_LOGIN):
            raise ConfigurationError(_refused_login(cause, dsn, variable)) from error
        if isinstance(cause, Unreached) and cause.is_of_setting:
            raise ConfigurationError(f"{variable} cannot be used: {cause}. Correct it and start again.") from error
        raise DatabaseUnavailable(f"The database of {variable} does not answer. {error}") from error


def _refused_login(error: asyncpg.PostgresError, dsn: str, variable: str) -> str:
    said = f"PostgreSQL on {servers(dsn)} refuses the connection of {variable}: {error}."
    hint = " It may take connections with TLS only: add sslmode=require." if "no encryption" in str(error) else ""
    return f"{said}{hint} Correct {variable} and start again."


class Purpose(Enum):
    """What a transaction is for, as the settings that it needs beside PostgreSQL's usual ones.

    The usual memory for a sum, 4 MB, holds a few ten thousand entries; a join of wide rows would go to disk with it. A batch is read by
    one process, since others are at theirs; its dates are summed up partition by partition, in code that takes longer to compile than to
    run. Whoever reads everything is alone: PostgreSQL's own workers help, which it would not let them do at what it believes that their
    answers cost. Covering indexes are read from end to end, which is no random access. Rows of a fetch are written beside other such
    transactions too. What they meet was read for its fingerprint a moment ago
    and lies in memory: two indexes in one order then cost less than a hash table of wide rows. Not so for trades, whose keys would have
    to be sorted, as texts; and they are met under any date: a plan for unknown accounts and dates would look for each of them in each
    partition.
    """

    READ_BATCH = (
        "set_config('work_mem', '64MB', true), set_config('max_parallel_workers_per_gather', '0', true),"
        " set_config('enable_partitionwise_aggregate', 'on', true), set_config('jit', 'off', true)"
    )
    READ_EVERYTHING = (
        "set_config('work_mem', '128MB', true), set_config('parallel_tuple_cost', '0.01', true),"
        " set_config('random_page_cost', '1.1', true)"
    )
    WRITE_METRICS = f"{_WRITE}, set_config('random_page_cost', '1.1', true)"
    WRITE_TRADES = f"{_WRITE}, set_config('enable_mergejoin', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"


class Connection:
    """One connection inside a transaction; the same calls as `Database`."""

    def __init__(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[Record] | asyncpg.Connection[Record]",
        state: SessionState | None = None,
        seconds: float | None = None,
    ) -> None:
        """Wrap an asyncpg connection; the server ends its statements after `seconds` itself."""
        self._connection = connection
        self._state = state or SessionState()
        self._seconds = seconds

    async def fetch(self, sql: str, *arguments: object, seconds: float | None = None) -> list[Record]:
        """All rows of a query."""
        with self._asking():
            return await self._connection.fetch(sql, *arguments, timeout=self._patience(seconds))

    async def fetch_row(self, sql: str, *arguments: object, seconds: float | None = None) -> Record | None:
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
            status = await self._connection.execute(sql, *arguments, timeout=self._patience(seconds))
        count = status.rsplit(" ", 1)[-1]
        return int(count) if count.isdigit() else 0

    async def limit_locks(self, seconds: float) -> None:
        """From now on, to the end of the transaction, wait so long for a lock."""
        await self.execute("SELECT set_config('lock_timeout', $1, true)", _milliseconds(seconds))

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A nested transaction: an error inside undoes only what happened inside."""
        async with self.begun():
            yield

    @contextlib.asynccontextmanager
    async def begun(self, isolation: IsolationLevel | None = None) -> AsyncIterator[None]:
        """A transaction, or a nested one: committed at the end, undone by any exception.

        On a connection that may be dead nothing is undone by us: it would be one more question without an answer, and PostgreSQL
        undoes what was not committed when the connection ends.
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
        """Roll back; where that fails the connection is doubtful, and what went wrong before is still what is to be said."""
        with contextlib.suppress(ReconError), self._asking():
            async with asyncio.timeout(FAREWELL_SECONDS):
                await transaction.rollback()

    def _role(self) -> str | None:
        """As whom the session works, as far as the server told it."""
        return getattr(self._connection.get_settings(), "session_authorization", None)

    def _patience(self, seconds: float | None) -> float | None:
        """How long an answer may take: longer than PostgreSQL gives the statement, whose end is then its word and no dead connection."""
        if self._seconds is None:
            return seconds
        return max(self._seconds, seconds or 0) + _LATE_SECONDS

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Around one question to the server: our errors, and what they tell of the connection."""
        if self._state.is_doubtful:
            raise DatabaseUnavailable("The connection to PostgreSQL was lost before this statement; nothing was left half done.")
        self._state.asked_at = time.monotonic()
        try:
            with translated(role=self._role):
                yield
        except BaseException as error:
            self._state.is_doubtful |= _is_dubious(error.__cause__ if isinstance(error, ReconError) else error)
            self._state.is_read_only |= isinstance(error.__cause__, asyncpg.ReadOnlySQLTransactionError)
            raise
        finally:
            self._state.asked_at = None
            self._state.used_at = time.monotonic()


def _is_dubious(error: BaseException | None) -> bool:
    """Whether after this error nothing is certain of the connection: the server did not say that it stands."""
    if isinstance(error, asyncpg.PostgresError):
        return error.severity_en in _ENDS_SESSION or (isinstance(error, asyncpg.PostgresConnectionError) and not error.context)
    return not isinstance(error, _WRONG_VALUE)


class _Settings:
    """What each transaction sets, by what the pool leads to."""

    def __init__(self, *, is_direct: bool, notices_death: bool) -> None:
        self.is_direct = is_direct
        # Behind a pooler each transaction may get another session of the server, which others use too: nothing is pinned but for itself.
        self.limits = f"SELECT {_LIMITS}" if is_direct else f"SELECT {pins(is_local=True)}, {_LIMITS}"
        self.death_check = _DEATH_CHECK if notices_death else "0"


class Database:
    """A pool of connections and the schema in which the warehouse lives."""

    def __init__(
        self, sessions: Sessions, lifeline: Lifeline, schema: str, direct_dsn: str | None, idle_seconds: float, settings: "_Settings"
    ) -> None:
        """Use `open` instead, which also closes."""
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
        """A pool on `dsn`, closed at the end within a bounded time.

        `statement_cache` 0 is for a pooler in transaction mode, which cannot keep prepared statements. `direct_dsn` leads to the same
        database past any pooler: whoever needs a session of the server's takes it; None: nobody knows such a way. PostgreSQL ends
        a transaction that we leave idle for `idle_seconds`: a process that was stopped must not keep its locks.
        Raises DatabaseUnavailable if PostgreSQL cannot be reached, ConfigurationError if the DSN makes no sense.
        """

        async def connect(*_arguments: object, **beside: Any) -> Session:  # noqa: ANN401 - what asyncpg's pool adds
            return await _connect(dsn, statement_cache, **beside)

        lifeline = Lifeline(connect)
        with connecting(dsn):
            pool = await asyncpg.create_pool(min_size=0, max_size=pool_size, connection_class=Session, connect=connect, reset=_leave_alone)
        sessions = Sessions(pool, lifeline)
        watching = asyncio.create_task(sessions.watch())
        try:
            with connecting(dsn):
                async with sessions.use() as (session, state):
                    notices_death = await _notices_death(session)
                    settings = _Settings(is_direct=state.is_direct, notices_death=notices_death)
            if not state.is_direct and statement_cache:
                _log.warning(
                    "A pooler stands between trade-recon and PostgreSQL: in transaction mode, and older than pgbouncer 1.21, it needs"
                    " RECON_STATEMENT_CACHE=0.",
                    action="database.pooled",
                )
            yield cls(sessions, lifeline, schema, direct_dsn, idle_seconds, settings)
        finally:
            watching.cancel()
            await asyncio.gather(watching, lifeline.shut(), sessions.shut(), return_exceptions=True)

    def queries(self, name: str, window: Window | None = None, only: Sequence[str] | None = None) -> Mapping[str, str]:
        """The statements of db/queries/NAME.sql for this schema, all or `only` some, with the tokens of the window filled."""
        sql = load_queries(name, self.schema)
        if window is None:
            return sql
        return {key: for_schema(each, self.schema) for key, each in window.of({key: sql[key] for key in only or sql}).items()}

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, outside a transaction."""
        async with self._session() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _session(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """A session of the pool; once one turns out to take no writes, none that is open now is used again."""
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
        """One transaction: committed at the end, undone by any exception.

        `statement_seconds` bounds each statement, `idle_seconds` the time in which we may leave the transaction idle (None: the usual),
        `lock_seconds` the wait for a lock; without it a lock may take a third of a statement's time.
        """
        async with self._session(statement_seconds) as connection, connection.begun(isolation):
            await connection.execute(
                self._settings.limits if purpose is None else f"{self._settings.limits}, {purpose.value}",
                _milliseconds(statement_seconds),
                _milliseconds(idle_seconds or self._idle_seconds),
                # Well before the statement's own end: a row that someone else holds is a conflict, not slowness.
                _milliseconds(lock_seconds or (None if statement_seconds is None else statement_seconds / 3)),
                # A process that was killed: its statement and its locks end with it, not when the statement is done.
                self._settings.death_check,
            )
            yield connection

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float | None) -> AsyncIterator[Connection]:
        """A connection for one statement; one with a time of its own must not meet the limit that the role or the database sets."""
        is_alone = seconds is None and self._settings.is_direct
        limited = self.connection() if is_alone else self.transaction(statement_seconds=seconds)
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
        """Raise DatabaseFull if the disk of PostgreSQL is full for everybody: then no account is to blame for it."""
        try:
            async with self.transaction(statement_seconds=COMMAND_SECONDS) as connection:
                await connection.execute(_TAKE_ROOM)
        except ResourcesExhausted as error:
            raise DatabaseFull(f"PostgreSQL has no room left for any work; nothing was left half done. {error}") from error

    async def ask(self, sql: str, *arguments: object, seconds: float) -> list[Record]:
        """The rows of one short statement that must not wait for the pool, nor on a dead connection: a heartbeat, a probe.

        Its answer, or DatabaseUnavailable, comes within twice so many seconds.
        """
        with translated():
            try:
                return await self._lifeline.ask(sql, *arguments, seconds=seconds)
            except asyncpg.TooManyConnectionsError:
                # PostgreSQL gives no more of them: better late than never.
                return await self.fetch(sql, *arguments, seconds=seconds)

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


async def _connect(dsn: str, statement_cache: int, **beside: Any) -> Session:  # noqa: ANN401 - what asyncpg's pool adds
    """A new session, ready for use."""
    connection: Session = await reach(
        dsn,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS + _LATE_SECONDS,
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
        # By a limit of the role's or the database's, on a busy server: no statement of the caller's was too slow.
        terminate(connection)
        raise ConnectionAbortedError("a new session was not ready within the limits of the role or the database") from error
    except BaseException:
        # At once: it may be the server that does not answer.
        terminate(connection)
        raise
    return connection


async def _notices_death(session: "asyncpg.pool.PoolConnectionProxy[Record]") -> bool:
    """Whether the server can see in the middle of a statement that the client is gone; not every operating system can."""
    try:
        async with session.transaction():
            await session.execute("SELECT set_config('client_connection_check_interval', $1, true)", _DEATH_CHECK)
    except asyncpg.InvalidParameterValueError:
        return False
    return True


async def _prepare_connection(connection: Session) -> None:
    """Set how jsonb, dates and times travel, and learn the array types of our statements before they are met.

    asyncpg asks the server about them, and sets `jit` for the session while it does, to what it finds: inside of our transactions that
    would be what is meant for them alone, and through a pooler it would stay behind on a connection of the server that others use. Here
    it is undone with the transaction.
    """
    transaction = connection.transaction()
    await transaction.start()
    if not connection.state.is_direct:
        await connection.execute(f"SELECT {pins(is_local=True)}")
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode_json, decoder=_decode_json, format="binary")
    await connection.set_type_codec("date", schema="pg_catalog", encoder=_encode_date, decoder=_decode_date, format="tuple")
    await connection.set_type_codec("timestamptz", schema="pg_catalog", encoder=_encode_moment, decoder=_decode_moment, format="tuple")
    await connection.set_type_codec("timestamp", schema="pg_catalog", encoder=_encode_time, decoder=_decode_time, format="tuple")
    await connection.fetch(_TYPES)
    await transaction.rollback()


async def _leave_alone(_connection: "asyncpg.Connection[Record]") -> None:
    """Nothing is to be reset: what a transaction set ended with it, and nothing else is ever set.

    asyncpg's own reset is one more way to the server and back for each thing that is done, and through a pooler it would reach whichever
    session comes next: somebody else's.
    """


def _encode_date(value: dt.date) -> tuple[int]:
    """A date as PostgreSQL counts it; asyncpg's own way would send the first and the last date of Python as infinities."""
    return (value.toordinal() - _DAY_ZERO,)


def _decode_date(value: tuple[int]) -> dt.date:
    """A date of Python; what lies outside of those, infinities too, becomes the first or the last one."""
    return dt.date.fromordinal(min(max(value[0] + _DAY_ZERO, 1), _LAST_DAY))


def _encode_moment(value: dt.datetime) -> tuple[int]:
    """A moment (aware) as PostgreSQL counts it, whatever its zone: no detour through another zone can leave the calendar."""
    return ((value - _TIME_ZERO.replace(tzinfo=dt.UTC)) // _MICROSECOND,)


def _decode_moment(value: tuple[int]) -> dt.datetime:
    """A moment of Python in UTC; what lies outside of those becomes the first or the last one."""
    return _decode_time(value).replace(tzinfo=dt.UTC)


def _encode_time(value: dt.datetime) -> tuple[int]:
    """A time without a zone as PostgreSQL counts it."""
    return ((value - _TIME_ZERO) // _MICROSECOND,)


def _decode_time(value: tuple[int]) -> dt.datetime:
    """A time of Python without a zone; what lies outside of those becomes the first or the last one."""
    return _TIME_ZERO + min(max(value[0], _FIRST_TIME), _LAST_TIME) * _MICROSECOND


def _encode_json(value: object) -> bytes:
    return _JSONB_VERSION + msgspec.json.encode(value)


def _decode_json(value: bytes) -> object:
    return msgspec.json.decode(memoryview(value)[len(_JSONB_VERSION) :])
