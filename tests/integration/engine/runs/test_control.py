"""Control: runs are paused, resumed, cancelled and ended at a time, in order; each is started once,
and named accounts go first.
"""

import asyncio
import datetime as dt
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, RunId
from app.domain.runs.request import RunRequest
from app.domain.states import Depth, RunKind
from app.engine.api_usage import RunApiStats
from app.engine.config import EngineConfig
from app.engine.report.models.accounts import RunUnderWay
from app.engine.service import ReconService
from app.engine.stopping import StopSignal, StopSignals
from app.errors import ClaimLost, Conflict, InvalidRequest, NotFound
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.store.apply.context import WriteContext
from app.store.apply.fingerprints import Slice
from tests.conftest import Database
from tests.integration.engine.runs.test_claims import process, queued
from tests.integration.engine.runs.test_runs import hurt
from tests.support.engine import TODAY, difference, engine, reconcile, run
from tests.support.plain import plain
from tests.support.waiting import PATIENCE

_SMALL = EngineConfig(
    workers=1, poll_seconds=0.05, batch_size=1, postpone_seconds=0, grace_seconds=5
)
_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.4)
_HELD = "SELECT count(*) FROM prop_trading_model.trade_recon WHERE claim_id IS NOT NULL"
_STUCK = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=4.0)


@asynccontextmanager
async def _begun(
    service: ReconService, sandbox: SandboxServer, **request: object
) -> AsyncIterator[RunId]:
    """A full run of which accounts were claimed, served until the end of the context."""
    sandbox.log.reset()
    async with service.pool.running():
        run_id = await service.start_run(RunRequest(**request))  # type: ignore[arg-type]
        async with asyncio.timeout(PATIENCE):
            while not await service.store.database.fetch_value(_HELD):  # noqa: ASYNC110 - other tasks' event
                await asyncio.sleep(0.01)
        yield run_id


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - another task's event
            await asyncio.sleep(0.01)


async def _still(service: ReconService, run_id: uuid.UUID) -> dict[str, object]:
    """The run's state once nothing of it is under way any more."""
    async with asyncio.timeout(PATIENCE):
        while await service.store.database.fetch_value(_HELD):  # noqa: ASYNC110 - other tasks' event
            await asyncio.sleep(0.02)
    return dict(plain(await service.readings.run_state(run_id)))


async def test_a_paused_run_takes_nothing_more_and_goes_on_where_it_was(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
    sandbox.set_faults(_SLOW)
    async with (
        engine(warehouse, sandbox, config=_SMALL) as service,
        _begun(service, sandbox) as run_id,
    ):
        await service.pause(run_id)
        await service.pause(run_id)
        paused = await _still(service, run_id)
        assert (paused["status"], paused["finished_at"], paused["error"]) == ("paused", None, None)
        assert (
            paused["accounts"]["waiting"] + paused["accounts"]["done"]  # type: ignore[index]
            == paused["accounts"]["total"]  # type: ignore[index]
            == 8
        )
        assert paused["accounts"]["waiting"] >= 5  # type: ignore[index]
        asked = sandbox.log.total
        await asyncio.sleep(0.5)
        assert sandbox.log.total == asked
        with pytest.raises(Conflict, match=f"paused already: {run_id}"):
            await service.start_run(RunRequest())
        sandbox.set_faults(NO_FAULTS)
        await service.resume(run_id)
        await service.wait_for_run(run_id, PATIENCE)
        state = plain(await service.readings.run_state(run_id))
        assert (state["status"], state["accounts"]["healed"], state["accounts"]["waiting"]) == (
            "succeeded",
            8,
            0,
        )
        with pytest.raises(Conflict, match="succeeded; it cannot be paused"):
            await service.pause(run_id)
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_cancelled_run_keeps_what_was_healed_says_what_is_left_and_the_next_heals_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
    sandbox.set_faults(_SLOW)
    async with (
        engine(warehouse, sandbox, config=_SMALL) as service,
        _begun(service, sandbox) as run_id,
    ):
        await service.cancel(run_id)
        await service.cancel(run_id)
        state = await _still(service, run_id)
        left = state["accounts"]["waiting"]  # type: ignore[index]
        assert state["status"] == "cancelled"
        assert left >= 5
        assert f"{left} of its accounts are left." in str(state["error"])
        for steer, word in (
            (service.pause, "paused"),
            (service.resume, "resumed"),
            (service.confirm, "confirmed"),
        ):
            with pytest.raises(Conflict, match=f"cancelled; it cannot be {word}"):
                await steer(run_id)
        sandbox.set_faults(NO_FAULTS)
        again = await service.start_run(RunRequest())
        await service.wait_for_run(again, PATIENCE)
        assert plain(await service.readings.run_state(again))["accounts"]["total"] == left
        with pytest.raises(NotFound):
            await service.cancel(uuid.uuid4())
    assert (await difference(warehouse, sandbox)).is_equal


async def test_an_audit_that_is_cancelled_while_it_is_prepared_stops_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=50.0))
    sandbox.log.reset()
    async with (
        engine(warehouse, sandbox, config=_SMALL, timeout=60) as service,
        service.pool.running(),
    ):
        run_id = await service.start_run(RunRequest(RunKind.AUDIT))
        await _until(lambda: sandbox.log.total >= 1)
        await service.cancel(run_id)
        other = await service.start_run(RunRequest(RunKind.FULL))
        assert (await service.wait_for_run(other, 40)).value == "succeeded", (
            "the only worker was still at the audit"
        )
        async with warehouse.connect() as connection:
            assert await connection.fetchval("SELECT count(*) FROM recon_attempts") == 0


async def test_a_run_ends_in_order_at_its_stop_at_and_says_what_is_left(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
    sandbox.set_faults(_SLOW)
    stop_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    async with (
        engine(warehouse, sandbox, config=_SMALL) as service,
        _begun(service, sandbox, stop_at=stop_at) as run_id,
    ):
        await service.wait_for_run(run_id, PATIENCE)
        state = await _still(service, run_id)
        assert state["status"] == "completed_with_issues"
        assert state["finished_at"] >= stop_at  # type: ignore[operator]
        assert state["accounts"]["done"] > 0 < state["accounts"]["waiting"]  # type: ignore[index]
        assert str(state["error"]).startswith("The run ended at its stop_at")
        assert re.search(r" of its accounts (is|are) left\.$", str(state["error"]))
        asked = sandbox.log.total
        await asyncio.sleep(0.3)
        assert sandbox.log.total == asked
        with pytest.raises(InvalidRequest, match="stop_at must be in the future"):
            await service.start_run(RunRequest(stop_at=stop_at))


async def test_a_run_that_is_done_before_its_stop_at_ends_as_usual(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING)
    async with engine(warehouse, sandbox) as service:
        state = await run(
            service, RunKind.FULL, stop_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        )
    assert (state["status"], state["error"]) == ("succeeded", None)


async def test_a_run_whose_last_batch_ends_just_at_its_stop_at_comes_to_its_own_end(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await connection.execute(
            "CREATE FUNCTION it_is_time() RETURNS trigger LANGUAGE plpgsql SET search_path ="
            " prop_trading_model AS 'BEGIN UPDATE recon_runs SET stop_at = now() WHERE run_id ="
            " NEW.run_id; RETURN NULL; END';CREATE TRIGGER it_is_time AFTER UPDATE ON"
            " recon_attempts FOR EACH ROW WHEN (OLD.outcome IS NULL AND NEW.outcome IS NOT NULL)"
            " EXECUTE FUNCTION it_is_time()"
        )
        state = await run(
            service, RunKind.FULL, stop_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        )
        assert (state["status"], state["error"]) == ("succeeded", None)
        # It blocks no other.
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"


async def test_a_process_that_is_told_to_stop_records_what_is_finished_and_gives_the_rest_back(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
    sandbox.set_faults(_STUCK)
    # Three requests an account, one at a time: the batch is far from its end when the first is
    # answered.
    config = EngineConfig(workers=1, poll_seconds=0.05, fetches=1, grace_seconds=20)
    async with (
        engine(warehouse, sandbox, config=config) as service,
        warehouse.connect() as connection,
    ):
        async with _begun(service, sandbox) as run_id:
            pass
        state = plain(await service.readings.run_state(run_id))
        assert state["status"] == "running"
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE claim_id IS NOT NULL")
            == 0
        )
        assert await connection.fetchval("SELECT count(*) FROM recon_workers") == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_fetches") == 0
        sandbox.set_faults(NO_FAULTS)
        async with engine(warehouse, sandbox) as other:
            await other.pool.run_until_finished(run_id)
        ended = plain(await service.readings.run_state(run_id))
        assert (ended["status"], ended["accounts"]["done"]) == ("succeeded", 8)
        rows = ended["rows"]["inserted"]
        assert rows == await connection.fetchval("SELECT sum(rows_inserted) FROM recon_runs")
    assert (await difference(warehouse, sandbox)).is_equal


async def test_the_same_key_and_request_name_the_same_run_and_another_request_is_refused(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as one, engine(warehouse, sandbox) as other:
        request = RunRequest(
            RunKind.AUDIT, max_accounts=5, stop_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        )
        runs = await asyncio.gather(
            *(service.start_run(request, "nightly-1") for service in (one, other) * 4)
        )
        assert len(set(runs)) == 1
        with pytest.raises(Conflict) as conflict:
            await one.start_run(RunRequest(RunKind.AUDIT, max_accounts=6), "nightly-1")
        assert conflict.value.run_id == runs[0]
        await one.pool.run_until_finished(runs[0])
        await asyncio.sleep(2)
        assert await one.start_run(request, "nightly-1") == runs[0], (
            "also when the run is over and its stop_at past"
        )
        assert (
            await one.start_run(RunRequest(RunKind.AUDIT, max_accounts=6), "nightly-2") != runs[0]
        )
        assert (
            await one.store.database.fetch_value(
                "SELECT count(*) FROM prop_trading_model.recon_runs"
            )
            == 2
        )


async def test_of_full_runs_that_start_at_once_one_is_started_and_the_others_are_told_which(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as one, engine(warehouse, sandbox) as other:
        answers = await asyncio.gather(
            *(service.start_run(RunRequest()) for service in (one, other) * 4),
            return_exceptions=True,
        )
        (started,) = [answer for answer in answers if isinstance(answer, uuid.UUID)]
        conflicts = [answer for answer in answers if isinstance(answer, Conflict)]
        assert [conflict.run_id for conflict in conflicts] == [started] * 7
        # Runs of another sort find work of their own.
        await one.start_run(RunRequest(RunKind.RETRY))
        await one.start_run(RunRequest(account_ids=(AccountId("acc-00001"),)))
        await one.pool.run_until_finished(started)
        assert await one.start_run(RunRequest()) != started


async def test_a_named_account_goes_first_while_every_worker_is_at_a_long_batch(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    victims = await hurt(
        warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4
    )
    async with warehouse.connect() as connection:
        one = str(
            await connection.fetchval(
                "SELECT min(account_id) FROM raw_metrics_alltime WHERE account_id <>"
                " ALL($1::text[])",
                victims,
            )
        )
        fine = frozenset({Endpoint.HOURLY, Endpoint.CLOSED})
        sandbox.set_faults(
            Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=20, only_endpoints=fine)
        )
        config = EngineConfig(workers=1, poll_seconds=0.05, grace_seconds=0.2)
        async with (
            engine(warehouse, sandbox, config=config, outage_wait=60) as service,
            _begun(service, sandbox) as run_id,
        ):
            result = await reconcile(service, one, Depth.COUNTS)
            assert result["outcome"] == "unchanged"
            assert plain(await service.readings.run_state(run_id))["status"] == "running"
            # One that takes longer than somebody waits is answered with its run.
            sandbox.set_faults(_STUCK)
            assert isinstance(await service.reconcile_account(one, 0.1), RunUnderWay)
            await service.cancel(run_id)


async def test_who_lost_the_preparation_of_a_run_puts_nothing_into_it(warehouse: Database) -> None:
    async with (
        process(warehouse) as stale,
        process(warehouse) as alive,
        warehouse.connect() as connection,
    ):
        await stale.sweep.run(TODAY)
        run_id = await stale.runs.create(RunRequest(RunKind.AUDIT))
        assert await stale.preparations.take(run_id)
        assert not await alive.preparations.take(run_id)
        await connection.execute(
            "UPDATE recon_workers SET heartbeat_at = now() - interval '61 seconds' WHERE worker_id"
            " = $1",
            stale.claims.worker_id,
        )
        assert await alive.preparations.take(run_id)
        with pytest.raises(ClaimLost):
            await stale.scans.alltime_sink(run_id).add(
                [b'{"accountId": "made-up", "numTrades": 1}']
            )
        with pytest.raises(ClaimLost):
            await stale.scans.clear(run_id)
        with pytest.raises(ClaimLost):
            async with stale.preparations.queue(run_id) as queue:
                await queue.finish(await queue.accounts(["acc-00001"]), {})
        assert await connection.fetchval("SELECT count(*) FROM recon_scan") == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_attempts") == 0
        async with alive.preparations.queue(run_id) as queue:
            await queue.finish(await queue.accounts(["acc-00002"]), {})
        assert await connection.fetchval("SELECT array_agg(account_id) FROM recon_attempts") == [
            "acc-00002"
        ]


async def test_who_was_away_for_longer_than_the_lease_holds_nothing_even_if_nobody_took_it_over(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with process(warehouse) as store, warehouse.connect() as connection:
        run_id = await queued(store)
        claim = await store.claims.claim(run_id, 100)
        assert claim is not None
        account_id = claim.account_ids[0]
        await connection.execute(
            "UPDATE recon_workers SET heartbeat_at = now() - interval '61 seconds'"
        )
        await connection.execute(
            "UPDATE trade_recon SET claimed_at = now() - interval '61 seconds'"
        )
        await connection.execute(
            "DELETE FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
        proven = Slice(Endpoint.ALLTIME, (account_id,), None)
        before = await store.applier.fingerprints(proven)
        sink = await store.staging.begin(Endpoint.ALLTIME)
        await sink.add(
            [
                bytes(record.encoded)
                for record in sandbox.world.records(Endpoint.ALLTIME, [account_id])
            ]
        )
        writer = WriteContext(run_id, claim.claim_id, 30, 60)
        assert (await store.applier.apply(sink.staged, proven, before, writer))[
            account_id
        ].claim_lost
        assert await store.claims.beat() == 30, "the accounts are given up when it comes back"
        assert (await store.applier.apply(sink.staged, proven, before, writer))[
            account_id
        ].claim_lost
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_metrics_alltime WHERE account_id = $1", account_id
            )
            == 0
        )
        assert await store.claims.beat() == 0
        again = await store.claims.claim(run_id, 100)
        assert again is not None
        assert len(again.account_ids) == 30


async def test_what_is_halted_before_its_end_costs_no_account_an_attempt_whatever_it_waits_for(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(
        warehouse,
        DamageKind.DAILY_MISSING,
        DamageKind.HOURLY_MISSING,
        DamageKind.SOME_CLOSED_MISSING,
        accounts=2,
    )
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        run_id = await service.start_run(RunRequest())
        async with process(warehouse) as store:
            assert await store.preparations.take(run_id)
            await store.sweep.run(TODAY)
            async with store.preparations.queue(run_id) as queue:
                await queue.finish(await queue.mismatched(retry=False, limit=None), {})
        (active,) = await service.store.active_runs.active(run_id)
        await service.store.claims.beat()
        claim = await service.store.claims.claim(run_id, 100)
        assert claim is not None
        halt = StopSignal()
        halt.set()
        batches = service.pool.server._isolation._batches
        await batches.reconcile(
            claim,
            active,
            RunApiStats(run_id, service.store.claims.worker_id, service.store.runs),
            halt,
        )
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        )
        assert (
            await connection.fetchval("SELECT count(*) FROM recon_attempts WHERE outcome IS NULL")
            == len(claim.account_ids)
            == 6
        )
        assert sandbox.log.total == 0


async def test_a_run_that_is_taken_up_while_others_are_looked_after_is_not_halted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service:
        halts, asked, answer = (
            StopSignals(service.store, lambda: TODAY),
            asyncio.Event(),
            asyncio.Event(),
        )
        working = service.store.control.working

        async def slow(run_ids: list[RunId]) -> set[RunId]:
            asked.set()
            await answer.wait()
            return await working(run_ids)

        service.store.control.working = slow  # type: ignore[method-assign,assignment]
        with halts.working_on(RunId(uuid.uuid4())) as over:
            looking = asyncio.create_task(halts.look())
            await asked.wait()
            with halts.working_on(RunId(uuid.uuid4())) as begun:
                answer.set()
                await looking
                assert (over.is_set, begun.is_set) == (True, False)
