"""`trade-recon runs` and `trade-recon accounts`: what is there, why it waits, and steering it, as
over HTTP.
"""

import json
import uuid
from pathlib import Path

from app.sandbox.server.serving import SandboxServer
from app.web.schemas.accounts import Account
from app.web.schemas.runs import Run, RunList
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import access, run_command

_SCHEMA = "prop_trading_model"


async def _damage(database: Database, sandbox: SandboxServer) -> list[str]:
    """Accounts of which each has so many rows with a wrong value that a strict guard holds it."""
    ids = [each for each in sandbox.world.account_ids if len(sandbox.world.trades(each)) > 3][:8]
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = ANY($1) AND"
            " trade_date < $2::date - 3",
            ids,
            TODAY,
        )
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = net_profit + 1 WHERE account_id = ANY($1)",
            ids,
        )
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id = ANY($1)",
            ids,
        )
    return ids


async def test_what_a_run_holds_is_listed_shown_and_confirmed_one_by_one(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    ids = await _damage(filled, sandbox)
    strict = {
        **access(filled, sandbox),
        "RECON_GUARD_ROWS": "2",
        "RECON_GUARD_ROW_SHARE": "0.01",
        "RECON_GUARD_ACCOUNTS": "1000",
    }
    named = [word for account_id in ids for word in ("--account", account_id)]
    await run_command(tmp_path, strict, "reconcile", "--kind", "audit", *named)
    listed = await run_command(
        tmp_path, strict, "runs", "list", "--kind", "audit", "--format", "json"
    )
    [run] = RunList.model_validate_json(listed.stdout).runs
    assert run.needs_confirmation >= 3

    table = await run_command(tmp_path, strict, "runs")
    assert (table.code, str(run.run_id) in table.stdout) == (0, True), table.stderr
    none = await run_command(tmp_path, strict, "runs", "list", "--status", "failed")
    assert (none.code, none.stdout) == (0, "There is no run that fits.\n")

    held = json.loads(
        (
            await run_command(tmp_path, strict, "accounts", "list", "--held", "--format", "json")
        ).stdout
    )["accounts"]
    assert len(held) == run.needs_confirmation
    first, second = held[0]["account_id"], held[1]["account_id"]
    shown = await run_command(tmp_path, strict, "runs", "show", str(run.run_id))
    assert f"  {first}: Healing " in shown.stdout
    assert f"`trade-recon runs confirm {run.run_id} --account ID`" in shown.stdout

    wrong = await run_command(
        tmp_path, strict, "runs", "confirm", str(run.run_id), "--account", "nobody"
    )
    assert (wrong.code, "does not hold nobody. Nothing was confirmed" in wrong.stderr) == (
        2,
        True,
    ), wrong.stderr
    done = await run_command(
        tmp_path, strict, "runs", "confirm", str(run.run_id), "--account", first
    )
    assert f"Confirmed: 1 account that run {run.run_id} held is compared again" in done.stdout, (
        done.stderr
    )
    assert f"{len(held) - 1} accounts stay held." in done.stdout
    page = json.loads(
        (
            await run_command(
                tmp_path, strict, "accounts", "list", "--held", "--limit", "1", "--format", "json"
            )
        ).stdout
    )
    assert ([each["account_id"] for each in page["accounts"]], page["next_after"]) == (
        [second],
        second,
    )
    all_ = await run_command(tmp_path, strict, "confirm", str(run.run_id))
    assert (all_.code, f"Confirmed: {len(held) - 1} accounts" in all_.stdout) == (
        0,
        True,
    ), all_.stderr
    state = Run.model_validate_json(
        (
            await run_command(tmp_path, strict, "runs", "show", str(run.run_id), "--format", "json")
        ).stdout
    )
    assert (state.status, state.accounts.needs_confirmation) == ("succeeded", 0)


async def test_accounts_are_listed_by_issue_and_shown(filled: Database, tmp_path: Path) -> None:
    variables = {"DATABASE_URL": filled.dsn}
    async with filled.connect() as connection:
        await connection.execute(f"DELETE FROM {_SCHEMA}.raw_metrics_hourly")
    assert (
        "There is no account that fits."
        in (await run_command(tmp_path, variables, "accounts")).stdout
    )
    async with filled.connect() as connection:
        await connection.execute(
            f"INSERT INTO {_SCHEMA}.trade_recon (account_id, issues) VALUES ('a [b]', $1), ('c',"
            " '[]'), ('d', '{\"odd\": 1}')",
            json.dumps(
                [
                    {
                        "type": "daily_without_hourly",
                        "severity": 2,
                        "description": "It is [bold]so.",
                        "affected": [],
                        "resolution_strategy": "",
                    }
                ]
            ),
        )
    listed = await run_command(
        tmp_path, variables, "accounts", "list", "--issue", "daily_without_hourly"
    )
    assert (listed.code, "a [b]" in listed.stdout, "1 account, by id" in listed.stdout) == (
        0,
        True,
        True,
    ), listed.stderr
    assert (
        "3 accounts, by id"
        in (
            await run_command(tmp_path, variables, "accounts", "list", "--status", "pending")
        ).stdout
    )
    shown = await run_command(tmp_path, variables, "accounts", "show", "a [b]")
    assert shown.stdout.startswith("a [b] is pending, with 1 open issue.\n")
    assert "daily_without_hourly" in shown.stdout
    assert "It is [bold]so." in shown.stdout
    as_json = await run_command(
        tmp_path, variables, "accounts", "show", "a [b]", "--format", "json"
    )
    assert Account.model_validate_json(as_json.stdout).account_id == "a [b]"
    unknown = await run_command(tmp_path, variables, "accounts", "show", "nobody")
    assert (unknown.code, "There is no account 'nobody'." in unknown.stderr) == (2, True)


async def test_a_run_is_paused_resumed_and_cancelled_and_says_what_it_waits_for(
    filled: Database, tmp_path: Path
) -> None:
    variables, run_id = {"DATABASE_URL": filled.dsn}, str(uuid.uuid4())
    async with filled.connect() as connection:
        columns = f"INSERT INTO {_SCHEMA}.recon_runs (run_id, kind, status, created_at)"
        await connection.execute(
            f"{columns} VALUES ($1, 'retry', 'queued', now() - interval '1 minute')",
            uuid.UUID(run_id),
        )
    paused = await run_command(tmp_path, variables, "runs", "pause", run_id)
    assert (paused.code, f"The run {run_id} is paused.\n" in paused.stdout) == (
        0,
        True,
    ), paused.stderr
    assert f"`trade-recon runs resume {run_id}`" in paused.stdout
    resumed = await run_command(tmp_path, variables, "runs", "resume", run_id)
    assert (
        f"The run {run_id} is queued.\nIt waits: No process works on runs: start `trade-recon"
        " serve`" in resumed.stdout
    )
    for _ in range(2):
        assert (
            await run_command(tmp_path, variables, "runs", "cancel", run_id)
        ).stdout == f"The run {run_id} is cancelled.\n"
    refused = await run_command(tmp_path, variables, "runs", "pause", run_id)
    assert (refused.code, "The run is cancelled; it cannot be paused." in refused.stderr) == (
        3,
        True,
    )
    assert (await run_command(tmp_path, variables, "runs", "pause", str(uuid.uuid4()))).code == 2
