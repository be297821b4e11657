"""When healing waits for somebody's word."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.accounts.counts import Drift, Totals
from app.domain.accounts.hold import Shown
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.holds.account_holds import HoldFigures, Sent, exceeding, lowering, vanished
from app.domain.holds.limits import HoldLimits
from app.domain.holds.lowered import MovingTrades, is_lowered
from app.domain.holds.run_guard import Loss, RunCounts, RunGuard
from app.domain.ids import AccountId, Login
from app.domain.issues.absence import absence

_DATE = dt.date(2026, 3, 1)
_STORED = AccountView(
    AccountId("a"),
    Totals(True, 5, True, 5, True, 5, True, 5),  # noqa: FBT003 - the names stand in the class
    first_day=_DATE,
    last_day=_DATE,
    logins=(Login("1"),),
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
    [
        (499, 499, False),
        (500, 2500, False),
        (501, 2500, True),
        (500, 2499, True),
        (10_000, 1_000_000, False),
        (500, 0, True),
    ],
)
def test_too_much_is_more_than_the_part_of_the_account_and_at_least_the_rows(
    rewritten: int, stored: int, *, too_much: bool
) -> None:
    assert HoldLimits().is_too_much(rewritten, stored) is too_much


@pytest.mark.parametrize(
    ("lowered", "compared", "suspect"),
    [
        (0, 0, False),
        (1, 1, False),
        (4, 4, False),
        (5, 5, True),
        (5, 100, False),
        (6, 100, True),
        (6, 120, False),
        (1, 20, False),
    ],
)
def test_upstream_is_suspect_when_it_lowers_more_than_the_share_of_accounts_and_at_least_the_number(
    lowered: int, compared: int, *, suspect: bool
) -> None:
    assert HoldLimits().suspects(lowered, compared) is suspect


def test_an_account_has_vanished_when_all_that_is_stored_of_it_was_read_and_no_table_brought_a_row() -> (
    None
):
    for left_out in _ALL:
        assert vanished(_STORED, _heard(*(each for each in _ALL if each is not left_out))) is None
    assert vanished(_STORED, _heard(*_ALL, sent=True)) is None
    hold = vanished(_STORED, _heard(*_ALL))
    assert hold is not None
    assert hold.absent
    # A table without rows here need not be asked, nor can trades be asked for without a login.
    coarse = replace(_STORED, totals=_totals(5, 5, 0, 0))
    assert (
        vanished(
            replace(coarse, totals=replace(coarse.totals, has_closed=False)), _heard(*_ALL[:2])
        )
        is not None
    )
    assert vanished(replace(_STORED, logins=()), _heard(*_ALL[:3])) is not None


def test_an_audit_that_missed_an_account_twice_spares_asking_alltime_unless_the_account_never_had_a_row() -> (
    None
):
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


def test_a_suspect_run_writes_no_account_that_loses_a_row_whether_its_count_is_lower_or_not() -> (
    None
):
    guard = RunGuard(HoldLimits(), recorded=RunCounts(accounts=10))
    news = {f"{number}": Loss(1, lowers=True) for number in range(4)} | {
        "loses": Loss(1),
        "gains": Loss(),
    }
    assert guard.judge(news) == []
    assert guard.judge(news | {"4": Loss(lowers=True)}) == [*"0123", "loses", "4"]
    assert guard.judge({"later": Loss(1)}) == ["later"]


def test_rows_that_many_accounts_lose_stop_a_run_that_lowers_none_and_rows_taken_back_do_not() -> (
    None
):
    guard = RunGuard(HoldLimits(run_rows=10, run_row_share=0.1), undo=" Undo it.")
    guard.note_compared("daily", {"a": 50, "b": 40})
    guard.add({"a": Loss(9), "b": Loss(5, lowers=True)})
    guard.take_back({"b": Loss(5, lowers=True)})
    assert guard.losses["b"] == Loss(0, lowers=True)
    assert guard.judge({"b": Loss(0)}) == []
    assert guard.judge({"b": Loss(1)}) == ["b"]
    assert guard.reason is not None
    assert "remove, lower or blank 10 of the 90 rows compared so far" in guard.reason
    assert "allowed are 10%, or fewer than 10" in guard.reason
    assert guard.reason.endswith(" Undo it.")


def _figures(
    table: str, stored: int, left: int, lost: int, *, blanks: bool = False, sent: Sent | None = None
) -> HoldFigures:
    return HoldFigures(table, stored, left, lost, blanks, Sent(3, left) if sent is None else sent)


def test_a_hold_says_less_only_where_a_figure_is_lower_and_which() -> None:
    falls = lowering(_figures("raw_metrics_alltime", 40, 37, 1, sent=Sent(1, 37)), "R")
    assert (
        "would lower the number of the account's trades. In raw_metrics_alltime, 40 trades were"
        " stored" in falls.reason
    )
    assert "upstream has 37 trades in 1 row." in falls.reason
    assert (falls.shown.trades, falls.shown.stored) == (37, 40)
    same = lowering(
        _figures(
            "raw_metrics_hourly", 40, 40, 6, sent=Sent(4, 9, " of the 2 dates that were read")
        ),
        "R",
    )
    assert "less" not in same.reason
    assert "lower the number" not in same.reason
    assert (
        "upstream has 9 trades in 4 rows of the 2 dates that were read. Writing that would remove"
        in same.reason
    )
    assert "blank 6 rows and leave 40 trades there" in same.reason
    more = lowering(_figures("raw_metrics_daily", 6, 105, 2, sent=Sent(30, 40)), "R")
    assert (
        "6 trades were stored when the run began, and upstream has 40 trades in 30 rows."
        in more.reason
    )
    empty = lowering(_figures("raw_metrics_daily", 6, 6, 2, blanks=True, sent=Sent(2, None)), "R")
    assert "has empty figures where figures of the account are stored" in empty.reason
    assert (
        "upstream has rows without a count of trades in 2 rows, with empty figures" in empty.reason
    )


def test_what_was_confirmed_goes_for_tables_that_count_less_by_themselves() -> None:
    """They may fall as far as was shown of the table of the hold; one to which what was shown is
    written already stays as it is.
    """
    shown = Shown(37, stored=40)
    assert [shown.least(stored) for stored in (60, 41, 40, 39, 38, 37)] == [37, 37, 37, 36, 36, 37]
    assert [shown.least(stored) for stored in (36, 10, 3, 2, 0)] == [33, 7, 0, 0, 0]
    assert Shown(37).least(50) == 37
    assert Shown(37).least(30) == 30, "of a hold of an earlier version it is not known how far"
    assert Shown(105, stored=6).least(40) == 40, "a table that grew allows no fall elsewhere"


def test_a_hold_after_a_confirmation_says_what_of_it_does_not_hold() -> None:
    fewer = exceeding(_figures("raw_metrics_daily", 40, 30, 4), Shown(37, stored=40), "R")
    assert (
        "Confirmed was that at least 37 trades are left in raw_metrics_daily, which does not hold"
        " any more." in fewer.reason
    )
    empty = exceeding(
        _figures("raw_metrics_daily", 40, 40, 4, blanks=True), Shown(37, stored=40), "R"
    )
    assert "Confirmed was that no figure becomes empty in raw_metrics_daily" in empty.reason


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=5, max_size=30))
def test_the_suspicion_names_the_cause_that_it_has_and_no_other(
    accounts: list[tuple[bool, bool]],
) -> None:
    guard = RunGuard(HoldLimits(account_share=0.0))
    # What happened to an account: too many rows would be rewritten, and then perhaps upstream
    # lowered it, too.
    for number, (rewritten, lowered) in enumerate(accounts):
        guard.hold({str(number): Loss(lowers=True, rewrites=rewritten)})
        if lowered:
            guard.hold({str(number): Loss(1, lowers=True)})
    alone = sum(rewritten and not lowered for rewritten, lowered in accounts)
    assert sum(loss.lowers and loss.rewrites for loss in guard.losses.values()) == alone
    assert guard.reason is not None
    said = HoldLimits(account_share=0.0).suspicion(len(accounts), 100, alone)
    assert ("rewritten" in said) == (alone > 0)
    assert ("lower figures there" in said) == (alone < len(accounts))
