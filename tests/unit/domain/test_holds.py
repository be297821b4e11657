"""When healing waits for somebody's word."""

from dataclasses import replace

import pytest

from app.domain.contract import Endpoint
from app.domain.holds import HoldLimits, Loss, MovingTrades, RunCounts, RunGuard, is_lowered, vanished
from app.domain.models import AccountView, Drift, Progress, Totals

_STORED = AccountView("a", Totals(True, 5, True, 5, True, 5, True, 5))  # noqa: FBT003 - the names stand in the class
_ABSENT = {"type": "absent_upstream", "affected": ["raw_metrics_alltime", "raw_metrics_daily"]}


def _heard(*endpoints: Endpoint, sent: bool = False) -> Progress:
    progress = Progress(sent={Endpoint.DAILY} if sent else set())
    for endpoint in endpoints:
        progress.dates_read(endpoint).everything = True
    return progress


@pytest.mark.parametrize(
    ("rewritten", "stored", "too_much"),
    [(499, 499, False), (500, 2500, False), (501, 2500, True), (500, 2499, True), (10_000, 1_000_000, False), (500, 0, True)],
)
def test_too_much_is_more_than_the_part_of_the_account_and_at_least_the_rows(rewritten: int, stored: int, *, too_much: bool) -> None:
    assert HoldLimits().is_too_much(rewritten, stored) is too_much


@pytest.mark.parametrize(
    ("lowered", "compared", "suspect"),
    [(0, 0, False), (1, 1, False), (4, 4, False), (5, 5, True), (5, 100, False), (6, 100, True), (6, 120, False), (1, 20, False)],
)
def test_upstream_is_suspect_when_it_lowers_more_than_the_share_of_accounts_and_at_least_the_number(
    lowered: int, compared: int, *, suspect: bool
) -> None:
    assert HoldLimits().suspects(lowered, compared) is suspect


def test_an_account_has_vanished_when_alltime_and_daily_were_read_and_no_table_brought_a_row() -> None:
    assert vanished(_STORED, Progress()) is None
    assert vanished(_STORED, _heard(Endpoint.ALLTIME)) is None
    assert vanished(_STORED, _heard(Endpoint.ALLTIME, Endpoint.DAILY, sent=True)) is None
    hold = vanished(_STORED, _heard(Endpoint.ALLTIME, Endpoint.DAILY))
    assert hold is not None
    assert hold.absent


def test_an_audit_that_missed_an_account_twice_is_believed_unless_the_account_never_had_a_row() -> None:
    missed = replace(_STORED, drift=Drift(absent=True, evidence={}))
    assert vanished(missed, Progress()) is not None
    empty = replace(missed, totals=Totals(False, 0, False, 0, False, 0, False, 0))  # noqa: FBT003 - as above
    assert vanished(empty, Progress()) is None


def test_what_was_accepted_as_absent_is_not_held_again_but_what_was_only_held_is() -> None:
    missed = replace(_STORED, drift=Drift(absent=True, evidence={}), open_issues=(_ABSENT,))
    assert vanished(replace(missed, status="explained"), Progress()) is None
    assert vanished(replace(missed, status="needs_confirmation"), Progress()) is not None
    # Forgotten days were accepted, not the loss of the account.
    days = {**_ABSENT, "affected": ["raw_metrics_daily"]}
    assert vanished(replace(missed, status="explained", open_issues=(days,)), Progress()) is not None
    # One that was held is believed to be gone when alltime alone says so again.
    held = replace(_STORED, status="needs_confirmation", open_issues=(_ABSENT,))
    assert vanished(held, _heard(Endpoint.ALLTIME)) is not None


def _totals(alltime: int, daily: int, hourly: int, closed: int) -> Totals:
    return Totals(True, alltime, bool(daily), daily, bool(hourly), hourly, bool(closed), closed)  # noqa: FBT003 - as above


@pytest.mark.parametrize(
    ("before", "after", "moving", "told", "lowered"),
    [
        (_totals(40, 40, 40, 40), 38, MovingTrades(), 0, True),
        # Trades of today hide no loss of settled dates, whether upstream has them, fewer or more.
        (_totals(40, 40, 40, 40), 38, MovingTrades(2, 2, 2), 2, True),
        (_totals(40, 40, 40, 40), 36, MovingTrades(2, 2, 2), 0, True),
        (_totals(40, 40, 40, 40), 41, MovingTrades(2, 2, 2), 5, True),
        # Nor does a replica that only lags feign one.
        (_totals(40, 40, 40, 40), 38, MovingTrades(2, 2, 2), 0, False),
        (_totals(40, 40, 40, 40), 39, MovingTrades(4, 2, 4), 3, False),
        # One table that counts more than the others, in all or on dates that move, is no witness.
        (_totals(40, 38, 40, 38), 38, MovingTrades(2, 2, 2), 2, False),
        (_totals(45, 40, 40, 40), 40, MovingTrades(2, 2, 2), 2, False),
        # Without any other table its own count tells.
        (_totals(40, 0, 0, 0), 39, MovingTrades(), 0, True),
        (_totals(40, 0, 0, 40), 39, MovingTrades(0, 0, 1), 1, True),
    ],
)
def test_upstream_lowers_an_account_if_it_counts_fewer_trades_of_settled_dates(
    before: Totals, after: int, moving: MovingTrades, told: int, *, lowered: bool
) -> None:
    assert is_lowered(before, after, moving, told) is lowered


def test_a_suspect_run_writes_no_account_that_loses_a_row_whether_its_count_is_lower_or_not() -> None:
    guard = RunGuard(HoldLimits(), recorded=RunCounts(accounts=10))
    news = {f"{number}": Loss(1, lowers=True) for number in range(4)} | {"loses": Loss(1), "gains": Loss()}
    assert guard.judge(news) == []
    assert guard.judge(news | {"4": Loss(lowers=True)}) == [*"0123", "loses", "4"]
    assert guard.judge({"later": Loss(1)}) == ["later"]
