"""What can go wrong with one request, and the one place where errors of other libraries become
ours.

`AttemptFailed` means that the same request may succeed a moment later; it never leaves the guard,
which turns it into `FetchFailed` or `UpstreamUnavailable` once it gives up. Everything else that a
request raises is final at once.
"""

import datetime as dt
import json
import math
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import quote, quote_plus

import httpx2
import msgspec

from app.errors import FetchFailed, RequestTooLarge, UpstreamError, UpstreamRefused

EXCERPT_LENGTH = 200
"""The most characters of an answer that an error quotes."""

_TOO_LARGE = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG})
MISSING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""Statuses that say of a filter that nothing matches it, where the endpoint itself exists."""
_NOT_READY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
_ANSWERS = frozenset(
    {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION, HTTPStatus.NO_CONTENT}
)
_UNFINISHED = frozenset(range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)) - _ANSWERS
"""Successes that are no whole answer: accepted for later, without the content, a part of it that
was not asked for.
"""
_REDIRECTS = frozenset(
    {
        HTTPStatus.MULTIPLE_CHOICES,
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.USE_PROXY,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)

_NUMBER = re.compile(r"\[Errno -?\d+\] ?")
FOREIGN = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.CookieConflict,
    httpx2.StreamError,
    msgspec.MsgspecError,
    OSError,
    UnicodeError,
    RecursionError,
)
"""Every class of error that other libraries raise while a request is sent and its answer is read
(TimeoutError is an OSError).
"""


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


class Redactor:
    """Makes foreign text fit for errors and logs: without the key, printable, on one line,
    short.
    """

    def __init__(self, secret: str) -> None:
        """Hide `secret` in each form in which an answer could echo it."""
        forms = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)}
        self._forms = sorted(filter(None, forms), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text fit to be quoted; the key is hidden before the text is cut, or half a key
        would show.
        """
        for form in self._forms:
            text = text.replace(form, "***")
        line = " ".join(
            "".join(
                char if char.isprintable() else " " for char in text[: 4 * EXCERPT_LENGTH]
            ).split()
        )
        return line if len(line) <= EXCERPT_LENGTH else f"{line[:EXCERPT_LENGTH]}…"

    def cause(self, error: BaseException) -> BaseException | None:
        """Return the error, to be chained; None if its own text holds the key, which a traceback
        would print.
        """
        return None if any(form in repr(error) for form in self._forms) else error


def translate(error: Exception, redact: Redactor) -> UpstreamError:
    """Our error for a foreign one of `FOREIGN`; chain it to `redact.cause(error)`."""
    said = redact(_plainly(error))
    told = f": {said}" if said else ""
    if isinstance(error, (TimeoutError, httpx2.TimeoutException)):
        return AttemptFailed(
            FailureKind.DEADLINE, "The API did not answer in time.", brief="no answer in time"
        )
    if isinstance(
        error, (httpx2.DecodingError, msgspec.MsgspecError, UnicodeError, RecursionError)
    ):
        return AttemptFailed(
            FailureKind.GARBLED,
            f"The API's answer cannot be read{told}.",
            brief="an answer that cannot be read",
        )
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return FetchFailed(f"The request cannot be sent{told}; check the API's base URL and key.")
    if isinstance(error, (httpx2.TransportError, OSError)):
        where = ", ".join(filter(None, (said, _place(error))))
        return AttemptFailed(
            FailureKind.CONNECTION,
            f"The connection to the API failed{f' ({where})' if where else ''}.",
            brief=said,
        )
    if isinstance(error, httpx2.InvalidURL) and "too long" in str(error):
        return RequestTooLarge(
            "The request's address is longer than the HTTP client sends; ask for fewer ids."
        )
    return FetchFailed(f"The request failed in the HTTP client{told}.")


def _plainly(error: BaseException) -> str:
    """What an error says, without names of classes and numbers of errors, which say little to who
    reads them.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS comes about ({(cause.reason or '').replace('_', ' ').lower()})"
        if isinstance(cause, socket.gaierror):
            return (
                "there is no host of that name"
                if cause.errno != socket.EAI_AGAIN
                else "its name cannot be looked up at the moment"
            )
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower()
    return _NUMBER.sub("", str(error)).rstrip(".")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those from which it was raised; of several that were raised together the
    first.
    """
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is None and error.args and isinstance(error.args[0], BaseException):
            # The HTTP client's own layer puts the system's error into its own.
            error = error.args[0]
        else:
            error = error.__cause__


def _place(error: Exception) -> str:
    """Where the connection was to lead, as far as that is known."""
    try:
        url = error.request.url if isinstance(error, httpx2.RequestError) else None
    except (AttributeError, RuntimeError):  # it knows no request
        url = None
    if url is None:
        return ""
    return f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def failure_of_status(
    status: int, headers: Mapping[str, str], body: bytes, redact: Redactor
) -> UpstreamError | None:
    """Our error for an answer with this status; None for a success."""
    if status in _ANSWERS:
        return None
    answer = answered(status, body, redact)
    kind = _passing_kind(status)
    if kind is not None:
        return AttemptFailed(kind, answer, retry_after(headers), brief=f"answer {status}")
    if status == HTTPStatus.UNAUTHORIZED:
        return UpstreamRefused(key_refused(answer), answer)
    if status in _TOO_LARGE:
        return RequestTooLarge(f"The API finds the request too large. {answer}")
    if status in _REDIRECTS:
        target = redact(headers.get("location", ""))
        return FetchFailed(
            f"The API answered with a redirect ({status}{f' to {target}' if target else ''}), which"
            " is not followed: the key would go with it. Check RISK_API_BASE_URL.",
            status=status,
        )
    # 403 too: whether the key is refused, or only what belongs to some account, other requests
    # tell.
    return FetchFailed(answer, status=status)


def answered(status: int, body: bytes, redact: Redactor) -> str:
    """The sentence that tells what the API answered, its body quoted in short."""
    # More than is quoted: escapes and the key may be longer than what is shown of them.
    said = redact(body[: 64 * EXCERPT_LENGTH].decode(errors="replace"))
    return f"The API answered {status}" + (
        f" ({said})." if said else ", without a word." if not body.strip() else "."
    )


def key_refused(answer: str) -> str:
    """The sentence that tells that the API refuses the key, with its own words."""
    return (
        "The API refuses the key; what was healed before stays, nothing else was changed. Check"
        f" RISK_API_KEY. {answer}"
    )


def _passing_kind(status: int) -> FailureKind | None:
    """How a status that may pass is counted; None for one that trying again does not change."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureKind.THROTTLED
    if status in _NOT_READY or status in _UNFINISHED:
        return FailureKind.NOT_READY
    return FailureKind.SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None


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


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer's `Retry-After` asks for (RFC 9110: seconds or a date), never
    negative; None without a usable one.

    A date is compared with the answer's own `Date` where it has one, so that a clock that differs
    from ours does no harm.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        until = _http_date(value)
        if until is None:
            return None
        now = _http_date(headers.get("date", "")) or dt.datetime.now(dt.UTC)
        seconds = (until - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _http_date(value: str) -> dt.datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a number of more digits than a C integer holds overflows
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
