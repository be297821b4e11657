"""As what an issue is closed."""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.issues.detection import detect
from app.domain.verdict.backoff import ask_again
from app.domain.verdict.closing import ClosedAs, closings
from tests.support.views import DAY, view

_TORN = view("a", 9, 9, (3, 0, 3), known_days=5, finer=9)
_WHOLE = view("a", 9, 9, known_days=5)


def _closed_as(
    now: AccountView, progress: Progress, left: tuple[Issue, ...] = ()
) -> dict[IssueCode, ClosedAs]:
    found = closings(now, progress, detect(_TORN), left)
    return {code: closing.closed_as for code, closing in found.items()}


def _issue(code: IssueCode) -> Issue:
    return Issue(code, Severity.INFO, "", (), "")


def test_what_detection_finds_no_more_after_a_write_in_a_table_that_it_is_about_is_healed() -> None:
    hourly = Progress(written={"raw_metrics_hourly"})
    assert set(_closed_as(_WHOLE, hourly).values()) == {ClosedAs.HEALED}
    assert set(_closed_as(_WHOLE, Progress()).values()) == {ClosedAs.GONE}
    alltime = _closed_as(_WHOLE, Progress(written={"raw_metrics_alltime"}))
    assert alltime[IssueCode.HOURLY_DAILY_MISMATCH] is ClosedAs.GONE


@pytest.mark.parametrize(
    "code", [IssueCode.ABSENT_UPSTREAM, IssueCode.UPSTREAM_INCONSISTENT, IssueCode.UNSETTLED]
)
def test_what_is_shown_under_another_code_is_relabelled_whatever_was_written(
    code: IssueCode,
) -> None:
    progress = Progress(written={"raw_metrics_hourly"})
    closed = closings(_TORN, progress, detect(_TORN), (_issue(code),))
    assert {(closing.closed_as, closing.relabelled_as) for closing in closed.values()} == {
        (ClosedAs.RELABELLED, (code,))
    }


def test_a_date_on_which_less_is_missing_than_before_is_not_healed() -> None:
    fewer = view("a", 9, 9, (3, 1, 3), known_days=5, finer=9)
    closed = _closed_as(
        fewer, Progress(written={"raw_metrics_hourly"}), (_issue(IssueCode.UNSETTLED),)
    )
    assert closed[IssueCode.DAILY_WITHOUT_HOURLY] is ClosedAs.RELABELLED


def test_an_explanation_is_over_when_the_difference_is() -> None:
    open_before = replace(_WHOLE, open_issues=(_issue(IssueCode.ABSENT_UPSTREAM).as_json(),))
    assert (
        closings(open_before, Progress(), (), ())[IssueCode.ABSENT_UPSTREAM].closed_as
        is ClosedAs.GONE
    )
    written = Progress(written={"raw_metrics_hourly"})
    assert (
        closings(open_before, written, (), ())[IssueCode.ABSENT_UPSTREAM].closed_as
        is ClosedAs.HEALED
    )


def test_ids_that_were_mended_heal_what_they_were_missing_for() -> None:
    assert set(_closed_as(_WHOLE, Progress(ids_repaired=True)).values()) == {ClosedAs.HEALED}


def test_an_alltime_row_that_waits_for_its_dates_leaves_its_drift_open_as_unsettled() -> None:
    waiting = Progress(written={"raw_metrics_daily"}, withheld={Endpoint.ALLTIME: {None}})
    drifted = (_issue(IssueCode.UPSTREAM_DRIFT),)
    closed = closings(_WHOLE, waiting, drifted, (_issue(IssueCode.UNSETTLED),))
    assert closed[IssueCode.UPSTREAM_DRIFT].relabelled_as == (IssueCode.UNSETTLED,)


def test_the_pauses_before_asking_again_double_up_to_a_month() -> None:
    now = dt.datetime.combine(DAY, dt.time(23), dt.UTC)
    pauses = [(ask_again(times, now) - now + dt.timedelta(hours=4)).days for times in range(1, 9)]
    assert pauses == [1, 2, 4, 8, 16, 32, 32, 32]
