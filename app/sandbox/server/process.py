"""The sandbox in its own process."""

import asyncio
import contextlib
import datetime as dt
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from app.errors import ConfigurationError
from app.sandbox.server.serving import LOOPBACK, SandboxServer
from app.sandbox.world.world import World

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


class WorldArguments(msgspec.Struct, frozen=True, kw_only=True):
    """A world from `trades_file`, or made up."""

    today: dt.date
    trades_file: str | None = None
    accounts: int = 300
    seed: int = 0
    trades_per_account: int = 40
    days: int = 60
    contradictory: bool = True

    def world(self) -> World:
        """InvalidRequest for an unreadable file or number."""
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


class SandboxProcess:
    """The sandbox in a process that dies with its parent; ConfigurationError."""

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
        """Ends with a slash."""
        self._setup = _Setup(arguments, api_key, rate, burst)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start, and wait until it answers."""
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
        self.base_url = f"http://{LOOPBACK}:{int(port)}/"
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
    """No secret stands on a command line."""

    arguments: WorldArguments
    api_key: str
    rate: float | None
    burst: float | None

    def __repr__(self) -> str:
        return f"_Setup({self.arguments!r})"


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
