"""Serves HTTP: listener, uvicorn, interpreter."""

import asyncio
import contextlib
import ctypes
import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import uvicorn

from app.errors import ConfigurationError
from app.telemetry import get_logger

_log = get_logger(__name__)
ANSWER_SECONDS = 5
"""To end requests after a signal."""
_WAITING_CONNECTIONS = 512
_TURN_SECONDS = 0.0002
_COLLECTIONS = (5_000, 4, 500)
_ALLOCATION = ((-8, 2), (-3, 256 * 1024))
"""M_ARENA_MAX and M_MMAP_THRESHOLD of mallopt(3): two heaps, large blocks returned."""
_OTHER_THREADS = 2
"""For named accounts and host names."""


def tune_interpreter(workers: int) -> None:
    """Keep requests from waiting for batches, and memory from growing.

    Threads switch every 5 ms by default; collecting all objects takes a quarter of a second and
    finds hardly any cycles; each thread costs glibc memory.
    """
    sys.setswitchinterval(_TURN_SECONDS)
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(workers + _OTHER_THREADS))
    with contextlib.suppress(AttributeError):  # only glibc has it, and only glibc needs it
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _ALLOCATION:
            mallopt(parameter, value)


class Server(uvicorn.Server):
    """uvicorn that stops the work upon a signal, without raising it again."""

    def __init__(self, config: uvicorn.Config, stop_work: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop_work = stop_work
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Batches stop beside requests, not after."""
        if not self.should_exit:
            _log.info("A signal came: trade-recon ends its work.", action="http.stopping")
            self._loop.call_soon_threadsafe(self._stop_work)
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the server runs."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigurationError."""
    try:
        listener = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=_WAITING_CONNECTIONS,
        )
    except OSError as error:
        raise ConfigurationError(
            f"trade-recon cannot listen on {host}:{port}: {error.strerror}. Choose another host or"
            " port."
        ) from error
    # asyncio does so for sockets that it makes; without it each small answer waits some 40 ms for
    # the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def require_loopback(host: str, port: int) -> str:
    """A loopback address, as nothing authenticates callers; ConfigurationError."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"trade-recon cannot listen on {host}:{port}: the host is not known. Choose another"
            " host or port."
        ) from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ConfigurationError(
            f"trade-recon does not listen on {host or 'all addresses'}, since it does not"
            " authenticate its callers: let it listen on 127.0.0.1, and put a proxy that"
            " authenticates beside it, in a container's network as a sidecar. Nothing was changed."
        )
    return addresses[0]
