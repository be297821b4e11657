"""The report's summary: what it says, who counts it, and what reading it costs."""

import asyncio
import json
import uuid
from collections.abc import Mapping

import pytest

from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.service import ReconService
from app.sandbox.damage.damage import HEALABLE_KINDS
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.serving import SandboxServer
from app.store.database.queries import load_queries
from tests.conftest import Database
from tests.integration.engine.runs.test_runs import hurt
from tests.support.engine import engine, run
from tests.support.plain import plain_report
from tests.support.waiting import PATIENCE


async def _both(service: ReconService) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The report as it is kept, and as it is counted now, without what tells when."""
    kept, counted = (
        plain_report(service.readings.shown(await service.readings.kept())),
        plain_report(await service.readings.report()),
    )
    return {**kept, "as_of": None}, {**counted, "as_of": None}


@pytest.mark.parametrize(
    "work", ["full", "retry", "audit", "limited", "maintenance", "fix_ids", "inspect", "cancelled"]
)
async def test_after_any_work_the_kept_report_says_what_counting_says(
    work: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, *HEALABLE_KINDS, accounts=1)
    async with engine(warehouse, sandbox) as service, service.pool.running():
        if work in ("full", "retry", "audit", "limited"):
            kind = RunKind.FULL if work == "limited" else RunKind(work)
            run_id = await service.start_run(
                RunRequest(kind, max_accounts=3 if work == "limited" else None)
            )
            assert (await service.wait_for_run(run_id)).is_end
        elif work == "cancelled":
            await service.cancel(await service.start_run(RunRequest()))
        else:
            await {
                "maintenance": service.maintain,
                "fix_ids": service.fix_ids,
                "inspect": service.inspect,
            }[work]()
        await service.summary.catch_up()
        kept, counted = await _both(service)
        assert kept == counted
        # Cancelled at once, a run has counted nothing yet.
        assert work == "cancelled" or kept["overall"]["total_accounts"] > 0  # type: ignore[index]


async def test_while_another_process_counts_nothing_is_lost(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as other:
        holding = other.transaction()
        await holding.start()
        await other.execute("SELECT FROM recon_report FOR UPDATE")
        assert not await service.readings.keep_report()
        await run(service, RunKind.FULL)
        behind = [service.summary.is_behind]
        await holding.rollback()
        await service.summary.catch_up()
        assert [*behind, service.summary.is_behind] == [True, False]
        kept, counted = await _both(service)
        assert kept == counted


async def test_all_processes_together_count_no_more_often_than_one_may(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as first, engine(warehouse, sandbox) as second:
        assert await first.readings.keep_report(0.5, 20)
        assert not await second.readings.keep_report(0.5, 20)
        await first.store.database.execute(
            "UPDATE prop_trading_model.recon_report SET computed_at = now() - interval '1 s',"
            " seconds = 0.06"
        )
        assert not await second.readings.keep_report(0.5, 20)
        await first.store.database.execute(
            "UPDATE prop_trading_model.recon_report SET seconds = 0.04"
        )
        assert await second.readings.keep_report(0.5, 20)
        # A clock that was set back: the last count seems to lie ahead.
        await first.store.database.execute(
            "UPDATE prop_trading_model.recon_report SET computed_at = now() + interval '1 day'"
        )
        assert await second.readings.keep_report(0.5, 20)


async def test_a_worker_that_finds_nothing_to_do_counts_nothing(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await service.maintain()
        run_id = await service.start_run(RunRequest(account_ids=(AccountId("acc-00001"),)))
        await connection.execute("UPDATE recon_runs SET status = 'running', prepared_at = now()")
        await connection.execute(
            "INSERT INTO recon_attempts (run_id, account_id, position) VALUES ($1,"
            " 'another-workers', 1)",
            run_id,
        )
        # Claimed a moment ago by a process of which no heartbeat is known yet: it is not to be
        # taken, and the run not to be ended.
        claimed = (
            "INSERT INTO trade_recon (account_id, claim_id, claimed_by, claimed_at) VALUES"
            " ('another-workers', $1, $1, now())"
        )
        await connection.execute(claimed, uuid.uuid4())
        counted = await connection.fetchval("SELECT computed_at FROM recon_report")
        (active,) = await service.store.active_runs.active(run_id)
        assert not await service.pool.server.work_on(active)
        assert await connection.fetchval("SELECT computed_at FROM recon_report") == counted


async def test_what_one_process_did_the_other_reads(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as reader, engine(warehouse, sandbox) as worker:
        assert await reader.readings.keep_report()
        await run(worker, RunKind.FULL)
        kept, _ = await _both(reader)
        assert kept["overall"]["reconciled"] > 0  # type: ignore[index]


async def test_a_process_that_stopped_before_it_counted_is_caught_up_by_the_next_one(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=2)
    async with engine(warehouse, sandbox) as first:
        run_id = await first.start_run(RunRequest())
        working = asyncio.create_task(first.pool.run_until_finished(run_id))
        while not await first.store.database.fetch_value(  # noqa: ASYNC110 - another task's event
            "SELECT prepared_at FROM prop_trading_model.recon_runs"
        ):
            await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await first.store.database.execute(
            "UPDATE prop_trading_model.recon_report SET figures = NULL"
        )
    async with engine(warehouse, sandbox) as second, second.pool.running():
        async with asyncio.timeout(PATIENCE):
            while await second.store.reports.kept() is None:  # noqa: ASYNC110 - another task's event
                await asyncio.sleep(0.02)
            assert (await second.wait_for_run(run_id)).is_end
        await second.summary.catch_up()
        kept, counted = await _both(second)
        assert kept == counted


async def test_reading_the_report_reads_one_row_by_its_key(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=2)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await run(service, RunKind.FULL)
        await connection.execute("SET enable_seqscan = off")
        query = load_queries("report/report", warehouse.schema)["get_kept_figures"]
        (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"))
        assert plan["Plan"]["Relation Name"] == "recon_report"
        assert plan["Plan"]["Actual Rows"] == 1
        assert "Plans" not in plan["Plan"]
        query = load_queries("report/report", warehouse.schema)["get_last_run"]
        (plan,) = json.loads(
            await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", None)
        )
        (scan,) = plan["Plan"]["Plans"]
        assert (scan["Index Name"], scan["Actual Rows"]) == ("recon_runs_finished", 1)
