"""What counts say is wrong, and what a difference is once upstream was read."""

import datetime as dt

import pytest

from app.domain.accounts.counts import Drift
from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId
from app.domain.issues.codes import IssueCode, Severity
from app.domain.issues.detection import detect
from tests.support.account_views import DAY, LATER, day, finding, totals


def codes(view: AccountView) -> set[str]:
    return {issue.code.value for issue in detect(view)}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (AccountView(AccountId("a"), totals(5, 5, 5, 5)), set()),
        (AccountView(AccountId("a"), totals(0, 0, 0, 0, missing="dh")), set()),
        (AccountView(AccountId("a"), totals(0, 0, 0, 0, missing="adh")), set()),
        (AccountView(AccountId("a"), totals(5, 5, 0, 5, missing="h"), days=(day(5, 0, 5),)),
         {"missing_metrics_tables", "trade_count_mismatch", "daily_without_hourly", "hourly_daily_mismatch"}),
        (AccountView(AccountId("a"), totals(5, 0, 5, 5, missing="d"), days=(day(0, 5, 5),)),
         {"missing_metrics_tables", "trade_count_mismatch", "hourly_without_daily", "hourly_daily_mismatch", "trades_daily_mismatch"}),
        (AccountView(AccountId("a"), totals(5, 5, 5, 0), days=(day(5, 5, 0),)),
         {"missing_trade_records", "trade_count_mismatch", "trades_daily_mismatch"}),
        (AccountView(AccountId("a"), totals(6, 5, 5, 5)), {"trade_count_mismatch"}),
        (AccountView(AccountId("a"), totals(5, 5, 5, 5), days=(day(3, 3, 2), day(2, 2, 3, LATER))), {"trades_daily_mismatch"}),
        (AccountView(AccountId("a"), totals(5, 5, 5, 5), drift=Drift(absent=False, evidence={})), {"upstream_drift"}),
        (AccountView(AccountId("a"), totals(5, 5, 5, 5), drift=Drift(absent=True, evidence={})), {"absent_upstream"}),
        (AccountView(AccountId("a"), totals(), findings=(finding(None, "a"),)), {"null_account_id_closed_trades"}),
        (AccountView(AccountId("a"), totals(), findings=(finding(None, "a", table="raw_trades_open"),)), {"null_account_id_open_trades"}),
        (AccountView(AccountId("a"), totals(), findings=(finding("b", "a"),)), {"foreign_account_id"}),
        (AccountView(AccountId("a"), totals(), findings=(finding(None, "a", "b"),)), {"ambiguous_identity"}),
    ],
)  # fmt: skip
def test_each_issue_is_told_from_the_counts(view: AccountView, expected: set[str]) -> None:
    assert codes(view) == expected


@pytest.mark.parametrize(
    ("largest", "severity"), [(100_000, Severity.MEDIUM), (100_001, Severity.HIGH)]
)
def test_a_mismatch_of_totals_is_high_above_ten_percent_of_the_largest(
    largest: int, severity: Severity
) -> None:
    (issue,) = detect(AccountView(AccountId("a"), totals(largest, 90_000, 90_000, 90_000)))
    assert issue.severity is severity


def test_all_dates_of_an_issue_are_named_however_many() -> None:
    days = tuple(day(1, 0, 1, DAY + dt.timedelta(days=number)) for number in range(500))
    issue = next(
        issue
        for issue in detect(AccountView(AccountId("a"), totals(500, 500, 0, 500), days=days))
        if issue.code is IssueCode.DAILY_WITHOUT_HOURLY
    )
    assert issue.evidence["total_missing"] == len(issue.as_json()["missing_dates"]) == 500  # type: ignore[arg-type]
    assert {
        "type",
        "severity",
        "description",
        "affected",
        "resolution_strategy",
    } <= issue.as_json().keys()
