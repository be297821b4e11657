"""`trade-recon serve` as a process, measured from outside. Needs Linux."""

import asyncio
import contextlib
import datetime as dt
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2

SCHEMA = "prop_trading_model"
_START_SECONDS = 60.0
_RUN_SECONDS = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service under way: its process, a client of it, and a connection to its warehouse."""

    process: asyncio.subprocess.Process
    http: httpx2.AsyncClient
    warehouse: "asyncpg.Connection[asyncpg.Record]"

    @property
    def peak(self) -> float:
        """The most memory that the process had resident so far, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    async def reconcile(self, kind: str = "full") -> dict[str, object]:
        """Do one run of all accounts; its state."""
        answer = await self.http.post("/runs", json={"kind": kind})
        answer.raise_for_status()
        location = answer.headers["location"]
        async with asyncio.timeout(_RUN_SECONDS):
            while True:
                answer = await self.http.get(location)
                if answer.is_error:
                    raise RuntimeError(f"{location} answered {answer.status_code}: {answer.text}")
                state: dict[str, object] = answer.json()
                if state["finished_at"]:
                    return state
                await asyncio.sleep(0.25)


@contextlib.asynccontextmanager
async def serve(
    folder: Path,
    dsn: str,
    address: str,
    rate: int,
    day: dt.date | None = None,
    **settings: object,
) -> AsyncIterator[Service]:
    """The service on a warehouse and an upstream, of which it asks so much a second at most, on the
    machine's day or another; its log is in the folder.
    """
    command = ("app.cli.app",) if day is None else ("bench.serve_on", day.isoformat())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    warehouse = await asyncpg.connect(dsn, server_settings={"search_path": SCHEMA})
    log = (folder / "service.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "serve", "--port", str(port)),
        cwd=folder,
        env={
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("RECON_", "RISK_API_", "DATABASE_"))
            },
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "DATABASE_URL": dsn,
            "RISK_API_BASE_URL": address,
            "RISK_API_KEY": "bench",
            "RISK_API_RATE": str(rate),
            "RISK_API_BURST": str(rate),
            **{name: str(value) for name, value in settings.items()},
        },
        stdout=log,
        stderr=log,
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            async with asyncio.timeout(_START_SECONDS):
                while not await _answers(http):
                    if process.returncode is not None:
                        raise SystemExit((folder / "service.log").read_text(encoding="utf-8"))
                    await asyncio.sleep(0.1)
            yield Service(process, http, warehouse)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        log.close()
        await warehouse.close()


async def _answers(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).is_success
    except httpx2.TransportError:
        return False
