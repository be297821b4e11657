"""`trade-recon inspect`: what the warehouse says of itself, told and recorded before anything is
changed, without upstream.
"""

import asyncio
import datetime as dt
import hashlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.contract.tables import TABLES
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.web.schemas.accounts import Account
from app.web.schemas.inspections import Inspection
from tests.conftest import SCHEMA, Database, Server
from tests.support.commands import Command, run_command
from tests.support.engine import TODAY, engine, filled_copy, run
from tests.support.waiting import PATIENCE

_NIGHT = TODAY - dt.timedelta(days=5)


def _world() -> World:
    return World.generate(
        40, seed=8, today=TODAY, trades_per_account=20, days=20, contradictory=False
    )


@pytest.fixture(scope="module")
async def nights(postgres: Server, template: str) -> AsyncIterator[str]:
    async with filled_copy(postgres, template, "inspected", _world()) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, nights: str) -> AsyncIterator[Database]:
    async with postgres.clone(nights, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


async def _contents(database: Database) -> str:
    """All rows of the owner's tables, in short."""
    digest = hashlib.sha256()
    async with database.connect() as connection:
        for table in TABLES.values():
            rows = await connection.fetch(
                f"SELECT t::text AS row, xmin::text FROM {table.name} AS t ORDER BY 1"
            )
            digest.update(repr([tuple(row) for row in rows]).encode())
    return digest.hexdigest()


async def _lose_a_night(database: Database) -> tuple[set[str], int]:
    """Closed trades of one night are lost, and hourly rows of one account: the accounts of the
    night, and their trades.
    """
    async with database.connect() as connection:
        lost = await connection.fetch(
            "DELETE FROM raw_trades_closed WHERE trade_date = $1 RETURNING account_id", _NIGHT
        )
    assert len({row["account_id"] for row in lost}) > 3
    return {row["account_id"] for row in lost}, len(lost)


async def test_an_inspection_tells_of_a_lost_night_and_changes_nothing(
    warehouse: Database, tmp_path: Path
) -> None:
    lost, trades = await _lose_a_night(warehouse)
    before = await _contents(warehouse)
    # No address of an API, and no key.
    ended = await run_command(
        tmp_path,
        {"DATABASE_URL": warehouse.dsn},
        "inspect",
        "--format",
        "json",
        "--reason",
        "before the fix",
    )
    assert ended.code == 1, ended.stderr
    found = Inspection.model_validate_json(ended.stdout)
    assert await _contents(warehouse) == before
    assert found.status == "completed_with_issues"
    assert (found.accounts.total, found.accounts.found, found.accounts.not_inspected) == (
        40,
        len(lost),
        0,
    )
    by_issue = {each.issue: each for each in found.by_issue}
    assert by_issue["trades_daily_mismatch"].accounts == len(lost)
    assert {(each.table, each.issue) for each in found.by_table} >= {
        ("raw_trades_closed", "trades_daily_mismatch")
    }
    [night] = found.by_date
    assert (night.date, night.accounts, night.share) == (
        _NIGHT,
        len(lost),
        round(len(lost) / 40, 4),
    )
    assert [(each.table, each.accounts, each.trades) for each in night.short] == [
        ("raw_trades_closed", len(lost), trades)
    ]
    assert sum(each.accounts for each in found.by_broker) >= len(lost)
    assert (
        {each.account_id for each in found.listed} == lost
        if len(lost) <= 20
        else len(found.listed) == 20
    )
    assert f"{_NIGHT}, at {len(lost)} of 40 accounts" in found.message
    async with warehouse.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT reason FROM recon_orders WHERE run_id = $1", found.run_id
            )
            == "before the fix"
        )
        assert await connection.fetchval("SELECT sum(requests) FROM recon_runs") == 0
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE claimed_by IS NOT NULL"
            )
            == 0
        )


async def test_a_night_that_all_tables_lost_is_named_and_no_other(
    warehouse: Database, tmp_path: Path
) -> None:
    other = _NIGHT - dt.timedelta(days=6)
    async with warehouse.connect() as connection:
        odd = await connection.fetch(
            "DELETE FROM raw_trades_closed WHERE trade_date = $1 RETURNING account_id", other
        )
        lost = await connection.fetch(
            "DELETE FROM raw_metrics_daily WHERE date = $1 AND num_trades > 0 RETURNING account_id",
            _NIGHT,
        )
        await connection.execute("DELETE FROM raw_metrics_daily WHERE date = $1", _NIGHT)
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE date = $1", _NIGHT)
        await connection.execute("DELETE FROM raw_trades_closed WHERE trade_date = $1", _NIGHT)
    short = {row["account_id"] for row in lost}
    ended = await run_command(
        tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--format", "json"
    )
    found = Inspection.model_validate_json(ended.stdout)
    assert found.beyond_dates.accounts == len(short)
    assert [(each.date, each.accounts) for each in found.lacking_dates] == [(_NIGHT, len(short))]
    assert (
        f"{_NIGHT} seems to be missing in all tables at {len(short)} of 40 accounts"
        in found.message
    )
    assert len({row["account_id"] for row in odd}) > len(short) or f"{other}" not in found.message


async def test_what_only_alltime_counts_is_told_without_a_date_where_none_can_be_named(
    warehouse: Database, tmp_path: Path
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1 WHERE account_id IN ("
            " SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 0 ORDER BY 1 LIMIT 3)"
        )
    ended = await run_command(tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect")
    assert (
        "3 accounts count more trades in alltime than in any other table: of which dates, the"
        " warehouse does not tell." in ended.stdout
    )
    assert "differ on" not in ended.stdout.splitlines()[0]
    assert "seems to be missing" not in ended.stdout


async def test_an_inspection_for_people_lists_some_accounts_and_all_by_an_option(
    warehouse: Database, tmp_path: Path
) -> None:
    lost, _ = await _lose_a_night(warehouse)
    few = await run_command(tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--limit", "2")
    assert few.code == 1, few.stderr
    assert f"40 accounts inspected: {len(lost)} have issues" in few.stdout
    for title in (
        "By issue",
        "By table",
        "By broker",
        "By date, those of most accounts first",
        "Accounts",
    ):
        assert title in few.stdout
    assert [account_id in few.stdout.split("\nAccounts")[1] for account_id in sorted(lost)[:3]] == [
        True,
        True,
        False,
    ]
    assert "There are more: --all, or GET /inspections/" in few.stdout
    all_ = await run_command(tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--all")
    assert all(account_id in all_.stdout.split("\nAccounts")[1] for account_id in lost)


async def test_a_warehouse_that_agrees_is_found_clean(warehouse: Database, tmp_path: Path) -> None:
    ended = await run_command(tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect")
    assert ended.code == 0, ended.stdout + ended.stderr
    assert (
        ended.stdout
        == "40 accounts inspected: 0 have issues, 40 agree. Nothing was healed, and upstream was"
        " not asked.\n"
    )


async def test_the_first_sight_of_an_issue_stays_and_what_is_gone_is_closed(
    warehouse: Database, tmp_path: Path
) -> None:
    lost, _ = await _lose_a_night(warehouse)
    first = Inspection.model_validate_json(
        (
            await run_command(
                tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--format", "json", "--all"
            )
        ).stdout
    )
    healed = min(lost)
    async with warehouse.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_daily WHERE account_id = $1", healed)
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", healed)
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", healed)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = 0, net_profit = 0, total_lots = 0 WHERE"
            " account_id = $1",
            healed,
        )
    second = Inspection.model_validate_json(
        (
            await run_command(
                tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--format", "json", "--all"
            )
        ).stdout
    )
    seen = {
        (each.account_id, issue.issue): issue.first_seen
        for each in first.listed
        for issue in each.issues
    }
    again = {
        (each.account_id, issue.issue): issue.first_seen
        for each in second.listed
        for issue in each.issues
    }
    assert {account_id for account_id, _ in again} == lost - {healed}
    assert all(again[key] == seen[key] for key in again)
    shown = await run_command(
        tmp_path, {"DATABASE_URL": warehouse.dsn}, "accounts", "show", healed, "--format", "json"
    )
    account = Account.model_validate_json(shown.stdout)
    assert (account.status, account.issues) == ("reconciled", [])
    assert {
        each.closing_evidence["closed_as"] for each in account.history if each.closing_evidence
    } == {"gone"}


async def test_only_named_accounts_are_inspected(warehouse: Database, tmp_path: Path) -> None:
    lost, _ = await _lose_a_night(warehouse)
    one = min(lost)
    ended = await run_command(
        tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--account", one, "--format", "json"
    )
    found = Inspection.model_validate_json(ended.stdout)
    assert (ended.code, found.accounts.total, [each.account_id for each in found.listed]) == (
        1,
        1,
        [one],
    )
    unknown = await run_command(
        tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect", "--account", "nobody"
    )
    assert (unknown.code, "No such account: nobody. No run was started." in unknown.stderr) == (
        2,
        True,
    )


async def test_the_kind_inspect_of_reconcile_is_the_same(
    warehouse: Database, tmp_path: Path
) -> None:
    ended = await run_command(
        tmp_path, {"DATABASE_URL": warehouse.dsn}, "reconcile", "--kind", "inspect"
    )
    assert (ended.code, ended.stdout.split(":")[0]) == (0, "40 accounts inspected"), ended.stderr
    refused = await run_command(
        tmp_path,
        {"DATABASE_URL": warehouse.dsn},
        "reconcile",
        "--kind",
        "inspect",
        "--depth",
        "rows",
    )
    assert (refused.code, "asks nothing of upstream" in refused.stderr) == (2, True)


async def test_a_run_that_heals_finds_what_the_inspection_recorded_and_closes_it_as_healed(
    warehouse: Database, tmp_path: Path
) -> None:
    lost, _ = await _lose_a_night(warehouse)
    await run_command(tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect")
    async with SandboxServer(_world()) as sandbox, engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL)
    assert state["accounts"]["healed"] == len(lost)  # type: ignore[index]
    async with warehouse.connect() as connection:
        history = await connection.fetch(
            "SELECT closing_evidence ->> 'closed_as' AS closed_as, closed_at IS NULL AS is_open"
            " FROM recon_issue_history"
        )
        issues = json.loads(await connection.fetchval("SELECT jsonb_agg(issues) FROM trade_recon"))
    assert {(row["closed_as"], row["is_open"]) for row in history} == {("healed", False)}
    assert all(each == [] for each in issues)
    ended = await run_command(tmp_path, {"DATABASE_URL": warehouse.dsn}, "inspect")
    assert ended.code == 0, ended.stdout


async def test_amounts_that_disagree_are_found_and_stay_open_where_counts_disagree_too(
    warehouse: Database, tmp_path: Path
) -> None:
    wrong = (
        "UPDATE raw_metrics_daily SET net_profit = net_profit + 500 WHERE (account_id, date) ="
        " ($1, $2)"
    )
    async with warehouse.connect() as connection:
        row = await connection.fetchrow(
            "SELECT account_id, date FROM raw_metrics_daily WHERE num_trades > 1 ORDER BY 1, 2"
            " LIMIT 1"
        )
        assert row is not None
        await connection.execute(wrong, row["account_id"], row["date"])
    variables = {"DATABASE_URL": warehouse.dsn}
    first = Inspection.model_validate_json(
        (await run_command(tmp_path, variables, "inspect", "--format", "json")).stdout
    )
    assert [(each.account_id, [issue.issue for issue in each.issues]) for each in first.listed] == [
        (row["account_id"], ["money_mismatch"])
    ]
    assert [(each.date, each.short) for each in first.by_date] == [(row["date"], [])]
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1", row["account_id"]
        )
    again = Inspection.model_validate_json(
        (await run_command(tmp_path, variables, "inspect", "--format", "json")).stdout
    )
    [account] = again.listed
    assert {issue.issue for issue in account.issues} >= {"money_mismatch", "daily_without_hourly"}
    assert [i.first_seen for i in account.issues if i.issue == "money_mismatch"] == [
        i.first_seen for i in first.listed[0].issues
    ]


async def test_an_inspection_that_was_killed_is_finished_by_the_next_command(
    warehouse: Database, tmp_path: Path
) -> None:
    lost, _ = await _lose_a_night(warehouse)
    variables = {
        "DATABASE_URL": warehouse.dsn,
        "RECON_LEASE_SECONDS": "5",
        "RECON_BATCH_SIZE": "1",
        "RECON_WORKERS": "1",
    }
    async with warehouse.connect() as connection:
        killed = await Command.start(tmp_path, variables, "inspect")
        async with asyncio.timeout(PATIENCE):
            while not await connection.fetchval("SELECT sum(found) FROM recon_runs"):  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.01)
        killed.signal(signal.SIGKILL)
        await killed.end()
        run_id = await connection.fetchval("SELECT run_id FROM recon_runs WHERE status = 'running'")
        assert run_id is not None
        # Its lease is over.
        await connection.execute(
            "UPDATE recon_workers SET heartbeat_at = now() - interval '1 minute'"
        )
        await connection.execute(
            "UPDATE trade_recon SET claimed_at = now() - interval '1 minute' WHERE claimed_by IS"
            " NOT NULL"
        )
        again = await run_command(
            tmp_path,
            {**variables, "RECON_BATCH_SIZE": "10"},
            "inspect",
            "--format",
            "json",
            "--all",
        )
        assert (again.code, f"The inspect run {run_id}" in again.stderr) == (1, True), again.stderr
        found = Inspection.model_validate_json(again.stdout)
        assert {each.account_id for each in found.listed} == lost
        states = await connection.fetch("SELECT status, total, found, unchanged FROM recon_runs")
        assert {tuple(row) for row in states} == {
            ("completed_with_issues", 40, len(lost), 40 - len(lost))
        }
        by_batches = (
            "SELECT sum((figures #>> '{issues,trades_daily_mismatch,accounts}')::int) FROM"
            " recon_inspection_figures WHERE run_id = $1"
        )
        assert await connection.fetchval(by_batches, run_id) == len(lost)
