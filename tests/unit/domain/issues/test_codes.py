"""Each issue code says what must be read to repair it, or why nothing is."""

import datetime as dt
from collections.abc import Mapping

import pytest

from app.domain.accounts.counts import DayCounts, Drift, Totals
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId, Login
from app.domain.issues.codes import (
    COUNT_CODES,
    IDENTITY_CODES,
    LASTING,
    NOT_OURS_TO_HEAL,
    IssueCode,
)
from app.domain.issues.detection import detect
from app.domain.planning.descent import NOTHING, needs_of

_DAY = dt.date(2026, 5, 4)


def _view(
    alltime: int,
    daily: int,
    hourly: int,
    closed: int,
    drift: Drift | None = None,
) -> AccountView:
    """An account that has rows in a table exactly where that table counts trades."""
    totals = Totals(
        has_alltime=bool(alltime),
        alltime=alltime,
        has_daily=bool(daily),
        daily=daily,
        has_hourly=bool(hourly),
        hourly=hourly,
        has_closed=bool(closed),
        closed=closed,
    )
    days = DayCounts(_DAY, daily, hourly, closed, int(daily > 0), int(hourly > 0))
    return AccountView(
        AccountId("a"),
        totals,
        days=() if daily == hourly == closed else (days,),
        known_days=1,
        first_day=_DAY,
        last_day=_DAY,
        logins=(Login("7"),),
        drift=drift,
    )


_READ: Mapping[IssueCode, tuple[AccountView, set[str]]] = {
    IssueCode.MISSING_METRICS_TABLES: (_view(5, 5, 0, 5), {"hourly"}),
    IssueCode.MISSING_TRADE_RECORDS: (_view(5, 5, 5, 0), {"closed"}),
    IssueCode.TRADE_COUNT_MISMATCH: (_view(6, 5, 5, 5), {"alltime"}),
    IssueCode.DAILY_WITHOUT_HOURLY: (_view(5, 5, 0, 5), {"hourly"}),
    IssueCode.HOURLY_WITHOUT_DAILY: (_view(5, 0, 5, 5), {"daily"}),
    IssueCode.HOURLY_DAILY_MISMATCH: (_view(5, 5, 4, 5), {"hourly"}),
    IssueCode.TRADES_DAILY_MISMATCH: (_view(5, 5, 5, 4), {"closed"}),
    IssueCode.UPSTREAM_DRIFT: (
        _view(5, 5, 5, 5, Drift(absent=False, evidence={})),
        {"alltime", "daily"},
    ),
}
"""An account that shows the issue, and the levels that its first round reads."""

_NOT_DETECTED_FROM_COUNTS: Mapping[IssueCode, str] = {
    **dict.fromkeys(IDENTITY_CODES, "ids are set in the warehouse, by a join on the natural key"),
    **dict.fromkeys(NOT_OURS_TO_HEAL, "no read ends it"),
    IssueCode.VALUE_DRIFT: "a comparison of rows reads all levels (tests/integration/rows)",
    IssueCode.MONEY_MISMATCH: "amounts say what to read (accounts/test_money)",
    IssueCode.HISTORY_UNREAD: "told after the daily rows before the history were read in vain",
    IssueCode.SUSPICIOUSLY_FEW_HOURS: "for information: nothing is wrong",
}


def test_each_issue_code_says_what_is_read_or_why_nothing_is() -> None:
    assert set(_READ) | set(_NOT_DETECTED_FROM_COUNTS) == set(IssueCode)
    assert set(_READ).isdisjoint(_NOT_DETECTED_FROM_COUNTS)
    assert set(_READ) >= COUNT_CODES


@pytest.mark.parametrize("code", _READ)
def test_an_account_with_the_issue_is_detected_and_the_levels_are_read(code: IssueCode) -> None:
    view, levels = _READ[code]
    assert code in {issue.code for issue in detect(view)}
    needs = needs_of(view, Progress())
    assert {
        level
        for level in ("alltime", "daily", "hourly", "closed")
        if getattr(needs, level) != getattr(NOTHING, level)
    } == levels


def test_what_lasts_is_not_ours_to_heal() -> None:
    assert LASTING < NOT_OURS_TO_HEAL
