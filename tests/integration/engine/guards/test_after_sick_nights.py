"""What sick nights leave behind comes back by itself: whatever was confirmed or restored, healthy
audits make the warehouse equal.
"""

import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.restore.restore import RemovedRows
from tests.conftest import SCHEMA, Database
from tests.support.engine import TODAY, difference, engine, run
from tests.support.losing import SETTLED
from tests.support.plain import plain
from tests.support.sick import Answer, Query, Sick, serving
from tests.support.worlds import world_fixtures

_ACCOUNTS = 10
_HEALTHY_AUDITS = 2
_MONEY = ("netProfit", "totalLots", "profit", "lots")
_TABLES = (
    ("",),
    ("alltime",),
    ("daily",),
    ("hourly",),
    ("closed",),
    ("alltime", "daily"),
    ("daily", "hourly"),
)
_LEFT = (
    "SELECT account_id, reconciliation_status FROM trade_recon WHERE reconciliation_status <>"
    " 'reconciled' OR issues <> '[]'"
)

Row = dict[str, Any]


def _world() -> World:
    return World.generate(
        _ACCOUNTS, seed=8, today=TODAY, trades_per_account=8, days=30, contradictory=False
    )


filled, warehouse, _ = world_fixtures("sick", _world)


def _fills(names: tuple[str, ...], value: object) -> Callable[[Row], None]:
    return lambda row: row.update({name: value for name in names if name in row})


def _halves(row: Row) -> None:
    if row.get("numTrades"):
        row["numTrades"] = int(float(row["numTrades"])) // 2


_KINDS: Mapping[str, Callable[[Row], None]] = {
    "zero": _fills(("numTrades", *_MONEY), 0),
    "null": _fills(("numTrades", *_MONEY), None),
    "no money": _fills(_MONEY, None),
    "half": _halves,
}


def _sickness(chance: random.Random) -> tuple[str, Answer]:
    """What is wrong with the figures, in which tables, and whether whole answers, rows or accounts
    flicker.
    """
    kind, share, tables = (
        chance.choice(sorted(_KINDS)),
        chance.choice((1.0, 1.0, 0.5, 0.2)),
        chance.choice(_TABLES),
    )
    what = chance.choice(("answers", "rows", "accounts"))
    drawn = random.Random(chance.random())

    def is_sick(row: Row, *, is_answer_sick: bool) -> bool:
        if what == "answers":
            return is_answer_sick
        return (
            drawn.random() < share if what == "rows" else int(str(row["login"])[-2:]) < 100 * share
        )

    def answer(path: str, _: Query, data: dict[str, Any]) -> None:
        is_answer_sick = drawn.random() < share
        for row in data["data"]:
            if any(path.endswith(end) for end in tables) and is_sick(
                row, is_answer_sick=is_answer_sick
            ):
                _KINDS[kind](row)

    return f"{kind} in {share:.0%} of {what} of {', '.join(tables) or 'all tables'}", answer


class _Story:
    """What happened to a warehouse, night after night."""

    def __init__(self, service: ReconService, sick: Sick) -> None:
        self._service = service
        self._sick = sick
        self.told: list[str] = []

    async def night(self, kind: RunKind, *, is_well: bool = False) -> Mapping[str, Any]:
        self._sick.is_well = is_well
        return self._note(f"{'healthy ' if is_well else ''}{kind}", await run(self._service, kind))

    async def confirm(
        self, state: Mapping[str, Any], *, is_well: bool = False
    ) -> Mapping[str, Any]:
        if not state["accounts"]["needs_confirmation"]:
            return state
        self._sick.is_well = is_well
        run_id = uuid.UUID(str(state["run_id"]))
        await self._service.confirm(run_id)
        await self._service.pool.run_until_finished(run_id)
        return self._note("confirmed", plain(await self._service.readings.run_state(run_id)))

    async def restore(self, state: Mapping[str, Any]) -> None:
        rows = RemovedRows(self._service.store.database, self._service.store.feed)
        restored = [
            each
            async for each in rows.restore(
                await rows.waiting_of_run(uuid.UUID(str(state["run_id"])))
            )
        ]
        self.told.append(f"restored {len(restored)}")

    def _note(self, what: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        counts = {name: number for name, number in state["accounts"].items() if number}
        self.told.append(f"{what}: {state['status']} {counts}")
        return state


async def _assert_whole(story: _Story, warehouse: Database, sandbox: SandboxServer) -> None:
    """After a few audits of a healthy upstream the warehouse equals it, and no account is left
    behind.
    """
    state = [await story.night(RunKind.AUDIT, is_well=True) for _ in range(_HEALTHY_AUDITS)][-1]
    async with warehouse.connect() as connection:
        left = [tuple(row) for row in await connection.fetch(_LEFT)]
    told = "\n".join([*story.told, str(left)])
    assert (await difference(warehouse, sandbox)).sample == (), told
    assert not left, told
    assert state["status"] == "succeeded", told


@pytest.mark.parametrize("seed", [3, 4, 15, 22, 26, 31])
async def test_after_any_sick_nights_healthy_audits_make_the_warehouse_equal(
    warehouse: Database, seed: int
) -> None:
    chance = random.Random(seed)
    name, answer = _sickness(chance)
    sick = Sick(world := _world(), None, answer)
    guard = chance.choice(
        (HoldLimits(), HoldLimits(rows=20, run_rows=40), HoldLimits(accounts=1, account_share=0.0))
    )
    size = chance.choice((3, 5000))
    config = EngineConfig(
        workers=1,
        poll_seconds=0.02,
        postpone_seconds=0,
        postpone_named_seconds=0,
        guard=guard,
        batch_size=size,
    )
    async with (
        serving(sick, world) as sandbox,
        engine(warehouse, sandbox, config=config) as service,
    ):
        if chance.random() < 0.6:
            async with warehouse.connect() as connection:
                kinds = chance.sample(sorted(HEALABLE_KINDS), 4)
                await damage(
                    connection,
                    SCHEMA,
                    seed=seed,
                    kinds=kinds,
                    accounts_per_kind=2,
                    settled_before=SETTLED,
                )
        story = _Story(service, sick)
        story.told.append(name)
        for _ in range(chance.randint(1, 3)):
            state = await story.night(
                chance.choice((RunKind.AUDIT, RunKind.AUDIT, RunKind.FULL, RunKind.RETRY))
            )
            for _ in range(chance.randint(0, 2)):
                match chance.choice(("confirm", "restore", "confirm when it is well")):
                    case "restore":
                        await story.restore(state)
                    case what:
                        state = await story.confirm(state, is_well=what != "confirm")
        await _assert_whole(story, warehouse, sandbox)


@pytest.mark.parametrize("after", ["restored", "well again", "confirmed and restored"])
async def test_what_a_person_restored_and_what_upstream_says_otherwise_is_no_flapping(
    warehouse: Database, after: str
) -> None:
    world = _world()
    held = 1 if after != "confirmed and restored" else _ACCOUNTS
    logins = {
        key.login
        for account_id in world.account_ids[:held]
        for key in world.natural_keys(account_id)
    }

    def answer(_: str, __: Query, data: dict[str, Any]) -> None:
        for row in data["data"]:
            if row["login"] in logins:
                _KINDS["zero"](row)

    sick = Sick(world, None, answer)
    async with (
        serving(sick, world) as sandbox,
        engine(warehouse, sandbox) as service,
        warehouse.connect() as connection,
    ):
        story = _Story(service, sick)
        for _ in range(4):
            state = await story.night(RunKind.AUDIT)
            if after == "well again":
                await story.night(RunKind.AUDIT, is_well=True)
            else:
                await story.restore(await story.confirm(state))
            assert "flapping" not in [
                row["reconciliation_status"] for row in await connection.fetch(_LEFT)
            ], story.told
        await _assert_whole(story, warehouse, sandbox)


async def test_an_audit_takes_a_flapping_account_once_a_day_also_where_it_comes_early(
    warehouse: Database,
) -> None:
    async with (
        SandboxServer(_world()) as sandbox,
        engine(warehouse, sandbox) as service,
        warehouse.connect() as connection,
    ):
        account_id = await connection.fetchval(
            "SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 4 ORDER BY 1 LIMIT 1"
        )
        await run(service, RunKind.AUDIT)
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date <= $2",
            account_id,
            SETTLED,
        )
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = 'flapping', next_attempt_at = now() +"
            " interval '1 hour' WHERE account_id = $1",
            account_id,
        )
        assert (await run(service, RunKind.AUDIT))["accounts"]["skipped"] == 1  # type: ignore[index]
        await connection.execute(
            "UPDATE trade_recon SET last_checked = now() - interval '23 hours' WHERE account_id"
            " = $1",
            account_id,
        )
        assert (await run(service, RunKind.AUDIT))["accounts"]["healed"] == 1  # type: ignore[index]
        assert (await difference(warehouse, sandbox)).sample == ()
