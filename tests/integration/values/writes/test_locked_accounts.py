"""Accounts whose rows in trade_recon another transaction holds while a run is prepared are counted,
named, and hold up no other.
"""

import asyncio
from typing import Any

import pytest

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import difference, engine, run
from tests.support.plain import plain

_LOCKED = ["acc-00001", "acc-00002"]
_LOCK = "SELECT FROM trade_recon WHERE account_id = ANY($1) FOR NO KEY UPDATE"
_LOSE_HOURS = "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'"


@pytest.mark.parametrize("kind", ["full", "retry", "audit", "named", "changed_only"])
async def test_locked_accounts_are_failed_by_name_and_the_others_are_healed(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, kind: str
) -> None:
    async with (
        warehouse.connect() as connection,
        warehouse.connect() as other,
        service_of() as service,
    ):
        await service.maintain()
        request: dict[str, Any] = {}
        if kind == "changed_only":
            await run(service, RunKind.FULL)
            # Ingestion wrote rows of each account since.
            await connection.execute(
                "UPDATE raw_metrics_daily SET ingestion_timestamp = now() WHERE date < '2026-03-10'"
            )
            request = {"changed_only": True}
        elif kind == "named":
            request = {"account_ids": tuple(sandbox.world.account_ids)}
        await connection.execute(_LOSE_HOURS)
        async with other.transaction():
            await other.execute(_LOCK, _LOCKED)
            state: Any = await run(
                service,
                RunKind.FULL if kind in ("named", "changed_only") else RunKind(kind),
                **request,
            )
        left = await difference(warehouse, sandbox)
        assert left.account_ids == set(_LOCKED)
        assert (state["status"], state["accounts"]["failed"]) == (
            "completed_with_issues",
            len(_LOCKED),
        ), state
        attempts = await connection.fetch(
            "SELECT account_id, outcome, detail FROM recon_attempts WHERE outcome = 'failed' ORDER"
            " BY 1"
        )
        assert [each["account_id"] for each in attempts] == _LOCKED
        assert all("another transaction holds its row" in each["detail"] for each in attempts)
        # It costs them no attempt, and the next run heals them.
        assert await connection.fetchval("SELECT sum(failed_attempts) FROM trade_recon") == 0
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        assert not (await difference(warehouse, sandbox)).account_ids


async def test_what_is_locked_for_a_moment_is_healed_by_the_same_run(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    async with (
        warehouse.connect() as connection,
        warehouse.connect() as other,
        service_of() as service,
    ):
        await service.maintain()
        await connection.execute(_LOSE_HOURS)
        transaction = other.transaction()
        await transaction.start()
        await other.execute(_LOCK, _LOCKED)
        run_id = await service.start_run(RunRequest(kind=RunKind.FULL))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.pool.run_until_finished(run_id))
            await asyncio.sleep(0.7)
            await transaction.rollback()
        state: Any = plain(await service.readings.run_state(run_id))
        assert state["status"] == "succeeded", state
        assert not (await difference(warehouse, sandbox)).account_ids


async def test_maintenance_says_how_many_accounts_it_could_not_count(
    warehouse: Database, service_of: Engine
) -> None:
    async with (
        warehouse.connect() as connection,
        warehouse.connect() as other,
        service_of() as service,
    ):
        await service.maintain()
        await connection.execute(_LOSE_HOURS)
        async with other.transaction():
            await other.execute(_LOCK, _LOCKED)
            done = await service.maintain()
        assert list(done.accounts_locked) == _LOCKED
        assert done.as_json()["accounts_locked"] == len(_LOCKED)
        assert (await service.maintain()).accounts_locked == ()


async def test_an_audit_does_not_wait_for_an_equal_account_that_is_locked(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as other, service_of() as service:
        await service.maintain()
        async with other.transaction():
            await other.execute(_LOCK, _LOCKED)
            async with asyncio.timeout(20):
                state: Any = await run(service, RunKind.AUDIT)
        assert state["status"] == "succeeded", state
        assert state["accounts"]["unchanged"] == state["accounts"]["total"]


@pytest.mark.parametrize("kind", [RunKind.INSPECT, RunKind.FULL])
async def test_what_stays_locked_while_a_run_is_worked_on_is_told_by_name_and_the_run_ends(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind
) -> None:
    config = EngineConfig(
        workers=1,
        poll_seconds=0.05,
        postpone_seconds=0,
        postpone_named_seconds=0,
        locked_seconds=1.5,
    )
    async with (
        warehouse.connect() as connection,
        warehouse.connect() as other,
        engine(warehouse, sandbox, config=config) as service,
    ):
        await connection.execute(_LOSE_HOURS)
        # Counted before it is locked, so that nothing of it changes while the run is prepared.
        await service.maintain()
        async with other.transaction():
            await other.execute(_LOCK, _LOCKED[:1])
            run_id = await service.start_run(RunRequest(kind=kind))
            async with asyncio.timeout(20):
                await service.pool.run_until_finished(run_id)
        state: Any = plain(await service.readings.run_state(run_id))
        assert (state["status"], state["accounts"]["failed"]) == ("completed_with_issues", 1), state
        [row] = await connection.fetch(
            "SELECT account_id, detail FROM recon_attempts WHERE run_id = $1 AND outcome ="
            " 'failed'",
            run_id,
        )
        assert row["account_id"] == _LOCKED[0]
        assert "another transaction holds its row" in row["detail"]
        assert await connection.fetchval("SELECT sum(failed_attempts) FROM trade_recon") == 0
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        assert not (await difference(warehouse, sandbox)).account_ids
