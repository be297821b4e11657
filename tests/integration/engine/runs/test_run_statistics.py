"""What a run says of its use of the API is that run's alone, whoever serves it and whatever goes on
beside it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from app.domain.contract.tables import Endpoint
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.damage.damage import damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import difference, engine, run
from tests.support.plain import plain, plain_report


async def _hurt(database: Database, seed: int, *kinds: DamageKind, accounts: int = 2) -> None:
    async with database.connect() as connection:
        await damage(
            connection, database.schema, seed=seed, kinds=kinds, accounts_per_kind=accounts
        )


def _total(state: Mapping[str, Any], figure: str = "requests") -> int:
    """A figure of a run, summed over worker processes and endpoints."""
    return sum(
        int(figures[figure])
        for endpoints in state["api_stats"].values()
        for figures in endpoints.values()
    )


async def test_the_second_run_of_a_service_counts_its_own_requests_alone(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service:
        await _hurt(warehouse, 1, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING)
        sandbox.set_faults(Faults(probabilities={FaultKind.INTERNAL_ERROR: 1.0}, first_n=3))
        first, asked_first = await run(service, RunKind.AUDIT), sandbox.log.total
        sandbox.set_faults(NO_FAULTS)
        await _hurt(warehouse, 2, DamageKind.CLOSED_MISSING, accounts=1)
        second, asked_both = await run(service, RunKind.FULL), sandbox.log.total
        report = plain_report(await service.readings.report())
    assert _total(first) == first["requests"] == asked_first
    assert _total(first, "retries") >= 3
    assert 0 < _total(second) == second["requests"] == asked_both - asked_first
    assert _total(second, "retries") == 0
    (of_worker,) = second["api_stats"].values()  # type: ignore[attr-defined]
    assert "metrics/alltime" not in of_worker
    assert set(of_worker["trades/closed"]["latency_seconds"]) == {"p50", "p90", "p99"}
    since_start = report["api"]["since_start"]
    assert sum(figures["requests"] for figures in since_start.values()) == asked_both
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_run_counts_the_witnesses_that_it_asked_for(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await _hurt(warehouse, 3, DamageKind.HOURLY_MISSING, accounts=1)
    sandbox.set_faults(
        Faults(
            probabilities={FaultKind.INTERNAL_ERROR: 1.0},
            only_endpoints=frozenset({Endpoint.HOURLY}),
        )
    )
    async with engine(warehouse, sandbox) as service:
        state: Mapping[str, Any] = await run(service, RunKind.FULL)
    (of_worker,) = state["api_stats"].values()
    assert of_worker["metrics/alltime"]["requests"] > 0
    assert of_worker["metrics/alltime"]["pages"] == 0
    assert _total(state) == state["requests"] == sandbox.log.total


async def test_two_runs_at_once_in_one_process_count_each_for_itself(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await _hurt(warehouse, 4, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING)
    async with warehouse.connect() as connection:
        one, other = [
            row["account_id"]
            for row in await connection.fetch("SELECT account_id FROM raw_metrics_alltime LIMIT 2")
        ]
    async with (
        engine(warehouse, sandbox, config=EngineConfig(workers=2, poll_seconds=0.05)) as service,
        service.pool.running(),
    ):
        audit = await service.start_run(RunRequest(RunKind.AUDIT))
        await asyncio.gather(
            *(service.reconcile_account(account_id) for account_id in (one, other))
        )
        await service.wait_for_run(audit)
        async with warehouse.connect() as connection:
            states = [
                plain(await service.readings.run_state(row["run_id"]))
                for row in await connection.fetch("SELECT run_id FROM recon_runs")
            ]
    assert len(states) == 3
    assert all(0 < _total(state) == state["requests"] for state in states)
    assert sum(_total(state) for state in states) == sandbox.log.total


async def test_processes_that_share_a_run_have_an_entry_each_and_together_its_requests(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await _hurt(
        warehouse,
        5,
        DamageKind.HOURLY_MISSING,
        DamageKind.CLOSED_MISSING,
        DamageKind.DAILY_MISSING,
        accounts=3,
    )
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.05))
    config = EngineConfig(workers=2, poll_seconds=0.05, batch_size=1)
    async with (
        engine(warehouse, sandbox, config=config) as one,
        engine(warehouse, sandbox, config=config) as other,
    ):
        run_id = await one.start_run(RunRequest(RunKind.FULL))
        await asyncio.gather(
            one.pool.run_until_finished(run_id), other.pool.run_until_finished(run_id)
        )
        state: Mapping[str, Any] = plain(await one.readings.run_state(run_id))
    assert len(state["api_stats"]) == 2
    assert _total(state) == state["requests"] == sandbox.log.total


async def test_a_run_that_an_outage_ends_says_what_it_asked(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await _hurt(warehouse, 6, DamageKind.HOURLY_MISSING)
    sandbox.set_faults(Faults(probabilities={FaultKind.INTERNAL_ERROR: 1.0}))
    async with engine(warehouse, sandbox, outage_wait=0.5) as service:
        for kind in (RunKind.FULL, RunKind.AUDIT):
            before = sandbox.log.total
            state: Mapping[str, Any] = await run(service, kind)
            assert state["status"] == "failed"
            assert 0 < _total(state) == state["requests"] == sandbox.log.total - before
