"""The API's quota as upstream counts it: replicas that start, work, retry and die together stay
within it.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import structlog
from pydantic import SecretStr

from app.composition import open_service
from app.domain.contract.tables import Endpoint, Request
from app.domain.states import RunKind
from app.errors import DatabaseUnavailable
from app.sandbox.damage.damage import damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.database.pool import Database as Pool
from app.store.quota import Quota
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from app.upstream.resilience.breaker import BreakerState
from tests.conftest import Database
from tests.support.clock import now
from tests.support.commands import Command, access, settings_for
from tests.support.engine import TODAY, difference, fill, run
from tests.support.scripted import MemorySink
from tests.support.waiting import PATIENCE

_RATE = 10
_BURST = 8
_QUOTA = {
    "RISK_API_RATE": str(_RATE),
    "RISK_API_BURST": str(_BURST),
    "RISK_API_BREAKER_FAILURES": "1000",
    "RECON_LEASE_SECONDS": "5",
    "RECON_OUTAGE_WAIT": "60",
}
_RETRIED = Faults(
    probabilities={
        FaultKind.SERVICE_UNAVAILABLE: 0.1,
        FaultKind.DROPPED_CONNECTION: 0.05,
        FaultKind.INVALID_JSON: 0.05,
    }
)
_DAMAGES = (
    DamageKind.HOURLY_MISSING,
    DamageKind.CLOSED_MISSING,
    DamageKind.DAILY_MISSING,
    DamageKind.WRONG_DAY,
)
_ALL = Request(Endpoint.ALLTIME)
_SECONDS = PATIENCE


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    world = World.generate(
        60, seed=5, today=TODAY, trades_per_account=20, days=40, contradictory=False
    )
    async with SandboxServer(world) as server:
        yield server


@pytest.fixture
async def victims(database: Database, sandbox: SandboxServer) -> list[str]:
    """Accounts that need several requests each, in a warehouse that was equal to upstream before;
    nothing was asked yet.
    """
    await fill(database, sandbox)
    async with database.connect() as connection:
        done = await damage(
            connection, database.schema, seed=3, kinds=_DAMAGES, accounts_per_kind=12
        )
    sandbox.log.reset()
    return [each.account_ids[0] for each in done]


async def _requests(sandbox: SandboxServer, more: int) -> None:
    wanted = sandbox.log.total + more
    async with asyncio.timeout(_SECONDS):
        while sandbox.log.total < wanted:  # noqa: ASYNC110 - other processes' events
            await asyncio.sleep(0.02)


async def test_three_replicas_of_which_one_starts_late_and_one_is_killed_stay_within_the_quota(
    database: Database, sandbox: SandboxServer, victims: list[str], tmp_path: Path
) -> None:
    variables = access(database, sandbox) | _QUOTA

    async def serve() -> tuple[Command, str]:
        command = await Command.start(tmp_path, variables, "serve", "--port", "0")
        return command, str(json.loads(await command.line_with("http.serving"))["url"])

    sandbox.set_faults(_RETRIED)
    (doomed, url), (steady, _) = await asyncio.gather(serve(), serve())
    # A run for each account: what a plan for all of them would share is asked for again and again.
    async with httpx2.AsyncClient(base_url=url) as client:
        for account_id in victims:
            (
                await client.post("/runs", json={"kind": "audit", "account_ids": [account_id]})
            ).raise_for_status()
    await _requests(sandbox, 20)
    late, _ = await serve()
    await _requests(sandbox, 30)
    doomed.signal(signal.SIGKILL)
    await doomed.end()
    sandbox.set_faults(Faults())
    async with database.connect() as connection, asyncio.timeout(_SECONDS):
        while await connection.fetchval(  # noqa: ASYNC110 - other processes' events
            "SELECT count(*) FROM recon_runs WHERE finished_at IS NULL"
        ):
            await asyncio.sleep(0.1)
        assert await connection.fetchval("SELECT array_agg(DISTINCT status) FROM recon_runs") == [
            "succeeded"
        ]
        assert await connection.fetchval("SELECT count(*) FROM recon_runs") == len(victims)
    for command in (steady, late):
        command.signal(signal.SIGTERM)
        assert (await command.end()).code == 0
    assert (await difference(database, sandbox)).is_equal
    assert any(request.status != 200 for request in sandbox.log.requests)
    for seconds in (0.2, 1.0, 3.0):
        assert sandbox.log.max_in_window(seconds) <= _BURST + _RATE * seconds


async def test_a_run_waits_for_a_quota_that_cannot_be_drawn_and_blames_nobody(
    database: Database, sandbox: SandboxServer, victims: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.quota._DRAW_SECONDS", 0.2)
    with structlog.testing.capture_logs() as logs:
        async with (
            open_service(settings_for(database.dsn, sandbox.base_url), now) as service,
            database.connect() as holder,
        ):
            async with holder.transaction():
                await holder.execute("UPDATE recon_quota SET permits = 0")
                running = asyncio.create_task(run(service, RunKind.FULL))
                async with asyncio.timeout(_SECONDS):
                    while not any(entry.get("action") == "worker.waiting" for entry in logs):  # noqa: ASYNC110 - the run's event
                        await asyncio.sleep(0.02)
                assert sandbox.log.total == 0
            state = await running
            assert state["status"] == "succeeded"
            assert state["accounts"]["healed"] == len(victims)  # type: ignore[index]
            assert await holder.fetchval("SELECT max(failed_attempts) FROM trade_recon") == 0
    assert (await difference(database, sandbox)).is_equal


async def test_a_quota_that_cannot_be_drawn_is_no_failure_of_the_api(
    database: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.quota._DRAW_SECONDS", 0.1)
    config = UpstreamConfig(sandbox.base_url, SecretStr(sandbox.api_key), breaker_failures=1)
    async with (
        Pool.open(database.dsn, database.schema) as pool,
        UpstreamClient.open(config, Quota(pool, config.rate, config.burst)) as client,
        database.connect() as holder,
    ):
        async with holder.transaction():
            await holder.execute("UPDATE recon_quota SET permits = 0")
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await client.fetch(_ALL, MemorySink())
        assert sandbox.log.total == 0
        assert client.breaker_state is BreakerState.CLOSED
        assert (await client.fetch(_ALL, MemorySink())).rows == len(
            sandbox.world.rows(Endpoint.ALLTIME)
        )
