import asyncio
import json
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database, Server
from tests.support.clock import TODAY
from tests.support.commands import access, environment, run_command
from tests.support.engine import difference, engine
from tests.support.processes import start

_KEY = "very-secret-key-4711"
_SCHEMA = "prop_trading_model"
_NO_SERVER = "postgresql://someone:geheim-4711@127.0.0.1:1/db"


async def _damage(database: Database, statement: str) -> None:
    async with database.connect() as connection:
        await connection.execute(statement)


def _one_sentence(text: str) -> str:
    [line] = [line for line in text.splitlines() if not line.startswith("{")]
    assert line.startswith("trade-recon: ")
    assert line.endswith(".")
    assert "4711" not in text
    return line


async def test_reconcile_heals_and_its_exit_code_is_0(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await _damage(
        filled, f"DELETE FROM {_SCHEMA}.raw_metrics_hourly WHERE date > '{TODAY}'::date - 20"
    )
    ended = await run_command(tmp_path, access(filled, sandbox), "reconcile")
    assert ended.code == 0, ended.stderr
    assert "succeeded" in ended.stdout
    assert "rows inserted" in ended.stdout
    progress = [line for line in ended.log if line.get("action") == "run.progress"]
    assert progress[-1]["done"] == progress[-1]["total"] != 0
    assert not any("run.progress" in line for line in ended.stdout.splitlines())
    assert (await difference(filled, sandbox)).is_equal


async def test_what_is_not_the_warehouses_to_heal_is_told_once_as_new_and_then_as_known(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    # A date that upstream does not have: shown, and never healed.
    await _damage(
        filled,
        f"INSERT INTO {_SCHEMA}.raw_metrics_daily (account_id, date, login, platform, broker,"
        f" num_trades) SELECT account_id, '{TODAY}'::date - 5, login, platform, broker, 3 FROM"
        f" {_SCHEMA}.raw_metrics_alltime WHERE account_id NOT IN (SELECT account_id FROM"
        f" {_SCHEMA}.raw_metrics_daily WHERE date = '{TODAY}'::date - 5) ORDER BY num_trades DESC,"
        " account_id LIMIT 1",
    )
    variables = access(filled, sandbox)
    nights: list[tuple[tuple[str, ...], int, str]] = [
        (("--fail-on", "new-issues"), 1, "completed_with_issues"),
        (("--fail-on", "new-issues, failed:5%"), 0, "succeeded"),
        ((), 0, "succeeded"),
        (("--fail-above", "10%"), 0, "succeeded"),
        (("--fail-on-issues",), 1, "succeeded"),
        (("--fail-on", "issues", "--fail-on", "failed:5%"), 1, "succeeded"),
    ]
    for words, code, status in nights:
        ended = await run_command(tmp_path, variables, "reconcile", "--kind", "audit", *words)
        assert (ended.code, f"(audit): {status}," in ended.stdout) == (code, True), (
            ended.stderr + ended.stdout
        )
        told = (
            "To act on: 1 account with issues that are new"
            if status != "succeeded"
            else "Known, and nothing to be done"
        )
        assert told in ended.stdout
        [finished] = [line for line in ended.log if line.get("action") == "run.finished"]
        assert finished["left"] == (
            {"known": 1} if status == "succeeded" else {"new": 1, "new_issues": 1}
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fail-on", "isues"), "Is issues meant?"),
        (("--fail-on", "failed:120%"), "'120%' is no share"),
        (("--fail-on", "none,issues"), "goes with nothing else"),
        (("--fail-above", "ten"), "'ten' is no share"),
    ],
)
async def test_a_wrong_choice_of_what_fails_ends_with_2_before_anything_is_asked(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ended = await run_command(tmp_path, {}, "reconcile", *words)
    assert ended.code == 2
    assert said in " ".join(ended.stderr.replace("│", " ").split()), ended.stderr


async def test_a_run_ends_at_the_time_that_it_is_given(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    variables = access(filled, sandbox)
    past = await run_command(tmp_path, variables, "reconcile", "--stop-at", "2020-01-01T00:00Z")
    assert past.code == 2
    assert "must be in the future" in _one_sentence(past.stderr)
    for wrong in ("tomorrow", "2099-01-01T01:00"):
        assert (await run_command(tmp_path, variables, "reconcile", "--stop-at", wrong)).code == 2
    ended = await run_command(
        tmp_path, variables, "reconcile", "--stop-at", "2099-01-01T01:00-05:00"
    )
    assert ended.code == 0, ended.stderr
    async with filled.connect() as connection:
        stop_at = await connection.fetchval(f"SELECT stop_at FROM {_SCHEMA}.recon_runs")
    assert stop_at.isoformat() == "2099-01-01T06:00:00+00:00"


@pytest.mark.parametrize(
    "words", [["migrate"], ["serve", "--port", "0"], ["reconcile"], ["maintain"], ["report"]]
)
async def test_without_a_database_nothing_is_made_and_what_looks_like_one_is_named(
    tmp_path: Path, words: list[str]
) -> None:
    old = "postgresql://me:geheim-4711@db.example/warehouse"
    (tmp_path / ".env").write_text(
        f"DB_CONNECTION_STRING_SESSION_POOLER={old}\nOTHER=1\n", encoding="utf-8"
    )
    ended = await run_command(
        tmp_path, {"RISK_API_BASE_URL": "http://127.0.0.1:1/", "RISK_API_KEY": "x"}, *words
    )
    assert ended.code == 2
    said = _one_sentence(ended.stderr)
    assert "DATABASE_URL is not set" in said
    assert "DB_CONNECTION_STRING_SESSION_POOLER looks like a DSN" in said
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


async def test_the_log_says_which_database_is_worked_on_and_never_the_password(
    filled: Database, tmp_path: Path
) -> None:
    ended = await run_command(
        tmp_path, {"DATABASE_URL": f"{filled.dsn}&password=geheim-4711&connect_timeout=3"}, "report"
    )
    assert ended.code == 1, ended.stderr
    (chosen,) = [line for line in ended.log if line.get("action") == "database.chosen"]
    assert str(chosen["place"]).endswith(filled.dsn.partition("?")[0].rpartition("/")[2])
    assert "4711" not in ended.stderr
    (left_out,) = [
        line["left_out"] for line in ended.log if line.get("action") == "database.parameters"
    ]
    assert left_out == ["connect_timeout"]


@pytest.mark.parametrize(
    "words", [["report"], ["serve", "--embedded", "--port", "0"], ["migrate", "--embedded"]]
)
@pytest.mark.parametrize("name", ["DATABASE_ULR", "DATABASE_URI", "DATBASE_URL"])
async def test_an_embedded_database_is_never_chosen_by_a_slip_of_the_pen(
    tmp_path: Path, words: list[str], name: str
) -> None:
    # As if one had been made before.
    (tmp_path / "owners.lock").touch()
    api = {"RISK_API_BASE_URL": "http://127.0.0.1:1/", "RISK_API_KEY": "x"}
    ended = await run_command(tmp_path, {**api, name: _NO_SERVER}, *words)
    assert ended.code == 2
    said = _one_sentence(ended.stderr)
    assert f"{name} is" in said
    assert "is DATABASE_URL meant?" in said
    assert [path.name for path in tmp_path.iterdir()] == ["owners.lock"]


async def test_one_line_at_the_start_says_what_is_worked_on_and_with_what(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    variables = {**access(filled, sandbox), "RISK_API_RATE": "12.5", "RECON_WORKERS": "3"}
    for words in (["reconcile", "--kind", "audit"], ["report"]):
        ended = await run_command(tmp_path, variables, *words)
        assert ended.code == 0, ended.stderr
        (line,) = [line for line in ended.log if line.get("action") == "database.chosen"]
        assert str(line["place"]).endswith(filled.dsn.partition("?")[0].rpartition("/")[2])
        assert {
            name: line[name] for name in ("schema", "upstream", "rate", "workers", "version")
        } == {
            "schema": _SCHEMA,
            "upstream": sandbox.base_url,
            "rate": 12.5,
            "workers": 3,
            "version": "0.1.0",
        }


async def test_secrets_come_from_files_and_are_never_shown(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    variables = access(filled, sandbox)
    (tmp_path / "key").write_text(f"{variables.pop('RISK_API_KEY')}\n", encoding="utf-8")
    (tmp_path / "dsn").write_text(
        f"{variables.pop('DATABASE_URL')}&password=geheim-4711\n", encoding="utf-8"
    )
    files = {"RISK_API_KEY_FILE": "key", "DATABASE_URL_FILE": "dsn"}
    ended = await run_command(tmp_path, {**variables, **files}, "reconcile", "--kind", "audit")
    assert ended.code == 0, ended.stderr
    assert "4711" not in ended.stderr + ended.stdout
    ended = await run_command(tmp_path, {**variables, **files, "RISK_API_KEY": _KEY}, "reconcile")
    assert ended.code == 2
    assert "RISK_API_KEY and RISK_API_KEY_FILE are both set" in _one_sentence(ended.stderr)


async def test_reconcile_that_needs_a_word_ends_with_1(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await _damage(
        filled,
        f"INSERT INTO {_SCHEMA}.raw_metrics_alltime (account_id, login, platform, broker,"
        " num_trades) SELECT account_id || '-double', login, platform, broker, num_trades FROM"
        f" {_SCHEMA}.raw_metrics_alltime WHERE num_trades > 0",
    )
    ended = await run_command(tmp_path, access(filled, sandbox), "reconcile", "--kind", "audit")
    assert (ended.code, "needs_confirmation" in ended.stdout) == (1, True), ended.stderr


async def test_a_second_reconcile_helps_with_the_run_that_is_active_and_starts_none(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with engine(filled, sandbox) as service:
        run_id = await service.start_run(RunRequest(RunKind.FULL))
    ended = await run_command(tmp_path, access(filled, sandbox), "reconcile")
    assert (ended.code, f"helps with {run_id}" in ended.stderr) == (0, True), ended.stderr
    async with filled.connect() as connection:
        runs = await connection.fetch("SELECT run_id, status FROM recon_runs")
    assert [tuple(row) for row in runs] == [(run_id, "succeeded")]


async def test_reconcile_with_the_wrong_key_ends_with_3_and_says_why(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    ended = await run_command(
        tmp_path, access(filled, sandbox, api_key=_KEY), "reconcile", "--kind", "audit"
    )
    assert ended.code == 3
    assert "failed" in ended.stdout
    assert "key" in ended.stdout
    assert _KEY not in ended.stdout + ended.stderr


async def test_reconcile_of_named_accounts_touches_no_others(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    first, second = [
        account_id for account_id in sandbox.world.account_ids if sandbox.world.trades(account_id)
    ][:2]
    await _damage(
        filled,
        f"UPDATE {_SCHEMA}.raw_metrics_alltime SET num_trades = num_trades + 7 WHERE account_id IN"
        f" ('{first}', '{second}')",
    )
    assert (await run_command(tmp_path, access(filled, sandbox), "maintain")).code == 0
    ended = await run_command(tmp_path, access(filled, sandbox), "reconcile", "--account", first)
    assert ended.code == 0, ended.stderr
    assert (await difference(filled, sandbox)).account_ids == {second}
    unknown = await run_command(
        tmp_path, access(filled, sandbox), "reconcile", "--account", "nobody"
    )
    assert unknown.code == 2
    assert "nobody" in _one_sentence(unknown.stderr)


async def test_results_begin_with_a_sentence_and_show_what_is_not_zero(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await _damage(
        filled, f"DELETE FROM {_SCHEMA}.raw_metrics_hourly WHERE date > '{TODAY}'::date - 20"
    )
    ended = await run_command(tmp_path, access(filled, sandbox), "reconcile")
    assert re.match(
        r"Run \S+ \(full\): succeeded, with \d+ accounts? done \(.*\d+ healed.*\), \d+ rows?"
        r" written and \d+ requests?\.\n",
        ended.stdout,
    )
    reported = await run_command(tmp_path, access(filled, sandbox), "report")
    assert re.match(r"\d+ of \d+ accounts are reconciled, 0 have open issues; ", reported.stdout)
    for said in (ended.stdout, reported.stdout):
        assert not re.search(r"^\S.*\s0$", said, re.MULTILINE), said


async def test_ids_are_mended_and_reported_without_an_api(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": filled.dsn}
    await _damage(filled, f"UPDATE {_SCHEMA}.raw_trades_closed SET account_id = NULL")
    assert (await run_command(tmp_path, variables, "maintain")).code == 0
    fixed = await run_command(tmp_path, variables, "fix-null-ids")
    assert fixed.code == 0, fixed.stderr
    assert "closed trades updated" in fixed.stdout
    assert (await difference(filled, sandbox)).is_equal
    shown = await run_command(tmp_path, variables, "report")
    assert (shown.code, "Accounts" in shown.stdout) == (0, True)
    as_json = json.loads(
        (await run_command(tmp_path, variables, "report", "--format", "json")).stdout
    )
    assert as_json["overall"]["total_accounts"] == len(sandbox.world.account_ids)
    assert {
        "issues_by_type",
        "recent_activity",
        "reconciled_through",
        "identity",
        "last_run",
    } <= as_json.keys()


async def test_an_empty_database_is_refused_until_it_is_migrated(
    postgres: Server, tmp_path: Path
) -> None:
    name = f"recon_empty_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    variables = {"DATABASE_URL": postgres.database(name)}
    try:
        refused = await run_command(tmp_path, variables, "report")
        assert refused.code == 2
        assert "trade-recon migrate" in _one_sentence(refused.stderr)
        first = await run_command(tmp_path, variables, "migrate")
        assert (first.code, "applied 0200_baseline" in first.stdout) == (0, True), first.stderr
        again = await run_command(tmp_path, variables, "migrate")
        assert (again.code, "applied" in again.stdout) == (0, False)
        empty = await run_command(tmp_path, variables, "report")
        assert (empty.code, "no account is known: run --kind audit first" in empty.stdout) == (
            1,
            True,
        ), empty.stderr
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_warehouse_without_our_tables_is_refused_until_it_is_migrated(
    database: Database, tmp_path: Path
) -> None:
    await _damage(database, f"DROP TABLE {_SCHEMA}.recon_migrations")
    ended = await run_command(tmp_path, {"DATABASE_URL": database.dsn}, "report")
    assert ended.code == 2
    assert "trade-recon migrate" in _one_sentence(ended.stderr)


@pytest.mark.parametrize(
    ("words", "variables", "code", "named"),
    [
        (["serve"], {}, 2, "RISK_API_BASE_URL and RISK_API_KEY"),
        (["serve"], {"RISK_API_BASE_URL": "http://127.0.0.1:1/"}, 2, "RISK_API_KEY"),
        (["reconcile"], {"RISK_API_KEY": _KEY}, 2, "RISK_API_BASE_URL"),
        (["serve"], {"RISK_API_KEY": f"{_KEY}\n\n spaces"}, 2, "RISK_API_KEY"),
        (["report"], {"RECON_BATCH_SIZE": "many-4711"}, 2, "RECON_BATCH_SIZE"),
        (["report"], {"RECON_SCHEMA": "no-schema; DROP 4711"}, 2, "RECON_SCHEMA"),
        (["migrate"], {"DATABASE_URL": "mysql://me:geheim-4711@host/db"}, 2, "DATABASE_URL"),
        (
            ["migrate"],
            {"DATABASE_URL": "postgresql://me:a@b:geheim-4711@host:x4711/db"},
            2,
            "DATABASE_URL",
        ),
        (
            ["report"],
            {"DATABASE_URL": "postgresql://me:a@b:geheim-4711@host:x4711/db"},
            2,
            "DATABASE_URL",
        ),
        (["report"], {"DATABASE_URL": _NO_SERVER}, 3, "PostgreSQL cannot be reached"),
        (
            ["serve", "--host", "192.0.2.7"],
            {"RISK_API_BASE_URL": "http://127.0.0.1:1/", "RISK_API_KEY": _KEY},
            2,
            "does not authenticate",
        ),
        (
            ["serve"],
            {
                "DATABASE_URL": _NO_SERVER,
                "RISK_API_BASE_URL": "http://127.0.0.1:1/",
                "RISK_API_KEY": _KEY,
            },
            3,
            "PostgreSQL",
        ),
    ],
)
async def test_what_cannot_start_says_why_in_one_sentence(
    tmp_path: Path, words: list[str], variables: Mapping[str, str], code: int, named: str
) -> None:
    ended = await run_command(tmp_path, variables, *words)
    assert (ended.code, ended.stdout) == (code, "")
    assert named in _one_sentence(ended.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ["reconcile", "--kind", "everything"],
        ["reconcile", "--max-accounts", "0"],
        ["report", "--nothing"],
        ["accept"],
        ["accept", "a"],
        ["accept", "a", "no_trades"],
        ["accept", "a", "trade_count_mismatch", "--reason", "known", "--until", "tomorrow"],
        ["accept", "--list", "--reason", "known"],
        ["uninstall"],
        [],
    ],
)
async def test_wrong_words_end_with_2(tmp_path: Path, words: list[str]) -> None:
    ended = await run_command(tmp_path, {}, *words)
    assert ended.code == 2
    assert "Traceback" not in ended.stderr


async def test_help_tells_the_exit_codes(tmp_path: Path) -> None:
    ended = await run_command(tmp_path, {}, "--help")
    assert (
        ended.code,
        "Exit codes: 0 success (a run did what can be done); 1 action is needed"
        in " ".join(ended.stdout.split()),
    ) == (
        0,
        True,
    )


async def test_the_command_starts_as_a_process_of_its_own_on_the_machines_day(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-m", "app.cli.app", "report", "--format", "json")
    process = await start(
        *words,
        cwd=tmp_path,
        env=environment(tmp_path, **access(filled, sandbox)),
        stdout=pipe,
        stderr=pipe,
    )
    said, told = await process.communicate()
    assert process.returncode == 1, told.decode()
    assert json.loads(said)["overall"]["total_accounts"] == 0
