"""Runs the sandbox: inside the caller's event loop, for good, or as a process of its own."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import uvicorn
from fastapi import FastAPI

from app.errors import ConfigurationError
from app.sandbox.server.app import create_sandbox
from app.sandbox.server.faults import NO_FAULTS, Faults
from app.sandbox.server.request_log import RequestLog
from app.sandbox.world.world import World

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_TICK_SECONDS = 0.005
_DATE_SECONDS = 1.0


class WorldArguments(msgspec.Struct, frozen=True, kw_only=True):
    """From what a process makes its world: the trades of `trades_file`, or made up from the rest if
    that is None.

    The same arguments give the same world in every process.
    """

    today: dt.date
    trades_file: str | None = None
    accounts: int = 300
    seed: int = 0
    trades_per_account: int = 40
    days: int = 60
    contradictory: bool = True

    def world(self) -> World:
        """The world; InvalidRequest if the file cannot be read or a number is out of bounds."""
        if self.trades_file is not None:
            return World.from_csv(Path(self.trades_file), seed=self.seed)
        return World.generate(
            self.accounts,
            seed=self.seed,
            today=self.today,
            trades_per_account=self.trades_per_account,
            days=self.days,
            contradictory=self.contradictory,
        )


class LoopServer(uvicorn.Server):
    """uvicorn that leaves signals to the process that it runs in, and stops at once where it would
    count tenths of a second.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def stop(self) -> None:
        """End `serve`."""
        self.should_exit = True
        self._told.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def main_loop(self) -> None:
        """Keep the date that answers are sent with, until `stop`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _DATE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything; requests under way, if there are any, end as uvicorn ends them."""
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
    """The sandbox on a free loopback port in the current event loop, as an async context manager.

    Leaving it ends requests under way at once.
    """

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
        """Serve `world`; with `app`, one that create_sandbox made of it, serve that and leave the
        other options alone.
        """
        self.world = world
        self.app = app or create_sandbox(
            world, api_key=api_key, rate=rate, burst=burst, faults=faults
        )
        self.api_key = api_key
        self.base_url = ""
        """Where it answers, ending with a slash; empty before the start."""
        self._server: LoopServer | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def log(self) -> RequestLog:
        """What was asked."""
        log: RequestLog = self.app.state.log
        return log

    def set_faults(self, faults: Faults) -> None:
        """Show `faults` from now on."""
        self.app.state.set_faults(faults)

    async def __aenter__(self) -> Self:
        """Start, and wait until it answers."""
        listener = _listener(_LOOPBACK, 0)
        self._server = LoopServer(_config(self.app, log_level="critical"))
        self._running = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._running.done():
                await self._running
                raise ConfigurationError("The sandbox ended while it was starting.")
            await asyncio.sleep(_TICK_SECONDS)
        self.base_url = f"http://{_LOOPBACK}:{listener.getsockname()[1]}/"
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
    """Serve `world` until a signal comes. ConfigurationError if the address cannot be had."""
    listener = _listener(host, port)
    app = create_sandbox(world, api_key=api_key, rate=rate, burst=burst, faults=faults)
    uvicorn.Server(_config(app, log_level="warning")).run(sockets=[listener])


class SandboxProcess:
    """The sandbox as a process of its own on a free loopback port, as a context manager.

    It dies with its parent.

    Entering waits until it answers; ConfigurationError if it does not.
    """

    def __init__(
        self,
        arguments: WorldArguments,
        *,
        api_key: str = "sandbox",
        rate: float | None = None,
        burst: float | None = None,
    ) -> None:
        """Serve the world of `arguments`."""
        self.arguments = arguments
        self.base_url = ""
        """Where it answers, ending with a slash; empty before the start."""
        self._setup = _Setup(arguments, api_key, rate, burst)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "app.sandbox.server.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        # Its input stays open as long as we live: that it ends is how the process learns that its
        # parent is gone.
        giving_up = threading.Timer(_START_SECONDS, process.kill)
        giving_up.start()
        try:
            if process.stdin is None or process.stdout is None:
                raise ConfigurationError("The sandbox process has no pipes.")
            process.stdin.write(msgspec.json.encode(self._setup) + b"\n")
            process.stdin.flush()
            port = process.stdout.readline().strip()
        except BrokenPipeError:
            port = b""
        finally:
            giving_up.cancel()
        if not port.isdigit():
            self._stop()
            raise ConfigurationError(
                f"The sandbox process did not start within {_START_SECONDS:.0f} s; its own message"
                " stands above."
            )
        self.base_url = f"http://{_LOOPBACK}:{int(port)}/"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self._stop()

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Setup(msgspec.Struct, frozen=True):
    """What the parent tells the process, on one line of its input: no secret stands on a command
    line.
    """

    arguments: WorldArguments
    api_key: str
    rate: float | None
    burst: float | None

    def __repr__(self) -> str:
        return f"_Setup({self.arguments!r})"


def _config(app: FastAPI, *, log_level: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=0,
        log_config=None,
    )


def _listener(host: str, port: int) -> socket.socket:
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


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


async def _run_child(setup: _Setup) -> None:
    server = SandboxServer(
        setup.arguments.world(), api_key=setup.api_key, rate=setup.rate, burst=setup.burst
    )
    async with server:
        sys.stdout.write(f"{server.base_url.rstrip('/').rpartition(':')[2]}\n")
        sys.stdout.flush()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run_child(msgspec.json.decode(sys.stdin.buffer.readline(), type=_Setup)))
