"""Inspections beside other runs, over odd rows, broken off and taken up again."""

import asyncio
import datetime as dt
import json
import uuid
from typing import Any

import msgspec
import pytest

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.report.inspection import Listing, is_clean
from app.engine.report.models.inspection import Inspection
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import TODAY, difference, engine, run
from tests.support.plain import plain

_SMALL = EngineConfig(
    workers=2, batch_size=4, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0
)


async def _found(service: ReconService, run_id: uuid.UUID) -> dict[str, Any]:
    return dict(plain(await service.readings.inspection(run_id, Listing(1_000))))


def _is_clean(found: dict[str, Any]) -> bool:
    return is_clean(msgspec.convert(found, Inspection))


async def _damage(warehouse: Database, share: int = 2) -> set[str]:
    async with warehouse.connect() as connection:
        rows = await connection.fetch(
            "DELETE FROM raw_metrics_daily WHERE num_trades > 0 AND abs(hashtext(account_id)) % $1"
            " = 0 AND date < $2 RETURNING account_id",
            share,
            TODAY - dt.timedelta(days=3),
        )
    return {row["account_id"] for row in rows}


async def test_figures_of_small_batches_are_those_of_a_large_one(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    damaged = await _damage(warehouse)
    answers = []
    for config in (_SMALL, None):
        async with engine(warehouse, sandbox, config=config) as service:
            answers.append(await _found(service, await service.inspect()))
    small, large = answers
    assert small["accounts"]["found"] == len(damaged)
    names = ("accounts", "by_issue", "by_table", "by_broker", "by_date", "listed")
    assert {name: small[name] for name in names} == {name: large[name] for name in names}


async def test_an_account_whose_rows_cannot_be_read_is_named_and_stops_no_other(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    damaged = sorted(await _damage(warehouse))
    odd, *others = damaged
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_SMALL) as service,
    ):
        await connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF"
            f" new.account_id = '{odd}' AND new.issues <> '[]' THEN RAISE 'not this one'; END IF;"
            " RETURN new; END $$"
        )
        await service.maintain()
        await connection.execute("UPDATE trade_recon SET issues = '[]'")
        await connection.execute(
            "UPDATE trade_recon SET failed_attempts = 2 WHERE account_id = $1", odd
        )
        await connection.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON trade_recon FOR EACH ROW EXECUTE FUNCTION"
            " refuse()"
        )
        found = await _found(service, await service.inspect())
        state = await connection.fetchrow(
            "SELECT failed_attempts, claimed_by FROM trade_recon WHERE account_id = $1", odd
        )
    assert [each["account_id"] for each in found["listed"]] == others
    [unread] = found["not_inspected"]
    assert unread["account_id"] == odd
    assert "not this one" in unread["reason"]
    assert "1 was not inspected" in str(found["message"])
    assert not _is_clean(found)
    assert tuple(state or ()) == (2, None)


async def test_an_inspection_and_a_run_that_heals_go_side_by_side(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await _damage(warehouse)
    async with engine(warehouse, sandbox, config=_SMALL) as service, service.pool.running():
        full = await service.start_run(RunRequest(RunKind.FULL))
        inspecting = await service.start_run(RunRequest(RunKind.INSPECT))
        assert await service.wait_for_run(full, 60) == "succeeded"
        assert (await service.wait_for_run(inspecting, 60)).is_end
    async with engine(warehouse, sandbox) as service:
        found = await _found(service, await service.inspect())
    assert _is_clean(found), found
    assert (await difference(warehouse, sandbox)).is_equal


async def test_an_inspection_is_paused_resumed_and_cancelled_like_others(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    damaged = await _damage(warehouse, 1)
    async with engine(warehouse, sandbox, config=_SMALL) as service:
        run_id = await service.start_run(RunRequest(RunKind.INSPECT))
        await service.pause(run_id)
        working = asyncio.create_task(service.pool.run_until_finished(run_id))
        await working
        assert plain(await service.readings.run_state(run_id))["status"] == "paused"
        await service.resume(run_id)
        await service.pool.run_until_finished(run_id)
        assert (await _found(service, run_id))["accounts"]["found"] == len(damaged)
        other = await service.start_run(RunRequest(RunKind.INSPECT))
        await service.cancel(other)
        found = await _found(service, other)
    assert (found["status"], found["accounts"]["found"]) == ("cancelled", 0)
    assert not _is_clean(found)


async def test_what_a_dead_process_left_of_an_inspection_is_taken_up_and_counted_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    damaged = await _damage(warehouse, 1)
    async with engine(warehouse, sandbox, config=_SMALL) as dead:
        run_id = await dead.start_run(RunRequest(RunKind.INSPECT))
        working = asyncio.create_task(dead.pool.run_until_finished(run_id))
        async with asyncio.timeout(60):
            while (await dead.store.run_reader.get(run_id))["found"] == 0:  # noqa: ASYNC110 - another task's event
                await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    async with engine(warehouse, sandbox) as living:
        await living.pool.run_until_finished(run_id)
        found = await _found(living, run_id)
    by_issue = {each["issue"]: each["accounts"] for each in found["by_issue"]}
    assert found["accounts"]["found"] == by_issue["hourly_without_daily"] == len(damaged)
    assert len(found["listed"]) == len(damaged)


async def test_what_runs_found_not_to_be_the_warehouses_to_heal_is_told_and_is_no_news(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    trader = next(each for each in sandbox.world.account_ids if len(sandbox.world.trades(each)) > 5)
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        await connection.execute(
            "SELECT recon_create_partitions('raw_metrics_daily', ARRAY['2025-01-06'::date])"
        )
        await connection.execute(
            "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
            " SELECT account_id, '2025-01-06', login, platform, broker, 3 FROM raw_metrics_alltime"
            " WHERE account_id = $1",
            trader,
        )
        await run(service, RunKind.AUDIT)
        before = await connection.fetchrow(
            "SELECT issues, reconciliation_status, explained_as FROM trade_recon WHERE account_id"
            " = $1",
            trader,
        )
        assert before is not None
        assert before["reconciliation_status"] == "explained"
        found = await _found(service, await service.inspect())
        assert (found["accounts"]["explained"], found["accounts"]["found"]) == (1, 0)
        assert _is_clean(found)
        after = await connection.fetchrow(
            "SELECT issues, reconciliation_status, explained_as FROM trade_recon WHERE account_id"
            " = $1",
            trader,
        )
        assert after == before
        assert {each["issue"] for each in found["by_issue"]} == {
            each["type"] for each in json.loads(before["issues"])
        }


@pytest.mark.parametrize("table", ["raw_trades_closed", "raw_metrics_daily"])
async def test_rows_that_fit_no_account_are_told(
    warehouse: Database, sandbox: SandboxServer, table: str
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        if table == "raw_trades_closed":
            await connection.execute(
                "UPDATE raw_trades_closed SET account_id = NULL, login = 'no-such' WHERE ctid ="
                " (SELECT min(ctid) FROM raw_trades_closed)"
            )
        else:
            await connection.execute(
                "UPDATE raw_metrics_daily SET account_id = md5('x'), login = 'no-such'"
                " WHERE account_id = (SELECT min(account_id) FROM raw_metrics_daily)"
            )
        found = await _found(service, await service.inspect())
    assert not _is_clean(found), found["message"]


async def test_an_account_that_was_explained_and_is_newly_broken_needs_reconciliation_in_the_report_too(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    damaged = await _damage(warehouse)
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_SMALL) as service,
    ):
        await service.maintain()
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = 'explained' WHERE account_id = ANY($1)",
            sorted(damaged),
        )
        found = await _found(service, await service.inspect())
        statuses = await connection.fetch(
            "SELECT reconciliation_status AS status, count(*) FROM trade_recon GROUP BY 1"
        )
    assert (
        {row["status"]: row["count"] for row in statuses}["needs_reconciliation"]
        == found["accounts"]["found"]
        == len(damaged)
    )
