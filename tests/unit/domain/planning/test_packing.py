"""Which accounts share a request: everything is asked for, nothing twice, and what costs less is
chosen.
"""

import datetime as dt
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.contract.tables import MAX_DATES, PAGE_ROWS
from app.domain.ids import AccountId
from app.domain.planning.bins import Piece, cost_of
from app.domain.planning.packing import pack, pack_whole
from tests.support.views import DAY


def day(number: int) -> dt.date:
    return DAY + dt.timedelta(days=number)


def piece(name: str, *numbers: int, rows: float = 1.0, density: float = 1.0) -> Piece:
    return Piece(AccountId(name), (name,), dict.fromkeys(map(day, numbers), rows), density)


def test_accounts_with_the_same_dates_share_requests_up_to_the_most_ids() -> None:
    packs = pack(
        [piece(f"a{number}", 0, 1, 2) for number in range(250)], max_ids=100, is_range=False
    )
    assert sorted(len(each.account_ids) for each in packs) == [50, 100, 100]
    assert all(each.dates == (day(0), day(1), day(2)) for each in packs)


def test_accounts_with_a_date_each_are_grouped_by_date_and_not_multiplied() -> None:
    pieces = [piece(f"a{number}", number % 60, rows=6, density=6) for number in range(1200)]
    packs = pack(pieces, max_ids=100, is_range=False)
    # Packed as they come, each 100 accounts would bring 100 x 60 x 6 rows: 37 pages a request, 444
    # in all.
    assert sum(each.cost for each in packs) <= 2 * 1200 / 100
    assert all(len(each.dates) <= 5 for each in packs)


@pytest.mark.parametrize("is_range", [False, True])
def test_dates_of_a_giant_that_lie_far_apart_are_two_requests(
    is_range: bool,  # noqa: FBT001
) -> None:
    packs = pack([piece("giant", 0, 90, rows=500, density=500)], max_ids=100, is_range=is_range)
    cost = sum(each.cost for each in packs)
    assert cost == (2 if is_range else cost_of(1000))


def test_a_giant_does_not_drag_its_dates_into_a_request_of_others() -> None:
    pieces = [
        piece("giant", *range(90), rows=400, density=400),
        *(piece(f"a{number}", 5) for number in range(90)),
    ]
    packs = pack(pieces, max_ids=100, is_range=False)
    assert sum(each.cost for each in packs) <= cost_of(90 * 400) + 1


def test_whole_accounts_fill_pages_rather_than_lists_of_ids() -> None:
    packs = pack_whole(
        [Piece(AccountId(f"a{number}"), (f"a{number}",), {}, 13.0) for number in range(720)],
        max_ids=100,
    )
    # 73 accounts fill one page; 100 would need two.
    assert [len(each.account_ids) for each in packs] == [73] * 9 + [63]


def test_few_accounts_with_few_rows_are_one_request_whatever_their_dates() -> None:
    (only,) = pack(
        [piece(f"a{number}", 7 * number) for number in range(10)], max_ids=100, is_range=False
    )
    assert len(only.account_ids) == 10


_PIECES = st.lists(
    st.tuples(
        st.sets(st.integers(0, 400), min_size=1, max_size=20), st.floats(0, 50), st.floats(0, 50)
    ),
    max_size=40,
)


@given(_PIECES, st.integers(1, 8), st.booleans())
def test_every_date_of_every_account_is_in_exactly_one_request(
    accounts: list[tuple[set[int], float, float]],
    max_ids: int,
    is_range: bool,  # noqa: FBT001
) -> None:
    pieces = [
        piece(f"a{number}", *sorted(dates), rows=rows, density=density)
        for number, (dates, rows, density) in enumerate(accounts)
    ]
    packs = pack(pieces, max_ids=max_ids, is_range=is_range)
    asked: defaultdict[str, list[dt.date]] = defaultdict(list)
    for each in packs:
        assert len(each.account_ids) <= max_ids
        assert is_range or len(each.dates) <= MAX_DATES
        length = (each.dates[-1] - each.dates[0]).days + 1
        covered = (
            [each.dates[0] + dt.timedelta(days=number) for number in range(length)]
            if is_range
            else list(each.dates)
        )
        for account_id in each.account_ids:
            asked[account_id] += covered
    for each_piece in pieces:
        got = asked[each_piece.account_id]
        assert len(got) == len(set(got)), "a row would be fetched twice"
        assert set(each_piece.dates) <= set(got)
    assert (
        sum(each.cost for each in packs)
        <= sum(cost_of(sum(each.dates.values()) + each.density * 400) for each in pieces) + 1
    )


def test_a_read_of_one_page_costs_one_request_and_longer_ones_half_a_page_of_doubt() -> None:
    assert cost_of(0) == cost_of(900) == 1
    assert cost_of(10 * (PAGE_ROWS - 1)) == 10.5
