"""The sandbox starts on a free port, stops, and as a process of its own dies with its parent."""

import asyncio
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx2
import pytest

from app.domain.contract.tables import Endpoint
from app.errors import ConfigurationError
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.process import SandboxProcess, WorldArguments
from app.sandbox.server.serving import SandboxServer, serve
from app.sandbox.world.world import World
from tests.support.waiting import PATIENCE

TODAY = dt.date(2026, 3, 10)
ROOT = Path(__file__).parents[4]


def refuses(base_url: str) -> bool:
    host, _, port = base_url.removeprefix("http://").rstrip("/").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


async def test_two_sandboxes_run_side_by_side_and_stop() -> None:
    world = World.generate(2, seed=1, today=TODAY)
    async with SandboxServer(world) as first, SandboxServer(world) as second:
        assert first.base_url != second.base_url
        assert first.base_url.endswith("/")
    assert refuses(first.base_url)
    assert refuses(second.base_url)


async def test_stopping_does_not_wait_for_a_slow_answer() -> None:
    faults = Faults(probabilities={FaultKind.SLOW: 1}, delay_seconds=3600)
    async with (
        asyncio.timeout(PATIENCE),
        httpx2.AsyncClient(headers={"apiKey": "sandbox"}, timeout=60) as client,
    ):
        async with SandboxServer(World.generate(2, seed=1, today=TODAY), faults=faults) as sandbox:
            asking = asyncio.create_task(client.get(sandbox.base_url + Endpoint.ALLTIME.path))
            for _ in range(1000):
                if sandbox.log.total:
                    break
                await asyncio.sleep(0.01)
            assert sandbox.log.total == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_process_serves_the_same_world_as_its_arguments_make_here() -> None:
    arguments = WorldArguments(today=TODAY, accounts=5, seed=3, trades_per_account=5)
    with SandboxProcess(arguments, api_key="own") as sandbox:
        async with httpx2.AsyncClient(
            base_url=sandbox.base_url, headers={"apiKey": "own"}
        ) as client:
            rows = (await client.get(Endpoint.ALLTIME.path)).json()["Data"]["data"]
        assert "own" not in repr(sandbox._setup)
    assert [row["accountId"] for row in rows] == arguments.world().account_ids
    assert refuses(sandbox.base_url)


def test_a_process_that_cannot_make_its_world_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(ConfigurationError, match="did not start"),
        SandboxProcess(WorldArguments(today=TODAY, trades_file=str(tmp_path / "absent.csv"))),
    ):
        pass
    assert "absent.csv cannot be read" in capfd.readouterr().err


def test_a_process_dies_with_a_parent_that_is_killed() -> None:
    script = """
        import datetime as dt, time
        from app.sandbox.server.process import SandboxProcess, WorldArguments
        with SandboxProcess(WorldArguments(today=dt.date(2026, 3, 10), accounts=1)) as sandbox:
            print(sandbox.base_url, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().strip()
        assert not refuses(base_url)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        for _ in range(500):
            if refuses(base_url):
                return
            time.sleep(0.02)
    pytest.fail("the sandbox outlived its parent")


def test_a_port_that_is_taken_is_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigurationError, match="cannot listen on"),
    ):
        serve(World.generate(0, seed=1, today=TODAY), "127.0.0.1", taken.getsockname()[1])
