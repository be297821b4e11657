"""Failures of single requests: `AttemptFailed` may pass and stays inside the pipeline, others are
final.
"""

from enum import StrEnum

from app.errors import RequestTooLarge, UpstreamError, UpstreamRefused
from app.upstream.redaction import Redactor, answered


class FailureKind(StrEnum):
    """Why a request failed, in statistics."""

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
    """A passing failure; `retry_after` in seconds."""

    def __init__(
        self, kind: FailureKind, message: str, retry_after: float | None = None, *, brief: str = ""
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.brief = brief or message.rstrip(".")

    def quoting(self, status: int, body: bytes, redact: "Redactor") -> "AttemptFailed":
        """The same, quoting an unreadable response."""
        if self.kind is not FailureKind.GARBLED:
            return self
        return AttemptFailed(
            self.kind,
            f"{self} {answered(status, body, redact)}",
            self.retry_after,
            brief=self.brief,
        )


def kind_of(error: UpstreamError) -> FailureKind:
    """The error's kind in statistics."""
    match error:
        case AttemptFailed():
            return error.kind
        case UpstreamRefused():
            return FailureKind.REFUSED
        case RequestTooLarge():
            return FailureKind.TOO_LARGE
        case _:
            return FailureKind.REJECTED
