"""What is held back: accounts that healing would rewrite, that upstream suddenly lost, that flap;
and a run that makes upstream suspect.
"""

import asyncio
import datetime as dt
import uuid
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.batch.detect import Detector
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.errors import Conflict, StatementTooSlow
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.engine.runs.test_runs import hurt
from tests.integration.engine.test_truth import victim
from tests.support.clock import SETTLED
from tests.support.engine import TODAY, difference, engine, fill, reconcile, run
from tests.support.plain import plain
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_RAW = (
    "raw_metrics_alltime",
    "raw_metrics_daily",
    "raw_metrics_hourly",
    "raw_trades_closed",
    "raw_trades_open",
)
_GUARD = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, guard=HoldLimits(rows=10))


async def _versions(connection: "Connection") -> list[object]:
    """What any write to a raw row changes, also one that writes what was there before."""
    return [
        await connection.fetch(
            f"SELECT ctid::text, xmin::text, t.* FROM {table} AS t ORDER BY ctid"
        )
        for table in _RAW
    ]


async def _status(connection: "Connection", account_id: str) -> str:
    return str(
        await connection.fetchval(
            "SELECT reconciliation_status FROM trade_recon WHERE account_id = $1", account_id
        )
    )


async def _confirm(service: ReconService, state: dict[str, object]) -> dict[str, object]:
    run_id = uuid.UUID(str(state["run_id"]))
    await service.confirm(run_id)
    await service.pool.run_until_finished(run_id)
    return dict(plain(await service.readings.run_state(run_id)))


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.RETRY, RunKind.AUDIT])
async def test_an_upstream_that_has_nothing_for_anybody_changes_no_row_and_the_run_says_why(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind
) -> None:
    await hurt(
        warehouse,
        DamageKind.HOURLY_MISSING,
        DamageKind.CLOSED_MISSING,
        DamageKind.DAILY_MISSING,
        DamageKind.DRIFT_MONEY,
    )
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        before = await _versions(connection)
        sandbox.set_faults(Faults.of(FaultKind.EMPTY))
        state = await run(service, kind)
        assert state["status"] == "needs_confirmation"
        assert "Upstream is suspect" in str(state["error"])
        assert await _versions(connection) == before
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == 0
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE failed_attempts > 0 OR claim_id IS NOT NULL"
            )
            == 0
        )
        # It needs nobody's word once upstream is well.
        sandbox.set_faults(NO_FAULTS)
        assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).is_equal


async def test_an_account_that_upstream_suddenly_lost_is_held_alone_until_that_is_confirmed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id = await victim(connection)
        await hurt(warehouse, DamageKind.DRIFT_MONEY)
        sandbox.world.forget(account_id)
        before = await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
        )
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "completed_with_issues", "one of thirty makes nobody suspect"
        assert (state["accounts"]["needs_confirmation"], state["accounts"]["healed"]) == (1, 2)  # type: ignore[index]
        assert await _status(connection, account_id) == "needs_confirmation"
        again = await run(service, RunKind.AUDIT)
        assert again["accounts"]["needs_confirmation"] == 1  # type: ignore[index]
        confirmed = await _confirm(service, state)
        assert confirmed["status"] == "succeeded", "somebody confirmed the absence"
        assert (
            confirmed["accounts"]["needs_confirmation"],  # type: ignore[index]
            confirmed["accounts"]["explained"],  # type: ignore[index]
        ) == (
            0,
            1,
        )
        assert await _status(connection, account_id) == "explained"
        # What somebody accepted is not asked about again.
        audit = await run(service, RunKind.AUDIT)
        assert (audit["accounts"]["needs_confirmation"], audit["accounts"]["explained"]) == (0, 1)  # type: ignore[index]
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
            )
            == before
        )
        with pytest.raises(Conflict, match="cannot be confirmed"):
            await _confirm(service, confirmed)


async def test_an_account_that_was_held_as_lost_is_asked_about_again_by_the_next_full_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id = await victim(connection)
        sandbox.set_faults(Faults.of(FaultKind.EMPTY))
        assert (await _reconciled_elsewhere(warehouse, sandbox, account_id))[
            "outcome"
        ] == "needs_confirmation"
        # Still lost: held again, not silently accepted.
        state = await run(service, RunKind.FULL)
        assert (state["status"], state["accounts"]["needs_confirmation"]) == (  # type: ignore[index]
            "needs_confirmation",
            1,
        )
        sandbox.set_faults(NO_FAULTS)
        state = await run(service, RunKind.FULL)
        assert (state["status"], state["accounts"]["unchanged"]) == ("succeeded", 1)  # type: ignore[index]
        assert await _status(connection, account_id) == "reconciled"


async def _reconciled_elsewhere(
    warehouse: Database, sandbox: SandboxServer, account_id: str
) -> dict[str, object]:
    async with engine(warehouse, sandbox, config=_GUARD) as other:
        await other.maintain()
        return await _reconciled(other, account_id)


async def test_an_account_of_which_too_much_would_be_rewritten_is_held_and_the_others_are_healed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_GUARD) as service,
    ):
        account_id = await victim(connection)
        others = await hurt(warehouse, DamageKind.DRIFT_MONEY)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id = $1",
            account_id,
        )
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = net_profit + 1 WHERE account_id = $1",
            account_id,
        )
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = $1", account_id
        )
        await connection.execute(
            "UPDATE raw_metrics_hourly SET net_profit = net_profit + 1 WHERE account_id = $1",
            account_id,
        )
        state = await run(service, RunKind.AUDIT)
        assert state["accounts"]["needs_confirmation"] == 1  # type: ignore[index]
        assert state["accounts"]["healed"] == len(set(others) - {account_id})  # type: ignore[index]
        assert (await difference(warehouse, sandbox)).account_ids == {account_id}
        account = plain(await service.readings.account(account_id))
        assert account["status"] == "needs_confirmation"
        assert "of the account's" in str(account["attempts"][0]["detail"])
        assert account["issues"], "what is open stays open"
        # By name it is held as well, and its run waits for the same word.
        result = await _reconciled_elsewhere(warehouse, sandbox, account_id)
        assert (result["status"], result["outcome"]) == ("needs_confirmation", "needs_confirmation")
        confirmed = await _confirm(service, state)
        assert (confirmed["status"], confirmed["accounts"]["healed"]) == (  # type: ignore[index]
            "succeeded",
            len({*others, account_id}),
        )
    assert (await difference(warehouse, sandbox)).is_equal


async def _reconciled(service: ReconService, account_id: str) -> dict[str, object]:
    async with service.pool.running():
        return dict(await reconcile(service, account_id))


async def test_few_rows_and_small_parts_are_rewritten_without_a_question(
    database: Database,
) -> None:
    world = World.generate(
        1, seed=3, today=TODAY, trades_per_account=700, days=40, contradictory=False
    )
    async with SandboxServer(world) as sandbox, database.connect() as connection:
        await fill(database, sandbox)
        config = EngineConfig(workers=1, poll_seconds=0.05, guard=HoldLimits(rows=100))
        async with engine(database, sandbox, config=config) as service:
            # Below the number of rows, below the part of the account, and above both.
            for rows, status in ((30, "succeeded"), (90, "succeeded"), (650, "needs_confirmation")):
                some = "SELECT ticket FROM raw_trades_closed ORDER BY ticket LIMIT $1"
                await connection.execute(
                    f"UPDATE raw_trades_closed SET profit = profit + 1 WHERE ticket IN ({some})",
                    rows,
                )
                await connection.execute(
                    "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1"
                )
                await connection.execute("UPDATE raw_metrics_daily SET net_profit = net_profit + 1")
                assert (await run(service, RunKind.AUDIT))["status"] == status, rows


async def test_a_run_that_holds_too_many_stops_writing_and_goes_on_when_it_is_confirmed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            f"UPDATE raw_trades_closed SET profit = profit + 1 WHERE trade_date < '{SETTLED}'"
        )
        await connection.execute(
            f"UPDATE raw_metrics_daily SET net_profit = net_profit + 1 WHERE date < '{SETTLED}'"
        )
        await connection.execute("UPDATE raw_metrics_alltime SET net_profit = net_profit + 1")
        config = EngineConfig(workers=1, poll_seconds=0.05, batch_size=3, guard=HoldLimits(rows=2))
        async with engine(warehouse, sandbox, config=config) as service:
            state = await run(service, RunKind.AUDIT)
            assert state["status"] == "needs_confirmation"
            accounts = state["accounts"]
            assert accounts["needs_confirmation"] >= 2  # type: ignore[index]
            assert accounts["waiting"] > 12, "it stopped long before its end"  # type: ignore[index]
            assert f"{accounts['waiting']} of its accounts are left." in str(state["error"])  # type: ignore[index]
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM trade_recon WHERE claim_id IS NOT NULL"
                )
                == 0
            )
            # Confirmed is what was held: accounts that nobody was shown yet are guarded as before.
            shown = 0
            while state["accounts"]["needs_confirmation"]:  # type: ignore[index]
                shown += state["accounts"]["needs_confirmation"]  # type: ignore[index]
                state = await _confirm(service, state)
                assert state["accounts"]["healed"] >= shown  # type: ignore[index]
    assert (state["status"], state["accounts"]["waiting"]) == ("succeeded", 0)  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).is_equal


async def _break(connection: "Connection", account_id: str) -> None:
    """The same break as before: a settled day's hourly rows are gone."""
    day = await connection.fetchval(
        "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 AND date"
        f" < '{SETTLED}'",
        account_id,
    )
    await connection.execute(
        "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2", account_id, day
    )


async def test_an_account_whose_issue_opens_again_three_times_is_flapping_and_held_back_for_a_day(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id = await victim(connection)
        for _ in range(3):
            await _break(connection, account_id)
            assert (await run(service, RunKind.FULL))["accounts"]["healed"] == 1  # type: ignore[index]
        await _break(connection, account_id)
        sandbox.log.reset()
        held = await run(service, RunKind.FULL)
        assert (held["status"], held["accounts"]["flapping"], sandbox.log.total) == (  # type: ignore[index]
            "completed_with_issues",
            1,
            0,
        )
        row = await connection.fetchrow(
            "SELECT reconciliation_status, failed_attempts, next_attempt_at > now() + interval '23"
            " hours' FROM trade_recon WHERE account_id = $1",
            account_id,
        )
        assert tuple(row or ()) == ("flapping", 0, True)
        assert (await run(service, RunKind.FULL))["accounts"]["skipped"] == 1  # type: ignore[index]
        # When the day is over it is healed like others; if it breaks again it is held again.
        await connection.execute(
            "UPDATE trade_recon SET next_attempt_at = now() WHERE account_id = $1", account_id
        )
        assert (await run(service, RunKind.FULL))["accounts"]["healed"] == 1  # type: ignore[index]
        assert await _status(connection, account_id) == "reconciled"
        await _break(connection, account_id)
        assert (await run(service, RunKind.FULL))["accounts"]["flapping"] == 1  # type: ignore[index]
        # Who asks for it by name gets it healed now.
        assert (await _reconciled(service, account_id))["outcome"] == "healed"
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("what", ["another place, a day later", "the same place, three days later"])
async def test_a_break_that_comes_back_elsewhere_or_much_later_is_no_flapping(
    warehouse: Database, sandbox: SandboxServer, what: str
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id = await victim(connection)
        days = await connection.fetch(
            "SELECT DISTINCT date FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0"
            f" AND date < '{SETTLED}' ORDER BY 1",
            account_id,
        )
        for number in range(4):
            day = days[number if what.startswith("another") else 0]["date"]
            await connection.execute(
                "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2",
                account_id,
                day,
            )
            assert (await run(service, RunKind.FULL))["accounts"]["healed"] == 1  # type: ignore[index]
            later = dt.timedelta(days=1 if what.startswith("another") else 3)
            await connection.execute(
                "UPDATE recon_issue_history SET closed_at = closed_at - $1::interval", later
            )


class _Poisoned:
    """The flow, broken off by some accounts whatever is done."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, accounts: set[str], error: Exception
    ) -> None:
        views = Detector.views

        async def poisoned(
            detector: Detector,
            account_ids: list[str],
            claim: object,
            *,
            is_first: bool = False,
        ) -> object:
            if accounts.intersection(account_ids):
                raise error
            return await views(detector, account_ids, claim, is_first=is_first)  # type: ignore[arg-type]

        monkeypatch.setattr(Detector, "views", poisoned)


@pytest.mark.parametrize("error", [StatementTooSlow("too slow"), KeyError("a defect")])
@pytest.mark.parametrize("batch_size", [1, 100])
async def test_an_account_that_breaks_every_batch_off_fails_alone(
    warehouse: Database,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    batch_size: int,
) -> None:
    victims = await hurt(
        warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4
    )
    poisonous = {victims[1], victims[6]}
    _Poisoned(monkeypatch, poisonous, error)
    config = EngineConfig(workers=1, poll_seconds=0.05, batch_size=batch_size)
    async with (
        engine(warehouse, sandbox, config=config) as service,
        warehouse.connect() as connection,
    ):
        state = await run(service, RunKind.FULL)
        assert (state["status"], state["accounts"]["failed"], state["accounts"]["healed"]) == (  # type: ignore[index]
            "completed_with_issues",
            2,
            6,
        )
        failed = await connection.fetch("SELECT * FROM recon_attempts WHERE outcome = 'failed'")
        assert {row["account_id"] for row in failed} == poisonous
        assert all("cannot be reconciled" in row["detail"] for row in failed)
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts = 1")
            == 2
        )
    assert (await difference(warehouse, sandbox)).account_ids == poisonous


async def test_an_error_that_every_account_meets_fails_the_run_and_blames_few(
    warehouse: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = await hurt(
        warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4
    )
    _Poisoned(monkeypatch, set(victims), KeyError("a defect"))
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        state = await run(service, RunKind.FULL)
        assert state["status"] == "failed"
        assert "a defect" in str(state["error"])
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            < 3
        )
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE claim_id IS NOT NULL")
            == 0
        )


async def test_old_history_is_purged_in_small_steps_and_young_history_stays(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        for _ in range(2):
            await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING, accounts=4)
            await run(service, RunKind.AUDIT)
        old, young = [
            row["run_id"]
            for row in await connection.fetch("SELECT run_id FROM recon_runs ORDER BY finished_at")
        ]
        await connection.execute(
            "UPDATE recon_runs SET finished_at = finished_at - interval '91 days' WHERE run_id"
            " = $1",
            old,
        )
        await connection.execute(
            "UPDATE recon_issue_history SET closed_at = closed_at - interval '91 days' WHERE"
            " closed_run = $1",
            old,
        )
        kept = await connection.fetchval(
            "SELECT count(*) FROM recon_issue_history WHERE closed_run = $1", young
        )
        waiting = await service.start_run(RunRequest(account_ids=(AccountId("acc-00001"),)))
        assert await service.store.retention.purge(90, step=3) > 0
        assert {
            row["run_id"] for row in await connection.fetch("SELECT run_id FROM recon_runs")
        } == {young, waiting}
        assert (
            await connection.fetchval("SELECT count(*) FROM recon_attempts WHERE run_id = $1", old)
            == 0
        )
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_attempts WHERE run_id = $1", young
            )
            > 0
        )
        assert (
            await connection.fetchval("SELECT count(*) FROM recon_drift WHERE run_id = $1", old)
            == 0
        )
        assert await connection.fetchval("SELECT count(*) FROM recon_issue_history") == kept
        assert await service.store.retention.purge(90) == 0


async def test_what_dead_workers_had_fetched_is_dropped_while_others_serve(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    config = EngineConfig(workers=1, poll_seconds=0.05, lease_seconds=0.6)
    async with (
        engine(warehouse, sandbox) as dead,
        engine(warehouse, sandbox, config=config) as alive,
        warehouse.connect() as connection,
    ):
        sink = await dead.store.staging.begin(Endpoint.DAILY)
        await sink.add(
            [
                bytes(record.encoded)
                for record in sandbox.world.records(Endpoint.DAILY, ["acc-00001"])
            ]
        )
        async with alive.pool.running(), asyncio.timeout(PATIENCE):
            while await connection.fetchval(  # noqa: ASYNC110
                "SELECT count(*) FROM recon_fetches"
            ) or await connection.fetchval("SELECT count(*) FROM recon_stage_daily"):
                await asyncio.sleep(0.05)
