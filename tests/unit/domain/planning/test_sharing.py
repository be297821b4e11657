"""Which dates a run reads once for all of its batches, and which accounts these reads serve."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, PAGE_ROWS, Endpoint
from app.domain.planning.estimates import Upstream
from app.domain.planning.planned_request import SharedRead
from app.domain.planning.shared_parts import Shared
from app.domain.planning.sharing import RunSize, propose
from tests.support.views import DAY, view

_UNTIL = DAY + dt.timedelta(days=28)
_SIZE = RunSize(3000, 30, 100, Upstream(3000, 24_000))
_DATED = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


def _day(number: int) -> dt.date:
    return DAY + dt.timedelta(days=number)


def _lacking(
    number: int, *counts: tuple[int, int, int, int], alltime: int = 40, daily: int = 40
) -> AccountView:
    """One of many that trade daily; `counts` are days that differ: number, daily, hourly,
    closed.
    """
    days = tuple(
        DayCounts(_day(day), on_daily, hourly, closed, int(on_daily > 0), int(hourly > 0))
        for day, on_daily, hourly, closed in counts
    )
    found = view(f"a{number}", alltime, daily, known_days=20)
    return replace(found, days=days, last_day=_UNTIL)


def _propose(views: list[AccountView], *gaps: dt.date, size: RunSize = _SIZE) -> list[SharedRead]:
    return propose([(each, Progress()) for each in views], frozenset(gaps), size)


def _places(reads: list[SharedRead]) -> set[tuple[Endpoint, dt.date]]:
    return {(read.endpoint, day) for read in reads for day in read.days}


def test_a_date_that_all_lack_is_read_once_of_each_table() -> None:
    short = [_lacking(number, alltime=42) for number in range(1000)]
    reads = _propose(short, _day(20))
    assert _places(reads) == {(endpoint, _day(20)) for endpoint in _DATED}
    assert [read.gaps for read in reads] == [(_day(20),), (), ()]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((2, 0, 2), {Endpoint.HOURLY}),
        ((2, 2, 0), {Endpoint.CLOSED}),
        ((2, 0, 0), {Endpoint.HOURLY, Endpoint.CLOSED}),
        ((0, 2, 2), {Endpoint.DAILY}),
        ((0, 0, 2), {Endpoint.DAILY, Endpoint.HOURLY}),
    ],
)
def test_a_table_that_all_lack_a_date_of_is_read_once(
    counts: tuple[int, int, int], expected: set[Endpoint]
) -> None:
    daily = 40 if counts[0] else 38
    views = [_lacking(number, (5, *counts), daily=daily) for number in range(1000)]
    assert _places(_propose(views)) == {(endpoint, _day(5)) for endpoint in expected}


def test_a_run_of_one_batch_and_one_without_accounts_share_no_reads() -> None:
    short = [_lacking(number, alltime=42) for number in range(1000)]
    assert _propose(short, _day(20), size=replace(_SIZE, batches=1)) == []
    assert _propose([], _day(20)) == []


def test_dates_of_few_accounts_are_left_to_their_batches() -> None:
    scattered = [_lacking(number, (number % 28, 2, 0, 2)) for number in range(20)]
    large = RunSize(20, 2, 100, Upstream(500_000, 80_000_000))
    assert _propose(scattered, size=large) == []


def test_accounts_without_an_id_are_asked_by_login() -> None:
    views = [replace(_lacking(n, (5, 2, 0, 2)), by_login=True) for n in range(1000)]
    assert _propose(views) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 28), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
        max_size=40,
        unique_by=lambda each: each[0],
    ),
    st.integers(1, 400),
    st.integers(2, 200),
)
def test_reads_have_dates_in_order_and_room_for_a_page_and_no_date_is_read_twice(
    counts: list[tuple[int, int, int, int]], accounts: int, batches: int
) -> None:
    views = [_lacking(number, *sorted(counts), daily=39) for number in range(accounts)]
    size = RunSize(accounts * 7, batches, 100, Upstream(accounts * 9, accounts * 900))
    reads = _propose(views, size=size)
    places = [(read.endpoint, day) for read in reads for day in read.days]
    assert len(places) == len(set(places))
    for read in reads:
        assert list(read.days) == sorted(read.days)
        assert 0 < len(read.days) <= MAX_DATES
        assert read.most_rows >= PAGE_ROWS
        assert read.rows >= 1
        assert set(read.gaps) <= set(read.days)
        if read.endpoint.is_trades:
            assert (read.days[-1] - read.days[0]).days == len(read.days) - 1


_HOURLY = SharedRead(Endpoint.HOURLY, (_day(3), _day(5)), 1000, 10)
_CLOSED = SharedRead(Endpoint.CLOSED, (_day(3), _day(4)), 1000, 10)
_ONE, _OTHER = view("a", 5, 5), view("b", 5, 5)


def test_what_no_read_brings_is_left() -> None:
    shared = Shared((_HOURLY,))
    wanted = [(_ONE, [_day(3), _day(4)]), (_OTHER, [_day(6)])]
    (planned,), left = shared.divide(Endpoint.HOURLY, wanted)
    assert (planned.shared, planned.account_ids) == (_HOURLY, ("a",))
    assert planned.request == _HOURLY.request
    assert left == [(_ONE, [_day(4)]), (_OTHER, [_day(6)])]
    assert shared.divide(Endpoint.CLOSED, wanted) == ([], wanted)


def test_dates_of_one_read_are_one_request_and_accounts_that_need_all_dates_are_left() -> None:
    (planned,), left = Shared((_HOURLY,)).divide(
        Endpoint.HOURLY, [(_ONE, [_day(3), _day(5)]), (_OTHER, None)]
    )
    assert planned.account_ids == ("a",)
    assert left == [(_OTHER, None)]


def test_trades_are_shared_only_where_the_reads_bring_all_dates() -> None:
    planned, left = Shared((_CLOSED,)).divide(
        Endpoint.CLOSED, [(_ONE, [_day(3), _day(4)]), (_OTHER, [_day(3), _day(9)])]
    )
    assert [(each.account_ids, each.logins) for each in planned] == [(("a",), (("login-a",),))]
    assert left == [(_OTHER, [_day(3), _day(9)])]


def test_accounts_apart_and_those_without_an_id_are_left() -> None:
    without_id = replace(_OTHER, by_login=True)
    wanted = [(_ONE, [_day(3)]), (without_id, [_day(3)])]
    assert Shared((_HOURLY,), {_HOURLY: {"a"}}).divide(Endpoint.HOURLY, wanted) == ([], wanted)


def test_gaps_are_those_of_all_reads() -> None:
    daily = SharedRead(Endpoint.DAILY, (_day(1), _day(2)), 1000, 10, (_day(2),))
    assert Shared((_HOURLY, daily)).gaps == {_day(2)}
