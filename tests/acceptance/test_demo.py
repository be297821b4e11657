from pathlib import Path

from app.domain.issues.codes import IssueCode
from tests.support.commands import run_command


async def test_the_demonstration_heals_every_damage_and_names_what_is_not_the_warehouses_to_heal(
    tmp_path: Path,
) -> None:
    ended = await run_command(tmp_path, {}, "demo", "--accounts", "100", "--verbose")
    assert ended.code == 0, ended.stdout + ended.stderr
    assert "NOT E" not in ended.stdout
    before, after = ended.stdout.split("After: the issues that are left")
    shown = {code for code in IssueCode if code.value in before}
    # Narrow keys and impossible dates need an adopted table: monthly partitions take no such date.
    # Dates that still move are no damage.
    absent = {
        IssueCode.KEY_TOO_NARROW,
        IssueCode.IMPOSSIBLE_DATE,
        IssueCode.UPSTREAM_INCONSISTENT,
        IssueCode.UNSETTLED,
    }
    absent |= {
        IssueCode.HISTORY_UNREAD,
        IssueCode.SUSPICIOUSLY_FEW_HOURS,
        IssueCode.PINNED_BY_RESTORE,
        IssueCode.VALUE_DRIFT,
    }
    assert shown == set(IssueCode) - absent
    left = {code for code in IssueCode if code.value in after}
    assert left == {
        IssueCode.AMBIGUOUS_IDENTITY,
        IssueCode.ABSENT_UPSTREAM,
        IssueCode.UPSTREAM_INCONSISTENT,
        IssueCode.UNSETTLED,
    }
    assert list(tmp_path.iterdir()) == []


async def test_the_story_fits_a_screen_and_no_log_line_comes_between(tmp_path: Path) -> None:
    ended = await run_command(tmp_path, {}, "demo", "--accounts", "100")
    assert (ended.code, ended.stderr) == (0, "")
    lines = [line.rstrip() for line in ended.stdout.splitlines()]
    assert len(lines) <= 40
    assert [line for line in lines if len(line) > 125] == []
    steps = [line.split()[0] for line in lines if line[:1].isdecimal() and line[1:2] == "."]
    assert steps == ["1.", "2.", "3.", "4.", "5."]
    assert [line for line in lines if line.startswith("Equal: ")] != []
    assert IssueCode.ABSENT_UPSTREAM.value in ended.stdout


async def test_on_real_trades_not_one_row_differs_afterwards(
    tmp_path: Path, shared_trades: Path
) -> None:
    ended = await run_command(tmp_path, {}, "demo", "--trades", str(shared_trades))
    assert ended.code == 0, ended.stdout + ended.stderr
    assert "without exception" in ended.stdout


async def test_the_settings_of_the_user_do_not_reach_the_demonstration(
    tmp_path: Path, shared_trades: Path
) -> None:
    variables = {
        "DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/never",
        "RISK_API_BASE_URL": "http://127.0.0.1:1/",
        "RECON_SCHEMA": "other",
    }
    ended = await run_command(tmp_path, variables, "demo", "--trades", str(shared_trades))
    assert ended.code == 0, ended.stdout + ended.stderr


async def test_a_trades_file_that_cannot_be_read_is_named_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    missing = await run_command(tmp_path, {}, "demo", "--trades", str(file))
    file.write_text("account_id,login\n1,2\n", encoding="utf-8")
    wrong = await run_command(tmp_path, {}, "demo", "--trades", str(file))
    for ended in (missing, wrong):
        assert (ended.code, ended.stdout) == (2, "")
        [line] = ended.stderr.splitlines()
        assert line.startswith("trade-recon: ")
        assert str(file) in line
    assert "line 1" in wrong.stderr
