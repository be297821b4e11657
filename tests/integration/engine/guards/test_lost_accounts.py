"""Runs whose accounts, or whose requests, are not what they were: they end, what is lost is named,
and no other run waits for them.
"""

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest
import structlog

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.report.models.accounts import RunUnderWay
from app.engine.service import ReconService
from app.errors import Conflict, UpstreamSuspect
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.store.runs.retention import Retention
from tests.conftest import Database
from tests.integration.engine.runs.test_runs import hurt
from tests.support.engine import difference, engine, run
from tests.support.plain import plain
from tests.support.replicas import until

_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.2)
_CONFIG = EngineConfig(
    workers=2, poll_seconds=0.05, batch_size=1, postpone_seconds=0, postpone_named_seconds=0
)
_WAITING = "SELECT account_id FROM recon_attempts WHERE outcome IS NULL ORDER BY position DESC"


async def _begun(service: ReconService, warehouse: Database, sandbox: SandboxServer) -> uuid.UUID:
    """A full run of eight accounts of which the first are claimed."""
    sandbox.set_faults(_SLOW)
    run_id = await service.start_run(RunRequest())
    async with warehouse.connect() as connection:
        await until(
            connection, "SELECT EXISTS (SELECT FROM trade_recon WHERE claim_id IS NOT NULL)"
        )
    return run_id


async def _over(service: ReconService, run_id: uuid.UUID) -> dict[str, Any]:
    await service.wait_for_run(run_id, 30)
    state = dict(plain(await service.readings.run_state(run_id)))
    accounts: dict[str, int] = state["accounts"]
    assert state["finished_at"] is not None
    assert accounts["total"] == accounts["done"] + accounts["waiting"]
    return state


@pytest.mark.parametrize(
    ("deletes", "gone"),
    [
        (f"DELETE FROM trade_recon WHERE account_id = ({_WAITING} LIMIT 1)", 1),
        (f"DELETE FROM trade_recon WHERE account_id IN ({_WAITING} LIMIT 3)", 3),
        # While it is claimed.
        (
            (
                "DELETE FROM trade_recon WHERE account_id = (SELECT min(account_id) FROM"
                " trade_recon WHERE claim_id IS NOT NULL)"
            ),
            1,
        ),
        ("TRUNCATE trade_recon", None),
    ],
)
async def test_an_account_that_is_deleted_while_it_waits_is_recorded_as_gone_and_the_run_ends(
    warehouse: Database, sandbox: SandboxServer, deletes: str, gone: int | None
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        service.pool.running(),
        warehouse.connect() as connection,
    ):
        run_id = await _begun(service, warehouse, sandbox)
        await connection.execute(deletes)
        state = await _over(service, run_id)
        accounts = state["accounts"]
        assert (state["status"], accounts["total"], accounts["waiting"]) == (
            "completed_with_issues",
            8,
            0,
        )
        assert (
            accounts["gone"]
            == len(state["gone_accounts"])
            == (accounts["gone"] if gone is None else gone)
            > 0
        )
        assert accounts["gone"] + accounts["healed"] == 8
        details = await connection.fetch(
            "SELECT DISTINCT detail FROM recon_attempts WHERE outcome = 'gone'"
        )
        assert [row["detail"][:23] for row in details] == ["The account was deleted"]
        # Maintenance lists what still has rows, and the next run heals it.
        sandbox.set_faults(Faults())
        again = await _over(service, await service.start_run(RunRequest()))
        assert (again["status"], again["accounts"]["gone"]) == ("succeeded", 0)
    assert (await difference(warehouse, sandbox)).is_equal


async def test_an_account_that_comes_back_before_its_turn_is_healed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        service.pool.running(),
        warehouse.connect() as connection,
    ):
        run_id = await _begun(service, warehouse, sandbox)
        account_id = await connection.fetchval(
            f"DELETE FROM trade_recon WHERE account_id = ({_WAITING} LIMIT 1) RETURNING account_id"
        )
        await connection.execute("INSERT INTO trade_recon (account_id) VALUES ($1)", account_id)
        state = await _over(service, run_id)
        assert (state["status"], state["accounts"]["healed"], state["accounts"]["gone"]) == (
            "succeeded",
            8,
            0,
        )


async def test_a_paused_run_whose_accounts_are_all_gone_ends_once_it_is_resumed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=4)
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        service.pool.running(),
        warehouse.connect() as connection,
    ):
        run_id = await _begun(service, warehouse, sandbox)
        await service.pause(run_id)
        await connection.execute("TRUNCATE trade_recon")
        await service.resume(run_id)
        state = await _over(service, run_id)
        assert state["accounts"]["gone"] + state["accounts"]["healed"] == 4


async def test_maintenance_leaves_what_waits_in_a_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await connection.execute("INSERT INTO trade_recon (account_id) VALUES ('')")
        run_id = await service.start_run(RunRequest(RunKind.RETRY))
        await connection.execute(
            "UPDATE recon_runs SET status = 'paused', prepared_at = now() WHERE run_id = $1", run_id
        )
        await connection.execute(
            "INSERT INTO recon_attempts (run_id, account_id, position) VALUES ($1, '', 1)", run_id
        )
        await service.maintain()
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE account_id = ''") == 1
        )
        await service.cancel(run_id)
        await service.maintain()
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE account_id = ''") == 0
        )


_ODD_REQUESTS = (
    '{"kind": "full", "a_later_field": 1}',
    '{"kind": "full", "max_accounts": {"of": "a later shape"}}',
    '{"stop_at": "never"}',
    '{"account_ids": "acc-1"}',
    '{"account_ids": [1, null]}',
    "[]",
    '"text"',
    "null",
    "17",
    '{"changed_only": "yes"}',
)


@pytest.mark.parametrize("kind", ["full", "a_later_kind"])
async def test_a_run_that_cannot_be_read_is_left_to_who_can_and_everything_else_goes_on(
    warehouse: Database, sandbox: SandboxServer, kind: str
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=2)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        # As the migration of a later version would.
        await connection.execute("ALTER TABLE recon_runs DROP CONSTRAINT recon_runs_kind_check")
        for request in _ODD_REQUESTS if kind == "full" else ("{}",):
            await connection.execute(
                "INSERT INTO recon_runs (run_id, kind, request, status, created_at) VALUES"
                " (gen_random_uuid(), $1, $2::text::jsonb, 'queued', now() - interval '1 hour')",
                kind,
                request,
            )
        with structlog.testing.capture_logs() as logs:
            async with service.pool.running():
                state = await _over(service, await service.start_run(RunRequest()))
                named = await service.reconcile_account(sandbox.world.account_ids[0])
        assert (state["status"], state["accounts"]["healed"]) == ("succeeded", 2)
        assert not isinstance(named, RunUnderWay)
        said = [entry for entry in logs if entry["action"] == "run.unreadable"]
        left = await connection.fetch("SELECT run_id FROM recon_runs WHERE status = 'queued'")
        assert sorted(entry["run_id"] for entry in said) == sorted(
            str(row["run_id"]) for row in left
        ), "each is said once"
        assert len(left) == (len(_ODD_REQUESTS) if kind == "full" else 1)


async def test_an_only_full_run_that_cannot_be_read_is_kept_and_can_be_cancelled(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        run_id = await service.start_run(RunRequest())
        await connection.execute(
            "UPDATE recon_runs SET request = request || '{\"a_later_field\": 1}'"
        )
        async with service.pool.running():
            await asyncio.sleep(0.3)
            assert plain(await service.readings.run_state(run_id))["status"] == "queued"
            with pytest.raises(Conflict):
                await service.start_run(RunRequest())
            await service.cancel(run_id)
            assert (await _over(service, await service.start_run(RunRequest())))[
                "status"
            ] == "succeeded"


async def test_what_an_audit_saw_of_upstream_goes_when_it_is_suspended_and_it_can_still_be_confirmed(
    warehouse: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        find_drift = service.store.scans.find_drift
        suspects = iter([True])

        async def suspect(run_id: uuid.UUID, *others: Any) -> tuple[int, dict[str, str]]:  # noqa: ANN401
            if next(suspects, False):
                raise UpstreamSuspect("Upstream has nothing for anybody.")
            return await find_drift(run_id, *others)

        monkeypatch.setattr(
            type(service.store.scans), "find_drift", lambda _, *values: suspect(*values)
        )
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "needs_confirmation"
        assert await connection.fetchval("SELECT count(*) FROM recon_scan") == 0
        run_id = uuid.UUID(str(state["run_id"]))
        await service.confirm(run_id)
        await service.pool.run_until_finished(run_id)
        assert plain(await service.readings.run_state(run_id))["status"] == "succeeded"


async def test_a_scan_whose_run_is_over_suspended_or_forgotten_is_purged_and_that_of_an_active_one_stays(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        kept = []
        for status in (
            "queued",
            "running",
            "paused",
            "needs_confirmation",
            "failed",
            "cancelled",
            None,
        ):
            run_id = uuid.uuid4()
            if status is not None:
                await connection.execute(
                    "INSERT INTO recon_runs (run_id, kind, status) VALUES ($1, 'audit', $2)",
                    run_id,
                    status,
                )
            await connection.execute(
                "INSERT INTO recon_scan VALUES ($1, 'a', 1, 1, 1, true, true, true)", run_id
            )
            await connection.execute(
                "INSERT INTO recon_scan_days VALUES ($1, 'a', $2, 1, 1, 1)",
                run_id,
                dt.date(2026, 2, 3),
            )
            if status in ("queued", "running", "paused"):
                kept.append(run_id)
        assert await Retention(service.store.database).purge(90) == 8
        for table in ("recon_scan", "recon_scan_days"):
            assert sorted(
                row["run_id"] for row in await connection.fetch(f"SELECT run_id FROM {table}")
            ) == sorted(kept)
