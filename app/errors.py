"""Every error of trade-recon: each class is a different decision for its catcher.

ReconError ├── ConfigurationError        the start stops: a setting, a right or a schema is not as
it must be ├── InvalidRequest            the caller asked for something that cannot be; say so,
change nothing ├── NotFound                  the account or run that the caller named is unknown ├──
Gone                      the place in a list that the caller goes on from is not there any more;
begin again ├── Conflict                  the request contradicts a run as it stands; look at that
one ├── NotOpen                   the account has no such open issue; look at those that it has ├──
UpstreamError             the API did not give what was asked; the warehouse stays as it was │   ├──
UpstreamRefused       401 or 403 for everything: the key is wrong; the run fails at once, no account
is blamed │   ├── UpstreamUnavailable   an outage that lasted longer than the wait; the run fails,
its accounts are released │   ├── EndpointFailed        no request to an endpoint is answered, or
can be proven whole, whichever account it names: none is blamed │   ├── FetchFailed           this
request failed for good though the API answers others: it is made smaller until one account fails
alone │   ├── IncompleteFetch       the pages could not be proven whole: the same │   ├──
RequestTooLarge       413 or 414: ask for fewer ids │   ├── FetchTooBroad         a read without ids
brings more rows than it is worth: ask by id │   └── UpstreamSuspect       it answers, but nothing
that can be true: the run writes no more until somebody confirms it ├── DatabaseUnavailable
PostgreSQL cannot be reached or went away; wait and try again │   └── DatabaseFull          it
answers, and has no room for anybody's work: the same, and never an account's fault ├──
DatabaseError             PostgreSQL refuses a statement: the schema is not ours, or a statement is
wrong │   └── MissingRight          the role may not do what a statement does: the owner of the
tables has to grant it ├── WriteConflict             someone else wrote the rows first; look at them
again ├── RowRefused                a constraint refuses a row: find the row, set it aside, keep the
others ├── StatementTooSlow          a statement met its time limit: split the work until the
culprit stands alone │   └── ResourcesExhausted    a statement met a limit of memory, disk or
configuration: the same, once it is known that others get on └── ClaimLost                 the lease
ended or another worker took the work over: write nothing, leave it to the other
"""

import uuid


class ReconError(Exception):
    """Base of all errors that trade-recon raises on purpose; its text is a sentence for the
    reader.
    """


class ConfigurationError(ReconError):
    """A setting, a right or a schema is not as it must be."""


class InvalidRequest(ReconError):
    """What the caller asked for cannot be; nothing was changed."""


class NotFound(ReconError):
    """The named account or run is unknown."""


class Gone(ReconError):
    """The place that the caller would go on from is not there: what was kept of it must be
    dropped.
    """


class Conflict(ReconError):
    """The request contradicts a run as it stands; `run_id` tells which."""

    def __init__(self, message: str, run_id: uuid.UUID) -> None:
        """Name the run."""
        super().__init__(message)
        self.run_id = run_id


class NotOpen(ReconError):
    """The account has no such open issue."""


class UpstreamError(ReconError):
    """The API did not give what was asked."""


class UpstreamRefused(UpstreamError):
    """The API refuses the key (401, or 403 for every request); `answer` is the sentence that tells
    what it answered.
    """

    def __init__(self, message: str, answer: str = "") -> None:
        """Keep the answer: where other requests are accepted, it is only about what was asked
        for.
        """
        super().__init__(message)
        self.answer = answer or message


class UpstreamUnavailable(UpstreamError):
    """The API was out for longer than the service may wait; `last` is the last failure, if any is
    known.
    """

    def __init__(self, message: str, last: str | None = None) -> None:
        """The sentence for a run; whoever asks for something else says it in words of its own."""
        super().__init__(message)
        self.last = last


class EndpointFailed(UpstreamError):
    """No request to an endpoint is answered, or none can be proven whole: this says nothing about
    the accounts that were asked for.
    """


class FetchFailed(UpstreamError):
    """One request failed for good, though the API answers others.

    `status` is the HTTP status, if that told the failure; `skip` the number of rows before the page
    that failed: above 0 the API had answered the same filter, and only the length of the answer can
    be at fault.
    """

    def __init__(self, message: str, *, status: int | None = None, skip: int = 0) -> None:
        """Keep what tells a request that is rejected from one that is too large."""
        super().__init__(message)
        self.status = status
        self.skip = skip


class IncompleteFetch(FetchFailed):
    """The pages of a fetch could not be proven to be all of its rows."""


class RequestTooLarge(UpstreamError):
    """The API finds the request too long (413, 414)."""


class FetchTooBroad(UpstreamError):
    """A read names more rows than the caller wants to pay for; none of them was kept."""


class UpstreamSuspect(UpstreamError):
    """What the API says of too many accounts at once is hard to believe; nothing more is
    written.
    """


class DatabaseUnavailable(ReconError):
    """PostgreSQL cannot be reached or went away in the middle."""


class DatabaseFull(DatabaseUnavailable):
    """PostgreSQL answers, and has no disk left for any work, whichever account it is for."""


class DatabaseError(ReconError):
    """PostgreSQL refuses a statement for a reason that trying again does not mend."""


class MissingRight(DatabaseError):
    """The role that trade-recon connects as lacks a right; the sentence names the role, and how it
    is given what it needs.

    `lack` tells the first of it alone, `role` is None where it is not known.
    """

    def __init__(self, message: str, *, lack: str = "", role: str | None = None) -> None:
        """Keep what is lacking: whoever only reads needs less than the sentence says."""
        super().__init__(message)
        self.lack = lack or message
        self.role = role


class WriteConflict(ReconError):
    """Rows were written by someone else between our look and our write."""


class RowRefused(ReconError):
    """A constraint, a type or code of the owner's refuses a row; `sqlstate` and `constraint` tell
    which.

    `relation` is the schema and the name of the table that PostgreSQL names, `code` the function in
    the database in which the error arose, and `is_raised` tells that the function raised it itself:
    then the other fields are what it chose to say.
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
        """Keep what PostgreSQL said about the row."""
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.relation = relation
        self.code = code
        self.is_raised = is_raised


class StatementTooSlow(ReconError):
    """A statement met its time limit and was undone."""


class ResourcesExhausted(StatementTooSlow):
    """A statement needed more memory or disk than PostgreSQL gives it, and was undone."""


class ClaimLost(ReconError):
    """The work is no longer ours: the lease ended, or another worker took it over; nothing was
    written for it.
    """
