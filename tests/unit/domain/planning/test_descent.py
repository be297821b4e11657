"""What is read next of an account: coarse levels first, nothing that is known, an end."""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.accounts.counts import Drift, IdentityFinding
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.ids import Login
from app.domain.planning.contradictions import is_short
from app.domain.planning.descent import Needs, may_need_alltime, needs_of
from tests.support.views import DAY, days, view

DRIFT = Drift(absent=False, evidence={})


def read(alltime: bool = False, daily: frozenset[dt.date] | None = frozenset()) -> Progress:  # noqa: FBT001, FBT002
    progress = Progress()
    progress.dates_read(Endpoint.ALLTIME).everything = alltime
    progress.dates_read(Endpoint.DAILY).everything = daily is None
    progress.dates_read(Endpoint.DAILY).dates |= daily or frozenset()
    return progress


def test_nothing_is_read_of_an_account_that_agrees_with_itself() -> None:
    assert needs_of(view("a", 5, 5), Progress()) == Needs()


def test_only_the_table_that_differs_is_read_where_alltime_confirms_daily() -> None:
    assert needs_of(view("a", 5, 5, (5, 4, 5)), Progress()) == Needs(hourly=days(0))
    assert needs_of(view("a", 5, 5, (5, 5, 4)), Progress()) == Needs(closed=days(0))
    assert needs_of(view("a", 5, 5, (5, 3, 3)), Progress()) == Needs(hourly=days(0), closed=days(0))


def test_daily_is_read_where_both_finer_tables_agree_against_it_and_explain_what_alltime_counts() -> (
    None
):
    assert needs_of(view("a", 8, 5, (0, 3, 3), (5, 4, 5)), Progress()) == Needs(daily=days(0))
    surplus = view("a", 5, 8, (3, 0, 0))
    assert needs_of(surplus, Progress()) == Needs(daily=days(0))


def test_daily_is_read_on_dates_whose_trades_are_stored_where_these_explain_alltime() -> None:
    lacking = view("a", 8, 5, (0, 0, 3), (5, 4, 5))
    assert needs_of(lacking, Progress()) == Needs(daily=days(0))
    assert needs_of(lacking, read(daily=days(0))) == Needs(alltime=True)
    assert needs_of(lacking, read(alltime=True, daily=days(0))) == Needs(daily=None)
    unexplained = view("a", 9, 5, (0, 0, 3), (5, 4, 5))
    assert needs_of(unexplained, Progress()) == Needs(alltime=True)


def test_daily_that_stands_alone_after_it_was_read_is_upstreams_contradiction_and_only_alltime_is_left_to_hear() -> (
    None
):
    alone = view("a", 4, 5, (5, 4, 4))
    assert needs_of(alone, read(daily=days(0))) == Needs(alltime=True)
    assert needs_of(alone, read(alltime=True, daily=days(0))) == Needs()


def test_alltime_is_read_before_all_of_daily_where_nothing_explains_the_difference() -> None:
    assert needs_of(view("a", 6, 5, finer=5), Progress()) == Needs(alltime=True)
    assert needs_of(view("a", 6, 5, finer=5), read(alltime=True)) == Needs(daily=None)
    assert needs_of(view("a", 6, 5, finer=5), read(alltime=True, daily=None)) == Needs()


def test_dates_that_all_lack_are_read_before_alltime_even_before_the_first_row_that_is_left() -> (
    None
):
    short = view("a", 9, 5, finer=5)
    gaps = days(-3, 2, 3)
    assert is_short(short)
    # The date that was lost may be the account's first.
    assert needs_of(short, Progress(), gaps) == Needs(daily=gaps)
    assert needs_of(short, read(daily=gaps), gaps) == Needs(alltime=True)
    stale = view("a", 4, 5, finer=5)
    assert not is_short(stale)
    assert needs_of(stale, Progress(), gaps) == Needs(alltime=True)


@pytest.mark.parametrize("day", [(2, 3, 2), (2, 2, 3)])
def test_daily_is_read_before_a_table_that_has_more_than_it_since_only_it_can_condemn_a_row(
    day: tuple[int, int, int],
) -> None:
    assert needs_of(view("a", 5, 5, day), Progress()) == Needs(daily=days(0))


def test_alltime_is_heard_too_where_it_is_two_against_two() -> None:
    assert needs_of(view("a", 5, 5, (2, 3, 3)), Progress()) == Needs(alltime=True, daily=days(0))


def test_of_trades_that_fit_several_accounts_upstreams_word_on_the_counts_is_all_there_is() -> None:
    finding = IdentityFinding(
        "raw_trades_closed", Login("1"), "5", "2", None, ("a", "b"), 2, (DAY,)
    )
    shared = replace(view("a", 5, 5, (5, 5, 3)), findings=(finding,))
    assert needs_of(shared, Progress()) == Needs(alltime=True, daily=days(0))
    assert needs_of(shared, read(alltime=True, daily=days(0))) == Needs(closed=days(0))


def test_an_audits_drift_begins_with_the_coarse_levels_and_descends_where_daily_changed() -> None:
    drifted = view("a", 5, 5, drift=DRIFT)
    assert needs_of(drifted, Progress()) == Needs(alltime=True, daily=None)
    assert needs_of(drifted, read(alltime=True, daily=None)) == Needs()
    descended = replace(drifted, descents=frozenset({DAY}))
    assert needs_of(descended, read(alltime=True, daily=None)) == Needs(
        hourly=days(0), closed=days(0)
    )


def test_drift_of_the_alltime_row_alone_needs_nothing_below_it() -> None:
    drifted = view("a", 7, 5, finer=5, drift=replace(DRIFT, daily_agrees=True))
    assert needs_of(drifted, Progress()) == Needs(alltime=True)
    healed = view("a", 5, 5, drift=replace(DRIFT, daily_agrees=True))
    assert needs_of(healed, read(alltime=True)) == Needs()


def test_an_account_without_alltime_or_daily_rows_gets_those_first() -> None:
    lost = view("a", 0, 0, (0, 2, 1))
    totals = replace(lost.totals, hourly=2, closed=1)
    without_both = replace(lost, totals=replace(totals, has_alltime=False, has_daily=False))
    assert needs_of(without_both, Progress()) == Needs(alltime=True, daily=None)
    without_alltime = replace(lost, totals=replace(totals, has_alltime=False, daily=2))
    assert needs_of(without_alltime, Progress()) == Needs(alltime=True)


def test_what_still_differs_after_the_finer_tables_makes_daily_suspect_and_then_nothing_is_left_to_ask() -> (
    None
):
    differing, progress = view("a", 5, 5, (5, 4, 5)), Progress()
    progress.dates_read(Endpoint.HOURLY).dates.add(DAY)
    assert needs_of(differing, progress) == Needs(alltime=True, daily=days(0))
    progress.dates_read(Endpoint.ALLTIME).everything = True
    progress.dates_read(Endpoint.DAILY).dates.add(DAY)
    assert needs_of(differing, progress) == Needs()


def test_a_table_without_any_row_is_read_whole() -> None:
    empty = view("a", 5, 5, (5, 0, 5))
    assert needs_of(
        replace(empty, totals=replace(empty.totals, has_hourly=False)), Progress()
    ) == Needs(hourly=None)


@pytest.mark.parametrize(
    "progress",
    [Progress(errors=["no"]), Progress(left_alone={Endpoint.DAILY}), Progress(known=True)],
)
def test_an_account_that_failed_is_being_written_or_was_explained_is_left(
    progress: Progress,
) -> None:
    assert needs_of(view("a", 6, 5), progress) == Needs()
    assert not may_need_alltime(view("a", 6, 5), progress)


def test_an_account_rides_along_with_a_request_to_alltime_while_it_is_not_explained() -> None:
    def rides(account: AccountView, progress: Progress) -> bool:
        return may_need_alltime(account, progress)

    assert rides(view("a", 5, 5, (5, 4, 5)), Progress())
    assert not rides(view("a", 5, 5), Progress())
    assert not rides(view("a", 5, 5, (5, 4, 5)), read(alltime=True))
