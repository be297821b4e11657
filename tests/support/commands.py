"""trade-recon as its users meet it: a process with an environment, or the app behind a real
socket.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from pydantic import SecretStr

from app.main import create_app
from app.sandbox.server.serving import LoopServer, SandboxServer
from app.settings.model import Settings
from tests.conftest import Database
from tests.support.clock import now
from tests.support.nursery import Forked
from tests.support.processes import start_command
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
_OWN = ("DATABASE_URL", "RECON_", "RISK_API_")
_SECONDS = PATIENCE


def environment(folder: Path, **values: str) -> dict[str, str]:
    """An environment with nothing of trade-recon's but `values`; embedded data would go into
    `folder`.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "RECON_DATA_DIR": str(folder),
        "RECON_OUTAGE_WAIT": "2",
        **values,
    }


def access(database: Database, sandbox: SandboxServer, api_key: str = "sandbox") -> dict[str, str]:
    """The variables that lead to a test's own database and upstream."""
    return {
        "DATABASE_URL": database.dsn,
        "RISK_API_BASE_URL": sandbox.base_url,
        "RISK_API_KEY": api_key,
        "RISK_API_RATE": "1000",
        "RISK_API_BURST": "1000",
    }


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def log(self) -> list[dict[str, object]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]


class Command:
    """A running `trade-recon`; its folder holds no .env."""

    def __init__(self, process: Forked) -> None:
        self._process = process
        self._head = ""

    @classmethod
    async def start(cls, folder: Path, variables: Mapping[str, str], *words: str) -> "Command":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await start_command(
                words, folder, environment(folder, **variables), stdout=pipe, stderr=pipe
            )
        )

    async def line_with(self, text: str) -> str:
        """The first line on stderr that holds `text`."""
        assert self._process.stderr is not None
        async with asyncio.timeout(_SECONDS):
            while line := (await self._process.stderr.readline()).decode():
                self._head += line
                if text in line:
                    return line
        raise AssertionError(f"{text!r} was never said:\n{self._head}")

    async def has_said(self, *texts: str) -> None:
        """Wait until stderr held each of the texts, in any order."""
        for text in texts:
            if text not in self._head:
                await self.line_with(text)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> Ended:
        """Wait for the end."""
        async with asyncio.timeout(_SECONDS):
            stdout, stderr = await self._process.communicate()
        assert self._process.returncode is not None
        return Ended(self._process.returncode, stdout.decode(), self._head + stderr.decode())


async def run_command(folder: Path, variables: Mapping[str, str], *words: str) -> Ended:
    """Run `trade-recon` to its end."""
    return await (await Command.start(folder, variables, *words)).end()


def settings_for(dsn: str, base_url: str, *, api_key: str = "sandbox") -> Settings:
    """Settings with a quota that a test need not wait for."""
    return Settings(
        database_url=SecretStr(dsn),
        risk_api_base_url=base_url,
        risk_api_key=SecretStr(api_key),
        risk_api_rate=1000,
        risk_api_burst=1000,
        recon_outage_wait=2,
    )


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The app with its lifespan behind a real socket, and a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = LoopServer(
        uvicorn.Config(
            create_app(settings, now), lifespan="on", log_config=None, timeout_graceful_shutdown=5
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not running.done(), "the app did not start"
        await asyncio.sleep(0.01)
    try:
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30
        ) as client:
            yield client
    finally:
        server.stop()
        await running


async def ended(client: httpx2.AsyncClient, location: str) -> dict[str, Any]:
    """The run once it is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await client.get(location)
            assert answer.status_code == 200
            state: dict[str, Any] = answer.json()
            if state["finished_at"]:
                return state
            await asyncio.sleep(0.05)
