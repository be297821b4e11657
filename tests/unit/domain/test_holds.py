"""When healing waits for somebody's word."""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.absence import absence
from app.domain.contract import Endpoint
from app.domain.holds import HoldLimits, Loss, MovingTrades, RunCounts, RunGuard, is_lowered, vanished
from app.domain.models import AccountView, Drift, Progress, Totals

_DATE = dt.date(2026, 3, 1)
_STORED = AccountView(
    "a",
    Totals(True, 5, True, 5, True, 5, True, 5),  # noqa: FBT003 - the names stand in the class
    first_day=_DATE,
    last_day=_DATE,
    logins=("1",),
)
_ABSENT = absence().as_json()
_ALL = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
_DAILY_AND_BELOW = _ALL[1:]


def _heard(*endpoints: Endpoint, sent: bool = False) -> Progress:
    progress = Progress(sent={Endpoint.DAILY} if sent else set())
    for endpoint in endpoints:
        progress.dates_read(endpoint).everything = True
        progress.silent |= {endpoint} - progress.sent
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


def test_an_account_has_vanished_when_all_that_is_stored_of_it_was_read_and_no_table_brought_a_row() -> None:
    for left_out in _ALL:
        assert vanished(_STORED, _heard(*(each for each in _ALL if each is not left_out))) is None
    assert vanished(_STORED, _heard(*_ALL, sent=True)) is None
    hold = vanished(_STORED, _heard(*_ALL))
    assert hold is not None
    assert hold.absent
    # A table without rows here need not be asked, nor can trades be asked for without a login.
    coarse = replace(_STORED, totals=_totals(5, 5, 0, 0))
    assert vanished(replace(coarse, totals=replace(coarse.totals, has_closed=False)), _heard(*_ALL[:2])) is not None
    assert vanished(replace(_STORED, logins=()), _heard(*_ALL[:3])) is not None


def test_an_audit_that_missed_an_account_twice_spares_asking_alltime_unless_the_account_never_had_a_row() -> None:
    missed = replace(_STORED, drift=Drift(absent=True, evidence={}))
    assert vanished(missed, Progress()) is None
    assert vanished(missed, _heard(*_DAILY_AND_BELOW)) is not None
    empty = replace(missed, totals=Totals(False, 0, False, 0, False, 0, False, 0))  # noqa: FBT003 - as above
    assert vanished(empty, _heard(*_DAILY_AND_BELOW)) is None


def test_what_was_accepted_as_absent_is_not_held_again_but_what_was_only_held_is() -> None:
    missed = replace(_STORED, drift=Drift(absent=True, evidence={}), open_issues=(_ABSENT,))
    silent = _heard(*_DAILY_AND_BELOW)
    assert vanished(replace(missed, status="explained"), silent) is None
    assert vanished(replace(missed, status="needs_confirmation"), silent) is not None
    # Forgotten rows were accepted, not the loss of the account.
    rows = {**_ABSENT, "affected": ["raw_metrics_alltime", "raw_metrics_daily"]}
    assert vanished(replace(missed, status="explained", open_issues=(rows,)), silent) is not None
    # Of one that was held alltime alone does not say again that it is gone.
    held = replace(_STORED, status="needs_confirmation", open_issues=(_ABSENT,))
    assert vanished(held, _heard(Endpoint.ALLTIME)) is None


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
