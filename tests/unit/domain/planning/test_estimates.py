"""Estimates of what upstream will send, and which dates everybody lacks."""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.planning.estimates import (
    Upstream,
    common_gaps,
    expected_elsewhere,
    expected_of,
    expected_on,
    recent_gaps,
    upstream_a_day,
    upstream_rows,
)
from tests.support.views import DAY, days, view

MONDAY = dt.date(2026, 5, 4)


def coverage(weeks: int, weekday: int, weekend: int) -> dict[dt.date, int]:
    dates = [MONDAY + dt.timedelta(days=number) for number in range(7 * weeks)]
    return {day: count for day in dates if (count := weekend if day.weekday() > 4 else weekday)}


def test_a_date_on_which_nobody_has_a_row_is_a_gap() -> None:
    seen = coverage(8, 100, 0)
    lost = {MONDAY + dt.timedelta(days=number) for number in (22, 23, 24)}
    assert (
        common_gaps({day: count for day, count in seen.items() if day not in lost}, max(seen))
        == lost
    )


def test_days_on_which_nobody_trades_are_no_gaps() -> None:
    seen = coverage(8, 100, 0)
    assert common_gaps(seen, max(seen)) == frozenset()


def test_dates_after_the_last_row_are_gaps_up_to_today() -> None:
    seen = coverage(8, 100, 0)
    last = max(seen)
    assert common_gaps(seen, last + dt.timedelta(days=4)) == {
        last + dt.timedelta(days=number) for number in (3, 4)
    }


def test_a_gap_stays_one_however_long_ago_ingestion_stopped() -> None:
    seen = coverage(8, 100, 0)
    lost = MONDAY + dt.timedelta(days=22)
    del seen[lost]
    last = max(seen)
    assert lost in common_gaps(seen, last + dt.timedelta(days=400))
    recent = recent_gaps(seen, last + dt.timedelta(days=400))
    assert recent == common_gaps(seen, last + dt.timedelta(days=14))
    assert lost in recent
    assert recent_gaps(seen, last) == {lost}
    assert recent_gaps({}, last) == frozenset()


def test_a_date_on_which_a_few_have_rows_is_a_gap_and_one_with_half_of_them_is_none() -> None:
    seen = coverage(8, 100, 40)
    seen |= {MONDAY + dt.timedelta(days=22): 3, MONDAY + dt.timedelta(days=23): 50}
    assert common_gaps(seen, max(seen)) == {MONDAY + dt.timedelta(days=22)}


def test_few_accounts_are_no_evidence_and_none_are_nothing() -> None:
    seen = coverage(8, 3, 0)
    del seen[MONDAY + dt.timedelta(days=22)]
    assert common_gaps(seen, max(seen)) == common_gaps({}, MONDAY) == frozenset()


def test_rows_follow_from_trades_and_dates() -> None:
    account = view("a", 40, 40, known_days=10)
    assert expected_of(account, Endpoint.ALLTIME).rows == 1
    assert expected_of(account, Endpoint.DAILY).rows == 10
    assert expected_of(account, Endpoint.CLOSED).rows == 40
    assert 10 < expected_of(account, Endpoint.HOURLY).rows < 40


def test_the_rows_of_a_date_that_differs_are_known_from_its_counts() -> None:
    account = view("a", 40, 40, (7, 0, 0), known_days=10)
    assert expected_on(account, Endpoint.CLOSED, [DAY]) == {DAY: 7}
    assert expected_on(account, Endpoint.DAILY, [DAY]) == {DAY: 1}
    assert 1 <= expected_on(account, Endpoint.HOURLY, [DAY])[DAY] <= 7


def test_what_is_needed_is_not_expected_again_on_other_dates() -> None:
    account = view("a", 40, 40, *[(4, 0, 0)] * 10, known_days=10)
    account = replace(account, last_day=DAY + dt.timedelta(days=59))
    needed = expected_on(account, Endpoint.CLOSED, days(*range(10)))
    assert expected_elsewhere(account, Endpoint.CLOSED, needed) == 0


def test_an_account_of_which_only_alltime_tells_has_estimates_too() -> None:
    unknown = replace(view("a", 30, 0), known_days=0, first_day=None, last_day=None)
    assert expected_of(unknown, Endpoint.DAILY).rows == 10
    assert expected_of(unknown, Endpoint.CLOSED).density == 3


@pytest.mark.parametrize(("trades", "rows"), [(400, 100), (800, pytest.approx(225))])
def test_upstream_is_judged_by_the_trades_that_are_counted(trades: int, rows: float) -> None:
    views = [view(f"a{number}", 40, 40, known_days=10) for number in range(10)]
    assert upstream_rows(views, Endpoint.DAILY, Upstream(20, trades)) == rows
    assert upstream_a_day(views, Endpoint.DAILY, Upstream(20, trades)) == pytest.approx(
        upstream_rows(views, Endpoint.DAILY, Upstream(20, trades)) / 10
    )
    assert upstream_rows(views, Endpoint.ALLTIME, Upstream(20, trades)) == 20
