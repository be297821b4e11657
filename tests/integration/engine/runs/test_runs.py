"""Runs: what each kind takes, what an outage or a wrong key does, how they share work and
survive.
"""

import asyncio

import pytest

from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.errors import InvalidRequest, NotFound
from app.sandbox.damage.damage import damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.faults import Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database, Server
from tests.support.engine import difference, engine, reconcile, run
from tests.support.plain import plain
from tests.support.waiting import PATIENCE


async def hurt(database: Database, *kinds: DamageKind, accounts: int = 2) -> list[str]:
    async with database.connect() as connection:
        done = await damage(
            connection, database.schema, seed=7, kinds=kinds, accounts_per_kind=accounts
        )
    return [account_id for each in done for account_id in each.account_ids]


async def test_a_wrong_key_fails_the_run_at_once_and_blames_no_account(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING)
    async with engine(warehouse, sandbox, api_key="wrong") as service:
        state = await run(service, RunKind.FULL)
    assert state["status"] == "failed"
    assert "RISK_API_KEY" in str(state["error"])
    assert "wrong" not in str(state["error"])
    async with warehouse.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE failed_attempts > 0 OR claim_id IS NOT NULL"
            )
            == 0
        )
    assert sandbox.log.total <= 2


async def test_an_outage_longer_than_the_wait_fails_the_run_changes_nothing_and_releases_its_accounts(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING)
    before = (await difference(warehouse, sandbox)).differences
    sandbox.set_faults(Faults(down=True))
    async with engine(warehouse, sandbox, outage_wait=1.0) as service:
        state = await run(service, RunKind.FULL)
        assert state["status"] == "failed"
        async with warehouse.connect() as connection:
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM trade_recon WHERE failed_attempts > 0 OR claim_id IS NOT"
                    " NULL"
                )
                == 0
            )
            assert await connection.fetchval("SELECT count(*) FROM recon_stage_hourly") == 0
        assert (await difference(warehouse, sandbox)).differences == before
        sandbox.set_faults(Faults())
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).is_equal


async def test_an_outage_shorter_than_the_wait_only_delays_the_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, DamageKind.CLOSED_MISSING)
    sandbox.set_faults(Faults(down=True))

    async def recover() -> None:
        await asyncio.sleep(1.5)
        sandbox.set_faults(Faults())

    async with engine(warehouse, sandbox, outage_wait=60) as service:
        recovery = asyncio.create_task(recover())
        state = await run(service, RunKind.FULL)
        await recovery
    assert state["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_full_run_leaves_accounts_that_back_off_and_a_retry_takes_them(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    victims = await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=3)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await service.maintain()
        await connection.execute(
            "UPDATE trade_recon SET failed_attempts = 1, next_attempt_at = now() + interval '1"
            " hour' WHERE account_id = $1",
            victims[0],
        )
        await connection.execute(
            "UPDATE trade_recon SET failed_attempts = 5, reconciliation_status = 'exhausted' WHERE"
            " account_id = $1",
            victims[1],
        )
        full = await run(service, RunKind.FULL)
        assert full["skipped_due_to_previous_failure"] == 2
        assert full["accounts"]["healed"] == 1  # type: ignore[index]
        assert full["status"] == "completed_with_issues"
        retry = await run(service, RunKind.RETRY)
        assert retry["accounts"]["healed"] == 2  # type: ignore[index]
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        )
    assert (await difference(warehouse, sandbox)).is_equal


async def test_failures_of_an_account_count_back_off_and_end_exhausted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    (victim,) = await hurt(warehouse, DamageKind.CLOSED_MISSING, accounts=1)
    async with warehouse.connect() as connection:
        await connection.execute(
            "ALTER TABLE raw_trades_closed ADD CONSTRAINT nothing_new CHECK (lots < 0) NOT VALID"
        )
        async with engine(
            warehouse, sandbox, config=EngineConfig(workers=1, poll_seconds=0.05, max_attempts=2)
        ) as service:
            first = await run(service, RunKind.FULL)
            row = await connection.fetchrow(
                "SELECT *, next_attempt_at > now() AS waits FROM trade_recon WHERE account_id = $1",
                victim,
            )
            assert row is not None
            assert (row["failed_attempts"], row["reconciliation_status"], row["waits"]) == (
                1,
                "failed",
                True,
            )
            assert first["failed"] == 1
            assert (await run(service, RunKind.FULL))["skipped_due_to_previous_failure"] == 1
            await run(service, RunKind.RETRY)
        assert (
            await connection.fetchval(
                "SELECT reconciliation_status FROM trade_recon WHERE account_id = $1", victim
            )
            == "exhausted"
        )


async def test_max_accounts_bounds_a_run_and_the_rest_is_taken_by_the_next(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=3)
    async with engine(warehouse, sandbox) as service:
        first = await run(service, RunKind.FULL, max_accounts=2)
        assert first["accounts"]["total"] == 2  # type: ignore[index]
        assert (first["status"], first["left"]["waiting"]) == ("completed_with_issues", 1)  # type: ignore[index]
        assert "1 account not reached, which the next run takes" in str(first["left_told"])
        assert not (await difference(warehouse, sandbox)).is_equal
        last = await run(service, RunKind.FULL, max_accounts=2)
        assert (last["accounts"]["total"], last["left"]["waiting"]) == (1, 0)  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_bounded_run_takes_what_was_explained_behind_all_others(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    explained, *_ = await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=3)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await service.maintain()
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = 'explained', last_checked = now() -"
            " interval '30 days' WHERE account_id = $1",
            explained,
        )
        await run(service, RunKind.FULL, max_accounts=2)
        assert (await difference(warehouse, sandbox)).account_ids == {explained}


async def test_one_account_is_reconciled_on_demand_and_no_other_is_touched(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    one, other = await hurt(warehouse, DamageKind.DRIFT_MONEY, accounts=2)
    async with engine(warehouse, sandbox) as service, service.pool.running():
        result = await reconcile(service, one)
        assert (result["outcome"], result["status"], result["issues"]) == (
            "healed",
            "succeeded",
            [],
        )
        assert (await reconcile(service, one))["outcome"] == "unchanged"
        assert (await difference(warehouse, sandbox)).account_ids == {other}
        with pytest.raises(NotFound, match="nobody"):
            await service.reconcile_account("nobody")


async def test_two_processes_share_a_run_and_each_account_is_done_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, *DamageKind, accounts=1)
    config = EngineConfig(workers=2, poll_seconds=0.05, batch_size=3)
    async with (
        engine(warehouse, sandbox, config=config) as one,
        engine(warehouse, sandbox, config=config) as other,
    ):
        run_id = await one.start_run(RunRequest(kind=RunKind.AUDIT))
        await asyncio.gather(
            one.pool.run_until_finished(run_id), other.pool.run_until_finished(run_id)
        )
        state = plain(await one.readings.run_state(run_id))
    accounts = state["accounts"]
    assert accounts["done"] == accounts["total"]
    async with warehouse.connect() as connection:
        assert (
            await connection.fetchval("SELECT count(*) FROM recon_attempts WHERE outcome IS NULL")
            == 0
        )
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE claim_id IS NOT NULL")
            == 0
        )
        assert await connection.fetchval("SELECT count(*) FROM recon_workers") == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_fetches") == 0


async def test_wrong_limits_and_unknown_accounts_start_no_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service:
        with pytest.raises(InvalidRequest):
            await service.start_run(RunRequest(max_accounts=0))
        with pytest.raises(InvalidRequest):
            await service.start_run(RunRequest(account_ids=()))
        with pytest.raises(NotFound):
            await service.start_run(
                RunRequest(account_ids=(AccountId("acc-00001"), AccountId("nobody")))
            )
    async with warehouse.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM recon_runs") == 0


async def test_a_run_goes_on_by_itself_after_its_database_connections_were_killed(
    postgres: Server, warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, *(set(DamageKind) - {DamageKind.SECOND_HOLDER}), accounts=1)
    config = EngineConfig(workers=2, poll_seconds=0.05, batch_size=4)
    async with engine(warehouse, sandbox, config=config) as service:
        run_id = await service.start_run(RunRequest(kind=RunKind.AUDIT))
        serving = asyncio.create_task(service.pool.run_until_finished(run_id))
        for _ in range(8):
            await asyncio.sleep(0.15)
            await postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
                " 'trade-recon'"
            )
        await asyncio.wait_for(serving, PATIENCE)
        state = plain(await service.readings.run_state(run_id))
    assert state["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()
