"""Connections to PostgreSQL, and their failures in plain words."""

import errno
import os
import re
import socket
import ssl
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

_PORT = "5432"
_NUMBER = re.compile(r"\[Errno (-?\d+)\] ?")
_CLASS = re.compile(r"^\w+(Error|Exception): ")
_NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
_BROKEN = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)
_CONNECTION_LOST = "unexpected connection_lost() call"


class Unreached(ConnectionError):
    """No connection; `is_of_setting`: the DSN is wrong, waiting is useless."""

    def __init__(self, message: str, *, is_of_setting: bool = False) -> None:
        super().__init__(message)
        self.is_of_setting = is_of_setting


async def reach(dsn: str, **options: Any) -> Any:  # noqa: ANN401 - the driver's own options, and its connection of the class that they name
    """A new connection; raises Unreached, or the driver's error for a rejection."""
    try:
        return await asyncpg.connect(dsn, **options)
    except (
        OSError,
        TimeoutError,
        asyncpg.ConnectionDoesNotExistError,
        asyncpg.exceptions.TargetServerAttributeNotMatched,
    ) as error:
        raise _unreached(error, dsn, options.get("timeout")) from error


def servers(dsn: str) -> str:
    """A DSN's servers, as `host:port` or socket folder, without credentials."""
    parts = urlsplit(dsn)
    named = dict(parse_qsl(parts.query))
    written = (
        unquote(parts.netloc.rpartition("@")[2])
        or named.get("host", "")
        or os.environ.get("PGHOST", "")
    )
    ports = (named.get("port") or os.environ.get("PGPORT") or _PORT).split(",")
    hosts = [host for host in written.split(",") if host] or ["localhost"]
    return _joined(
        [_server(host, ports[min(place, len(ports) - 1)]) for place, host in enumerate(hosts)]
    )


def plainly(error: BaseException) -> str:
    """An error as the end of a sentence."""
    if isinstance(error, TimeoutError) and not isinstance(error, Unreached):
        return "it does not answer in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, Unreached):
        # str(error) would repeat the address.
        return _plain(error.strerror)
    said = _plain(str(error))
    return said or "the connection broke off"


def _plain(text: str) -> str:
    said = _CLASS.sub("", _NUMBER.sub("", text)).strip().rstrip(".")
    # An acronym keeps its capitals.
    return f"{said[:1].lower()}{said[1:]}" if said[1:2].islower() else said


def _server(host: str, port: str) -> str:
    if host.startswith("/"):
        return f"the socket in {host}"
    has_port = re.search(r"(?<!:):\d+$|\]:\d+$", host) is not None
    return host if has_port else f"{host}:{port}"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _unreached(error: BaseException, dsn: str, timeout: float | None) -> Unreached:
    place = servers(dsn)
    if (of_tls := _of_tls(error, dsn, place)) is not None:
        return of_tls
    if isinstance(error, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return Unreached(f"no server is as target_session_attrs asks for ({place})")
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return Unreached(f"the host of {place} cannot be looked up at the moment")
        return Unreached(f"there is no host of that name ({place})")
    if isinstance(error, TimeoutError):
        return Unreached(
            f"{place} does not answer{'' if timeout is None else f' within {timeout:g} s'}"
        )
    return Unreached(_of_network(error, place))


def _of_tls(error: BaseException, dsn: str, place: str) -> Unreached | None:
    if "rejected SSL upgrade" in str(error):
        mode = (
            dict(parse_qsl(urlsplit(dsn).query)).get("sslmode")
            or os.environ.get("PGSSLMODE")
            or "require"
        )
        return Unreached(
            f"the server has no TLS: take sslmode={mode} out ({place})", is_of_setting=True
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _plain(error.verify_message or "it cannot be verified")
        return Unreached(
            f"the certificate of {place} is not trusted ({reason}): name its authority with"
            " sslrootcert",
            is_of_setting=True,
        )
    if isinstance(error, ssl.SSLError):
        return Unreached(
            f"TLS with {place} fails:"
            f" {_plain((error.reason or str(error)).replace('_', ' ').lower())}"
        )
    return None


def _of_network(error: BaseException, place: str) -> str:
    numbers = {int(number) for number in _NUMBER.findall(str(error))} | {
        getattr(error, "errno", None)
    }
    if errno.ECONNREFUSED in numbers or errno.ENOENT in numbers:
        return f"no PostgreSQL listens on {place}"
    if errno.EACCES in numbers or errno.EPERM in numbers:
        return f"this user may not use {place}"
    if numbers.intersection(_NO_WAY):
        return f"there is no way to {place}"
    if (
        numbers.intersection(_BROKEN)
        or isinstance(error, asyncpg.ConnectionDoesNotExistError)
        or _CONNECTION_LOST in str(error)
    ):
        return (
            f"{place} ends the connection at once: it is no PostgreSQL, or does not take this one"
        )
    return f"the connection to {place} fails: {plainly(error)}"
