import pytest

from app.domain.models import RunStatus
from app.shell import ExitCode, Tolerance, exit_code_of

_STRICT = Tolerance(failed=0.1, issues=False)


def _state(status: RunStatus, failed: int = 0, done: int = 100) -> dict[str, object]:
    return {"status": status.value, "total_processed": done, "failed": failed}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (RunStatus.SUCCEEDED, ExitCode.SUCCESS),
        (RunStatus.COMPLETED_WITH_ISSUES, ExitCode.SUCCESS),
        (RunStatus.NEEDS_CONFIRMATION, ExitCode.ISSUES_LEFT),
        (RunStatus.PAUSED, ExitCode.ISSUES_LEFT),
        (RunStatus.FAILED, ExitCode.FAILURE),
        (RunStatus.CANCELLED, ExitCode.FAILURE),
    ],
)
def test_a_run_that_did_what_can_be_done_is_a_success(status: RunStatus, code: ExitCode) -> None:
    assert exit_code_of(_state(status)) is code


def test_a_state_that_only_a_later_version_knows_is_no_success() -> None:
    assert exit_code_of({"status": "later", "total_processed": 1, "failed": 0}) is ExitCode.FAILURE


@pytest.mark.parametrize(
    ("failed", "tolerance", "code"),
    [
        (99, Tolerance(), ExitCode.SUCCESS),
        (100, Tolerance(), ExitCode.ISSUES_LEFT),
        (10, Tolerance(failed=0.1), ExitCode.SUCCESS),
        (11, Tolerance(failed=0.1), ExitCode.ISSUES_LEFT),
        (1, Tolerance(failed=0), ExitCode.ISSUES_LEFT),
        (0, Tolerance(failed=0), ExitCode.SUCCESS),
        (0, Tolerance(issues=False), ExitCode.ISSUES_LEFT),
    ],
)
def test_failed_accounts_and_issues_count_as_far_as_it_is_asked_for(failed: int, tolerance: Tolerance, code: ExitCode) -> None:
    assert exit_code_of(_state(RunStatus.COMPLETED_WITH_ISSUES, failed), tolerance) is code


def test_the_strictest_wish_does_not_blame_a_clean_run() -> None:
    assert exit_code_of(_state(RunStatus.SUCCEEDED, done=0), _STRICT) is ExitCode.SUCCESS
