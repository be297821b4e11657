"""The one place where asyncpg's errors become ours."""

import contextlib
import re
from collections.abc import Callable, Iterator

import asyncpg

from app.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    MissingRight,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    StatementTooSlow,
    WriteConflict,
)
from app.store.database.connecting import Unreached, plainly, servers

OF_ROWS = (RowRefused, StatementTooSlow, DatabaseError)
"""Errors that single rows may cause."""
GONE = (
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
CONFLICT = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)
_OF_A_ROW = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.PLPGSQLError,
    asyncpg.WithCheckOptionViolationError,
)
TAKES_NO_WRITES = (
    "PostgreSQL takes no writes at the moment: it is a standby, or is set to read only. Nothing was"
    " left half done, and the work goes on when it takes writes again."
)
_WRONG_VALUE = (
    asyncpg.exceptions._base.DataError,  # noqa: SLF001 - the public DataError is the server's
    asyncpg.UnsupportedClientFeatureError,
)
_FUNCTION = re.compile(r"(?<=function )\S+\(.*?\)")
"""The innermost function of an error's context."""
_RAISES = "exec_stmt_raise"
"""PostgreSQL's function behind PL/pgSQL's RAISE."""
_CHECKS_POLICIES = "ExecWithCheckOptions"
"""Rejects a row by policy, under the code of a missing right."""
_REFUSED_LOGIN = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
_UNKNOWN_PARAMETER = re.compile(
    r"unrecognized configuration parameter \"?(\w+)|unsupported startup parameter\b[^:]*: \"?(\w+)"
)
POOLED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""Prepared statements fail behind a transaction pooler."""


def no_role() -> None:
    """An unknown role."""


@contextlib.contextmanager
def translated(
    variable: str = "DATABASE_URL", role: Callable[[], str | None] = no_role
) -> Iterator[None]:
    """Our errors for asyncpg's, cause chained.

    `variable` held the DSN; `role` gives the session's role.
    """
    try:
        yield
    except asyncpg.ClientConfigurationError:
        # Without the cause: asyncpg quotes the DSN, which may hold a password.
        raise ConfigurationError(
            f"{variable} is not a DSN that asyncpg understands. Correct it and start again."
        ) from None
    except _WRONG_VALUE as error:
        # A subclass of InterfaceError, but our own defect: waiting does not help.
        raise DatabaseError(
            f"A statement was given a value that it cannot take: {error}."
        ) from error
    except asyncpg.PostgresError as error:
        raise _meaning_of(error, variable, role) from error
    except GONE as error:
        raise _unreachable(error) from error


def _meaning_of(
    error: asyncpg.PostgresError, variable: str, role: Callable[[], str | None]
) -> ReconError:
    """Our error for the server's.

    An owner's trigger may raise any code: an error with a context in an open session is the
    statement's.
    """
    if error.severity_en in _ENDS_SESSION or not error.context:
        if isinstance(error, POOLED):
            return ConfigurationError(
                f"{variable} leads through a pooler that keeps no prepared statements ({error}):"
                " set RECON_STATEMENT_CACHE=0 and start again. Nothing was left half done."
            )
        if error.severity_en in _ENDS_SESSION and (
            unknown := _UNKNOWN_PARAMETER.search(str(error))
        ):
            return ConfigurationError(
                f"{variable} holds the parameter {unknown[1] or unknown[2]}, which the server does"
                " not know: leave it out and start again."
            )
        if isinstance(error, _REFUSED_LOGIN):
            return DatabaseUnavailable(f"PostgreSQL refuses the connection of {variable}: {error}.")
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            return DatabaseUnavailable(f"{TAKES_NO_WRITES} ({error})")
        if error.severity_en in _ENDS_SESSION or (
            isinstance(error, GONE) and not isinstance(error, asyncpg.QueryCanceledError)
        ):
            return _unreachable(error)
    return _meaning_of_statement(error, role)


def _meaning_of_statement(
    error: asyncpg.PostgresError, role: Callable[[], str | None]
) -> ReconError:
    if isinstance(error, asyncpg.QueryCanceledError):
        return StatementTooSlow(f"PostgreSQL ended a statement at its time limit: {error}.")
    # The owner's code may raise the same code without another writer: waiting would not help.
    if isinstance(error, CONFLICT) and error.server_source_function != _RAISES:
        return WriteConflict(f"Someone else wrote the same rows first: {error}.")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return ResourcesExhausted(
            f"PostgreSQL ran out of memory, disk or a configured limit in a statement: {error}."
        )
    if (
        error.context
        or isinstance(error, _OF_A_ROW)
        or error.server_source_function == _CHECKS_POLICIES
    ):
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
        f"{lack} `trade-recon migrate --print{option}` writes the SQL with which the owner of the"
        " tables gives it what it needs; nothing was left half done.",
        lack=lack,
        role=role,
    )


def _unreachable(error: BaseException) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"PostgreSQL cannot be reached: {plainly(error)}; nothing was left half done."
    )


def _said_of_row(error: asyncpg.PostgresError) -> str:
    """PostgreSQL's message without the whole row of a failed check."""
    detail = error.detail or ""
    return (
        error.args[0]
        if not detail or detail.startswith("Failing row")
        else f"{error.args[0]} ({detail.rstrip('.')})"
    )


@contextlib.contextmanager
def connecting(dsn: str, variable: str = "DATABASE_URL") -> Iterator[None]:
    """`translated` for a first connection, whose errors may quote a password."""
    try:
        with translated(variable):
            yield
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{variable} is not a DSN that asyncpg understands. Correct it and start again."
        ) from None
    except DatabaseError as error:
        raise ConfigurationError(
            f"{variable} leads to a PostgreSQL that refuses the connection's settings: {error}"
        ) from error
    except DatabaseUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, _REFUSED_LOGIN):
            raise ConfigurationError(_refused_login(cause, dsn, variable)) from error
        if isinstance(cause, Unreached) and cause.is_of_setting:
            raise ConfigurationError(
                f"{variable} cannot be used: {cause}. Correct it and start again."
            ) from error
        raise DatabaseUnavailable(f"The database of {variable} does not answer. {error}") from error


def _refused_login(error: asyncpg.PostgresError, dsn: str, variable: str) -> str:
    said = f"PostgreSQL on {servers(dsn)} refuses the connection of {variable}: {error}."
    hint = (
        " It may take connections with TLS only: add sslmode=require."
        if "no encryption" in str(error)
        else ""
    )
    return f"{said}{hint} Correct {variable} and start again."


def is_dubious(error: BaseException | None) -> bool:
    """Whether the connection is in doubt."""
    if isinstance(error, asyncpg.PostgresError):
        return error.severity_en in _ENDS_SESSION or (
            isinstance(error, asyncpg.PostgresConnectionError) and not error.context
        )
    return not isinstance(error, _WRONG_VALUE)


UNIQUE_VIOLATION = "23505"
