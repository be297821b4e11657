"""A run that a guard stopped waits for a word as long as anything of it does, in whatever order
that is confirmed or accepted.
"""

import random
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec import convert

from app.cli.runtime import ExitCode, exit_code_of
from app.domain.holds.limits import HoldLimits
from app.domain.ids import RunId
from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind, RunStatus
from app.engine.acceptances import Accepting
from app.engine.config import EngineConfig
from app.engine.report.models.runs import RunState
from app.engine.service import ReconService
from app.errors import Conflict
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, engine, filled_copy, run
from tests.support.plain import plain, plain_report

_LOST = 6
_CONFIG = EngineConfig(
    workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0, guard=HoldLimits()
)


def _world(lost: int = 0) -> World:
    world = World.generate(12, seed=21, today=TODAY, trades_per_account=6, contradictory=False)
    for account_id in world.account_ids[:lost]:
        world.forget(account_id)
    return world


@pytest.fixture(scope="module")
async def stopped(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database in which an audit was stopped, since upstream has nothing for half of
    the accounts.
    """
    async with filled_copy(postgres, template, "confirmed_in_part", _world()) as name:
        async with (
            SandboxServer(_world(_LOST)) as sick,
            engine(_database(postgres, name), sick, config=_CONFIG) as service,
        ):
            state = await run(service, RunKind.AUDIT)
            assert state["status"] == "needs_confirmation"
            assert "Upstream is suspect" in str(state["error"])
        yield name


def _database(postgres: Server, name: str) -> Database:
    return Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def warehouse(postgres: Server, stopped: str) -> AsyncIterator[Database]:
    async with postgres.clone(stopped, "test") as name:
        yield _database(postgres, name)


@pytest.fixture
async def service(warehouse: Database) -> AsyncIterator[ReconService]:
    async with (
        SandboxServer(_world(_LOST)) as sick,
        engine(warehouse, sick, config=_CONFIG) as running,
    ):
        yield running


async def _held(service: ReconService) -> tuple[uuid.UUID, list[str]]:
    run_id = plain(await service.readings.runs(None, ["audit"], None, 1))["runs"][0]["run_id"]
    return run_id, [
        row["account_id"] for row in plain(await service.readings.held_accounts(run_id, 100))
    ]


async def _accept(service: ReconService, account_id: str) -> None:
    for issue in plain(await service.readings.account(account_id))["issues"]:
        await Accepting(service.store, TODAY).accept(account_id, IssueCode(issue["type"]), "known")


async def _is_told_alike(service: ReconService, run_id: uuid.UUID) -> Mapping[str, Any]:
    """The run as it stands, which each face tells alike."""
    state: Mapping[str, Any] = plain(await service.readings.run_state(run_id))
    held = [row["account_id"] for row in plain(await service.readings.held_accounts(run_id, 100))]
    if not held:
        assert state["status"] != "needs_confirmation", state["error"]
        assert not state["waiting_for"]
        assert plain_report(await service.readings.report())["holding_run"] is None
    acts = state["status"] != "succeeded"
    assert state["needs_somebody"] == acts
    assert (exit_code_of(convert(state, RunState)) is ExitCode.SUCCESS) != acts
    for status in RunStatus:
        listed = plain(await service.readings.runs([status], None, None, 10))["runs"]
        found = [each["status"] for each in listed if each["run_id"] == run_id]
        assert found == ([status] if status == state["status"] else [])
    return state


async def test_a_run_of_which_each_held_account_was_confirmed_one_by_one_waits_for_no_word(
    service: ReconService,
) -> None:
    run_id, held = await _held(service)
    assert len(held) == _LOST
    state: Mapping[str, Any] = {}
    for done, account_id in enumerate(held, start=1):
        await service.confirm(run_id, [account_id])
        await service.pool.run_until_finished(run_id)
        state = await _is_told_alike(service, run_id)
        if done < _LOST:
            assert (state["status"], state["left"]["held"]) == ("needs_confirmation", _LOST - done)
            assert f"{_LOST - done} account" in str(state["error"])
    assert (state["status"], state["accounts"]["explained"]) == ("succeeded", _LOST)
    assert state["error"] is None
    with pytest.raises(
        Conflict, match=r"has succeeded; it cannot be confirmed\. .* holds no account"
    ):
        await service.confirm(run_id)
    # All of it was confirmed, so that what upstream lowers elsewhere is not held for it.
    assert not await service.store.runs.is_suspicion_standing(RunId(uuid.uuid4()))


async def test_a_run_whose_last_held_account_is_accepted_after_its_end_waits_for_no_word_until_that_is_taken_back(
    service: ReconService,
) -> None:
    run_id, (first, *others) = await _held(service)
    await service.confirm(run_id, others)
    await service.pool.run_until_finished(run_id)
    assert (await _is_told_alike(service, run_id))["status"] == "needs_confirmation"
    await _accept(service, first)
    assert (await _is_told_alike(service, run_id))["status"] == "succeeded"
    for issue in plain(await service.readings.account(first))["issues"]:
        await service.store.acceptances.withdraw(first, issue["type"], None)
    assert (await _is_told_alike(service, run_id))["status"] == "needs_confirmation"
    await service.confirm(run_id)
    await service.pool.run_until_finished(run_id)
    assert (await _is_told_alike(service, run_id))["status"] == "succeeded"


@pytest.mark.parametrize("seed", range(3))
async def test_in_whatever_order_held_accounts_are_confirmed_accepted_or_cancelled_status_and_exit_code_tell_what_waits(
    service: ReconService, seed: int
) -> None:
    chance = random.Random(seed)
    run_id, held = await _held(service)
    steps = [
        "confirm some",
        "accept",
        "confirm some",
        chance.choice(("confirm rest", "accept rest", "cancel")),
    ]
    chance.shuffle(steps)
    for step in [*steps, "confirm rest"]:
        _, held = await _held(service)
        some = chance.sample(held, min(len(held), chance.randint(1, 3)))
        if step == "cancel":
            if plain(await service.readings.run_state(run_id))["status"] == "needs_confirmation":
                await service.cancel(run_id)
                state = plain(await service.readings.run_state(run_id))
                assert (state["status"], exit_code_of(convert(state, RunState))) == (
                    "cancelled",
                    ExitCode.FAILURE,
                )
                return
        elif held and step.startswith("confirm"):
            await service.confirm(run_id, some if step == "confirm some" else None)
            await service.pool.run_until_finished(run_id)
        elif held:
            for account_id in some if step == "accept" else held:
                await _accept(service, account_id)
        await _is_told_alike(service, run_id)
    _, held = await _held(service)
    assert held == []
