"""A fetch is complete and proven, or an error."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable

import pytest

from app.domain.contract.tables import Endpoint, Request
from app.domain.ids import AccountId
from app.errors import FetchFailed, IncompleteFetch
from app.upstream.client import UpstreamClient
from app.upstream.paging.whole import FetchProof
from tests.support.scripted import (
    Arrival,
    MemorySink,
    Reply,
    Script,
    ScriptedApi,
    always,
    config_for,
    page,
    rows_of,
    serving,
)

DAILY = Request(Endpoint.DAILY, account_ids=(AccountId("a1"), AccountId("a2")))


async def _fetch(api: ScriptedApi) -> tuple[FetchProof, MemorySink]:
    sink = MemorySink()
    async with UpstreamClient.open(config_for(api)) as client:
        return await client.fetch(DAILY, sink), sink


async def _fails(api: ScriptedApi) -> tuple[str, MemorySink]:
    sink = MemorySink()
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(IncompleteFetch) as caught:
            await client.fetch(DAILY, sink)
    assert sink.rows == []
    return str(caught.value), sink


async def test_one_page_needs_one_request(api: ScriptedApi) -> None:
    api.script = serving(rows_of(300))
    proof, sink = await _fetch(api)
    assert proof == FetchProof(rows=300, pages=1, requests=1)
    assert sink.decoded == rows_of(300)
    (arrival,) = api.arrivals
    assert arrival.path == "/risk-analytics/firm/external/v2/metrics/daily"
    assert arrival.query == {
        "accountIds": "a1,a2",
        "limit": "1000",
        "skip": "0",
        "include-total": "1",
    }
    assert arrival.headers["apikey"]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 1998, 1999, 2000, 5300])
@pytest.mark.parametrize("has_total", [True, False])
async def test_all_rows_arrive_in_order_whatever_their_number(
    api: ScriptedApi,
    count: int,
    has_total: bool,  # noqa: FBT001
) -> None:
    api.script = serving(rows_of(count), has_total=has_total)
    proof, sink = await _fetch(api)
    assert sink.decoded == rows_of(count)
    assert proof.rows == count
    assert proof.requests == len(api.arrivals)


async def test_an_empty_answer_is_believed_only_when_it_is_given_twice(api: ScriptedApi) -> None:
    served = serving(rows_of(5))
    api.script = lambda arrival: page([], 0) if len(api.arrivals) == 1 else served(arrival)
    _, sink = await _fetch(api)
    assert sink.decoded == rows_of(5)
    api.script = serving([])
    api.arrivals.clear()
    assert (await _fetch(api))[0] == FetchProof(rows=0, pages=1, requests=2)


async def test_rows_left_out_of_one_page_are_asked_for_again_before_anything_else(
    api: ScriptedApi,
) -> None:
    rows = rows_of(2500)
    served = serving(rows)
    asked: list[int] = []

    def script(arrival: Arrival) -> Reply | Awaitable[Reply]:
        asked.append(arrival.skip)
        return (
            page(rows[999:1300] + rows[1400:1999], 2500)
            if asked.count(999) == 1 == (arrival.skip == 999)
            else served(arrival)
        )

    api.script = script
    proof, sink = await _fetch(api)
    assert sink.decoded == rows
    assert (proof.requests, sink.resets) == (4, 0)


async def test_later_pages_go_out_together_once_the_total_is_known(api: ScriptedApi) -> None:
    served = serving(rows_of(8000))

    async def slowly(arrival: Arrival) -> Reply:
        await asyncio.sleep(0.02 if arrival.skip % 2 else 0.05)
        reply = served(arrival)
        assert isinstance(reply, Reply)
        return reply

    api.script = slowly
    proof, sink = await _fetch(api)
    assert sink.decoded == rows_of(8000)
    assert 1 < api.most_at_once <= 5
    assert proof.requests == proof.pages == 9


@pytest.mark.parametrize("has_total", [True, False])
async def test_a_server_that_caps_its_pages_is_read_to_the_end(
    api: ScriptedApi,
    has_total: bool,  # noqa: FBT001
) -> None:
    api.script = serving(rows_of(2300), has_total=has_total, cap=400)
    _, sink = await _fetch(api)
    assert sink.decoded == rows_of(2300)


async def test_a_page_that_comes_short_once_is_continued(api: ScriptedApi) -> None:
    rows = rows_of(6500)
    served = serving(rows)
    api.script = lambda arrival: (
        page(rows[1998:2500], len(rows)) if arrival.skip == 1998 else served(arrival)
    )
    _, sink = await _fetch(api)
    assert sink.decoded == rows


def _names_a_larger_total() -> Script:
    return serving(rows_of(1500), total=1501)


def _changing_each_time(double: Callable[[list[dict[str, object]], int], None]) -> Script:
    """Serves rows that `double` spoils otherwise in each request for the first page."""
    times = [0]

    def script(arrival: Arrival) -> Reply:
        times[0] += arrival.skip == 0
        rows = rows_of(1500)
        double(rows, times[0])
        return page(rows[arrival.skip : arrival.skip + 1000], 1500)

    return script


def _names_a_total_below_its_own_rows() -> Script:
    return serving(rows_of(10), total=9)


def _double_row(rows: list[dict[str, object]], number: int) -> None:
    rows[700 + number] = rows[699 + number]


def _double_key(rows: list[dict[str, object]], number: int) -> None:
    rows[1200] = {**rows[700 + number], "numTrades": -number}


def _repeats_another_row_each_time() -> Script:
    return _changing_each_time(_double_row)


def _repeats_another_key_each_time() -> Script:
    return _changing_each_time(_double_key)


_BESIDE = [(5, 6), (5, 6, 7), (999, 1000)]
_APART = [(700, 1200), (0, 1499)]


@pytest.mark.parametrize("total", [1500, None])
@pytest.mark.parametrize("places", _APART)
async def test_a_row_that_came_twice_in_different_places_of_several_pages_may_hide_one_that_is_missing(
    api: ScriptedApi, places: tuple[int, int], total: int | None
) -> None:
    rows = rows_of(1500)
    rows[places[1]] = rows[places[0]]
    api.script = serving(rows, total=total, has_total=total is not None)
    with pytest.raises(IncompleteFetch, match="1500 rows came, but only 1499 distinct keys"):
        await _fetch(api)


@pytest.mark.parametrize(
    ("places", "is_same_row", "total"),
    [
        *(
            (places, is_same_row, total)
            for places in _BESIDE
            for is_same_row in (True, False)
            for total in (1500, 1499, None)
        ),
        *((places, False, total) for places in _APART for total in (1500, 1499, None)),
        *((places, True, 1499) for places in _APART),
    ],
)
async def test_a_key_that_upstream_has_twice_in_two_readings_is_upstreams(
    api: ScriptedApi,
    places: tuple[int, ...],
    is_same_row: bool,  # noqa: FBT001
    total: int | None,
) -> None:
    rows = rows_of(1500)
    for place in places[1:]:
        rows[place] = {**rows[places[0]], **({} if is_same_row else {"numTrades": -place})}
    api.script = serving(rows, total=total, has_total=total is not None)
    _, sink = await _fetch(api)
    assert sink.decoded == rows
    assert sink.resets == 1


def _moves_rows_between_pages() -> Script:
    rows = rows_of(2500)
    return lambda arrival: page(rows[arrival.skip + bool(arrival.skip) :][:1000], 2500)


def _shifts_its_total() -> Script:
    rows = rows_of(2500)
    return lambda arrival: page(rows[arrival.skip : arrival.skip + 1000], 2500 + bool(arrival.skip))


def _sends_no_more() -> Script:
    rows = rows_of(2500)
    return lambda arrival: page([] if arrival.skip else rows[:1000], 2500)


def _ignores_the_skip() -> Script:
    return lambda _: page(rows_of(1000), 2500)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (_names_a_larger_total, "1500 rows of 1501 came"),
        (_names_a_total_below_its_own_rows, "holds 10 rows, beyond the total of 9"),
        (
            _repeats_another_row_each_time,
            "page after row 0 holds a row twice, and each time another",
        ),
        (_repeats_another_key_each_time, "1500 rows came, but only 1499 distinct keys"),
        (
            _moves_rows_between_pages,
            "page after row 999 does not begin with the last row of the page before",
        ),
        (_shifts_its_total, "names a total of 2501, an earlier one 2500"),
        (_sends_no_more, "page after row 999 is empty"),
        (_ignores_the_skip, "does not begin with the last row of the page before"),
    ],
)
async def test_a_read_that_cannot_be_proven_whole_is_read_anew_and_then_an_error_that_says_why(
    api: ScriptedApi, script: Callable[[], Script], reason: str
) -> None:
    api.script = script()
    message, sink = await _fails(api)
    assert reason in message
    assert "metrics/daily" in message
    assert sink.resets == 3


def _counting_pages(rows: list[dict[str, object]], cap: int = 1000) -> Script:
    def script(arrival: Arrival) -> Reply:
        shown = rows[arrival.skip :][:cap]
        return page(shown, len(shown))

    return script


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        (serving(rows_of(1500), total=1499), 5),
        (serving(rows_of(2500), total=1000), 6),
        (serving(rows_of(10), total=-1), 2),
        (_counting_pages(rows_of(2500)), 6),
        (_counting_pages(rows_of(10)), 1),
    ],
)
async def test_a_total_that_later_pages_disprove_is_not_believed_and_a_further_page_proves_the_end(
    api: ScriptedApi, script: Script, requests: int
) -> None:
    api.script = script
    proof, sink = await _fetch(api)
    api.arrivals.clear()
    assert sink.resets == 0
    assert (proof.rows, proof.requests) == (len(sink.rows), requests)
    assert sink.decoded == rows_of(proof.rows)
    assert proof.rows in {10, 1500, 2500}


@pytest.mark.parametrize(
    "total", ["2360", "2360.0", "2.36e3", '"2360"', '"2,360"', '" 2360.0"', "null", "-1", "NaN"]
)
async def test_a_total_is_read_in_any_spelling(api: ScriptedApi, total: str) -> None:
    served = serving(rows_of(2360), total=987654321)

    def script(arrival: Arrival) -> Reply:
        reply = served(arrival)
        assert isinstance(reply, Reply)
        return Reply(body=reply.body.replace(b"987654321", total.encode()))

    api.script = script
    proof, sink = await _fetch(api)
    assert sink.decoded == rows_of(2360)
    assert proof.requests == (3 if "2" in total else 4)


_EMPTY = {
    "list": b'{"Status": "ok", "Data": {"data": [], "total": 0}}',
    "null with total": b'{"Status": "ok", "Data": {"data": null, "total": 0}}',
    "null": b'{"Status": "ok", "Data": {"data": null}}',
    "no data": b'{"Status": "ok", "Data": null}',
    "total alone": b'{"Status": "ok", "Data": {"total": 0, "count": 0}}',
}


@pytest.mark.parametrize(
    "reply", [*(Reply(body=body) for body in _EMPTY.values()), Reply(204)], ids=[*_EMPTY, "204"]
)
async def test_nothing_is_told_in_many_ways_and_believed_when_it_is_told_twice(
    api: ScriptedApi, reply: Reply
) -> None:
    api.script = lambda _: reply
    assert (await _fetch(api))[0] == FetchProof(rows=0, pages=1, requests=2)
    served = serving(rows_of(5))
    api.arrivals.clear()
    api.script = lambda arrival: reply if len(api.arrivals) == 1 else served(arrival)
    assert (await _fetch(api))[1].decoded == rows_of(5)


async def test_null_beside_a_total_above_0_is_an_error(api: ScriptedApi) -> None:
    null = Reply(body=b'{"Status": "ok", "Data": {"data": null, "total": 5}}')
    api.script = lambda arrival: page([], 0) if arrival.is_witness else null
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(FetchFailed, match="null in place of the rows beside a total of 5"):
            await client.fetch(DAILY, MemorySink())


async def test_a_byte_order_mark_gzip_and_chunks_are_read(api: ScriptedApi) -> None:
    body = page(rows_of(300), 300).body
    packed = {"Content-Encoding": "gzip"}
    for reply in (
        Reply(body=b"\xef\xbb\xbf" + body),
        Reply(body=gzip.compress(body), headers=packed),
        Reply(body=body, chunked=True),
        Reply(body=gzip.compress(b"\xef\xbb\xbf" + body), headers=packed, chunked=True),
    ):
        api.script = always(reply)
        proof, sink = await _fetch(api)
        assert (sink.decoded, proof.requests) == (rows_of(300), 1)


async def test_a_page_that_moved_once_is_read_again_without_a_new_start(api: ScriptedApi) -> None:
    rows = rows_of(2500)
    asked: list[int] = []

    def script(arrival: Arrival) -> Reply:
        asked.append(arrival.skip)
        shift = arrival.skip == 999 and asked.count(999) == 1
        return page(rows[arrival.skip + shift :][:1000], 2500)

    api.script = script
    proof, sink = await _fetch(api)
    assert sink.decoded == rows
    assert sink.resets == 0
    assert (proof.pages, proof.requests, len(api.arrivals)) == (3, 4, 4)


async def test_rows_that_change_for_good_between_pages_are_read_anew_as_a_whole(
    api: ScriptedApi,
) -> None:
    rows = rows_of(2500)

    def script(arrival: Arrival) -> Reply:
        if arrival.skip and len(rows) == 2500 and rows[0]["accountId"] == "a000000":
            del rows[0]
            rows.append({"accountId": "b", "numTrades": 1})
        return page(rows[arrival.skip :][:1000], len(rows))

    api.script = script
    _, sink = await _fetch(api)
    assert sink.decoded == rows
    assert sink.resets == 1


async def test_an_overlap_row_may_be_written_differently_but_not_differ(api: ScriptedApi) -> None:
    rows = b'{"accountId": "a", "x": 0.10}, {"accountId": "b", "x": 12345678901234567890.10}'
    first = b'{"Status": "OK", "Data": {"data": [' + rows + b'], "total": "3"}}'
    second = (
        b'{"data": {"data": [ {"x": 12345678901234567890.1, "accountId": "b"} , {"accountId": "c",'
        b' "x": 1e400}], "total": 3}}'
    )
    api.script = lambda arrival: Reply(body=second if arrival.skip else first)
    _, sink = await _fetch(api)
    assert sink.rows == [
        b'{"accountId": "a", "x": 0.10}',
        b'{"accountId": "b", "x": 12345678901234567890.10}',
        b'{"accountId": "c", "x": 1e400}',
    ]
    api.script = lambda arrival: Reply(
        body=second.replace(b"890.1", b"890.11") if arrival.skip else first
    )
    await _fails(api)


async def test_a_scan_hands_over_every_row_without_overlap_and_ends(api: ScriptedApi) -> None:
    for count, has_total, requests in [
        (0, True, 3),
        (0, False, 3),
        (2500, True, 3),
        (2500, False, 4),
        (2000, True, 3),
    ]:
        api.script = serving(rows_of(count), has_total=has_total, cap=1000)
        api.arrivals.clear()
        sink = MemorySink()
        async with UpstreamClient.open(config_for(api)) as client:
            assert await client.scan(Request(Endpoint.ALLTIME), sink) == count
        assert sink.decoded == rows_of(count)
        assert len(api.arrivals) == requests


async def test_a_scan_of_a_server_that_caps_its_pages_misses_no_row(api: ScriptedApi) -> None:
    for has_total in (True, False):
        api.script = serving(rows_of(1700), has_total=has_total, cap=300)
        sink = MemorySink()
        async with UpstreamClient.open(config_for(api)) as client:
            assert await client.scan(Request(Endpoint.ALLTIME), sink) == 1700


async def test_a_scan_does_not_believe_one_empty_page(api: ScriptedApi) -> None:
    rows = rows_of(2500)
    asked: list[int] = []

    def script(arrival: Arrival) -> Reply:
        asked.append(arrival.skip)
        return page(
            [] if asked.count(1000) == 1 == (arrival.skip == 1000) else rows[arrival.skip :][:1000],
            2500,
        )

    api.script = script
    sink = MemorySink()
    async with UpstreamClient.open(config_for(api)) as client:
        assert await client.scan(Request(Endpoint.ALLTIME), sink) == 2500
    assert sink.decoded == rows


async def test_a_scan_of_a_server_that_ignores_the_skip_ends(api: ScriptedApi) -> None:
    api.script = lambda _: page(rows_of(1000), None)
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(IncompleteFetch, match="again and again"):
            await client.scan(Request(Endpoint.ALLTIME), MemorySink())
