"""Other libraries' errors become ours only here."""

import os
import re
import socket
import ssl
from collections.abc import Iterator

import httpx2
import msgspec

from app.errors import FetchFailed, RequestTooLarge, UpstreamError
from app.upstream.failures import AttemptFailed, FailureKind
from app.upstream.redaction import Redactor

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
"""All errors of other libraries."""


def translate(error: Exception, redact: Redactor) -> UpstreamError:
    """Our error for one of `FOREIGN`; chain it to `redact.cause(error)`."""
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
    """What went wrong, without names of classes and numbers of errors."""
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
    """The error and its causes."""
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
    try:
        url = error.request.url if isinstance(error, httpx2.RequestError) else None
    except (AttributeError, RuntimeError):  # it knows no request
        url = None
    if url is None:
        return ""
    return f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
