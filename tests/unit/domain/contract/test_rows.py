"""What is read where every row is compared, what its issues are, and on which dates trades may be
stored twice.
"""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.accounts.comparison import Difference, Differs
from app.domain.accounts.counts import Totals
from app.domain.accounts.progress import Progress
from app.domain.accounts.settling import Moving
from app.domain.contract.tables import Endpoint
from app.domain.issues.absence import absence, alltime_absence
from app.domain.issues.codes import Issue, IssueCode
from app.domain.planning.descent import Needs, needs_of
from app.domain.states import Outcome
from app.domain.verdict.row_issues import compares_rows, difference_issues, left_by_rows
from app.domain.verdict.verdict import is_incomplete, judge
from tests.support.views import DAY, days, view

_WRONG = Difference(
    Endpoint.DAILY, DAY, Differs.CHANGED, 1, ("net_profit",), samples=({"key": "a|1"},)
)
_MORE = Difference(Endpoint.CLOSED, DAY, Differs.MISSING, 2, counts=True)


def test_every_table_of_an_account_that_agrees_is_read_whole_if_its_rows_are_compared_and_none_if_its_counts_are() -> (
    None
):
    account = view("a", 5, 5, known_days=3)
    assert needs_of(account, Progress()) == Needs()
    last = account.last_day
    assert needs_of(account, Progress(by_rows=True)) == Needs(True, None, None, None, last)  # noqa: FBT003
    moving = Moving(
        DAY + dt.timedelta(days=8), (DAY + dt.timedelta(days=8), DAY + dt.timedelta(days=9))
    )
    progress = Progress(by_rows=True, moving=moving)
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY):
        progress.dates_read(endpoint).everything = True
    progress.dates_read(Endpoint.CLOSED).ranges.append((DAY, DAY + dt.timedelta(days=8)))
    assert needs_of(account, progress) == Needs(closed=None, closed_until=moving.last), (
        "trades may be of dates that no table knows yet"
    )
    assert is_incomplete(account, progress)
    progress.dates_read(Endpoint.CLOSED).ranges.append((DAY, moving.last))
    assert needs_of(account, progress) == Needs()
    assert not is_incomplete(account, progress)


def test_an_account_whose_rows_could_not_be_read_failed_though_no_issue_is_known() -> None:
    assert judge((), (), incomplete=True) is Outcome.FAILED
    assert judge((), ()) is Outcome.UNCHANGED


def test_what_no_count_shows_is_value_drift_and_what_counts_should_show_is_drift_unless_they_do() -> (
    None
):
    assert [issue.code for issue in difference_issues([_WRONG, _MORE], ())] == [
        IssueCode.VALUE_DRIFT,
        IssueCode.UPSTREAM_DRIFT,
    ]
    (issue,) = difference_issues([_WRONG, _MORE], [IssueCode.TRADES_DAILY_MISMATCH])
    assert issue.can_be_healed
    assert (issue.affected, issue.evidence["dates"]) == (("raw_metrics_daily",), [DAY.isoformat()])
    assert not difference_issues([replace(_WRONG, refused=True)], ())[0].can_be_healed


def test_an_issue_that_rows_showed_stays_open_until_all_rows_are_compared_again() -> None:
    entries = tuple(issue.as_json() for issue in difference_issues([_WRONG], ()))
    account = replace(view("a", 5, 5, known_days=1), open_issues=entries)
    assert compares_rows(account)
    unread = Progress(by_rows=True)
    assert [issue.code for issue in left_by_rows(account, unread, ())] == [IssueCode.VALUE_DRIFT]
    whole = Progress(by_rows=True)
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        whole.dates_read(endpoint).everything = True
    assert left_by_rows(account, whole, ()) == ()
    whole.unequal[Endpoint.DAILY] = [_WRONG]
    assert left_by_rows(account, whole, ()) == (Issue.from_json(entries[0]),)


@pytest.mark.parametrize(
    ("alltime", "daily", "counts", "surplus"),
    [
        (5, 5, [(5, 5, 6)], days(0)),
        (5, 5, [(0, 0, 2), (5, 5, 5)], days(0)),
        (5, 5, [(5, 4, 5)], days()),
        (6, 5, [(5, 5, 6), (0, 0, 1)], days(0)),
        (6, 0, [(0, 3, 3), (0, 0, 3)], days()),
    ],
)
def test_trades_are_looked_up_under_other_dates_where_more_are_stored_than_daily_counts(
    alltime: int, daily: int, counts: list[tuple[int, int, int]], surplus: frozenset[dt.date]
) -> None:
    assert frozenset(view("a", alltime, daily, *counts).surplus_days) == surplus


def test_an_empty_daily_table_makes_no_trade_suspect() -> None:
    account = view("a", 0, 0, (0, 0, 3))
    totals = Totals(
        has_alltime=False,
        alltime=0,
        has_daily=False,
        daily=0,
        has_hourly=False,
        hourly=0,
        has_closed=True,
        closed=3,
    )
    assert replace(account, totals=totals).surplus_days == ()


def test_all_dates_of_a_trade_that_is_stored_twice_are_read() -> None:
    account = replace(view("a", 5, 5, (0, 0, 1)), doubled=days(0, 40))
    progress = Progress()
    progress.dates_read(Endpoint.DAILY).dates |= days(0)
    assert needs_of(account, progress) == Needs(closed=days(0, 40))


def test_nothing_that_upstream_lacks_is_said_to_have_been_there() -> None:
    for issue in (absence(), alltime_absence(view("a", 5, 5))):
        assert "no longer" not in issue.description
        assert "missing_dates" not in issue.evidence
