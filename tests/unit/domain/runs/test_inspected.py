"""What an inspection tells of dates that no table has: local evidence names them, or none is
named.
"""

import datetime as dt
from collections import Counter

import pytest

from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId
from app.domain.issues.codes import Issue, Severity
from app.domain.issues.detection import detect
from app.domain.runs.inspected import Inspected, InspectionFigures, IssueAccounts
from tests.support.account_views import day, totals

_FIRST = dt.date(2026, 9, 28)
_DAYS = [_FIRST + dt.timedelta(days=number) for number in range(56)]
_LOST = _DAYS[-4]
_UNTIL = _DAYS[-1]


def _figures(
    short: int, own: int, everybody: int, *, lost: dt.date | None = _LOST
) -> InspectionFigures:
    """`short` accounts lack trades, `own` of them and `everybody` in all have rows on each date but
    the lost one.
    """
    figures = InspectionFigures(
        everywhere=Counter({day.isoformat(): everybody for day in _DAYS if day != lost})
    )
    figures.add_gaps(short, {day: own for day in _DAYS if day != lost}, _UNTIL)
    return InspectionFigures.summed([figures.as_json()])


def test_a_date_that_the_whole_warehouse_lacks_is_named_though_few_of_its_accounts_trade_on_any_other() -> (
    None
):
    assert _figures(24, 5, 22).lacking == {_LOST.isoformat(): 24}


def test_a_date_that_the_short_accounts_lack_is_named_though_others_have_it() -> None:
    figures = _figures(40, 12, 60)
    figures.everywhere[_LOST.isoformat()] = 48
    assert figures.lacking == {_LOST.isoformat(): 40}


@pytest.mark.parametrize(
    "figures",
    [_figures(24, 5, 22, lost=None), _figures(24, 5, 9), _figures(3, 1, 22), InspectionFigures()],
)
def test_no_date_is_named_without_evidence(figures: InspectionFigures) -> None:
    """None is lost; too few trade at all; too few are short for a whole date; nothing was
    counted.
    """
    assert figures.lacking == {}


def test_figures_of_batches_name_what_those_of_one_batch_do() -> None:
    parts = [
        InspectionFigures(
            everywhere=Counter({day.isoformat(): 22 for day in _DAYS if day != _LOST})
        )
    ]
    for _ in range(8):
        part = InspectionFigures()
        part.add_gaps(3, {day: 1 for day in _DAYS if day != _LOST}, _UNTIL)
        parts.append(part)
    assert InspectionFigures.summed(part.as_json() for part in parts).lacking == {
        _LOST.isoformat(): 24
    }


def test_a_date_of_which_one_table_still_has_rows_is_no_date_that_all_tables_lack() -> None:
    figures = _figures(24, 5, 22)
    figures.dates[_LOST.isoformat()] = 24
    assert figures.lacking == {}


def _added(*found: tuple[AccountView, tuple[Issue, ...]]) -> InspectionFigures:
    figures = InspectionFigures()
    for view, issues in found:
        figures.add(
            Inspected(view.account_id, issues, tuple(issue.as_json() for issue in issues)), view, ()
        )
    return InspectionFigures.summed([figures.as_json()])


def test_trades_stored_twice_are_a_surplus_of_their_table_and_no_lack_of_the_others() -> None:
    view = AccountView(AccountId("a"), totals(5, 5, 5, 9), days=(day(2, 2, 6, _LOST),))
    figures = _added((view, tuple(detect(view))))
    assert figures.more == {_LOST.isoformat(): {"raw_trades_closed": Counter(accounts=1, trades=4)}}
    assert figures.short == {}


def test_two_tables_that_lost_a_night_are_short_where_alltime_counts_what_the_third_does() -> None:
    view = AccountView(AccountId("a"), totals(9, 5, 5, 9), days=(day(0, 0, 4, _LOST),))
    figures = _added((view, tuple(detect(view))))
    lost = Counter(accounts=1, trades=4)
    assert figures.short == {
        _LOST.isoformat(): {"raw_metrics_daily": lost, "raw_metrics_hourly": lost}
    }
    assert figures.more == {}


def test_an_issue_of_two_severities_is_counted_for_each_as_the_report_does() -> None:
    views = [
        AccountView(AccountId(f"a{number}"), totals(100, 100, 100, closed))
        for number, closed in enumerate((40, 50, 99))
    ]
    figures = _added(*((view, tuple(detect(view))) for view in views))
    counted = {
        key: known.accounts
        for key, known in figures.issues.items()
        if key[0] == "trade_count_mismatch"
    }
    assert counted == {
        ("trade_count_mismatch", Severity.HIGH): 2,
        ("trade_count_mismatch", Severity.MEDIUM): 1,
    }


def test_figures_of_an_earlier_version_are_still_read() -> None:
    kept = {
        "issues": {"unsettled": {"accounts": 3, "severity": 5, "sample": ["a"]}},
        "lacking": {"2026-01-05": 4},
    }
    assert InspectionFigures.summed([kept]).issues == {("unsettled", 5): IssueAccounts(3, ["a"])}


def test_an_account_with_several_entries_of_one_type_counts_once_for_it_and_for_its_tables() -> (
    None
):
    figures = InspectionFigures()
    entries: tuple[dict[str, object], ...] = (
        {"type": "absent_upstream", "severity": 3, "affected": ["raw_metrics_daily"]},
        {
            "type": "absent_upstream",
            "severity": 3,
            "affected": ["raw_metrics_daily", "raw_trades_closed"],
        },
        {"type": "unsettled", "severity": 5},
    )
    figures.add(
        Inspected(AccountId("a"), None, entries),
        AccountView(AccountId("a"), totals(1, 1, 1, 1)),
        ["b"],
    )
    assert {kind: known.accounts for kind, known in figures.issues.items()} == {
        ("absent_upstream", 3): 1,
        ("unsettled", 5): 1,
    }
    assert figures.tables == {
        "absent_upstream": Counter({"raw_metrics_daily": 1, "raw_trades_closed": 1})
    }
