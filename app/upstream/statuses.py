"""The meaning of response statuses."""

import datetime as dt
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from app.errors import FetchFailed, RequestTooLarge, UpstreamError, UpstreamRefused
from app.upstream.failures import AttemptFailed, FailureKind
from app.upstream.redaction import Redactor, answered

_TOO_LARGE = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG})
MISSING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""Nothing matches the filter."""
_NOT_READY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
_ANSWERS = frozenset(
    {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION, HTTPStatus.NO_CONTENT}
)
_UNFINISHED = frozenset(range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)) - _ANSWERS
"""Without a whole answer."""
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


def failure_of_status(
    status: int, headers: Mapping[str, str], body: bytes, redact: Redactor
) -> UpstreamError | None:
    """The status's error; None for success."""
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


def key_refused(answer: str) -> str:
    """The sentence of a refused key."""
    return (
        "The API refuses the key; what was healed before stays, nothing else was changed. Check"
        f" RISK_API_KEY. {answer}"
    )


def _passing_kind(status: int) -> FailureKind | None:
    """The kind of failure that may pass; None if it may not."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureKind.THROTTLED
    if status in _NOT_READY or status in _UNFINISHED:
        return FailureKind.NOT_READY
    return FailureKind.SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After` (RFC 9110), dates by the answer's own clock."""
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
