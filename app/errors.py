"""Every error of trade-recon: each class is a different decision for its catcher.

ReconError
├── ConfigurationError       do not start
├── InvalidRequest           say so, change nothing
├── NotFound                 say so
├── Gone                     begin again
├── Conflict                 point to the run
├── NotOpen                  point to the open issues
├── UpstreamError            leave the warehouse as it is
│   ├── UpstreamRefused      fail the run, blame no account
│   ├── UpstreamUnavailable  fail the run, release its accounts
│   ├── EndpointFailed       blame no account
│   ├── FetchFailed          split the request down to one account
│   │   └── IncompleteFetch  the same
│   ├── RequestTooLarge      ask for fewer ids
│   ├── FetchTooBroad        ask by id
│   └── UpstreamSuspect      write nothing until confirmed
├── DatabaseUnavailable      wait and retry
│   └── DatabaseFull         the same, blame no account
├── DatabaseError            our schema or statement is wrong
│   └── MissingRight         the tables' owner has to grant it
├── WriteConflict            detect again
├── RowRefused               set the row aside, keep the others
├── StatementTooSlow         split the work to find the cause
│   └── ResourcesExhausted   the same, if others succeed
└── ClaimLost                write nothing
"""

import uuid


class ReconError(Exception):
    """Base of deliberate errors; its text is a sentence."""


class ConfigurationError(ReconError):
    """A setting, right or schema is wrong."""


class InvalidRequest(ReconError):
    """The request is invalid."""


class NotFound(ReconError):
    """An unknown account or run."""


class Gone(ReconError):
    """The cursor's place is gone."""


class Conflict(ReconError):
    """The request contradicts the run `run_id`."""

    def __init__(self, message: str, run_id: uuid.UUID) -> None:
        super().__init__(message)
        self.run_id = run_id


class NotOpen(ReconError):
    """No such open issue."""


class UpstreamError(ReconError):
    """The API did not deliver."""


class UpstreamRefused(UpstreamError):
    """The key is rejected (401, or 403 for all); `answer` quotes the API."""

    def __init__(self, message: str, answer: str = "") -> None:
        super().__init__(message)
        self.answer = answer or message


class UpstreamUnavailable(UpstreamError):
    """An outage outlasted the patience; `last` is its last failure."""

    def __init__(self, message: str, last: str | None = None) -> None:
        super().__init__(message)
        self.last = last


class EndpointFailed(UpstreamError):
    """An endpoint fails for all accounts."""


class FetchFailed(UpstreamError):
    """One request failed for good, though the API answers others.

    `status` is HTTP's; `skip` counts rows before the failed page: above 0 only the answer's length
    can be at fault.
    """

    def __init__(self, message: str, *, status: int | None = None, skip: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.skip = skip


class IncompleteFetch(FetchFailed):
    """Pages not proven complete."""


class RequestTooLarge(UpstreamError):
    """The request is too long (413, 414)."""


class FetchTooBroad(UpstreamError):
    """A scan has too many rows."""


class UpstreamSuspect(UpstreamError):
    """Implausible answers about too many accounts."""


class DatabaseUnavailable(ReconError):
    """PostgreSQL is unreachable, or went away."""


class DatabaseFull(DatabaseUnavailable):
    """PostgreSQL has no disk left."""


class DatabaseError(ReconError):
    """PostgreSQL rejects a statement, and would again."""


class MissingRight(DatabaseError):
    """The role lacks a right, `lack` the first; the sentence says how to grant it."""

    def __init__(self, message: str, *, lack: str = "", role: str | None = None) -> None:
        super().__init__(message)
        self.lack = lack or message
        self.role = role


class WriteConflict(ReconError):
    """Others wrote the rows after detection."""


class RowRefused(ReconError):
    """A constraint (`sqlstate`, `constraint`), type or function rejects a row.

    `relation` is PostgreSQL's schema and table, `code` the failed function; with `is_raised` it
    chose the other fields.
    """

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str,
        constraint: str | None,
        relation: tuple[str, str] | None = None,
        code: str | None = None,
        is_raised: bool = False,
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.relation = relation
        self.code = code
        self.is_raised = is_raised


class StatementTooSlow(ReconError):
    """A statement met its time limit."""


class ResourcesExhausted(StatementTooSlow):
    """It needed too much memory or disk."""


class ClaimLost(ReconError):
    """The lease expired or was reclaimed."""
