"""The planner: coarse levels first, requests shared, scans where they cost less, nothing read
twice, an end.
"""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.accounts.counts import DayCounts, Drift
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, Endpoint, Request
from app.domain.ids import AccountId, Login
from app.domain.planning.estimates import Upstream
from app.domain.planning.plan import MAX_ROUNDS, find_gaps, plan_round
from app.domain.planning.planned_request import PlannedRequest
from tests.support.views import DAY, days, view

EVERYBODY = Upstream(1000, 5000)


def endpoints(planned: list[PlannedRequest]) -> list[Endpoint]:
    return sorted({each.request.endpoint for each in planned})


def many(
    number: int, *counts: tuple[int, int, int], alltime: int = 5, daily: int = 5, finer: int = 5
) -> list[tuple[AccountView, Progress]]:
    return [
        (view(f"a{place:04}", alltime, daily, *counts, finer=finer, known_days=5), Progress())
        for place in range(number)
    ]


def test_nothing_is_asked_about_an_account_that_agrees_with_itself() -> None:
    assert plan_round([(view("a", 5, 5), Progress())], max_ids=100) == []


def test_accounts_share_requests_up_to_the_most_ids() -> None:
    accounts = many(250, (5, 4, 5))
    planned = plan_round(accounts, max_ids=100)
    assert endpoints(planned) == [Endpoint.HOURLY]
    assert sorted(len(each.account_ids) for each in planned) == [50, 100, 100]
    assert sorted(account_id for each in planned for account_id in each.account_ids) == sorted(
        view.account_id for view, _ in accounts
    )


def test_a_level_waits_until_no_account_needs_a_coarser_one() -> None:
    accounts = [*many(3, (5, 4, 5)), (view("z", 6, 5, finer=5), Progress())]
    planned = plan_round(accounts, max_ids=100)
    assert endpoints(planned) == [Endpoint.ALLTIME]


def test_places_left_in_a_request_to_alltime_go_to_accounts_that_may_need_it_later() -> None:
    (planned,) = plan_round(
        [*many(3, (5, 4, 5)), *many(2), (view("z", 6, 5, finer=5), Progress())], max_ids=3
    )
    assert set(planned.account_ids) == {"z", "a0000", "a0001"}
    assert set(planned.request.account_ids) == set(planned.account_ids)


def test_accounts_with_dates_far_apart_are_not_multiplied_into_one_request() -> None:
    accounts = [
        (
            view(
                f"a{number}", 90, 90, *[(1, 0, 1)] * 90, first=DAY + dt.timedelta(days=100 * number)
            ),
            Progress(),
        )
        for number in range(8)
    ]
    planned = plan_round(accounts, max_ids=100)
    assert all(len(each.request.dates) <= MAX_DATES for each in planned)
    assert len(planned) <= 8
    assert all(len(each.account_ids) <= 2 for each in planned)


def test_trades_are_asked_by_login_from_the_first_affected_date_to_the_last() -> None:
    (planned,) = plan_round([(view("a", 9, 9, (3, 3, 2), (3, 3, 2)), Progress())], max_ids=100)
    assert planned.request == Request(
        Endpoint.CLOSED,
        logins=(Login("login-a"),),
        date_from=DAY,
        date_to=DAY + dt.timedelta(days=1),
    )
    assert planned.logins == (("login-a",),)


def test_dates_that_nearly_everybody_needs_are_scanned_and_the_others_asked_by_id() -> None:
    accounts = many(900, (1, 0, 0), alltime=5, daily=5, finer=4)
    odd = view("odd", 5, 5, (1, 1, 1), (5, 3, 5), finer=5, known_days=5)
    days_of_odd = tuple(
        DayCounts(DAY + dt.timedelta(days=number), 5, 3, 5, 1, 1) for number in (3,)
    )
    accounts.append(
        (
            AccountView(
                AccountId("odd"),
                odd.totals,
                days_of_odd,
                5,
                odd.first_day,
                odd.last_day,
                logins=(Login("1"),),
            ),
            Progress(),
        )
    )
    planned = plan_round(accounts, max_ids=100, upstream=EVERYBODY)
    hourly = [each for each in planned if each.request.endpoint is Endpoint.HOURLY]
    (scan,) = [each for each in hourly if each.is_scan]
    assert scan.request == Request(Endpoint.HOURLY, dates=(DAY,))
    assert len(scan.account_ids) == 900
    (by_id,) = [each for each in hourly if not each.is_scan]
    assert by_id.request == Request(
        Endpoint.HOURLY, account_ids=(AccountId("odd"),), dates=(DAY + dt.timedelta(days=3),)
    )
    (closed,) = [each for each in planned if each.request.endpoint is Endpoint.CLOSED]
    assert closed.request == Request(Endpoint.CLOSED, date_from=DAY, date_to=DAY)
    assert len(closed.logins) == len(closed.account_ids) == 900


def test_nothing_is_scanned_where_upstream_has_many_more_accounts_than_need_it() -> None:
    planned = plan_round(
        many(900, (1, 0, 0), finer=4), max_ids=100, upstream=Upstream(500_000, 2_500_000)
    )
    assert not any(each.is_scan for each in planned)
    assert not any(each.is_scan for each in plan_round(many(900, (1, 0, 0), finer=4), max_ids=100))


def test_alltime_of_nearly_everybody_is_one_scan() -> None:
    (planned,) = plan_round(many(900, alltime=6), max_ids=100, upstream=EVERYBODY)
    assert planned.request == Request(Endpoint.ALLTIME)
    assert planned.is_scan
    assert len(planned.account_ids) == 900
    assert planned.most_rows is not None
    assert planned.most_rows >= 1000


def test_dates_that_everybody_lacks_are_only_guessed_where_that_costs_clearly_less() -> None:
    short = [account for account, _ in many(200, alltime=9)]
    seen = {DAY + dt.timedelta(days=number): 150 for number in range(56) if number not in {20, 21}}
    until = DAY + dt.timedelta(days=55)
    assert (
        find_gaps(short, seen, until, max_ids=100, upstream=Upstream(500_000, 2_500_000))
        == frozenset()
    )
    active = [view(f"a{number:04}", 90, 80, finer=80, known_days=50) for number in range(200)]
    assert find_gaps(
        active, seen, until, max_ids=100, upstream=Upstream(500_000, 45_000_000)
    ) == days(20, 21)


def test_a_request_that_is_too_large_is_halved_until_one_account_or_date_is_left() -> None:
    both = PlannedRequest(
        Request(
            Endpoint.CLOSED, logins=(Login("1"), Login("2"), Login("3")), date_from=DAY, date_to=DAY
        ),
        (AccountId("a"), AccountId("b")),
        ((Login("1"), Login("2")), (Login("2"), Login("3"))),
    )
    first, second = both.halved(100)
    assert (first.request.logins, first.account_ids) == (("1", "2"), ("a",))
    assert (second.request.logins, second.account_ids) == (("2", "3"), ("b",))
    assert first.halved(100) == ()
    dates = PlannedRequest(
        Request(
            Endpoint.HOURLY, account_ids=(AccountId("a"),), dates=(DAY, DAY + dt.timedelta(days=1))
        ),
        (AccountId("a"),),
    )
    assert [half.request.dates for half in dates.halved(100)] == [
        (DAY,),
        (DAY + dt.timedelta(days=1),),
    ]


@pytest.mark.parametrize("endpoint", [Endpoint.ALLTIME, Endpoint.CLOSED])
def test_a_scan_that_cannot_be_had_becomes_requests_by_id(endpoint: Endpoint) -> None:
    ids = tuple(AccountId(f"a{number}") for number in range(5))
    logins = tuple((Login(f"login-{number}"),) for number in range(5)) if endpoint.is_trades else ()
    scan = PlannedRequest(Request(endpoint), ids, logins, cost=3.0, most_rows=3000)
    parts = scan.halved(2)
    assert [part.account_ids for part in parts] == [ids[:2], ids[2:4], ids[4:]]
    assert not any(part.is_scan for part in parts)
    assert all(part.request.logins or part.request.account_ids for part in parts)


def test_a_request_without_ids_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan_round([], max_ids=0)


_COUNTS = st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=6)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), _COUNTS, st.integers(0, 2)
        ),
        max_size=12,
    ),
    st.integers(1, 5),
    st.sampled_from([None, Upstream(3, 10), Upstream(12, 50)]),
    st.frozensets(st.integers(0, 5), max_size=3),
)
def test_rounds_end_never_ask_twice_and_prove_only_what_they_ask(
    accounts: list[tuple[int, int, int, list[tuple[int, int, int]], int]],
    max_ids: int,
    upstream: Upstream | None,
    gaps: frozenset[int],
) -> None:
    views = [
        view(
            f"a{number}",
            alltime,
            daily,
            *[each for each in counts if not each[0] == each[1] == each[2]],
            finer=finer,
            drift=Drift(absent=False, evidence={}, daily_agrees=drift == 2) if drift else None,
        )
        for number, (alltime, daily, finer, counts, drift) in enumerate(accounts)
    ]
    state = [(each, Progress()) for each in views]
    progress = {each.account_id: learned for each, learned in state}
    for _ in range(MAX_ROUNDS):
        planned = plan_round(state, max_ids=max_ids, upstream=upstream, gaps=days(*gaps))
        if not planned:
            break
        for each in planned:
            _read(each, progress, max_ids)
    else:
        pytest.fail("the rounds did not end")


def _read(planned: PlannedRequest, progress: dict[AccountId, Progress], max_ids: int) -> None:
    request = planned.request
    assert planned.account_ids
    assert len(request.account_ids) <= max_ids
    assert len(request.logins) <= max_ids
    assert len(request.dates) <= MAX_DATES
    assert planned.is_scan or request.account_ids or request.logins
    if request.endpoint.is_trades:
        assert len(planned.logins) == len(planned.account_ids)
    for account_id in planned.account_ids:
        read = progress[account_id].dates_read(request.endpoint)
        assert not read.everything, "asked for again"
        if request.dates:
            assert not read.covers_all(request.dates), "asked for again"
            read.dates |= set(request.dates)
        elif request.date_from and request.date_to:
            length = (request.date_to - request.date_from).days + 1
            assert not read.covers_all(
                request.date_from + dt.timedelta(days=number) for number in range(length)
            ), "asked for again"
            read.ranges.append((request.date_from, request.date_to))
        else:
            read.everything = True
