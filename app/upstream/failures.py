"""What can go wrong with one request, and the one place where errors of other libraries become
ours.

`AttemptFailed` means that the same request may succeed a moment later; it never leaves the guard,
which turns it into `FetchFailed` or `UpstreamUnavailable` once it gives up. Everything else that a
request raises is final at once.
"""

from enum import StrEnum

from app.errors import RequestTooLarge, UpstreamError, UpstreamRefused
from app.upstream.redaction import Redactor, answered


class FailureKind(StrEnum):
    """Why one request failed, as the statistics count it."""

    CONNECTION = "connection"
    DEADLINE = "deadline"
    THROTTLED = "throttled"
    NOT_READY = "not_ready"
    SERVER = "server_error"
    GARBLED = "garbled"
    REPORTED = "reported"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"


class AttemptFailed(UpstreamError):
    """One attempt failed in a way that may pass.

    `retry_after` is what the API asked us to wait, in seconds; None if it said nothing. `brief`
    says in a few words what happened.
    """

    def __init__(
        self, kind: FailureKind, message: str, retry_after: float | None = None, *, brief: str = ""
    ) -> None:
        """Keep the kind for the statistics and the wait for the next attempt."""
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.brief = brief or message.rstrip(".")

    def quoting(self, status: int, body: bytes, redact: "Redactor") -> "AttemptFailed":
        """The same with the beginning of an answer that cannot be read; one that reports a failure
        was quoted already.
        """
        if self.kind is not FailureKind.GARBLED:
            return self
        return AttemptFailed(
            self.kind,
            f"{self} {answered(status, body, redact)}",
            self.retry_after,
            brief=self.brief,
        )


def kind_of(error: UpstreamError) -> FailureKind:
    """How the statistics count the error."""
    match error:
        case AttemptFailed():
            return error.kind
        case UpstreamRefused():
            return FailureKind.REFUSED
        case RequestTooLarge():
            return FailureKind.TOO_LARGE
        case _:
            return FailureKind.REJECTED
