"""`trade-recon legacy` through real processes: the old flags, the old labels, the old names."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from app.domain.contract.tables import Endpoint
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import Ended, access, run_command
from tests.support.engine import difference

_FIX, _RUN, _REPORT = (
    "NULL account_id fix results",
    "Reconciliation results",
    "Reconciliation report",
)


def _parts(ended: Ended) -> dict[str, dict[str, Any]]:
    """The JSON of each step by its label, in the order of stdout, which holds nothing else."""
    parts: dict[str, dict[str, Any]] = {}
    text, decoder = ended.stdout, json.JSONDecoder()
    while text:
        label, brace, _ = text.partition("{")
        assert brace, text
        assert label.endswith(": ")
        parts[label.removesuffix(": ")], end = decoder.raw_decode(text[len(label) :])
        text = text[len(label) + end :]
        assert text.startswith("\n")
        text = text[1:]
    return parts


async def _damage(database: Database, statement: str) -> None:
    async with database.connect() as connection:
        assert await connection.execute(statement) not in {"DELETE 0", "UPDATE 0"}


async def _lose_hourly(database: Database, account_ids: Collection[str]) -> None:
    """Hourly rows of the last settled date that each account has."""
    async with database.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly AS t WHERE account_id = ANY($1) AND date = (SELECT"
            " max(date) FROM raw_metrics_hourly WHERE account_id = t.account_id AND num_trades > 0"
            " AND date < $2)",
            list(account_ids),
            TODAY - dt.timedelta(days=1),
        )


def _reject(sandbox: SandboxServer, account_ids: Collection[str]) -> None:
    """Let upstream answer no request for hourly rows that names one of the accounts."""
    sandbox.set_faults(
        Faults(
            rejections=(
                Rejection(
                    status=422, ids=frozenset(account_ids), endpoints=frozenset({Endpoint.HOURLY})
                ),
            )
        )
    )


async def _legacy(folder: Path, variables: dict[str, str], *words: str) -> Ended:
    return await run_command(folder, variables, "legacy", *words)


async def test_all_steps_of_a_night_are_done_in_their_order_and_told_with_the_old_names(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await _damage(filled, "UPDATE raw_trades_closed SET account_id = NULL")
    await _damage(filled, f"DELETE FROM raw_metrics_hourly WHERE date > '{TODAY}'::date - 20")
    await _damage(filled, "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1")
    sandbox.set_faults(Faults.of(FaultKind.INTERNAL_ERROR, first_n=1))
    sandbox.log.reset()
    ended = await _legacy(
        tmp_path, access(filled, sandbox), "--report", "--reconcile", "--fix-null-ids"
    )
    assert ended.code == 0, ended.stderr
    parts = _parts(ended)
    assert list(parts) == [_FIX, _RUN, _REPORT]
    fixed, run, report = parts.values()
    assert fixed["closed_trades_updated"] > 0
    assert (
        fixed["open_trades_updated"],
        fixed["md5_hashes_fixed"],
        fixed["unmatched_combinations"],
    ) == (0, 0, [])
    assert run["total_processed"] == run["fully_resolved"] == len(run["details"]) > 0
    assert (run["partially_resolved"], run["failed"], run["skipped_due_to_previous_failure"]) == (
        0,
        0,
        0,
    )
    assert run["api_stats"].pop("api_errors") == 1
    assert sum(run["api_stats"].values()) == len(sandbox.log.requests)
    assert (
        {"fetch_alltime", "fetch_hourly"}
        <= run["api_stats"].keys()
        <= {"fetch_alltime", "fetch_daily", "fetch_hourly", "fetch_trades"}
    )
    for entry in run["details"]:
        assert entry["resolved"] is True
        assert entry["issues_found"] == entry["issues_resolved"] > 0
        assert entry["new_issues"] == []
    assert {"overall", "issues_by_type", "recent_activity"} <= report.keys()
    assert (
        report["overall"]["reconciled"]
        == report["overall"]["total_accounts"]
        == len(sandbox.world.account_ids)
    )
    (today,) = report["recent_activity"]
    assert today.keys() == {"check_date", "accounts_checked", "resolved", "failed"}
    assert today["accounts_checked"] == today["resolved"] == len(sandbox.world.account_ids)
    assert (await difference(filled, sandbox)).is_equal


async def test_a_script_that_cuts_at_the_first_brace_reads_the_results(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    ended = await _legacy(tmp_path, access(filled, sandbox), "--reconcile")
    assert ended.stdout.startswith(f'{_RUN}: {{\n  "total_processed": 0')
    assert json.loads(ended.stdout[ended.stdout.index("{") :])["details"] == []


async def test_ids_and_the_report_need_no_api(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": filled.dsn}
    await _damage(
        filled,
        "UPDATE raw_trades_closed SET account_id = md5(concat_ws('|', login, platform, broker))",
    )
    ended = await _legacy(tmp_path, variables, "--fix-null-ids", "--report", "--max-accounts", "5")
    assert ended.code == 0, ended.stderr
    parts = _parts(ended)
    assert list(parts) == [_FIX, _REPORT]
    assert parts[_FIX]["md5_hashes_fixed"] > 0
    assert (await difference(filled, sandbox)).is_equal
    refused = await _legacy(tmp_path, variables, "--fix-null-ids", "--reconcile")
    assert (refused.code, refused.stdout) == (2, "")
    assert "RISK_API_BASE_URL" in refused.stderr


async def test_keys_that_fit_no_account_are_listed(filled: Database, tmp_path: Path) -> None:
    await _damage(
        filled,
        "UPDATE raw_trades_closed SET account_id = NULL, login = 'nobody' WHERE position = (SELECT"
        " min(position) FROM raw_trades_closed)",
    )
    fixed = _parts(await _legacy(tmp_path, {"DATABASE_URL": filled.dsn}, "--fix-null-ids"))[_FIX]
    assert [
        (key["login"], key["trade_type"], key["candidates"])
        for key in fixed["unmatched_combinations"]
    ] == [("nobody", "closed", [])]
    assert fixed["unmatched_total"] == 1


async def test_accounts_that_failed_before_are_left_out_unless_they_are_asked_for(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    trading = [
        account_id
        for account_id in sandbox.world.account_ids
        if len(sandbox.world.trades(account_id)) > 3
    ]
    victims, others = set(trading[:3]), trading[3:6]
    await _lose_hourly(filled, victims)
    _reject(sandbox, victims)
    variables = access(filled, sandbox)
    first = await _legacy(tmp_path, variables, "--reconcile", "--max-accounts", "3")
    assert first.code == 0, first.stderr
    failed = _parts(first)[_RUN]
    assert (failed["total_processed"], failed["failed"], failed["fully_resolved"]) == (3, 3, 0)
    for entry in failed["details"]:
        assert entry["resolved"] is False
        assert (entry["issues_found"] > 0, entry["issues_resolved"]) == (True, 0)
        assert entry["new_issues"]
        assert entry["detail"]
    await _lose_hourly(filled, others)
    sandbox.set_faults(NO_FAULTS)
    again = _parts(await _legacy(tmp_path, variables, "--reconcile"))[_RUN]
    assert again["skipped_due_to_previous_failure"] == 3
    assert {entry["account_id"] for entry in again["details"]} == set(others)
    retried = await _legacy(tmp_path, variables, "--reconcile", "--retry-failed")
    assert retried.code == 0, retried.stderr
    assert {entry["account_id"] for entry in _parts(retried)[_RUN]["details"]} == victims
    assert (await difference(filled, sandbox)).is_equal


async def test_a_run_that_leaves_issues_ends_with_0_and_counts_as_its_details_do(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await _damage(filled, f"DELETE FROM raw_metrics_hourly WHERE date > '{TODAY}'::date - 20")
    async with filled.connect() as connection:
        await connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades)"
            " SELECT account_id || '-double', login, platform, broker, num_trades FROM"
            " raw_metrics_alltime WHERE num_trades > 0"
        )
    ended = await _legacy(tmp_path, access(filled, sandbox), "--reconcile")
    assert ended.code == 0, ended.stderr
    run = _parts(ended)[_RUN]
    outcomes = Counter(entry["outcome"] for entry in run["details"])
    assert run["failed"] == outcomes["failed"]
    async with filled.connect() as connection:
        equal = await connection.fetch(
            "SELECT account_id FROM trade_recon WHERE trades_recon_checksum"
        )
    resolved = {entry["account_id"] for entry in run["details"] if entry["resolved"]}
    assert resolved == {entry["account_id"] for entry in run["details"]} & {
        row["account_id"] for row in equal
    }
    assert run["fully_resolved"] == len(resolved)
    assert (
        run["total_processed"]
        == len(run["details"])
        == sum(run[name] for name in ("fully_resolved", "partially_resolved", "failed"))
    )


async def test_a_script_of_the_earlier_system_reads_what_it_is_told(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    victims = [
        account_id
        for account_id in sandbox.world.account_ids
        if len(sandbox.world.trades(account_id)) > 3
    ][:3]
    await _lose_hourly(filled, victims)
    _reject(sandbox, victims)
    nobody = (
        "UPDATE raw_trades_closed SET account_id = NULL, login = 'nobody' WHERE position = (SELECT"
        " min(position) FROM raw_trades_closed)"
    )
    await _damage(filled, nobody)
    ended = await _legacy(
        tmp_path, access(filled, sandbox), "--fix-null-ids", "--reconcile", "--report"
    )
    fixed, report = _parts(ended)[_FIX], _parts(ended)[_REPORT]
    (key,) = fixed["unmatched_combinations"]
    assert (
        f"{key['login']} on {key['platform']:d}/{key['broker']:d} ({key['trade_type']})".startswith(
            "nobody on "
        )
    )
    lines = [
        f"{activity['check_date']}: {activity['resolved'] / activity['accounts_checked']:.0%},"
        f" {activity['failed']:d} failed"
        for activity in report["recent_activity"]
    ]
    async with filled.connect() as connection:
        checked = await connection.fetchrow(
            "SELECT (max(last_checked) AT TIME ZONE 'UTC')::date,"
            " avg(trades_recon_checksum::integer), count(*) FILTER (WHERE failed_attempts > 0) FROM"
            " trade_recon WHERE last_checked IS NOT NULL"
        )
    assert checked is not None
    assert lines == [f"{checked[0]}: {checked[1]:.0%}, {checked[2]} failed"]
    assert checked[2] == len(victims)
    overall = report["overall"]
    assert (
        "% of 20, "
        in f"{overall['reconciliation_percentage']:.2f} % of {overall['total_accounts']:d},"
        f" {overall['needs_reconciliation']:d} open"
    )
    assert {
        "hourly_without_daily (2): ",
        "daily_without_hourly (2): ",
        "missing_metrics_tables (2): ",
    } & {f"{issue['issue_type']} ({issue['severity']:d}): " for issue in report["issues_by_type"]}
    async with filled.connect() as connection:
        issues = await connection.fetch(
            "SELECT jsonb_array_elements(issues) AS issue FROM trade_recon"
        )
    samples = [
        sample for row in issues for sample in json.loads(row["issue"]).get("sample_mismatches", [])
    ]
    assert samples
    assert all(
        sample["daily"] - sample["hourly_sum"] == sample["daily"] - sample["hourly"]
        for sample in samples
    )


async def test_a_run_that_fails_is_told_with_its_reason_and_the_report_still_comes(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await _damage(filled, "DELETE FROM raw_metrics_hourly")
    ended = await _legacy(
        tmp_path, access(filled, sandbox, api_key="very-secret-key-4711"), "--reconcile", "--report"
    )
    assert ended.code == 3, ended.stderr
    run, report = _parts(ended).values()
    assert (run["status"], run["details"]) == ("failed", [])
    assert "key" in run["error"]
    assert report["overall"]["needs_reconciliation"] > 0
    assert "4711" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "at least one of"),
        (["--retry-failed"], "--retry-failed does nothing without --reconcile"),
        (["--retry-failed", "--report"], "--retry-failed does nothing without --reconcile"),
        (["--max-accounts", "5"], "--max-accounts does nothing by itself"),
    ],
)
async def test_flags_that_would_do_nothing_are_refused_with_a_sentence(
    tmp_path: Path, words: list[str], said: str
) -> None:
    ended = await _legacy(tmp_path, {}, *words)
    assert (ended.code, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert said in line
    assert line.startswith("trade-recon: ")
    assert line.endswith("Nothing was done.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", ["0", "-1", "many", "1.5"])
async def test_a_limit_that_cannot_be_is_refused(tmp_path: Path, most: str) -> None:
    ended = await _legacy(tmp_path, {}, "--reconcile", "--max-accounts", most)
    assert (ended.code, ended.stdout) == (2, "")
