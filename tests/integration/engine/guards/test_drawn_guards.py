"""Nights drawn at random with an upstream that loses, lowers or blanks: no run takes more than the
limits, and nothing without a copy.
"""

import asyncio
import contextlib
import math
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.holds.limits import HoldLimits
from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.damage.damage import HEALABLE_KINDS, Damage, damage
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.restore.restore import RemovedRows
from tests.conftest import SCHEMA, Database
from tests.support.engine import TODAY, difference, engine
from tests.support.losing import RAW, SETTLED, Sickness, Stored, copies, make_sick, stored
from tests.support.plain import plain
from tests.support.worlds import world_fixtures

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_ACCOUNTS = 16
_TRADES = 12
_NIGHTS = 2


def _world() -> World:
    return World.generate(
        _ACCOUNTS, seed=8, today=TODAY, trades_per_account=_TRADES, days=30, contradictory=False
    )


filled, warehouse, _ = world_fixtures("drawn", _world)


@dataclass(frozen=True, slots=True)
class _Settings:
    """How the service is set up: its limits, its batches, and how many processes work on one
    run.
    """

    limits: HoldLimits
    batch_size: int
    workers: int
    processes: int

    @classmethod
    def draw(cls, chance: random.Random) -> "_Settings":
        limits = HoldLimits(
            rows=chance.choice((12, 40, 500)),
            row_share=chance.choice((0.05, 0.2)),
            accounts=chance.choice((1, 2, 5)),
            account_share=chance.choice((0.0, 0.05, 0.2)),
            run_rows=chance.choice((25, 60, 500)),
            run_row_share=chance.choice((0.0, 0.05, 0.2)),
        )
        return cls(
            limits, chance.choice((1, 4, 5000)), chance.choice((1, 2)), chance.choice((1, 1, 2))
        )

    @property
    def config(self) -> EngineConfig:
        return EngineConfig(
            workers=self.workers,
            poll_seconds=0.02,
            postpone_seconds=0,
            postpone_named_seconds=0,
            batch_size=self.batch_size,
            guard=self.limits,
        )


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run that is over: its state, the rows before it, and the accounts that were held before
    it.
    """

    state: Mapping[str, Any]
    before: Stored
    held: frozenset[str]

    @property
    def run_id(self) -> uuid.UUID:
        return uuid.UUID(str(self.state["run_id"]))


class _Nights:
    """A warehouse and its service, night after night."""

    def __init__(
        self,
        warehouse: Database,
        connection: "Connection",
        settings: _Settings,
        chance: random.Random,
    ) -> None:
        self.warehouse = warehouse
        self.connection = connection
        self.settings = settings
        self.chance = chance

    async def hurt(self, most: int) -> list[Damage]:
        """Damage the warehouse in some of the ways that can be healed."""
        kinds = self.chance.sample(sorted(HEALABLE_KINDS), most)
        return await damage(
            self.connection,
            SCHEMA,
            seed=self.chance.randint(0, 999),
            kinds=kinds,
            accounts_per_kind=1,
            settled_before=SETTLED,
        )

    def request(self) -> RunRequest:
        kind = self.chance.choice(
            (RunKind.AUDIT, RunKind.AUDIT, RunKind.FULL, RunKind.FULL, RunKind.RETRY, None)
        )
        if kind is not None:
            return RunRequest(kind=kind)
        ids = self.chance.sample(_world().account_ids, _ACCOUNTS // 2)
        return RunRequest(
            kind=self.chance.choice((RunKind.FULL, RunKind.AUDIT)),
            account_ids=tuple(map(AccountId, ids)),
        )

    @contextlib.asynccontextmanager
    async def services(self, sandbox: SandboxServer) -> AsyncIterator[list[ReconService]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(
                    engine(self.warehouse, sandbox, config=self.settings.config)
                )
                for _ in range(self.settings.processes)
            ]

    async def end(self, services: Sequence[ReconService], run_id: uuid.UUID) -> Mapping[str, Any]:
        async with asyncio.TaskGroup() as group:
            for each in services:
                group.create_task(each.pool.run_until_finished(run_id))
        return dict(plain(await services[0].readings.run_state(run_id)))

    async def run(self, services: Sequence[ReconService], request: RunRequest) -> _Ended:
        before, held = await stored(self.connection), await self.held()
        return _Ended(await self.end(services, await services[0].start_run(request)), before, held)

    async def confirm(self, services: Sequence[ReconService], run_id: uuid.UUID) -> _Ended:
        before, held = await stored(self.connection), await self.held()
        await services[0].confirm(run_id)
        return _Ended(await self.end(services, run_id), before, held)

    async def held(self) -> frozenset[str]:
        rows = await self.connection.fetch(
            "SELECT account_id FROM trade_recon WHERE reconciliation_status = 'needs_confirmation'"
        )
        return frozenset(row["account_id"] for row in rows)

    async def shown(self, run_id: uuid.UUID) -> dict[str, int | None]:
        """The accounts that a run holds, and how many trades it showed that upstream has of
        each.
        """
        rows = await self.connection.fetch(
            "SELECT account_id, (held ->> 'trades')::bigint AS trades FROM recon_attempts"
            " WHERE run_id = $1 AND outcome = 'needs_confirmation'",
            run_id,
        )
        return {row["account_id"]: row["trades"] for row in rows}

    async def assert_copied(self, before: Stored, after: Stored) -> None:
        """Each row that went or changed has a copy."""
        assert set(before.contents) - set(after.contents) <= await copies(self.connection)

    async def assert_limited(
        self,
        ended: _Ended,
        after: Stored,
        sick: Sickness,
        spared: frozenset[str],
        confirmed: frozenset[str],
    ) -> None:
        """The run took no more than the limits; `spared` are accounts whose own damage takes rows,
        too.
        """
        limits = self.settings.limits
        lost = ended.before.lost(after, without=ended.held | confirmed)
        row = await self.connection.fetchrow(
            "SELECT rows_compared, total, kind FROM recon_runs WHERE run_id = $1", ended.run_id
        )
        assert row is not None
        compared = row["rows_compared"] + (row["total"] if row["kind"] == "audit" else 0)
        assert sum(lost.values()) <= max(
            limits.run_rows - 1, math.floor(limits.run_row_share * compared)
        ), lost
        lowered = {
            account_id
            for account_id in lost
            if account_id in sick.account_ids and account_id not in spared
        }
        assert len(lowered) <= max(
            limits.accounts - 1, math.floor(limits.account_share * row["total"])
        ), lost
        sizes = Counter(str(each["account_id"]) for each in ended.before.rows.values())
        for account_id, rows in lost.items():
            # Open trades count among an account's rows.
            assert rows < limits.rows or rows <= limits.row_share * (sizes[account_id] + _TRADES), (
                account_id
            )

    async def assert_honest_are_free(self, ended: _Ended, sick: Sickness) -> None:
        """Where upstream is well, nothing is held, unless the run as a whole may remove no row any
        more.
        """
        if "would remove, lower or blank" not in str(ended.state["error"]):
            assert await self.held() - ended.held <= set(sick.account_ids), ended.state["error"]


def _victims(done: Sequence[Damage]) -> frozenset[str]:
    return frozenset(account_id for each in done for account_id in each.account_ids)


@pytest.mark.parametrize("seed", range(7))
async def test_no_sick_night_takes_more_than_the_limits_or_anything_without_a_copy_and_the_honest_are_healed(
    warehouse: Database, seed: int
) -> None:
    chance = random.Random(seed)
    settings = _Settings.draw(chance)
    world = _world()
    sizes = (0, 1, chance.randint(2, 4), _ACCOUNTS // 2, _ACCOUNTS)
    sick = make_sick(world, chance.sample(world.account_ids, sizes[seed % len(sizes)]), chance)
    async with warehouse.connect() as connection:
        truth = await stored(connection)
        nights = _Nights(warehouse, connection, settings, chance)
        victims: frozenset[str] = frozenset()
        async with SandboxServer(world) as sandbox:
            runs: list[_Ended] = []
            for _ in range(_NIGHTS):
                victims |= _victims(await nights.hurt(5))
                async with nights.services(sandbox) as services:
                    ended = await nights.run(services, nights.request())
                runs.append(ended)
                after = await stored(connection)
                await nights.assert_copied(ended.before, after)
                await nights.assert_limited(ended, after, sick, victims, frozenset())
                await nights.assert_honest_are_free(ended, sick)
            is_alike = sick.is_alike
            if runs[-1].state["accounts"]["needs_confirmation"]:
                is_alike &= (
                    await _assert_confirming_is_exact(nights, sandbox, runs[-1], sick, victims)
                ).is_alike
            await _assert_restored(nights, sandbox, runs[-1], truth)
        nights.settings = replace(settings, limits=HoldLimits(), processes=1)
        async with SandboxServer(_world()) as well, nights.services(well) as services:
            await nights.run(services, RunRequest(kind=RunKind.AUDIT))
            last = (await nights.run(services, RunRequest(kind=RunKind.AUDIT))).state
            assert last["accounts"]["needs_confirmation"] == 0
            # What upstream blanked at one level only, and was believed below the limits, no count
            # shows.
            if is_alike:
                assert last["status"] == "succeeded"
                assert (await difference(warehouse, well)).is_equal


async def _assert_confirming_is_exact(
    nights: _Nights, sandbox: SandboxServer, ended: _Ended, sick: Sickness, victims: frozenset[str]
) -> Sickness:
    """While people look at what is held, upstream loses more: of accounts that were shown, of
    others, or nothing.
    """
    shown = await nights.shown(ended.run_id)
    rest = [account_id for account_id in sandbox.world.account_ids if account_id not in shown]
    more = nights.chance.choice(((), nights.chance.sample(sorted(shown), len(shown) // 2), rest))
    worse = make_sick(sandbox.world, more, nights.chance)
    async with nights.services(sandbox) as services:
        confirmed = await nights.confirm(services, ended.run_id)
    after = await stored(nights.connection)
    await nights.assert_copied(confirmed.before, after)
    both = Sickness(worse.name, (*sick.account_ids, *worse.account_ids), is_alike=False)
    await nights.assert_limited(confirmed, after, both, victims, frozenset(shown))
    for account_id, trades in shown.items():
        for table in RAW:
            left, before = after.count(table, account_id), confirmed.before.count(table, account_id)
            assert left >= before if trades is None else left >= min(before, trades), (
                table,
                account_id,
            )
    if sick.is_alike and not worse.account_ids:
        assert not await nights.held() & shown.keys()
    return worse


async def _assert_restored(
    nights: _Nights, sandbox: SandboxServer, ended: _Ended, truth: Stored
) -> None:
    """What the run removed, moved or overwrote stands again, by the command that its error
    names.
    """
    async with nights.services(sandbox) as services:
        rows = RemovedRows(services[0].store.database, services[0].store.feed)
        async for restored in rows.restore(await rows.waiting_of_run(ended.run_id)):
            assert restored.is_there, restored.sentence
    after = await stored(nights.connection)
    # Ids are put right outside of any run, and stay so.
    for place in ended.before.rows.keys() & truth.rows.keys():
        assert {**ended.before.rows[place], "account_id": None} == {
            **after.rows[place],
            "account_id": None,
        }
