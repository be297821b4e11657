"""What a run held, and a later run recorded since, is held no more: confirming it writes nothing
from an outdated view of upstream.
"""

import uuid
from collections.abc import Mapping

import pytest

from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.errors import Conflict, InvalidRequest
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import TODAY, engine, run
from tests.support.plain import plain, plain_report
from tests.support.worlds import world_fixtures

_CONFIG = EngineConfig(
    workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0, guard=HoldLimits()
)


def _world(lost: int = 0) -> World:
    world = World.generate(24, seed=14, today=TODAY, trades_per_account=8, contradictory=False)
    for account_id in world.account_ids[:lost]:
        world.forget(account_id)
    return world


filled, warehouse, _ = world_fixtures("released_holds", _world)


async def _statuses(database: Database) -> dict[str, str]:
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT account_id, reconciliation_status FROM trade_recon")
    return {row["account_id"]: row["reconciliation_status"] for row in rows}


async def _shown(service: ReconService, state: Mapping[str, object]) -> Mapping[str, object]:
    return dict(plain(await service.readings.run_state(uuid.UUID(str(state["run_id"])))))


async def test_a_run_whose_holds_a_later_run_recorded_has_nothing_to_confirm_and_says_so(
    warehouse: Database,
) -> None:
    async with (
        SandboxServer(_world(lost=12)) as sick,
        engine(warehouse, sick, config=_CONFIG) as service,
    ):
        held = await run(service, RunKind.AUDIT)
        assert held["status"] == "needs_confirmation"
        assert held["needs_somebody"]
        assert 0 < held["accounts"]["needs_confirmation"] == held["left"]["held"]  # type: ignore[index]
    async with SandboxServer(_world()) as well, engine(warehouse, well, config=_CONFIG) as service:
        found_well = await run(service, RunKind.AUDIT)
        assert found_well["status"] == "succeeded"
        before = await _statuses(warehouse)
        assert "needs_confirmation" not in before.values()
        run_id = uuid.UUID(str(held["run_id"]))
        with pytest.raises(Conflict, match="is held any more"):
            await service.confirm(run_id)
        with pytest.raises(InvalidRequest, match="does not hold"):
            await service.confirm(run_id, [min(before)])
        state = await _shown(service, held)
        assert (
            state["left"]["held"],  # type: ignore[index]
            state["waiting_for"],
            plain(await service.readings.held_accounts(run_id, 5)),
        ) == (
            0,
            [],
            [],
        )
        assert "none of which is held any more" in str(state["error"])
        assert "confirm" not in str(state["error"]).split("none of which")[1]
        report = plain_report(await service.readings.report())
        assert str(found_well["run_id"]) in str(report["audited"])
        assert report["holding_run"] is None
        listed = plain(await service.readings.runs(None, None, None, 5))["runs"]
        assert "none of which is held any more" in str(
            [each["error"] for each in listed if each["run_id"] == run_id]
        )
    assert await _statuses(warehouse) == before


async def test_confirming_a_run_some_of_whose_accounts_were_recorded_since_lets_through_the_others_alone(
    warehouse: Database,
) -> None:
    async with SandboxServer(_world(lost=3)) as sick, SandboxServer(_world()) as well:
        async with engine(warehouse, sick, config=_CONFIG) as service:
            held = await run(service, RunKind.AUDIT)
        first, *others = [
            account_id
            for account_id, status in (await _statuses(warehouse)).items()
            if status == "needs_confirmation"
        ]
        assert len(others) == 2
        async with engine(warehouse, well, config=_CONFIG) as service:
            await run(service, RunKind.AUDIT, account_ids=(first,))
            assert "of which 2 still wait for confirmation" in str(
                (await _shown(service, held))["error"]
            )
        async with engine(warehouse, sick, config=_CONFIG) as service:
            run_id = uuid.UUID(str(held["run_id"]))
            await service.confirm(run_id)
            await service.pool.run_until_finished(run_id)
            state = await _shown(service, held)
    accounts = state["accounts"]
    assert (accounts["explained"], accounts["needs_confirmation"], state["left"]["held"]) == (  # type: ignore[index]
        2,
        1,
        0,
    )
    statuses = await _statuses(warehouse)
    assert [statuses[account_id] for account_id in (first, *others)] == [
        "reconciled",
        "explained",
        "explained",
    ]


async def test_accounts_that_upstream_sends_again_are_not_recorded_as_absent_when_the_run_that_missed_them_is_confirmed(
    warehouse: Database,
) -> None:
    async with (
        SandboxServer(_world(lost=12)) as sick,
        engine(warehouse, sick, config=_CONFIG) as service,
    ):
        held = await run(service, RunKind.AUDIT)
    async with SandboxServer(_world()) as well, engine(warehouse, well, config=_CONFIG) as service:
        run_id = uuid.UUID(str(held["run_id"]))
        await service.confirm(run_id)
        await service.pool.run_until_finished(run_id)
        async with warehouse.connect() as connection:
            left = await connection.fetch(
                "SELECT account_id, issues_left FROM recon_attempts WHERE 'absent_upstream' ="
                " ANY(issues_left)"
            )
        assert left == []
        assert (await _shown(service, held))["accounts"]["needs_confirmation"] == 0  # type: ignore[index]


async def test_a_run_that_could_read_no_account_claims_no_comparison(warehouse: Database) -> None:
    world = _world()
    async with (
        SandboxServer(world) as well,
        engine(warehouse, well, config=_CONFIG, api_key="wrong") as service,
    ):
        failed = await run(service, RunKind.FULL, account_ids=(world.account_ids[0],))
    assert failed["status"] == "failed"
    assert str(failed["rests_on"]).startswith(
        "Nothing was compared with upstream: 1 account failed or was not reached."
    )
