"""The limit of rows that a run may remove, lower or blank: it holds over all batches and all
processes.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import Loss
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.apply.job import ApplyJob
from app.store.apply.limits.run_losses import RunLosses
from tests.conftest import Database
from tests.integration.engine.test_truth import edit
from tests.support.engine import TODAY, engine
from tests.support.losing import settled_trades, stored
from tests.support.plain import plain
from tests.support.worlds import world_fixtures

_ACCOUNTS = 12
_LIMIT = 30


def _world() -> World:
    return World.generate(
        _ACCOUNTS, seed=14, today=TODAY, trades_per_account=12, days=20, contradictory=False
    )


filled, warehouse, _ = world_fixtures("rows", _world)


def _remove(world: World) -> None:
    for account_id in world.account_ids:
        for trade in settled_trades(world, account_id)[::2]:
            world.remove_trade(trade)


def _lower(world: World) -> None:
    for account_id in world.account_ids:
        for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY):
            edit(
                world,
                endpoint,
                account_id,
                lambda row: row.update(numTrades=int(float(str(row["numTrades"]))) // 2),
            )


def _blank(world: World) -> None:
    for account_id in world.account_ids:
        for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY):
            edit(
                world, endpoint, account_id, lambda row: row.update(netProfit=None, totalLots=None)
            )


@pytest.mark.parametrize(
    ("sicken", "processes", "batch_size"),
    [(_remove, 1, 2), (_lower, 1, 5000), (_blank, 1, 2), (_remove, 2, 1), (_blank, 2, 2)],
)
async def test_a_run_takes_no_more_rows_than_its_limit_however_many_processes_work_on_it(
    warehouse: Database, sicken: Callable[[World], None], processes: int, batch_size: int
) -> None:
    world = _world()
    sicken(world)
    guard = HoldLimits(rows=10_000, accounts=1000, run_rows=_LIMIT, run_row_share=0.0)
    config = EngineConfig(
        workers=1,
        poll_seconds=0.02,
        postpone_seconds=0,
        postpone_named_seconds=0,
        batch_size=batch_size,
        guard=guard,
    )
    async with (
        warehouse.connect() as connection,
        SandboxServer(world) as sandbox,
        AsyncExitStack() as stack,
    ):
        if sicken is _blank:
            # A figure that upstream leaves empty gives no reason to read it: a wrong count does.
            await connection.execute("UPDATE raw_metrics_daily SET num_trades = num_trades + 1")
        before = await stored(connection)
        services = [
            await stack.enter_async_context(engine(warehouse, sandbox, config=config))
            for _ in range(processes)
        ]
        run_id = await services[0].start_run(RunRequest(kind=RunKind.AUDIT))
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(service.pool.run_until_finished(run_id))
        state = plain(await services[0].readings.run_state(run_id))
        assert state["status"] == "needs_confirmation"
        assert "rows compared so far" in str(state["error"])
        assert 0 < sum(before.lost(await stored(connection)).values()) < _LIMIT


async def test_two_processes_that_write_at_the_same_moment_take_no_more_accounts_than_one(
    warehouse: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = _world()
    _remove(world)
    config = EngineConfig(
        workers=1,
        poll_seconds=0.02,
        postpone_seconds=0,
        postpone_named_seconds=0,
        batch_size=1,
        guard=HoldLimits(accounts=2, account_share=0.0),
    )
    both = asyncio.Barrier(2)
    reserve = RunLosses.reserve
    met: set[int] = set()

    async def at_once(run_losses: RunLosses, job: ApplyJob, losses: Mapping[str, Loss]) -> None:
        if id(run_losses) not in met:
            # Both have written by now, in transactions that saw nothing of each other, and ask
            # whether they may commit.
            met.add(id(run_losses))
            await both.wait()
        await reserve(run_losses, job, losses)

    monkeypatch.setattr(RunLosses, "reserve", at_once)
    async with (
        warehouse.connect() as connection,
        SandboxServer(world) as sandbox,
        AsyncExitStack() as stack,
    ):
        services = [
            await stack.enter_async_context(engine(warehouse, sandbox, config=config))
            for _ in range(2)
        ]
        for service in services:
            await service.maintain()
            await service.store.claims.beat()
        before = await stored(connection)
        # A reason to read: the dates on which daily stands against all others.
        await connection.execute(
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE num_trades > 0"
        )
        run_id = await services[0].start_run(RunRequest(kind=RunKind.FULL))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(service.pool.run_until_finished(run_id))
        assert plain(await services[0].readings.run_state(run_id))["status"] == "needs_confirmation"
        assert len(met) == 2
        assert len(before.lost(await stored(connection))) == 1
