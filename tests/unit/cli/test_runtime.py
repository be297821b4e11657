import pytest

from app.cli.runtime import ExitCode, exit_code_of
from app.domain.runs.fail_on import parse_fail_on
from app.domain.runs.leftovers import Left, Leftovers
from app.domain.states import RunStatus
from app.engine.report.models.runs import RunState
from tests.support.run_states import run_state


def _state(status: str, failed: int = 0, left: Leftovers | None = None) -> RunState:
    return run_state(
        status=status,
        total_processed=100,
        failed=failed,
        left=None if left is None else left.as_json(),
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (RunStatus.SUCCEEDED, ExitCode.SUCCESS),
        (RunStatus.COMPLETED_WITH_ISSUES, ExitCode.ISSUES_LEFT),
        (RunStatus.NEEDS_CONFIRMATION, ExitCode.ISSUES_LEFT),
        (RunStatus.PAUSED, ExitCode.ISSUES_LEFT),
        (RunStatus.FAILED, ExitCode.FAILURE),
        (RunStatus.CANCELLED, ExitCode.FAILURE),
        ("later", ExitCode.FAILURE),
    ],
)
def test_the_exit_code_tells_as_the_status_whether_somebody_must_act(
    status: str, code: ExitCode
) -> None:
    assert exit_code_of(_state(status)) is code, "an earlier version left no figures"


def test_the_exit_code_follows_from_the_same_figures_as_the_status() -> None:
    for left in Left:
        leftovers = Leftovers({left: 1})
        status = (
            RunStatus.COMPLETED_WITH_ISSUES if leftovers.needs_somebody else RunStatus.SUCCEEDED
        )
        code = exit_code_of(_state(status, left=leftovers))
        assert code is (ExitCode.ISSUES_LEFT if leftovers.needs_somebody else ExitCode.SUCCESS), (
            left
        )


def test_what_fails_the_command_is_chosen_but_not_for_a_run_that_was_stopped_or_failed() -> None:
    tolerant, strict = parse_fail_on(["failed:10%"]), parse_fail_on(["issues"])
    healable, known = Leftovers({Left.HEALABLE: 10}), Leftovers({Left.KNOWN: 1})
    assert (
        exit_code_of(_state(RunStatus.COMPLETED_WITH_ISSUES, 10, healable), tolerant)
        is ExitCode.SUCCESS
    )
    assert (
        exit_code_of(_state(RunStatus.COMPLETED_WITH_ISSUES, 11, healable), tolerant)
        is ExitCode.ISSUES_LEFT
    )
    assert exit_code_of(_state(RunStatus.SUCCEEDED, 0, known), strict) is ExitCode.ISSUES_LEFT
    for status, code in (
        (RunStatus.NEEDS_CONFIRMATION, ExitCode.ISSUES_LEFT),
        (RunStatus.FAILED, ExitCode.FAILURE),
    ):
        assert exit_code_of(_state(status, 0, Leftovers()), parse_fail_on(["none"])) is code
