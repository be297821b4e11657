"""GET /report beside an empty route, also while a run is in progress: `python -m bench.report`.

The service is one uvicorn process (bench/served.py) on a warehouse of N accounts, the load another
(bench/http_load.py, eight connections). Route and report take turns, with and without the last
ETag. Of the runs, one repairs at the API's quota of 15 requests a second; one asks nothing, and
takes all accounts that agree from claim to record. At a rate, a request's time counts from when it
was due.
"""

import asyncio
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import asyncpg
import httpx2

from app.embedded_postgres.server import EmbeddedPostgres
from bench.detection import run_alone
from bench.endless import Crowd
from bench.memory import CROWD_ROWS, DISPOSABLE, serving
from bench.table import Ratio, at_least, at_most, figure
from bench.warehouse import SCHEMA

_ROUNDS = 5
_START_SECONDS = 120.0
_RATE = 100.0
_LOOK_SECONDS = 0.2
_HEALED = 60_000
"""Accounts of the run that heals: on two cores it takes half a minute."""
_UNDER_WAY_SECONDS, _WINDOW_SECONDS = 3.0, 15.0
_QUEUE = f"""
WITH ended AS (
    UPDATE {SCHEMA}.recon_runs SET status = 'cancelled', finished_at = now() WHERE status IN ('queued', 'running')
), queued AS (
    INSERT INTO {SCHEMA}.recon_runs (run_id, kind, status, started_at, prepared_at, total)
    SELECT $1, 'retry', 'running', now(), now(), count(*) FROM {SCHEMA}.trade_recon
    RETURNING run_id
)
INSERT INTO {SCHEMA}.recon_attempts (run_id, account_id, position)
SELECT run_id, account_id, row_number() OVER (ORDER BY account_id)
FROM queued, {SCHEMA}.trade_recon
WHERE trades_recon_checksum AND mismatched_days = 0
"""
"""A run over every account whose tables agree: it needs no upstream."""


async def measure(dsn: str, accounts: int, rounds: int = _ROUNDS) -> list[Ratio]:
    """The lines of the table for the warehouse of `dsn`."""
    async with _served(dsn) as port:
        await _ask(port, "/report", seconds=1)
        tag = await _tag(port)
        rates: dict[str, list[float]] = {"/empty": [], "/report": [], "304": []}
        for _ in range(rounds):
            rates["/empty"].append((await _ask(port, "/empty"))["rate"])
            rates["/report"].append((await _ask(port, "/report"))["rate"])
            rates["304"].append((await _ask(port, "/report", tag=tag))["rate"])
        medians = {name: statistics.median(values) for name, values in rates.items()}
        async with _running(dsn):
            busy = await _ask(port, "/report", seconds=10, rate=_RATE)
        seconds = await _counting_seconds(dsn)
    healing = await _while_healing(max(accounts, _HEALED))
    return [
        figure("empty route", medians["/empty"], "requests/s"),
        at_least("GET /report / empty route", medians["/report"] / medians["/empty"], 0.7),
        at_least(
            "GET /report, not modified / empty route", medians["304"] / medians["/empty"], 0.7
        ),
        figure("GET /report, 100 a second in a run that heals: median", healing["p50"], "ms"),
        at_most(
            "GET /report, 100 a second in a run that heals: 99 of 100 within",
            healing["p99"],
            20,
            "ms",
        ),
        figure("the same in a run that asks nothing and keeps all cores busy", busy["p99"], "ms"),
        figure("counting the figures of the report", seconds, "s"),
    ]


async def _while_healing(accounts: int) -> dict[str, float]:
    """Ask while a run fetches and stores something for each account, 15 requests a second."""
    with tempfile.TemporaryDirectory(prefix="trade-recon-bench-") as name:
        folder = Path(name)
        server = await EmbeddedPostgres.start(folder / "postgres", DISPOSABLE)
        try:
            async with serving(
                server, folder, Crowd(accounts).answer, CROWD_ROWS, accounts, rate=15
            ) as service:
                (await service.http.post("/runs", json={"kind": "full"})).raise_for_status()
                port = service.http.base_url.port
                if port is None:
                    raise RuntimeError("The service has no port.")
                await asyncio.sleep(_UNDER_WAY_SECONDS)
                return await _ask(port, "/report", seconds=_WINDOW_SECONDS, rate=_RATE)
        finally:
            await server.stop()


@contextlib.asynccontextmanager
async def _served(dsn: str) -> AsyncIterator[int]:
    """The service on the warehouse; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    # An upstream that is not there: accounts that agree ask it nothing.
    settings = {
        "DATABASE_URL": dsn,
        "RISK_API_BASE_URL": "http://127.0.0.1:9/",
        "RISK_API_KEY": "unused",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.served",
        str(port),
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with (
            asyncio.timeout(_START_SECONDS),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            while not await _is_ready(client):  # noqa: ASYNC110 - another process
                await asyncio.sleep(_LOOK_SECONDS)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == HTTPStatus.OK
    except httpx2.TransportError:
        return False


async def _tag(port: int) -> str:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return str((await client.get("/report")).headers["ETag"])


async def _ask(
    port: int, path: str, *, seconds: float = 3, rate: float = 0, tag: str = ""
) -> dict[str, float]:
    arguments = (
        "-m",
        "bench.http_load",
        str(port),
        path,
        "--seconds",
        str(seconds),
        "--rate",
        str(rate),
        "--tag",
        tag,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"Asking for {path} failed.")
    found: dict[str, float] = json.loads(output)
    return found


@contextlib.asynccontextmanager
async def _running(dsn: str) -> AsyncIterator[None]:
    """One run after the other, as long as the context lasts."""
    connection = await asyncpg.connect(dsn)
    # What was measured here before must not weigh on what is measured now.
    await connection.execute(f"TRUNCATE {SCHEMA}.recon_runs CASCADE")
    await connection.execute("VACUUM ANALYZE")
    task = asyncio.create_task(_keep_running(connection))
    try:
        await asyncio.sleep(1)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.execute(
            f"UPDATE {SCHEMA}.recon_runs SET status = 'cancelled', finished_at = now() WHERE"
            " finished_at IS NULL"
        )
        await connection.close()


async def _keep_running(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    while True:
        if not await connection.fetchval(
            f"SELECT count(*) FROM {SCHEMA}.recon_runs WHERE status IN ('queued', 'running')"
        ):
            await connection.execute(_QUEUE, uuid.uuid4())
        await asyncio.sleep(_LOOK_SECONDS)


async def _counting_seconds(dsn: str) -> float:
    connection = await asyncpg.connect(dsn)
    try:
        return float(await connection.fetchval(f"SELECT seconds FROM {SCHEMA}.recon_report"))
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(run_alone(__doc__, measure))
