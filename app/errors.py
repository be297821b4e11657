"""Every error of trade-recon: each class is a different decision for its catcher.

ReconError
├── ConfigurationError       a setting, a right or a schema is wrong: do not start
├── InvalidRequest           the request is invalid: say so, change nothing
├── NotFound                 the named account or run is unknown
├── Gone                     the cursor's place is gone: begin again
├── Conflict                 the request contradicts a run: look at that run
├── NotOpen                  the account has no such open issue: look at its open ones
├── UpstreamError            the API did not give what was asked: the warehouse stays as it was
│   ├── UpstreamRefused      the key is wrong: fail the run, blame no account
│   ├── UpstreamUnavailable  an outage outlasted the patience: fail the run, release its accounts
│   ├── EndpointFailed       an endpoint answers or proves nothing: blame no account
│   ├── FetchFailed          a request failed for good: make it smaller until one account is left
│   │   └── IncompleteFetch  its pages were not proven whole: the same
│   ├── RequestTooLarge      413 or 414: ask for fewer ids
│   ├── FetchTooBroad        a scan brings more rows than it is worth: ask by id
│   └── UpstreamSuspect      answers that are hard to believe: write no more until confirmed
├── DatabaseUnavailable      PostgreSQL is unreachable: wait and retry
│   └── DatabaseFull         PostgreSQL has no disk left: the same, and never an account's fault
├── DatabaseError            PostgreSQL rejects a statement: the schema or the statement is wrong
│   └── MissingRight         the role lacks a right: the tables' owner has to grant it
├── WriteConflict            another writer was first: detect again
├── RowRefused               a constraint rejects a row: set it aside, keep the others
├── StatementTooSlow         a statement met its time limit: split the work to find the culprit
│   └── ResourcesExhausted   a limit of memory, disk or configuration: the same, if others get on
└── ClaimLost                the lease expired or was reclaimed: write nothing
"""

import uuid


class ReconError(Exception):
    """Base of all errors raised on purpose; its text is a sentence for the reader."""


class ConfigurationError(ReconError):
    """A setting, a right or a schema is not as it must be."""


class InvalidRequest(ReconError):
    """The request is invalid; nothing was changed."""


class NotFound(ReconError):
    """The named account or run is unknown."""


class Gone(ReconError):
    """The place to go on from is gone: what was kept of it must be dropped."""


class Conflict(ReconError):
    """The request contradicts a run as it stands; `run_id` tells which."""

    def __init__(self, message: str, run_id: uuid.UUID) -> None:
        super().__init__(message)
        self.run_id = run_id


class NotOpen(ReconError):
    """The account has no such open issue."""


class UpstreamError(ReconError):
    """The API did not give what was asked."""


class UpstreamRefused(UpstreamError):
    """The API refuses the key (401, or 403 for every request); `answer` quotes it."""

    def __init__(self, message: str, answer: str = "") -> None:
        super().__init__(message)
        self.answer = answer or message


class UpstreamUnavailable(UpstreamError):
    """The API was out for longer than the service may wait; `last` is the last failure."""

    def __init__(self, message: str, last: str | None = None) -> None:
        super().__init__(message)
        self.last = last


class EndpointFailed(UpstreamError):
    """No request to an endpoint is answered or proven whole, whichever accounts it names."""


class FetchFailed(UpstreamError):
    """One request failed for good, though the API answers others.

    `status` is the HTTP status, if it was the failure; `skip` the rows before the failed page:
    above 0 only the length of the answer can be at fault.
    """

    def __init__(self, message: str, *, status: int | None = None, skip: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.skip = skip


class IncompleteFetch(FetchFailed):
    """The pages of a fetch could not be proven to be all of its rows."""


class RequestTooLarge(UpstreamError):
    """The API finds the request too long (413, 414)."""


class FetchTooBroad(UpstreamError):
    """A scan has more rows than it is worth; none was kept."""


class UpstreamSuspect(UpstreamError):
    """What the API says of too many accounts is hard to believe; nothing more is written."""


class DatabaseUnavailable(ReconError):
    """PostgreSQL cannot be reached or went away in the middle."""


class DatabaseFull(DatabaseUnavailable):
    """PostgreSQL has no disk left, for any account."""


class DatabaseError(ReconError):
    """PostgreSQL rejects a statement for a reason that a retry does not change."""


class MissingRight(DatabaseError):
    """The role lacks a right; the sentence says how it is granted.

    `lack` is the first missing right alone, `role` None if unknown.
    """

    def __init__(self, message: str, *, lack: str = "", role: str | None = None) -> None:
        super().__init__(message)
        self.lack = lack or message
        self.role = role


class WriteConflict(ReconError):
    """Rows were written by others between detection and write."""


class RowRefused(ReconError):
    """A constraint, type or function of the owner rejects a row; `sqlstate` and `constraint` say
    which.

    `relation` is PostgreSQL's schema and table, `code` the database function with the error; with
    `is_raised` it raised the error itself, and chose the other fields.
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
    """A statement met its time limit and was undone."""


class ResourcesExhausted(StatementTooSlow):
    """A statement needed more memory or disk than PostgreSQL allows, and was undone."""


class ClaimLost(ReconError):
    """The lease expired or was reclaimed; nothing was written."""
