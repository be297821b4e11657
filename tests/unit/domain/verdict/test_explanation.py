"""What a difference is once upstream was read, and how the account leaves the run."""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.accounts.counts import Drift, IdentityFinding
from app.domain.accounts.progress import Progress
from app.domain.accounts.set_aside import NarrowRow
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, Login
from app.domain.issues.absence import absence, carried
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.issues.detection import detect, with_open_drift
from app.domain.states import Outcome
from app.domain.verdict.explanation import explain
from app.domain.verdict.verdict import judge
from tests.support.account_views import DAY, LATER, day, finding, totals


def read_everything() -> Progress:
    progress = Progress()
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        progress.dates_read(endpoint).everything = True
    return progress


def left(view: AccountView, progress: Progress) -> set[str]:
    return {issue.code.value for issue in explain(view, progress, moving_from=LATER)}


def codes(view: AccountView) -> set[str]:
    return {issue.code.value for issue in detect(view)}


def test_a_difference_is_upstreams_own_only_when_all_of_it_was_read() -> None:
    view = AccountView(AccountId("a"), totals(6, 5, 5, 5))
    assert left(view, Progress()) == {"trade_count_mismatch"}
    half = Progress()
    half.dates_read(Endpoint.ALLTIME).everything = True
    assert left(view, half) == {"trade_count_mismatch"}
    half.dates_read(Endpoint.DAILY).everything = True
    assert left(view, half) == {"upstream_inconsistent"}


def test_a_finer_table_must_be_read_on_each_date_that_differs() -> None:
    view = AccountView(
        AccountId("a"),
        totals(5, 5, 5, 4),
        days=(day(3, 3, 2), day(2, 2, 1, DAY + dt.timedelta(days=1))),
    )
    progress = Progress()
    progress.dates_read(Endpoint.ALLTIME).everything = True
    progress.dates_read(Endpoint.DAILY).everything = True
    progress.dates_read(Endpoint.CLOSED).dates.add(DAY)
    assert "trades_daily_mismatch" in left(view, progress)
    progress.dates_read(Endpoint.CLOSED).ranges.append((DAY, DAY + dt.timedelta(days=1)))
    assert left(view, progress) == {"upstream_inconsistent"}


@pytest.mark.parametrize("trouble", ["errors", "refused"])
def test_trouble_on_the_way_never_turns_into_upstreams_fault(trouble: str) -> None:
    view = AccountView(AccountId("a"), totals(5, 5, 5, 4), days=(day(3, 3, 2),))
    progress = read_everything()
    if trouble == "errors":
        progress.errors.append("something went wrong")
    else:
        progress.refused.add("raw_trades_closed", "is out of range", ["1"])
    assert left(view, progress) == {"trade_count_mismatch", "trades_daily_mismatch"}
    progress = read_everything()
    progress.left_alone.add(Endpoint.CLOSED)
    assert left(view, progress) == {"trade_count_mismatch", "trades_daily_mismatch"}


def test_rows_that_upstream_forgot_explain_exactly_their_share() -> None:
    view = AccountView(AccountId("a"), totals(5, 8, 5, 5), days=(day(3, 0, 0),))
    progress = read_everything()
    progress.kept = {Endpoint.DAILY: {DAY: 3}}
    assert left(view, progress) == {"absent_upstream"}
    view = AccountView(
        AccountId("a"),
        totals(5, 9, 5, 5),
        days=(day(3, 0, 0), day(2, 1, 1, DAY + dt.timedelta(days=1))),
    )
    assert left(view, progress) == {"absent_upstream", "upstream_inconsistent"}


def _told_of_upstream(view: AccountView, progress: Progress) -> object:
    """What the issue that blames upstream names as upstream's own counts."""
    (issue,) = (
        each
        for each in explain(view, progress, moving_from=LATER)
        if each.code in {"upstream_inconsistent", "unsettled"}
    )
    metadata = issue.evidence["metadata"]
    assert isinstance(metadata, dict)
    return metadata.get("upstream_counts")


def test_upstreams_counts_are_those_of_upstream_and_only_of_tables_that_were_read_whole() -> None:
    next_day = DAY + dt.timedelta(days=1)
    view = AccountView(
        AccountId("a"),
        totals(5, 9, 5, 7),
        days=(day(3, 0, 0), day(2, 1, 3, next_day)),
        first_day=DAY,
        last_day=next_day,
    )
    progress = read_everything()
    progress.sent = {Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED}
    progress.kept = {Endpoint.DAILY: {DAY: 3}, Endpoint.CLOSED: {next_day: 1}}
    told = {
        "raw_metrics_alltime": 5,
        "raw_metrics_daily": 6,
        "raw_metrics_hourly": 5,
        "raw_trades_closed": 6,
    }
    assert _told_of_upstream(view, progress) == told
    # A table of which only some dates were read, whose counts are withheld, or of which a count was
    # none is not known as a whole.
    progress.dates_read(Endpoint.HOURLY).everything = False
    progress.dates_read(Endpoint.HOURLY).dates = {DAY, next_day}
    progress.dates_read(Endpoint.CLOSED).everything = False
    progress.dates_read(Endpoint.CLOSED).ranges.append((DAY, next_day))
    del told["raw_metrics_hourly"]
    assert _told_of_upstream(view, progress) == told, (
        "closed trades were read on all dates of the account's life"
    )
    progress.unheld = {
        "raw_metrics_daily": {"num_trades (no count)"},
        "raw_trades_closed": {"comment"},
    }
    del told["raw_metrics_daily"]
    assert _told_of_upstream(view, progress) == told
    progress.withheld = {Endpoint.CLOSED: {LATER}}
    del told["raw_trades_closed"]
    assert _told_of_upstream(view, progress) == told
    progress.sent.discard(Endpoint.ALLTIME)
    assert _told_of_upstream(view, progress) is None, "of a row that was not sent nothing is told"


def test_an_unsettled_difference_names_no_stored_count_as_upstreams() -> None:
    moving = AccountView(
        AccountId("a"),
        totals(5, 5, 6, 6),
        days=(day(2, 3, 3, LATER),),
        first_day=DAY,
        last_day=LATER,
    )
    progress = read_everything()
    progress.sent = {Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED}
    progress.withheld = {Endpoint.DAILY: {LATER}}
    assert _told_of_upstream(moving, progress) == {"raw_metrics_hourly": 6, "raw_trades_closed": 6}


def test_a_difference_on_dates_that_still_move_is_unsettled() -> None:
    moving = AccountView(
        AccountId("a"), totals(5, 5, 6, 6), days=(day(2, 3, 3, LATER),), last_day=LATER
    )
    assert left(moving, read_everything()) == {"unsettled"}
    both = AccountView(
        AccountId("a"), totals(5, 5, 6, 6), days=(day(2, 3, 2), day(2, 3, 3, LATER)), last_day=LATER
    )
    assert left(both, read_everything()) == {"upstream_inconsistent"}


def test_a_date_that_stays_unsettled_for_three_runs_is_what_it_is() -> None:
    next_day = LATER + dt.timedelta(days=1)
    view = AccountView(
        AccountId("a"), totals(5, 5, 6, 6), days=(day(2, 3, 3, LATER),), last_day=LATER
    )
    for _ in range(3):
        (issue,) = explain(view, read_everything(), moving_from=LATER)
        assert issue.code is IssueCode.UNSETTLED
        view = replace(view, open_issues=(issue.as_json(),))
    # Another date that moves has its own three runs.
    other = replace(view, days=(day(2, 3, 3, next_day),), last_day=next_day)
    assert left(other, read_everything()) == {"unsettled"}
    for _ in range(2):
        (issue,) = explain(view, read_everything(), moving_from=LATER)
        assert issue.code is IssueCode.UPSTREAM_INCONSISTENT
        view = replace(view, open_issues=(issue.as_json(),))


def test_runs_in_quick_succession_do_not_wear_out_what_is_unsettled() -> None:
    view = AccountView(
        AccountId("a"), totals(5, 5, 6, 6), days=(day(2, 3, 3, LATER),), last_day=LATER
    )
    begun = dt.datetime(2026, 1, 6, 22, 36, tzinfo=dt.UTC)
    codes = []
    for minutes in (0, 2, 5, 9, 30, 59, 61, 90, 125, 130, 190):
        (issue,) = explain(
            view, read_everything(), moving_from=LATER, now=begun + dt.timedelta(minutes=minutes)
        )
        codes.append(issue.code)
        view = replace(view, open_issues=(issue.as_json(),))
    assert codes == [IssueCode.UNSETTLED] * 9 + [IssueCode.UPSTREAM_INCONSISTENT] * 2


def test_totals_that_stay_unsettled_for_three_runs_are_what_they_are() -> None:
    view = AccountView(AccountId("a"), totals(5, 6, 6, 6), last_day=LATER)
    for _ in range(3):
        (issue,) = explain(view, read_everything(), moving_from=LATER)
        assert issue.code is IssueCode.UNSETTLED
        view = replace(view, open_issues=(issue.as_json(),))
    assert left(view, read_everything()) == {"upstream_inconsistent"}


def test_trades_of_an_ambiguous_key_explain_their_own_absence() -> None:
    view = AccountView(
        AccountId("a"),
        totals(3, 3, 3, 0),
        days=(day(3, 3, 0),),
        findings=(finding(None, "a", "b"),),
    )
    assert left(view, read_everything()) == {"ambiguous_identity"}


def test_a_key_that_is_too_narrow_explains_the_rows_that_it_cannot_hold() -> None:
    progress = read_everything()
    progress.too_narrow.append(NarrowRow("raw_trades_closed", "8|1|7", "is no longer unique"))
    assert left(
        AccountView(AccountId("a"), totals(3, 3, 3, 2), days=(day(3, 3, 2),)), progress
    ) == {"key_too_narrow"}


def test_drift_is_over_when_the_coarse_levels_were_read_and_not_before() -> None:
    view = AccountView(AccountId("a"), totals(5, 5, 5, 5), drift=Drift(absent=False, evidence={}))
    assert left(view, Progress()) == {"upstream_drift"}
    assert left(view, read_everything()) == set()


def test_a_descent_that_was_begun_is_drift_until_both_finer_tables_were_read() -> None:
    view = AccountView(AccountId("a"), totals(5, 5, 5, 5), descents=frozenset({DAY}))
    assert codes(view) == {"upstream_drift"}
    progress = Progress()
    progress.dates_read(Endpoint.HOURLY).dates.add(DAY)
    assert left(view, progress) == {"upstream_drift"}
    progress.dates_read(Endpoint.CLOSED).ranges.append((DAY, DAY))
    assert left(view, progress) == set()


def test_what_only_an_audit_can_judge_stays_open_until_one_does() -> None:
    absent = AccountView(AccountId("a"), totals(5, 5, 5, 5), open_issues=(absence().as_json(),))
    assert carried(absent, Progress()) == (absence(),)
    assert left(absent, Progress()) == {"absent_upstream"}
    assert carried(absent, Progress(sent={Endpoint.DAILY})) == ()
    # Forgotten rows say nothing of the account, and where the counts agree without them nothing is
    # left.
    rows = AccountView(
        AccountId("a"),
        totals(5, 5, 5, 5),
        open_issues=({**absence().as_json(), "affected": ["raw_metrics_daily"]},),
    )
    assert carried(rows, Progress()) == ()
    assert left(rows, Progress()) == set()
    drifted = with_open_drift(
        AccountView(
            AccountId("a"),
            totals(),
            open_issues=({"type": "upstream_drift", "metadata": {"note": 1}},),
        )
    )
    assert drifted.drift == Drift(absent=False, evidence={"note": 1})


@pytest.mark.parametrize(
    ("found", "remaining", "outcome"),
    [
        ((), (), Outcome.UNCHANGED),
        ((IssueCode.UPSTREAM_DRIFT,), (), Outcome.HEALED),
        ((IssueCode.TRADE_COUNT_MISMATCH,), (IssueCode.UPSTREAM_INCONSISTENT,), Outcome.EXPLAINED),
        (
            (IssueCode.TRADE_COUNT_MISMATCH, IssueCode.UPSTREAM_DRIFT),
            (IssueCode.TRADE_COUNT_MISMATCH,),
            Outcome.PARTIAL,
        ),
        ((IssueCode.TRADE_COUNT_MISMATCH,), (IssueCode.TRADE_COUNT_MISMATCH,), Outcome.FAILED),
    ],
)
def test_an_outcome_follows_from_what_was_found_and_what_is_left(
    found: tuple[IssueCode, ...], remaining: tuple[IssueCode, ...], outcome: Outcome
) -> None:
    def issues(wanted: tuple[IssueCode, ...]) -> list[Issue]:
        return [Issue(code, Severity.HIGH, "", (), "") for code in wanted]

    assert judge(issues(found), issues(remaining)) is outcome


def test_closed_trades_of_a_key_that_two_accounts_hold_at_once_are_never_held_against_upstream() -> (
    None
):
    shared = IdentityFinding("raw_metrics_alltime", Login("7"), "8", "1", None, ("a", "b"), 0, ())
    view = AccountView(AccountId("a"), totals(3, 3, 3, 5), days=(day(3, 3, 5),), findings=(shared,))
    assert left(view, read_everything()) == {"ambiguous_identity"}
