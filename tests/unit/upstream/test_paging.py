from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.contract import PAGE_ROWS
from app.errors import IncompleteFetch
from app.upstream.envelope import Answer
from app.upstream.paging import fetch_whole, same_row


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
    return Answer(tuple(shown.get(fault, page)), total + {"larger total": 1, "smaller total": -1}.get(fault, 0))


_FAULTS = st.sampled_from(["", "", "", "left out", "repeated", "moved", "larger total", "smaller total", "cut"])


@settings(max_examples=150, deadline=None)
@given(count=st.integers(2, 4 * PAGE_ROWS), faults=st.lists(_FAULTS, min_size=1, max_size=12))
async def test_whatever_goes_wrong_with_pages_a_read_is_exact_or_an_error(count: int, faults: list[str]) -> None:
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


async def test_a_server_that_caps_its_pages_and_names_their_size_as_the_total_is_not_believed() -> None:
    rows = [b'{"accountId": "%d"}' % number for number in range(30)]

    async def read(skip: int) -> Answer:
        page = tuple(rows[skip : skip + 10])
        return Answer(page, total=len(page), limit=10)

    sink = _Sink()
    with pytest.raises(IncompleteFetch):
        await fetch_whole(read, sink, "The read")
    assert sink.rows == []
