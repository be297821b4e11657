"""After a run that stopped, only an audit that compared the accounts may say that upstream is well:
its status alone does not.
"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from app.domain.ids import RunId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.integration.values.conftest import NOW, small_world
from tests.support.engine import engine, filled_copy, run
from tests.support.plain import plain

_SETTLED = dt.date(2026, 3, 10)
_STOPPED = 10
"""Accounts that the run meets which stops."""

State = Mapping[str, Any]


def _lossy_world(accounts: int | None = None) -> World:
    """Upstream has lost every second settled trade of the first accounts (None: of all), alike at
    all levels.
    """
    world = small_world()
    for account_id in world.account_ids[:accounts]:
        for trade in sorted(
            (t for t in world.trades(account_id) if not t.is_open and t.trade_date < _SETTLED),
            key=str,
        )[::2]:
            world.remove_trade(trade)
    return world


@pytest.fixture(scope="module")
async def stopped_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database in which a full run stopped, since upstream was suspect."""
    async with filled_copy(postgres, template, "stopped", small_world()) as name:
        warehouse, world = Database(postgres.database(name), SCHEMA), _lossy_world()
        first = world.account_ids[:_STOPPED]
        async with (
            warehouse.connect() as connection,
            SandboxServer(world) as lossy,
            engine(warehouse, lossy, now=lambda: NOW) as service,
        ):
            await connection.execute(
                "DELETE FROM raw_metrics_hourly WHERE date < $1 AND account_id = ANY($2)",
                _SETTLED,
                first,
            )
            assert (await run(service, RunKind.FULL))["status"] == "needs_confirmation"
        yield name


@pytest.fixture
async def stopped(postgres: Server, stopped_template: str) -> AsyncIterator[Database]:
    """A database of the test's own in which a full run stopped."""
    async with postgres.clone(stopped_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


async def _stands(service: ReconService) -> bool:
    return await service.store.runs.is_suspicion_standing(RunId(uuid.uuid4()))


async def _compared(service: ReconService, run_id: RunId) -> None:
    """Prepare a run: of an audit all is compared then, and no batch has begun."""
    (active,) = await service.store.active_runs.active(run_id)
    assert await service.pool.server.prepare(active)


async def _out_of_time(service: ReconService) -> State:
    """Its time is up before any process comes to it."""
    run_id = await service.start_run(RunRequest(kind=RunKind.AUDIT))
    await service.store.database.execute(
        f"UPDATE {SCHEMA}.recon_runs SET stop_at = now() WHERE run_id = $1", run_id
    )
    await service.pool.run_until_finished(run_id)
    return dict(plain(await service.readings.run_state(run_id)))


async def _out_of_time_once_compared(service: ReconService) -> State:
    """Its accounts are known, and none was worked on."""
    run_id = await service.start_run(RunRequest(kind=RunKind.AUDIT))
    await _compared(service, run_id)
    await service.store.database.execute(
        f"UPDATE {SCHEMA}.recon_runs SET stop_at = now() WHERE run_id = $1", run_id
    )
    await service.pool.run_until_finished(run_id)
    return dict(plain(await service.readings.run_state(run_id)))


async def _cancelled(service: ReconService) -> State:
    run_id = await service.start_run(RunRequest(kind=RunKind.AUDIT))
    await _compared(service, run_id)
    await service.cancel(run_id)
    return dict(plain(await service.readings.run_state(run_id)))


async def _paused(service: ReconService) -> State:
    run_id = await service.start_run(RunRequest(kind=RunKind.AUDIT))
    await _compared(service, run_id)
    await service.pause(run_id)
    return dict(plain(await service.readings.run_state(run_id)))


async def _of_named_accounts(service: ReconService) -> State:
    return await run(service, RunKind.AUDIT, account_ids=tuple(small_world().account_ids[:8]))


async def _of_few_accounts(service: ReconService) -> State:
    return await run(service, RunKind.AUDIT, max_accounts=3)


async def _of_no_kind_that_compares(service: ReconService) -> State:
    return await run(service, RunKind.FULL)


@pytest.mark.parametrize(
    ("audit", "status"),
    [
        (_out_of_time, "completed_with_issues"),
        (_out_of_time_once_compared, "completed_with_issues"),
        (_cancelled, "cancelled"),
        (_paused, "paused"),
        (_of_named_accounts, "succeeded"),
        (_of_few_accounts, "completed_with_issues"),
        (_of_no_kind_that_compares, "succeeded"),
    ],
)
async def test_a_run_that_did_not_compare_the_accounts_does_not_find_upstream_well(
    stopped: Database,
    sandbox: SandboxServer,
    audit: Callable[[ReconService], Awaitable[State]],
    status: str,
) -> None:
    async with engine(stopped, sandbox, now=lambda: NOW) as service:
        state = await audit(service)
        assert (state["status"], await _stands(service)) == (status, True), state


async def test_an_audit_that_the_api_refuses_does_not_find_upstream_well(
    stopped: Database, sandbox: SandboxServer
) -> None:
    async with engine(stopped, sandbox, now=lambda: NOW, api_key="a-key-that-is-none") as service:
        assert (await run(service, RunKind.AUDIT))["status"] == "failed"
        assert await _stands(service)


@pytest.mark.parametrize(("waiting", "stands"), [(1, False), (_STOPPED, True)])
async def test_accounts_that_an_audit_leaves_out_are_not_among_those_that_were_found_well(
    stopped: Database, waiting: int, *, stands: bool
) -> None:
    world = small_world()
    async with (
        stopped.connect() as connection,
        SandboxServer(world) as upstream,
        engine(stopped, upstream, now=lambda: NOW) as service,
    ):
        # They back off since an earlier failure: an audit leaves them out.
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = 'failed', failed_attempts = 1,"
            " next_attempt_at = now() + interval '1 day', trades_recon_checksum = false,"
            " mismatched_days = 1 WHERE account_id = ANY($1)",
            world.account_ids[-waiting:],
        )
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = ANY($1)",
            world.account_ids[-waiting:],
        )
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "completed_with_issues", state
        # One account of the world has no hourly rows anyway.
        assert waiting - 1 <= state["accounts"]["skipped"] <= waiting, state  # type: ignore[index]
        assert await _stands(service) is stands


async def test_an_audit_of_all_that_finds_upstream_well_ends_the_suspicion(
    stopped: Database, sandbox: SandboxServer
) -> None:
    async with engine(stopped, sandbox, now=lambda: NOW) as service:
        assert await _stands(service)
        assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"
        assert not await _stands(service)


async def test_an_audit_that_leaves_held_what_was_held_does_not_find_upstream_well(
    stopped: Database,
) -> None:
    async with (
        SandboxServer(_lossy_world(_STOPPED)) as upstream,
        engine(stopped, upstream, now=lambda: NOW) as service,
    ):
        state = await run(service, RunKind.AUDIT)
        assert state["accounts"]["needs_confirmation"] > 1, state  # type: ignore[index]
        assert await _stands(service)


async def test_what_an_audit_compared_before_a_run_stopped_does_not_end_the_suspicion(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    world = _lossy_world()
    first = world.account_ids[:_STOPPED]
    async with (
        warehouse.connect() as connection,
        SandboxServer(world) as lossy,
        engine(warehouse, sandbox, now=lambda: NOW) as service,
        engine(warehouse, lossy, now=lambda: NOW) as sick,
    ):
        audit = await service.start_run(RunRequest(kind=RunKind.AUDIT))
        await _compared(service, audit)
        await service.pause(audit)
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE date < $1 AND account_id = ANY($2)",
            _SETTLED,
            first,
        )
        assert (await run(sick, RunKind.FULL))["status"] == "needs_confirmation"
        await service.resume(audit)
        await service.pool.run_until_finished(audit)
        assert plain(await service.readings.run_state(audit))["status"] == "succeeded"
        assert await _stands(service)


@pytest.mark.parametrize("audit", [_out_of_time, _out_of_time_once_compared])
async def test_nothing_that_upstream_lowers_is_written_after_an_audit_that_compared_nothing(
    stopped: Database, audit: Callable[[ReconService], Awaitable[State]]
) -> None:
    world = _lossy_world()
    others = world.account_ids[_STOPPED:]
    async with (
        stopped.connect() as connection,
        SandboxServer(world) as lossy,
        engine(stopped, lossy, now=lambda: NOW) as service,
    ):
        before = await connection.fetchval("SELECT count(*) FROM recon_removed_rows")
        await audit(service)
        for kind, at in ((RunKind.AUDIT, 0), (RunKind.RETRY, 0), (RunKind.AUDIT, 4)):
            await run(service, kind, account_ids=tuple(others[at : at + 4]))
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == before
