"""The planner: coarse levels first, requests shared, nothing read twice, an end."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.contract import Endpoint, Request
from app.domain.models import AccountView, DayCounts, Drift, Progress, Totals
from app.domain.plan import MAX_DATES, MAX_ROUNDS, Needs, PlannedRequest, needs_of, plan_round

DAY = dt.date(2026, 5, 4)


def view(
    account_id: str, alltime: int, daily: int, *days: tuple[int, int, int], drift: Drift | None = None, first: dt.date = DAY
) -> AccountView:
    lines = tuple(
        DayCounts(first + dt.timedelta(days=number), *counts, int(counts[0] > 0), int(counts[1] > 0)) for number, counts in enumerate(days)
    )
    totals = Totals(
        has_alltime=True, alltime=alltime, has_daily=True, daily=daily, has_hourly=True, hourly=alltime, has_closed=True, closed=alltime
    )
    last = first + dt.timedelta(days=max(len(days) - 1, 0))
    return AccountView(account_id, totals, lines, len(days), first, last, drift=drift, logins=(f"login-{account_id}",))


def endpoints(planned: list[PlannedRequest]) -> list[Endpoint]:
    return sorted({each.request.endpoint for each in planned})


def test_nothing_is_asked_about_an_account_that_agrees_with_itself() -> None:
    assert plan_round([(view("a", 5, 5), Progress())], max_ids=100) == []


def test_coarse_levels_come_first_where_alltime_and_daily_disagree() -> None:
    assert needs_of(view("a", 6, 5, (5, 4, 5)), Progress()) == Needs(alltime=True, daily=None)


def test_an_audits_drift_begins_with_the_coarse_levels_and_descends_where_daily_changed() -> None:
    drifted = view("a", 5, 5, drift=Drift(absent=False, evidence={}))
    progress = Progress()
    assert needs_of(drifted, progress) == Needs(alltime=True, daily=None)
    progress.dates_read(Endpoint.ALLTIME).everything = True
    progress.dates_read(Endpoint.DAILY).everything = True
    assert needs_of(drifted, progress) == Needs()
    drifted = replace(drifted, descents=frozenset({DAY}))
    assert needs_of(drifted, progress) == Needs(hourly=frozenset({DAY}), closed=frozenset({DAY}))


def test_only_the_table_that_differs_is_read_where_alltime_confirms_daily() -> None:
    assert needs_of(view("a", 5, 5, (5, 4, 5)), Progress()) == Needs(hourly=frozenset({DAY}))
    assert needs_of(view("a", 5, 5, (5, 5, 4)), Progress()) == Needs(closed=frozenset({DAY}))


def test_daily_is_doubted_first_where_both_finer_tables_agree_on_trades() -> None:
    assert needs_of(view("a", 5, 5, (2, 3, 3)), Progress()) == Needs(alltime=True, daily=frozenset({DAY}))


@pytest.mark.parametrize("day", [(2, 3, 2), (2, 2, 3)])
def test_daily_is_read_before_a_table_that_has_more_than_it_since_only_it_can_condemn_a_row(day: tuple[int, int, int]) -> None:
    assert needs_of(view("a", 5, 5, day), Progress()) == Needs(alltime=True, daily=frozenset({DAY}))


def test_an_account_without_alltime_or_daily_rows_gets_those_first() -> None:
    lost = view("a", 0, 0, (0, 2, 1))
    lost = replace(lost, totals=replace(lost.totals, has_alltime=False, has_daily=False, hourly=2, closed=1))
    assert needs_of(lost, Progress()) == Needs(alltime=True, daily=None)


def test_what_still_differs_after_the_finer_tables_makes_daily_suspect_and_then_nothing_is_left_to_ask() -> None:
    differing, progress = view("a", 5, 5, (5, 4, 5)), Progress()
    progress.dates_read(Endpoint.HOURLY).dates.add(DAY)
    assert needs_of(differing, progress) == Needs(alltime=True, daily=frozenset({DAY}))
    progress.dates_read(Endpoint.ALLTIME).everything = True
    progress.dates_read(Endpoint.DAILY).dates.add(DAY)
    assert needs_of(differing, progress) == Needs()


def test_an_account_that_failed_or_is_being_written_is_left() -> None:
    failed, busy = Progress(errors=["no"]), Progress(left_alone={Endpoint.DAILY})
    assert needs_of(view("a", 6, 5), failed) == needs_of(view("a", 6, 5), busy) == Needs()


def test_accounts_share_requests_up_to_the_most_ids() -> None:
    accounts = [(view(f"a{number:03}", 5, 5, (5, 4, 5)), Progress()) for number in range(250)]
    planned = plan_round(accounts, max_ids=100)
    assert endpoints(planned) == [Endpoint.HOURLY]
    assert sorted(len(each.account_ids) for each in planned) == [50, 100, 100]
    assert sorted(account_id for each in planned for account_id in each.account_ids) == sorted(view.account_id for view, _ in accounts)


def test_accounts_with_dates_far_apart_are_not_multiplied_into_one_request() -> None:
    accounts = [
        (view(f"a{number}", 90, 90, *[(1, 0, 1)] * 90, first=DAY + dt.timedelta(days=100 * number)), Progress()) for number in range(8)
    ]
    planned = plan_round(accounts, max_ids=100)
    assert all(len(each.request.dates) <= MAX_DATES for each in planned)
    assert all(len(each.account_ids) == 1 for each in planned)


def test_trades_are_asked_by_login_from_the_first_affected_date_to_the_last() -> None:
    (planned,) = plan_round([(view("a", 9, 9, (3, 3, 2), (3, 3, 2)), Progress())], max_ids=100)
    assert planned.request == Request(Endpoint.CLOSED, logins=("login-a",), date_from=DAY, date_to=DAY + dt.timedelta(days=1))
    assert planned.logins == (("login-a",),)


def test_a_request_that_is_too_large_is_halved_until_one_account_or_date_is_left() -> None:
    both = PlannedRequest(
        Request(Endpoint.CLOSED, logins=("1", "2", "3"), date_from=DAY, date_to=DAY), ("a", "b"), (("1", "2"), ("2", "3"))
    )
    first, second = both.halved()
    assert (first.request.logins, first.account_ids) == (("1", "2"), ("a",))
    assert (second.request.logins, second.account_ids) == (("2", "3"), ("b",))
    assert first.halved() == ()
    dates = PlannedRequest(Request(Endpoint.HOURLY, account_ids=("a",), dates=(DAY, DAY + dt.timedelta(days=1))), ("a",))
    assert [half.request.dates for half in dates.halved()] == [(DAY,), (DAY + dt.timedelta(days=1),)]


def test_a_request_without_ids_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan_round([], max_ids=0)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=6), st.booleans()),
        max_size=12,
    ),
    st.integers(1, 5),
)
def test_rounds_end_never_ask_twice_and_prove_only_what_they_ask(
    accounts: list[tuple[int, int, list[tuple[int, int, int]], bool]], max_ids: int
) -> None:
    views = [
        view(
            f"a{number}",
            alltime,
            daily,
            *[each for each in days if not each[0] == each[1] == each[2]],
            drift=Drift(drift, {}) if drift else None,
        )
        for number, (alltime, daily, days, drift) in enumerate(accounts)
    ]
    state = [(each, Progress()) for each in views]
    progress = {each.account_id: learned for each, learned in state}
    for _ in range(MAX_ROUNDS):
        planned = plan_round(state, max_ids=max_ids)
        if not planned:
            break
        for each in planned:
            request = each.request
            assert len(request.account_ids) <= max_ids
            assert len(request.logins) <= max_ids
            assert len(request.dates) <= MAX_DATES
            for account_id in each.account_ids:
                read = progress[account_id].dates_read(request.endpoint)
                assert not read.everything, "asked for again"
                if request.dates:
                    read.dates |= set(request.dates)
                elif request.date_from and request.date_to:
                    read.ranges.append((request.date_from, request.date_to))
                else:
                    read.everything = True
    else:
        pytest.fail("the rounds did not end")
