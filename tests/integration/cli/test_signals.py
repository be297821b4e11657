import asyncio
import json
import signal
import socket
import uuid
from pathlib import Path

import httpx2
import pytest

from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.commands import Command, access, run_command
from tests.support.waiting import PATIENCE

_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=20)


async def _url(command: Command) -> str:
    return str(json.loads(await command.line_with("http.serving"))["url"])


async def _first_answer(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    """What is answered as soon as anybody listens."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await client.get(path)
            except httpx2.ConnectError:
                await asyncio.sleep(0.05)


async def _requests_of(sandbox: SandboxServer, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(sandbox.log.requests) < count:  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_that_is_told_to_stop_ends_with_0(
    database: Database, sandbox: SandboxServer, tmp_path: Path, number: signal.Signals
) -> None:
    command = await Command.start(tmp_path, access(database, sandbox), "serve", "--port", "0")
    async with httpx2.AsyncClient(base_url=await _url(command)) as client:
        assert (await client.get("/readyz")).status_code == 200
        command.signal(number)
        ended = await command.end()
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_run_releases_its_accounts_and_is_cancelled(
    filled: Database, sandbox: SandboxServer, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    async with filled.connect() as connection:
        await connection.execute("UPDATE raw_metrics_alltime SET num_trades = num_trades + 1")
    sandbox.set_faults(_SLOW)
    sandbox.log.reset()
    command = await Command.start(tmp_path, access(filled, sandbox), "reconcile")
    await _requests_of(sandbox, 1)
    command.signal(number)
    ended = await command.end()
    assert ended.code == code, ended.stderr
    assert "Traceback" not in ended.stderr
    async with filled.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE claimed_by IS NOT NULL"
            )
            == 0
        )
        assert await connection.fetchval("SELECT max(failed_attempts) FROM trade_recon") == 0
        assert await connection.fetchval("SELECT status FROM recon_runs") == "cancelled"


@pytest.mark.parametrize(
    "next_words", [("reconcile", "--kind", "audit"), ("reconcile",), ("legacy", "--reconcile")]
)
@pytest.mark.parametrize("kind", ["audit", "retry"])
async def test_a_run_whose_command_was_killed_is_finished_by_the_next_command(
    filled: Database, sandbox: SandboxServer, tmp_path: Path, kind: str, next_words: tuple[str, ...]
) -> None:
    async with filled.connect() as connection:
        await connection.execute("UPDATE raw_metrics_alltime SET num_trades = num_trades + 1")
    sandbox.set_faults(_SLOW)
    sandbox.log.reset()
    variables = {**access(filled, sandbox), "RECON_LEASE_SECONDS": "5"}
    command = await Command.start(tmp_path, variables, "reconcile", "--kind", kind)
    await _requests_of(sandbox, 1)
    command.signal(signal.SIGKILL)
    await command.end()
    sandbox.set_faults(Faults())
    # The process counts as gone once its lease is over, be it while the next one works or before.
    async with filled.connect() as connection, asyncio.timeout(PATIENCE):
        while await connection.fetchval(  # noqa: ASYNC110 - another process's event
            "SELECT count(*) FROM recon_workers WHERE heartbeat_at > now() - interval '5 s'"
        ):
            await asyncio.sleep(0.1)
    ended = await run_command(tmp_path, variables, *next_words)
    assert ended.code == 0, ended.stderr
    async with filled.connect() as connection:
        runs = await connection.fetch("SELECT run_id, status FROM recon_runs ORDER BY created_at")
    assert {run["status"] for run in runs} <= {"succeeded", "completed_with_issues"}
    said = " ".join(ended.stderr.split())
    assert f"The {kind} run {runs[0]['run_id']}" in said
    assert "was left by a process that is gone: this command finishes it." in said


async def test_without_a_database_url_an_embedded_server_is_migrated_served_and_stopped(
    open_folder: Path, sandbox: SandboxServer
) -> None:
    folder = open_folder / f"embedded-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o711)
    variables = {"RISK_API_BASE_URL": sandbox.base_url, "RISK_API_KEY": sandbox.api_key}
    command = await Command.start(folder, variables, "serve", "--port", "0", "--embedded")
    async with httpx2.AsyncClient(base_url=await _url(command)) as client:
        assert (await client.get("/report")).json()["overall"]["total_accounts"] == 0
        command.signal(signal.SIGTERM)
        ended = await command.end()
    assert ended.code == 0, ended.stderr
    assert (folder / "postgresql" / "PG_VERSION").exists()
    assert not (folder / "postgresql" / "postmaster.pid").exists()
    # It is there, and empty.
    assert (await run_command(folder, {}, "report")).code == 1


async def test_an_address_that_is_taken_is_refused_in_one_sentence(
    database: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = await run_command(
            tmp_path, access(database, sandbox), "serve", "--port", str(taken.getsockname()[1])
        )
    assert ended.code == 2
    assert "cannot listen" in ended.stderr


async def test_the_sandbox_serves_a_made_up_world(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = await Command.start(
        tmp_path, {}, "sandbox", "--accounts", "12", "--port", str(port), "--api-key", "mine"
    )
    await command.line_with("12 accounts")
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"apiKey": "mine"}
    ) as client:
        answer = await _first_answer(client, "/v2/metrics/alltime?include-total=1")
    assert answer.json()["Data"]["total"] == 12
    command.signal(signal.SIGINT)
    assert (await command.end()).code == 130
