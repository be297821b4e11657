from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.contract.tables import PAGE_ROWS
from app.errors import IncompleteFetch
from app.upstream.paging.pages import PageSize
from app.upstream.paging.same_row import same_row
from app.upstream.paging.scan import scan_all
from app.upstream.paging.whole import fetch_whole
from app.upstream.response import Answer


class _Sink:
    def __init__(self) -> None:
        self.rows: list[bytes] = []

    async def reset(self) -> None:
        self.rows.clear()

    async def add(self, rows: Sequence[bytes]) -> None:
        self.rows.extend(rows)

    async def distinct_keys(self) -> int:
        return len(set(self.rows))

    async def is_of_asked(self) -> bool:
        return True


def _bad(rows: list[bytes], total: int, skip: int, fault: str) -> Answer:
    page = rows[skip : skip + PAGE_ROWS]
    middle = len(page) // 2
    shown = {
        "left out": page[:middle] + page[middle + 7 :],
        "repeated": (page[:middle] + page[max(0, middle - 1) :])[:PAGE_ROWS],
        "moved": rows[skip + 1 : skip + 1 + PAGE_ROWS],
        "cut": page[: max(1, middle)],
    }
    return Answer(
        tuple(shown.get(fault, page)),
        total + {"larger total": 1, "smaller total": -1}.get(fault, 0),
    )


_FAULTS = st.sampled_from(
    ["", "", "", "left out", "repeated", "moved", "larger total", "smaller total", "cut"]
)


@settings(max_examples=150)
@given(count=st.integers(2, 4 * PAGE_ROWS), faults=st.lists(_FAULTS, min_size=1, max_size=12))
async def test_whatever_goes_wrong_with_pages_a_read_is_exact_or_an_error(
    count: int, faults: list[str]
) -> None:
    rows = [b'{"k":%d}' % number for number in range(count)]
    reads = [0]

    async def read(skip: int) -> Answer:
        fault = faults[reads[0] % len(faults)]
        reads[0] += 1
        return _bad(rows, count, skip, fault)

    sink = _Sink()
    try:
        held, _ = await fetch_whole(read, sink, "The read")
    except IncompleteFetch:
        assert sink.rows == []
    else:
        assert sink.rows == rows
        assert held == count
    assert reads[0] < 200


def test_rows_are_compared_by_their_exact_values() -> None:
    assert same_row(b'{"a": 1.10, "b": "x"}', b'{"b":"x","a":1.1}')
    assert same_row(b'{"a": 1e2}', b'{"a": 100}')
    assert not same_row(b'{"a": 0.1234567890123456789}', b'{"a": 0.1234567890123456788}')
    assert not same_row(b'{"a": 9007199254740993}', b'{"a": 9007199254740992}')
    assert not same_row(b'{"a": "1"}', b'{"a": 1}')
    assert not same_row(b'{"a": null}', b"{}")
    assert same_row(b'{"a": ' + b"9" * 6000 + b"}", b'{"a":' + b"9" * 6000 + b"}")


@settings(max_examples=60)
@given(
    count=st.integers(0, 3 * PAGE_ROWS),
    cap=st.sampled_from([PAGE_ROWS, PAGE_ROWS, 400, 50, 7]),
    total_of=st.sampled_from(["page", "none", "capped", "later only"]),
    tells=st.sampled_from(["the limit", "no limit"]),
)
async def test_totals_that_count_too_little_neither_cut_a_read_short_nor_make_it_fail(
    count: int, cap: int, total_of: str, tells: str
) -> None:
    rows = [b'{"k":%d}' % number for number in range(count)]

    async def read(skip: int) -> Answer:
        page = tuple(rows[skip : skip + cap])
        later = count if skip else None
        totals = {"page": len(page), "none": None, "capped": min(count, 1200), "later only": later}
        return Answer(page, totals[total_of], cap if tells == "the limit" else None)

    sink, scanned = _Sink(), _Sink()
    assert (await fetch_whole(read, sink, "The read"))[0] == count
    assert sink.rows == rows
    assert await scan_all(read, scanned, "The scan") == count
    assert scanned.rows == rows


async def test_a_silent_cap_that_was_seen_once_is_not_taken_for_the_end_of_the_rows() -> None:
    rows = [b'{"k":%d}' % number for number in range(900)]

    async def read(skip: int) -> Answer:
        page = tuple(rows[skip : skip + 400])
        return Answer(page, total=len(page), limit=PAGE_ROWS)

    size, scanned, sink = PageSize(), _Sink(), _Sink()
    assert await scan_all(read, scanned, "The scan", size) == 900
    assert (await fetch_whole(read, sink, "The read", size))[0] == 900
    assert sink.rows == scanned.rows == rows


def test_numbers_that_no_library_holds_are_compared_as_they_are_written() -> None:
    huge = b'{"a": 1e99999999999999999999}'
    assert same_row(huge, b'{"a":1e99999999999999999999}')
    assert not same_row(huge, b'{"a": 1e99999999999999999998}')
    deep = b'{"a": %s}' % (b"[" * 900 + b"]" * 900)
    assert same_row(deep, deep.replace(b": ", b":"))
