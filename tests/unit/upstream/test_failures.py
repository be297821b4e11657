import asyncio
import datetime as dt
import errno
import socket
import ssl
from email.utils import format_datetime

import httpx2
import msgspec
import pytest

from app.errors import FetchFailed, RequestTooLarge, UpstreamError, UpstreamRefused
from app.upstream.failures import AttemptFailed, FailureKind, kind_of
from app.upstream.foreign_errors import FOREIGN, translate
from app.upstream.redaction import Redactor
from app.upstream.statuses import failure_of_status, retry_after

REDACT = Redactor('k"ey/+1')


def _tree(cls: type[BaseException]) -> set[type[BaseException]]:
    return {cls}.union(*(_tree(child) for child in cls.__subclasses__()))


def _own_errors(module: object) -> list[type[Exception]]:
    classes = {
        cls
        for cls in _tree(Exception)
        if cls.__module__.split(".")[0] == module.__name__ and not issubclass(cls, Warning)  # type: ignore[attr-defined]
    }
    return sorted(
        (cls for cls in classes if issubclass(cls, Exception)), key=lambda cls: cls.__name__
    )


def _instance(cls: type[Exception]) -> Exception:
    error = cls.__new__(cls)
    Exception.__init__(error, "it broke")
    return error


@pytest.mark.parametrize(
    "cls",
    [
        *_own_errors(httpx2),
        *_own_errors(msgspec),
        TimeoutError,
        ConnectionResetError,
        OSError,
        UnicodeError,
        RecursionError,
    ],
)
def test_every_error_of_the_libraries_below_becomes_ours(cls: type[Exception]) -> None:
    assert issubclass(cls, FOREIGN)
    ours = translate(_instance(cls), REDACT)
    assert isinstance(ours, UpstreamError)
    assert str(ours).endswith((".", "ids."))


def test_the_class_tree_was_walked() -> None:
    names = {cls.__name__ for cls in _own_errors(httpx2)}
    assert {
        "ConnectError",
        "ReadTimeout",
        "RemoteProtocolError",
        "InvalidURL",
        "CookieConflict",
        "ResponseNotRead",
    } <= names
    assert {"DecodeError", "ValidationError"} <= {cls.__name__ for cls in _own_errors(msgspec)}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), FailureKind.DEADLINE),
        (httpx2.ReadTimeout(""), FailureKind.DEADLINE),
        (httpx2.ConnectError("refused"), FailureKind.CONNECTION),
        (httpx2.RemoteProtocolError("hung up"), FailureKind.CONNECTION),
        (ConnectionResetError(), FailureKind.CONNECTION),
        (httpx2.DecodingError("no gzip"), FailureKind.GARBLED),
        (msgspec.DecodeError("no JSON"), FailureKind.GARBLED),
    ],
)
def test_errors_that_may_pass_are_attempts_that_failed(error: Exception, kind: FailureKind) -> None:
    ours = translate(error, REDACT)
    assert isinstance(ours, AttemptFailed)
    assert kind_of(ours) is kind


@pytest.mark.parametrize(
    "error",
    [
        httpx2.UnsupportedProtocol("ftp"),
        httpx2.LocalProtocolError("bad header"),
        httpx2.TooManyRedirects("many"),
    ],
)
def test_errors_of_our_own_making_are_final(error: Exception) -> None:
    assert type(translate(error, REDACT)) is FetchFailed


def _from(cause: BaseException) -> httpx2.ConnectError:
    """The client's error over the system's, as the layers below it chain them."""
    error = httpx2.ConnectError("[Errno 1] All connection attempts failed")
    error.__cause__ = OSError(cause)
    return error


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (_untrusted(), "its certificate is not trusted (self-signed certificate)"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "there is no host of that name"),
        (
            socket.gaierror(socket.EAI_AGAIN, "later"),
            "its name cannot be looked up at the moment",
        ),
        (ExceptionGroup("both", [ConnectionRefusedError("refused")]), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "No route"), "no route to host"),
    ],
)
def test_why_a_connection_failed_is_said_by_its_first_cause(cause: Exception, said: str) -> None:
    assert str(translate(_from(cause), REDACT)) == f"The connection to the API failed ({said})."


async def test_a_host_that_speaks_no_tls_is_told_with_its_port() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError) as caught:
            await client.get(f"https://127.0.0.1:{port}/")
    assert str(translate(caught.value, REDACT)) == (
        "The connection to the API failed (no TLS comes about (wrong version number),"
        f" 127.0.0.1:{port})."
    )


def test_an_address_that_is_too_long_asks_for_fewer_ids() -> None:
    with pytest.raises(httpx2.InvalidURL) as caught:
        httpx2.URL("http://host/?" + "a" * 70_000)
    assert isinstance(translate(caught.value, REDACT), RequestTooLarge)


def test_the_key_is_hidden_in_every_form_and_before_the_text_is_cut() -> None:
    for form in ('k"ey/+1', 'k\\"ey/+1', "k%22ey%2F%2B1"):
        assert REDACT(f"got {form}!") == "got ***!"
        assert REDACT("x" * 195 + form) == "x" * 195 + "***"
    assert REDACT("a\n\x00 b") == "a b"
    assert len(REDACT("y" * 10_000)) == 201


def test_an_error_that_holds_the_key_is_not_chained() -> None:
    clean, dirty = httpx2.ReadError("gone"), httpx2.LocalProtocolError("header k%22ey%2F%2B1")
    assert REDACT.cause(clean) is clean
    assert REDACT.cause(dirty) is None
    assert "k%22" not in str(translate(dirty, REDACT))


def _failure(status: int, **headers: str) -> UpstreamError | None:
    return failure_of_status(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", REDACT
    )


def test_every_status_has_one_meaning() -> None:
    assert _failure(200) is None
    assert isinstance(_failure(301), FetchFailed)
    assert isinstance(_failure(304), FetchFailed)
    assert isinstance(_failure(401), UpstreamRefused)
    assert isinstance(
        _failure(403), FetchFailed
    )  # other requests tell whether it is the key or an account
    assert isinstance(_failure(413), RequestTooLarge)
    assert isinstance(_failure(414), RequestTooLarge)
    passing = {status for status in range(300, 600) if isinstance(_failure(status), AttemptFailed)}
    assert passing == {408, 425, 429, *range(500, 600)}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Fri, 99 Foo", None),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date_is_measured_on_the_clock_of_the_api() -> None:
    then = dt.datetime(2020, 1, 1, 12, 0, tzinfo=dt.UTC)
    later = format_datetime(then + dt.timedelta(seconds=90), usegmt=True)
    assert retry_after({"retry-after": later, "date": format_datetime(then, usegmt=True)}) == 90
    assert retry_after({"retry-after": later}) == 0
    soon = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60), usegmt=True)
    assert 50 < (retry_after({"retry-after": soon}) or 0) <= 60
