"""The sandbox in an event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from app.errors import ConfigurationError
from app.sandbox.server.app import create_sandbox
from app.sandbox.server.faults import NO_FAULTS, Faults
from app.sandbox.server.request_log import RequestLog
from app.sandbox.world.world import World

LOOPBACK = "127.0.0.1"
_TICK_SECONDS = 0.005
_DATE_SECONDS = 1.0


class LoopServer(uvicorn.Server):
    """uvicorn without signals, stopping at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def stop(self) -> None:
        """End `serve`."""
        self.should_exit = True
        self._told.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def main_loop(self) -> None:
        """Refresh the Date header until `stop`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _DATE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Pending requests end as uvicorn ends them."""
        for each in (*self.servers, *(sockets or ())):
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # A connection at rest is gone after one round of the loop.
        await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()


class SandboxServer:
    """The sandbox on a free loopback port in this event loop."""

    def __init__(
        self,
        world: World,
        *,
        api_key: str = "sandbox",
        rate: float | None = None,
        burst: float | None = None,
        faults: Faults = NO_FAULTS,
        app: FastAPI | None = None,
    ) -> None:
        """`app` overrides the other options."""
        self.world = world
        self.app = app or create_sandbox(
            world, api_key=api_key, rate=rate, burst=burst, faults=faults
        )
        self.api_key = api_key
        self.base_url = ""
        """Ends with a slash."""
        self._server: LoopServer | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def log(self) -> RequestLog:
        """Requests received."""
        log: RequestLog = self.app.state.log
        return log

    def set_faults(self, faults: Faults) -> None:
        """Show `faults` from now on."""
        self.app.state.set_faults(faults)

    async def __aenter__(self) -> Self:
        """Start, and wait until it answers."""
        listener = open_listener(LOOPBACK, 0)
        self._server = LoopServer(uvicorn_config(self.app, log_level="critical"))
        self._running = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._running.done():
                await self._running
                raise ConfigurationError("The sandbox ended while it was starting.")
            await asyncio.sleep(_TICK_SECONDS)
        self.base_url = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        if self._server is not None and self._running is not None:
            self._server.stop()
            await self._running


def serve(
    world: World,
    host: str,
    port: int,
    *,
    api_key: str = "sandbox",
    rate: float | None = None,
    burst: float | None = None,
    faults: Faults = NO_FAULTS,
) -> None:
    """Serve `world` until a signal; ConfigurationError."""
    listener = open_listener(host, port)
    app = create_sandbox(world, api_key=api_key, rate=rate, burst=burst, faults=faults)
    uvicorn.Server(uvicorn_config(app, log_level="warning")).run(sockets=[listener])


def uvicorn_config(app: FastAPI, *, log_level: str) -> uvicorn.Config:
    """Quiet, without lifespan events."""
    return uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=0,
        log_config=None,
    )


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigurationError."""
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        raise ConfigurationError(
            f"The sandbox cannot listen on {host}:{port}: {error.strerror}. Choose another port."
        ) from error
    # asyncio does it only for sockets that it made itself; without it each answer waits 40 ms for
    # the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
