"""`trade-recon accept` and `unaccept`, as processes: what is accepted fails no command until it is
taken back.
"""

import datetime as dt
import json
from pathlib import Path

from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import access, run_command


async def test_an_accepted_issue_fails_no_command_and_every_face_tells_of_it(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with filled.connect() as connection:
        account = await connection.fetchval(
            "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
            " SELECT account_id, $1, login, platform, broker, 3 FROM raw_metrics_alltime WHERE"
            " account_id NOT IN (SELECT account_id FROM raw_metrics_daily WHERE date = $1) ORDER BY"
            " num_trades DESC, account_id LIMIT 1 RETURNING account_id",
            TODAY - dt.timedelta(days=5),
        )
    variables = access(filled, sandbox)
    strict = "reconcile", "--kind", "audit", "--fail-on", "issues"
    assert (await run_command(tmp_path, variables, *strict)).code == 1
    wrong = await run_command(tmp_path, variables, "accept", account, "absent_upstream")
    assert (wrong.code, "--reason" in wrong.stderr) == (2, True)
    for code, said in (
        ("absent_upstrem", "absent_upstream"),
        ("upstream_drift", "open are absent_upstream"),
    ):
        wrong = await run_command(tmp_path, variables, "accept", account, code, "--reason", "known")
        assert (wrong.code, said in wrong.stderr) == (2, True), wrong.stderr
    accepted = await run_command(
        tmp_path,
        variables,
        "accept",
        account,
        "absent_upstream",
        "--reason",
        "forgotten by the vendor",
    )
    assert (accepted.code, "Accepted until " in accepted.stdout) == (0, True), accepted.stderr
    [order] = [line for line in accepted.log if line.get("action") == "order.accept"]
    assert (order["account_id"], order["issue"], order["reason"]) == (
        account,
        "absent_upstream",
        "forgotten by the vendor",
    )
    ended = await run_command(tmp_path, variables, *strict)
    assert (ended.code, "1 account with accepted issues" in ended.stdout) == (0, True), (
        ended.stdout + ended.stderr
    )
    listed = json.loads(
        (await run_command(tmp_path, variables, "accept", "--list", "--format", "json")).stdout
    )
    assert [row["account_id"] for row in listed["accepted"]] == [account]
    assert account in (await run_command(tmp_path, variables, "accept", "--list")).stdout
    shown = (await run_command(tmp_path, variables, "accounts", "show", account)).stdout
    assert "forgotten by the vendor" in shown
    report = (await run_command(tmp_path, variables, "report")).stdout
    assert "but for 1 account accepted until" in report
    assert "Accepted: 1 issue of 1 account (absent_upstream 1)" in report
    assert "All accounts were last compared with upstream by the audit" in report
    for said in ("counts again.", "is not accepted: nothing was changed."):
        taken = await run_command(tmp_path, variables, "unaccept", account, "absent_upstream")
        assert (taken.code, said in taken.stdout) == (0, True)
    assert (await run_command(tmp_path, variables, *strict)).code == 1
    assert (
        f"held back by {account}: absent_upstream"
        in (await run_command(tmp_path, variables, "report")).stdout
    )
