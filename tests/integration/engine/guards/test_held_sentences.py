"""What a run that leaves accounts held says of them: how many, how many newly, since which run, and
the call that writes them.
"""

import datetime as dt
import random
import re
import uuid
from typing import TYPE_CHECKING, Any

from app.cli.output.report import show_report
from app.cli.output.tables import results_console
from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.web.schemas.report import Report
from tests.conftest import Database
from tests.support.engine import engine, run
from tests.support.losing import settled_trades
from tests.support.plain import plain, plain_report

if TYPE_CHECKING:
    import pytest


def _lose_half(sandbox: SandboxServer, account_ids: list[str]) -> None:
    for account_id in account_ids:
        for trade in settled_trades(sandbox.world, account_id)[::2]:
            sandbox.world.remove_trade(trade)


async def _confirmed(service: ReconService, run_id: object) -> dict[str, Any]:
    await service.confirm(uuid.UUID(str(run_id)))
    await service.pool.run_until_finished(uuid.UUID(str(run_id)))
    return dict(plain(await service.readings.run_state(uuid.UUID(str(run_id)))))


async def test_every_run_that_leaves_accounts_held_says_how_many_since_when_and_what_to_call(
    warehouse: Database, sandbox: SandboxServer, capsys: "pytest.CaptureFixture[str]"
) -> None:
    world = sandbox.world
    rich = [
        account_id
        for account_id in world.account_ids
        if len(settled_trades(world, account_id)) >= 6
    ]
    _lose_half(sandbox, rich)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        first = await run(service, RunKind.AUDIT)
        held = first["accounts"]["needs_confirmation"]  # type: ignore[index]
        assert held
        assert (
            f"{held} accounts wait for confirmation: {held} newly held by this run. GET"
            " /accounts/ID tells why" in str(first["error"])
        )
        assert (
            f"To write what was shown of them: `trade-recon confirm {first['run_id']}` or"
            in str(first["error"])
        )
        # The night after: the same ones are held and do not count against the run again, and it
        # says so.
        second = await run(service, RunKind.FULL)
        again = second["accounts"]["needs_confirmation"]  # type: ignore[index]
        assert second["status"] in {"completed_with_issues", "needs_confirmation"}
        assert (
            f"{again} accounts wait for confirmation: 0 newly held by this run and {again} held"
            " before" in str(second["error"])
        )
        assert f"the first since run {first['run_id']}" in str(second["error"])
        # Another account by name has a clean run; the report goes on naming the run that holds.
        other = next(account_id for account_id in world.account_ids if account_id not in rich)
        assert (await run(service, RunKind.AUDIT, account_ids=(other,)))["error"] is None
        found = await service.readings.report()
        report = plain_report(found)
        holding: dict[str, Any] = report["holding_run"]
        assert (holding["run_id"], holding["needs_confirmation"]) == (str(second["run_id"]), again)
        assert Report.model_validate(report).holding_run is not None
        show_report(results_console(), found)
        assert f"`trade-recon confirm {second['run_id']}`" in capsys.readouterr().out
        # While somebody looks, upstream loses more of all of them: they are held again, and the run
        # says so again.
        shown = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT account_id FROM trade_recon WHERE reconciliation_status ="
                " 'needs_confirmation'"
            )
        ]
        _lose_half(sandbox, shown)
        third = await _confirmed(service, second["run_id"])
        left = third["accounts"]["needs_confirmation"]
        assert left
        assert re.search(
            rf"{left} accounts? waits? for confirmation: 0 newly held by this run and {left} held"
            r" before",
            str(third["error"]),
        )
        last = await _confirmed(service, second["run_id"])
        assert (last["accounts"]["needs_confirmation"], last["error"]) == (0, None)
        assert plain_report(await service.readings.report())["holding_run"] is None


async def test_an_accounts_sentence_names_both_counts_the_run_and_the_call(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    _lose_half(
        sandbox,
        [
            each
            for each in sandbox.world.account_ids
            if len(settled_trades(sandbox.world, each)) >= 6
        ],
    )
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        run_id = (await run(service, RunKind.AUDIT))["run_id"]
        rows = await connection.fetch(
            "SELECT a.detail, a.held ->> 'trades' AS told, m.num_trades FROM recon_attempts AS a"
            " JOIN raw_metrics_alltime AS m USING (account_id)"
            " WHERE a.outcome = 'needs_confirmation'"
        )
        assert rows
        for row in rows:
            assert (
                f"{row['num_trades']} trades were stored when the run began, and upstream has"
                f" {row['told']} trade" in row["detail"]
            )
            assert re.search(
                rf"Writing that would (remove, move, lower or blank 1 row and )?leave {row['told']}"
                r" trade",
                row["detail"],
            )
            assert "would lower the number of the account's trades" in row["detail"]
            assert f"`trade-recon confirm {run_id}` or POST /runs/{run_id}/confirm" in row["detail"]


async def test_a_forgotten_accounts_sentence_names_what_is_stored_and_the_call(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = next(
        each for each in sandbox.world.account_ids if len(settled_trades(sandbox.world, each)) >= 6
    )
    sandbox.world.forget(account_id)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        state = await run(service, RunKind.AUDIT)
        stored = await connection.fetchval(
            "SELECT num_trades FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
        detail = await connection.fetchval(
            "SELECT detail FROM recon_attempts WHERE account_id = $1", account_id
        )
        assert f"of which {stored} trades are stored" in detail
        assert f"`trade-recon confirm {state['run_id']}`" in detail
        assert "1 account waits for confirmation: 1 newly held by this run." in str(state["error"])


async def test_nothing_is_reconciled_from_the_first_date_of_an_account_that_is_held_since_upstream_lacks_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = next(
        each for each in sandbox.world.account_ids if len(settled_trades(sandbox.world, each)) >= 6
    )
    sandbox.world.forget(account_id)
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        state = await run(service, RunKind.AUDIT)
        first = await connection.fetchval(
            "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1", account_id
        )
        report = plain_report(await service.readings.report())
        assert report["reconciled_through"] == first - dt.timedelta(days=1)
        assert "1 account is held (needs_confirmation)" in str(report["reconciled_through_reason"])
        # Once the absence is confirmed the account is explained, and puts no date in doubt any
        # more.
        await _confirmed(service, state["run_id"])
        assert plain_report(await service.readings.report())["reconciled_through"] > first


async def test_an_unchanged_upstream_that_was_confirmed_holds_nobody_again_though_tables_count_differently(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    """Upstream's hourly rows count fewer trades than its other tables, here as there, and rows of
    hours without trades are to go here.
    """
    world, chance = sandbox.world, random.Random(5)
    ids = [
        account_id
        for account_id in world.account_ids
        if len(settled_trades(world, account_id)) >= 6
    ][:12]
    async with warehouse.connect() as connection:
        for account_id in ids:
            records = list(world.records(Endpoint.HOURLY, [account_id]))
            lost = chance.choice(records)
            await connection.execute(
                "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2 AND hour = $3",
                account_id,
                lost.day,
                lost.hour,
            )
            if account_id in ids[:6]:
                _lose_half(sandbox, [account_id])
            world._records[Endpoint.HOURLY, account_id] = [
                each
                for each in world.records(Endpoint.HOURLY, [account_id])
                if (each.day, each.hour) != (lost.day, lost.hour)
            ]
        world._selections.clear()
        await connection.execute(
            "CREATE TEMP TABLE made_up AS SELECT DISTINCT ON (account_id, date) * FROM"
            " raw_metrics_hourly WHERE account_id = ANY($1) AND hour < 23 ORDER BY account_id,"
            " date, hour DESC",
            ids,
        )
        await connection.execute(
            "UPDATE made_up SET hour = hour + 1, num_trades = 0, net_profit = 0"
        )
        await connection.execute(
            "INSERT INTO raw_metrics_hourly SELECT * FROM made_up ON CONFLICT DO NOTHING"
        )
        config = EngineConfig(
            workers=1,
            poll_seconds=0.05,
            postpone_seconds=0,
            guard=HoldLimits(rows=1, row_share=0.0),
        )
        async with engine(warehouse, sandbox, config=config) as service:
            state = await run(service, RunKind.AUDIT)
            held = await connection.fetch(
                "SELECT account_id, detail FROM recon_attempts WHERE outcome = 'needs_confirmation'"
            )
            assert {row["account_id"] for row in held} & set(ids)
            await _confirmed(service, state["run_id"])
            again = await connection.fetch(
                "SELECT account_id, detail FROM recon_attempts WHERE outcome = 'needs_confirmation'"
                " AND account_id = ANY($1)",
                [row["account_id"] for row in held],
            )
            assert not again, [dict(row) for row in again]
