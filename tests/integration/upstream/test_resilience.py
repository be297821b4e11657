"""What one request goes through: quota, breaker, deadline, retries, verdict."""

import asyncio
import itertools
import json
import logging
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiolimiter import AsyncLimiter
from pydantic import SecretStr

from app.domain.contract.tables import Endpoint, Request
from app.domain.ids import AccountId, Login
from app.errors import (
    ConfigurationError,
    FetchFailed,
    RequestTooLarge,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from app.upstream import transport as transport_module
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from app.upstream.failures import FailureKind
from app.upstream.resilience.breaker import BreakerState
from tests.support.scripted import (
    KEY,
    Arrival,
    MemorySink,
    Reply,
    ScriptedApi,
    always,
    config_for,
    page,
    rows_of,
    scripted_api,
    serving,
    until,
)

CLOSED = Request(Endpoint.CLOSED, logins=(Login("007"),))
OPEN = Request(Endpoint.OPEN, logins=(Login("007"),))
GOOD = page(rows_of(3), 3)


def _first(bad: Reply, times: int = 1) -> Callable[[Arrival], Reply]:
    """A script that answers badly so many times, then well."""
    left = [times]

    def script(_: Arrival) -> Reply:
        left[0] -= 1
        return bad if left[0] >= 0 else GOOD

    return script


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (Reply(500), "server_error"),
        (Reply(503, b"<html>busy</html>"), "server_error"),
        (Reply(408), "not_ready"),
        (Reply(425), "not_ready"),
        (Reply(429, headers={"Retry-After": "0"}), "throttled"),
        (Reply(200, b'{"Status": "ok", "Data": {"da'), "garbled"),
        (Reply(200, b"\x1f\x8b no gzip", headers={"Content-Encoding": "gzip"}), "garbled"),
        (Reply(200, b'{"Status": "fail", "Error": "try later"}'), "reported"),
        (Reply(200, b'{"status": "ok"}'), "garbled"),
        (Reply(drop=True), "connection"),
    ],
)
async def test_a_failure_that_may_pass_is_tried_again_until_it_passed(
    api: ScriptedApi, bad: Reply, kind: str
) -> None:
    api.script = _first(bad, times=4)
    async with UpstreamClient.open(config_for(api, breaker_failures=100)) as client:
        proof = await client.fetch(CLOSED, MemorySink())
        figures = client.statistics.snapshot()["trades/closed"]
    assert (proof.rows, proof.pages, proof.requests) == (3, 1, 5)
    assert figures["failures"] == {kind: 4}
    assert figures["retries"] == 4
    assert figures["requests"] == 5
    assert figures["throttled"] == (4 if kind == "throttled" else 0)
    json.dumps(figures)


async def test_a_retry_waits_as_long_as_retry_after_says_in_seconds_or_as_a_date(
    api: ScriptedApi,
) -> None:
    now = datetime.now(UTC)
    date = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=1), usegmt=True),
    }
    for headers in ({"Retry-After": "1"}, date):
        for status in (503, 429):
            api.arrivals.clear()
            api.script = _first(Reply(status, headers=headers))
            async with UpstreamClient.open(config_for(api)) as client:
                await client.fetch(CLOSED, MemorySink())
            first, second = api.arrivals
            assert second.at - first.at >= 0.99


async def test_a_429_stops_every_caller_until_its_time_is_over_and_does_not_open_the_breaker(
    api: ScriptedApi,
) -> None:
    refusals = [
        1,
        0,
        0,
        0,
        0,
    ]  # more than open the breaker, and fewer than blame a request that others overtake

    def script(arrival: Arrival) -> Reply:
        if arrival.path.endswith("open") and refusals:
            return Reply(429, headers={"Retry-After": str(refusals.pop(0))})
        return GOOD

    api.script = script
    async with UpstreamClient.open(config_for(api, breaker_failures=2)) as client:
        unlucky = asyncio.create_task(client.fetch(OPEN, MemorySink()))
        await asyncio.sleep(0.1)
        await asyncio.gather(unlucky, *(client.fetch(CLOSED, MemorySink()) for _ in range(20)))
        assert client.breaker_state is BreakerState.CLOSED
    first, *others = api.arrivals
    assert min(other.at for other in others) - first.at >= 0.99


async def test_after_a_429_the_speed_is_halved_and_comes_back(api: ScriptedApi) -> None:
    api.script = _first(Reply(429, headers={"Retry-After": "0"}))
    async with UpstreamClient.open(config_for(api, rate=100.0, burst=100)) as client:
        for _ in range(30):
            await client.fetch(CLOSED, MemorySink())
    times = [arrival.at for arrival in api.arrivals]
    assert times[6] - times[1] >= 4 / 60
    assert times[26] - times[21] < times[6] - times[1]


async def test_fifty_callers_at_a_half_open_breaker_send_one_request(api: ScriptedApi) -> None:
    probe_may_end = asyncio.Event()
    api.script = lambda _: Reply(503)

    async def held(_: Arrival) -> Reply:
        await probe_may_end.wait()
        return GOOD

    async with UpstreamClient.open(
        config_for(api, breaker_failures=5, breaker_seconds=0.5)
    ) as client:
        callers = [asyncio.create_task(client.fetch(CLOSED, MemorySink())) for _ in range(50)]
        await until(lambda: client.breaker_state is BreakerState.OPEN)
        await asyncio.sleep(0.1)
        api.script = held
        api.arrivals.clear()
        await until(lambda: client.breaker_state is BreakerState.HALF_OPEN)
        await asyncio.sleep(0.3)
        assert len(api.arrivals) == 1
        probe_may_end.set()
        await asyncio.gather(*callers)
        assert client.breaker_state is BreakerState.CLOSED
    assert len(api.arrivals) == 50


async def test_a_cancelled_probe_makes_room_for_the_next_and_closes_nothing(
    api: ScriptedApi,
) -> None:
    api.script = lambda _: Reply(503)
    async with UpstreamClient.open(
        config_for(api, breaker_failures=1, breaker_seconds=0.1, retry_wait=0.001)
    ) as client:
        first = asyncio.create_task(client.fetch(CLOSED, MemorySink()))
        await until(lambda: client.breaker_state is BreakerState.OPEN)
        api.script = lambda _: Reply(delay=60)
        api.arrivals.clear()
        await until(lambda: bool(api.arrivals))
        first.cancel()
        await asyncio.wait([first])
        assert client.breaker_state is BreakerState.HALF_OPEN
        api.script = lambda _: GOOD
        await client.fetch(CLOSED, MemorySink())
        assert client.breaker_state.value == "closed"


async def test_cancelled_calls_and_faults_of_ours_never_open_the_breaker(api: ScriptedApi) -> None:
    async with UpstreamClient.open(config_for(api, breaker_failures=2)) as client:
        for status in (400, 404, 413, 414, 401, 302):
            api.script = always(Reply(status))
            for _ in range(5):
                with pytest.raises(UpstreamError):
                    await client.fetch(CLOSED, MemorySink())
        api.script = lambda _: Reply(delay=60)
        for _ in range(10):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.fetch(CLOSED, MemorySink()), 0.02)
        assert client.breaker_state is BreakerState.CLOSED
        api.script = lambda _: GOOD
        await client.fetch(CLOSED, MemorySink())


async def test_an_api_that_comes_back_in_time_costs_its_callers_nothing_but_time(
    api: ScriptedApi,
) -> None:
    api.script = lambda _: Reply(drop=True)
    async with UpstreamClient.open(config_for(api, breaker_seconds=0.1)) as client:
        callers = [asyncio.create_task(client.fetch(CLOSED, MemorySink())) for _ in range(10)]
        await asyncio.sleep(1.5)
        down = len(api.arrivals)
        api.script = lambda _: GOOD
        await asyncio.gather(*callers)
    assert down < 60  # the breaker kept most attempts from a dead API


async def test_an_outage_longer_than_the_wait_is_unavailable_and_a_later_caller_has_its_own_patience(
    api: ScriptedApi,
) -> None:
    api.script = lambda _: Reply(500, b"boom")
    async with UpstreamClient.open(config_for(api, outage_wait=0.6, breaker_seconds=0.1)) as client:
        started = asyncio.get_running_loop().time()
        results = await asyncio.gather(
            *(client.fetch(CLOSED, MemorySink()) for _ in range(12)), return_exceptions=True
        )
        assert asyncio.get_running_loop().time() - started >= 0.55
        assert {type(result) for result in results} == {UpstreamUnavailable}
        assert any("500 (boom)" in str(result) for result in results)
        await asyncio.sleep(0.6)
        api.script = _first(Reply(500))
        await client.fetch(CLOSED, MemorySink())


async def test_an_api_that_only_throttles_is_unavailable_after_the_wait(api: ScriptedApi) -> None:
    api.script = lambda _: Reply(429, headers={"Retry-After": "3600"})
    async with UpstreamClient.open(config_for(api, outage_wait=0.4)) as client:
        with pytest.raises(UpstreamUnavailable):
            await client.fetch(CLOSED, MemorySink())
        assert client.breaker_state is BreakerState.CLOSED
    assert len(api.arrivals) == 2


def _of_x(arrival: Arrival) -> bool:
    return "x" in arrival.query.get("accountIds", "").split(",")


_X, _X_AND_OTHERS = (
    Request(Endpoint.DAILY, account_ids=(AccountId("x"),)),
    Request(Endpoint.DAILY, account_ids=(AccountId("a"), AccountId("x"))),
)


@pytest.mark.parametrize("request_of", [_X, _X_AND_OTHERS], ids=["alone", "beside another"])
@pytest.mark.parametrize(
    "headers", [{}, {"Retry-After": "0"}, {"Retry-After": "2"}, {"Retry-After": "86400"}]
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_wait_that_the_api_asks_of_one_request_is_that_requests_failure_and_nobody_elses_wait(
    api: ScriptedApi, status: int, headers: dict[str, str], request_of: Request
) -> None:
    api.script = lambda arrival: Reply(status, headers=headers) if _of_x(arrival) else GOOD
    limits = {"outage_wait": 300.0, "breaker_seconds": 300.0, "check_wait": 0.1}
    async with UpstreamClient.open(config_for(api, **limits)) as client:
        with pytest.raises(FetchFailed, match=f"answers others.*{status}"):
            await client.fetch(request_of, MemorySink(), is_suspect=True)
        suspects = len(api.arrivals)
        assert suspects <= 7
        bad = asyncio.create_task(client.fetch(request_of, MemorySink()))
        await until(lambda: len(api.arrivals) > suspects)
        for _ in range(30):
            await client.fetch(CLOSED, MemorySink())
        with pytest.raises(FetchFailed, match=f"answers others.*{status}"):
            await bad
        assert client.breaker_state is BreakerState.CLOSED
    assert sum(map(_of_x, api.arrivals)) <= 12


@pytest.mark.parametrize("callers", [1, 30])
@pytest.mark.parametrize("status", [429, 503])
async def test_whether_all_are_asked_to_wait_is_found_out_by_one_request(
    api: ScriptedApi, status: int, callers: int
) -> None:
    api.script = lambda _: Reply(status, headers={"Retry-After": "3600"})
    limits = {"outage_wait": 1.5, "breaker_failures": 100, "check_wait": 0.4}
    async with UpstreamClient.open(config_for(api, **limits)) as client:
        fetches = [asyncio.create_task(client.fetch(CLOSED, MemorySink())) for _ in range(callers)]
        await asyncio.gather(*fetches, return_exceptions=True)
        assert {type(fetch.exception()) for fetch in fetches} == {UpstreamUnavailable}
    # One finds out, and one is sent at the end; for each caller at most one before.
    assert sum(arrival.is_witness for arrival in api.arrivals) == 1
    assert len(api.arrivals) <= callers + 2


async def test_failures_of_suspects_do_not_open_the_breaker_and_those_of_their_witness_do(
    api: ScriptedApi,
) -> None:
    api.script = lambda arrival: Reply(500) if _of_x(arrival) else GOOD
    async with UpstreamClient.open(
        config_for(api, breaker_failures=2, breaker_seconds=300.0)
    ) as client:
        for _ in range(40):
            with pytest.raises(FetchFailed, match="answers others"):
                await client.fetch(_X, MemorySink(), is_suspect=True)
            assert client.breaker_state is BreakerState.CLOSED
        api.script = always(Reply(500))
        bad = asyncio.create_task(client.fetch(_X, MemorySink(), is_suspect=True))
        await until(lambda: client.breaker_state is BreakerState.OPEN)
        bad.cancel()
        await asyncio.wait([bad])


@pytest.mark.parametrize("status", [201, 202, 205, 206, 226])
async def test_a_success_that_is_no_whole_answer_is_tried_again(
    api: ScriptedApi, status: int
) -> None:
    api.script = _first(Reply(status, GOOD.body), times=2)
    async with UpstreamClient.open(config_for(api)) as client:
        assert (await client.fetch(CLOSED, MemorySink())).rows == 3
    assert len(api.arrivals) == 3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(200), r"answered 200, without a word"),
        (Reply(200, b"<html>Sign in</html>"), r"answered 200 \(<html>Sign in</html>\)"),
        (Reply(200, b'{"rows": [1, 2'), r'answered 200 \(\{"rows": \[1, 2\)'),
        (Reply(304), r"answered 304"),
        (Reply(302, headers={"Location": "http://other/"}), r"redirect \(302 to http://other/\)"),
    ],
)
async def test_an_error_quotes_what_the_api_answered(
    api: ScriptedApi, reply: Reply, said: str
) -> None:
    api.script = always(reply, witness=page([], 0))
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(FetchFailed, match=said):
            await client.fetch(CLOSED, MemorySink())


def _late(seconds: float) -> dict[str, dict[str, str]]:
    now = datetime.now(UTC)
    date = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=seconds), usegmt=True),
    }
    return {"seconds": {"Retry-After": f"{seconds:.0f}"}, "date": date}


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("callers", [1, 30])
async def test_a_wait_beyond_the_patience_ends_with_one_more_request_and_goes_on_if_the_api_is_back(
    api: ScriptedApi, status: int, form: str, callers: int
) -> None:
    probe_may_end = asyncio.Event()
    probed = asyncio.Event()

    async def back(_: Arrival) -> Reply:
        probed.set()
        await probe_may_end.wait()
        return GOOD

    api.script = lambda _: Reply(status, headers=_late(3600)[form])
    async with UpstreamClient.open(
        config_for(api, outage_wait=0.5, breaker_failures=3, breaker_seconds=60.0)
    ) as client:
        started = asyncio.get_running_loop().time()
        fetches = [asyncio.create_task(client.fetch(CLOSED, MemorySink())) for _ in range(callers)]
        await until(lambda: bool(api.arrivals))
        await asyncio.sleep(0.2)
        asked = len(api.arrivals)
        api.script = back
        await probed.wait()
        assert asyncio.get_running_loop().time() - started >= 0.49
        await asyncio.sleep(0.2)
        assert len(api.arrivals) == asked + 1
        probe_may_end.set()
        proofs = await asyncio.gather(*fetches)
        assert {proof.rows for proof in proofs} == {3}
        assert client.breaker_state is BreakerState.CLOSED
    assert len(api.arrivals) == asked + callers


@pytest.mark.parametrize("status", [429, 503])
async def test_of_all_who_wait_one_asks_at_the_end_and_a_later_caller_asks_for_itself(
    api: ScriptedApi, status: int
) -> None:
    api.script = lambda _: Reply(status, headers={"Retry-After": "3600"})
    async with UpstreamClient.open(
        config_for(api, outage_wait=0.4, breaker_failures=3, breaker_seconds=3.0)
    ) as client:
        fetches = [asyncio.create_task(client.fetch(CLOSED, MemorySink())) for _ in range(30)]
        await until(lambda: bool(api.arrivals))
        await asyncio.sleep(0.2)
        asked = len(api.arrivals)
        results = await asyncio.gather(*fetches, return_exceptions=True)
        assert {type(result) for result in results} == {UpstreamUnavailable}
        assert len(api.arrivals) == asked + 1
        api.script = lambda _: GOOD
        later = asyncio.create_task(client.fetch(CLOSED, MemorySink()))
        assert (await later).rows == 3


async def test_a_final_request_that_is_cancelled_leaves_its_place_to_the_next(
    api: ScriptedApi,
) -> None:
    api.script = lambda _: Reply(503, headers={"Retry-After": "3600"})
    async with UpstreamClient.open(config_for(api, outage_wait=0.3)) as client:
        fetches = {
            login: asyncio.create_task(
                client.fetch(Request(Endpoint.CLOSED, logins=(Login(login),)), MemorySink())
            )
            for login in ("1", "2")
        }
        await until(lambda: len(api.arrivals) == 2)
        api.script = lambda _: Reply(delay=60)
        await until(lambda: len(api.arrivals) == 3)
        api.script = lambda _: GOOD
        prober = fetches.pop(api.arrivals[-1].query["logins"])
        prober.cancel()
        await asyncio.wait([prober])
        (other,) = fetches.values()
        assert (await other).rows == 3


async def test_a_server_that_is_not_there_is_unavailable_after_the_wait() -> None:
    async with scripted_api() as api:
        config = config_for(api, outage_wait=0.3, breaker_seconds=0.05)
    async with UpstreamClient.open(config) as client:
        with pytest.raises(UpstreamUnavailable, match="connection"):
            await client.fetch(CLOSED, MemorySink())


async def test_a_request_that_keeps_failing_while_others_succeed_is_given_up_after_at_least_six_attempts(
    api: ScriptedApi,
) -> None:
    api.script = lambda arrival: Reply(500) if arrival.path.endswith("open") else GOOD
    async with UpstreamClient.open(config_for(api)) as client:
        bad = asyncio.create_task(client.fetch(OPEN, MemorySink()))
        while not bad.done():
            await client.fetch(CLOSED, MemorySink())
        with pytest.raises(FetchFailed, match="answers others"):
            await bad
    assert sum(arrival.path.endswith("open") for arrival in api.arrivals) >= 6


async def test_a_lone_request_that_keeps_failing_is_told_from_an_outage_by_a_witness(
    api: ScriptedApi,
) -> None:
    api.script = lambda arrival: page([], 0) if arrival.is_witness else Reply(500)
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(FetchFailed, match="answers others"):
            await client.fetch(OPEN, MemorySink())
        api.script = lambda _: GOOD
        await client.fetch(OPEN, MemorySink())
    assert 1 <= sum(arrival.is_witness for arrival in api.arrivals) <= 3


@pytest.mark.parametrize(
    "slow", [Reply(delay=60), Reply(200, b" " * 4000, drip=0.02)], ids=["silent", "dripping"]
)
async def test_the_pool_is_whole_after_two_hundred_deadlines(api: ScriptedApi, slow: Reply) -> None:
    slow_at_first = {
        str(number) for number in range(500) if number % 5 in {0, 2}
    }  # fewer than open the breaker

    def script(arrival: Arrival) -> Reply:
        if arrival.query["logins"] in slow_at_first:
            slow_at_first.discard(arrival.query["logins"])
            return slow
        return GOOD

    api.script = script
    async with UpstreamClient.open(config_for(api, timeout=0.1, breaker_seconds=0.01)) as client:
        await asyncio.gather(
            *(
                client.fetch(Request(Endpoint.CLOSED, logins=(Login(str(number)),)), MemorySink())
                for number in range(500)
            )
        )
        assert client.statistics.of(Endpoint.CLOSED).failures[FailureKind.DEADLINE] >= 200
        eight_came = asyncio.Event()

        async def together(_: Arrival) -> Reply:
            if len(api.arrivals) == 8:
                eight_came.set()
            await eight_came.wait()
            return GOOD

        api.arrivals.clear()
        api.script = together
        await asyncio.gather(*(client.fetch(CLOSED, MemorySink()) for _ in range(8)))


async def test_who_is_slow_among_several_is_found_in_their_parts_and_waited_for_as_long_as_one_may_take(
    api: ScriptedApi,
) -> None:
    api.script = lambda arrival: (
        Reply(delay=60) if "slow" in arrival.query.get("accountIds", "") else GOOD
    )
    several, one = (
        Request(Endpoint.DAILY, account_ids=(AccountId("a"), AccountId("slow"))),
        Request(Endpoint.DAILY, account_ids=(AccountId("slow"),)),
    )
    async with UpstreamClient.open(config_for(api, timeout=60, account_timeout=0.3)) as client:

        async def others() -> None:
            while True:
                await client.fetch(CLOSED, MemorySink())

        busy = asyncio.create_task(others())
        for request, most in ((several, 1), (one, 20)):
            api.arrivals.clear()
            with pytest.raises(FetchFailed, match="answers others"):
                await client.fetch(request, MemorySink())
            assert 1 <= sum(arrival.path.endswith("daily") for arrival in api.arrivals) <= most
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_callers_beyond_the_concurrency_wait_for_a_connection_and_not_for_a_deadline(
    api: ScriptedApi,
) -> None:
    api.script = lambda _: Reply(200, GOOD.body, delay=0.2)
    async with UpstreamClient.open(config_for(api, timeout=1.5, concurrency=4)) as client:
        await asyncio.gather(*(client.fetch(CLOSED, MemorySink()) for _ in range(40)))
        assert not client.statistics.of(Endpoint.CLOSED).failures
    assert api.most_at_once == 4


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, UpstreamRefused),
        (403, FetchFailed),
        (413, RequestTooLarge),
        (414, RequestTooLarge),
        (404, FetchFailed),
        (422, FetchFailed),
    ],
)
async def test_an_answer_that_trying_again_does_not_change_is_final_at_once(
    api: ScriptedApi, status: int, error: type[UpstreamError]
) -> None:
    api.script = lambda _: Reply(status, f"bad\nkey {KEY}, {'x' * 1000}".encode())
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(error) as caught:
            await client.fetch(CLOSED, MemorySink())
    assert len(api.arrivals) == 1
    assert str(status) in str(caught.value)
    assert len(str(caught.value)) < 400
    assert KEY not in str(caught.value)


async def test_more_ids_than_an_address_holds_is_too_large(api: ScriptedApi) -> None:
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(RequestTooLarge):
            await client.fetch(
                Request(
                    Endpoint.DAILY,
                    account_ids=tuple(AccountId(f"account-{n:09}") for n in range(9000)),
                ),
                MemorySink(),
            )
        client.note_too_large(80)
        assert client.max_ids == 40
        client.note_too_large(60)
        assert client.max_ids == 30
        client.note_too_large(1)
        assert client.max_ids == 1
    assert api.arrivals == []


async def test_a_redirect_is_not_followed_and_the_key_stays_here(api: ScriptedApi) -> None:
    async with scripted_api() as other:
        api.script = lambda _: Reply(307, headers={"Location": other.url})
        async with UpstreamClient.open(config_for(api)) as client:
            with pytest.raises(FetchFailed, match="redirect"):
                await client.fetch(CLOSED, MemorySink())
        assert other.arrivals == []


async def test_an_answer_without_end_is_not_read(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "MOST_BODY_BYTES", 100_000)
    api.script = lambda _: Reply(200, b"[" * 200_000)
    async with UpstreamClient.open(config_for(api)) as client:
        with pytest.raises(FetchFailed, match="longer than"):
            await client.fetch(CLOSED, MemorySink())


async def test_the_key_is_in_no_log_repr_or_error(
    api: ScriptedApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    config = config_for(api, outage_wait=0.2, breaker_seconds=0.05)
    shown: list[str] = [repr(config), str(config)]
    echo = f"who sent {KEY}?".encode()
    bodies = [echo, b'{"Status": "fail", "Error": "' + echo + b'"}', b'{"Status": "' + echo + b'"}']
    for status in (200, 401, 404, 413, 500, 429, 302):
        for body in bodies:
            api.script = always(Reply(status, body), witness=page([], 0))
            async with UpstreamClient.open(config) as client:
                shown.append(repr(client))
                with pytest.raises(UpstreamError) as caught:
                    await client.fetch(CLOSED, MemorySink())
                shown.append("".join(traceback.format_exception(caught.value)))
                shown.append(json.dumps(client.statistics.snapshot()))
    assert all(arrival.headers["apikey"] == KEY for arrival in api.arrivals)
    assert KEY not in "\n".join(shown) + caplog.text


@pytest.mark.parametrize("key", ["", " padded ", "new\nline", "schlüssel"])
def test_a_key_that_no_header_can_carry_stops_the_start_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="RISK_API_KEY") as caught:
        UpstreamConfig("http://localhost/", SecretStr(key))
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/",
        "host/path",
        "https://",
        "https://user:pass@host/",
        "https://host/?a=1",
        "http://[::1",
    ],
)
def test_an_address_that_cannot_be_used_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match="RISK_API_BASE_URL") as caught:
        UpstreamConfig(url, SecretStr(KEY))
    assert "pass" not in str(caught.value)


async def test_the_quota_holds_in_every_window_with_retries_counted(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [0]
    granted: list[float] = []

    class Logged(AsyncLimiter):
        async def acquire(self, amount: float = 1) -> None:
            await super().acquire(amount)
            granted.append(asyncio.get_running_loop().time())

    def script(_: Arrival) -> Reply:
        answers[0] += 1
        return Reply(503) if answers[0] % 4 == 0 else GOOD

    api.script = script
    # Timed where permits are granted: on a busy machine requests that left apart may arrive
    # together.
    monkeypatch.setattr("app.upstream.client.AsyncLimiter", Logged)
    rate, burst = 40.0, 10
    async with UpstreamClient.open(config_for(api, rate=rate, burst=burst)) as client:
        await asyncio.gather(*(client.fetch(CLOSED, MemorySink()) for _ in range(60)))
        assert client.statistics.of(Endpoint.CLOSED).limiter_seconds > 0
    assert len(granted) >= len(api.arrivals) >= 79
    for first, start in enumerate(granted):
        for last in range(first, len(granted)):
            assert last - first + 1 <= burst + rate * (granted[last] - start) + 1


async def test_with_two_fifths_of_the_answers_bad_retries_stay_within_what_successes_pay_for_and_all_requests_succeed(
    api: ScriptedApi,
) -> None:
    calls, capacity, rate = 300, 10, 300.0
    bad: list[bool] = []
    seen: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    overdrawn: list[float] = []

    def script(arrival: Arrival) -> Reply:
        login = arrival.query["logins"]
        seen[login] += 1
        retries = seen.total() - len(seen)
        # What time alone paid for: a fifteenth of the rate. One more of each kind may be on its way
        # while another arrives.
        paid = capacity + 0.5 * bad.count(False) + rate / 15 * (arrival.at - api.arrivals[0].at)
        overdrawn.append(retries - paid)
        bad.append(len(bad) % 5 in {0, 2} and failed[login] < 3)
        failed[login] += bad[-1]
        return Reply(503) if bad[-1] else GOOD

    api.script = script
    async with UpstreamClient.open(
        config_for(api, rate=rate, retry_budget=capacity, outage_wait=60.0)
    ) as client:
        fetches = [
            client.fetch(Request(Endpoint.CLOSED, logins=(Login(str(number)),)), MemorySink())
            for number in range(calls)
        ]
        assert {proof.rows for proof in await asyncio.gather(*fetches)} == {3}
        figures = client.statistics.of(Endpoint.CLOSED)
    assert bad.count(True) > 0.35 * len(bad)
    assert max(overdrawn) <= 1
    assert figures.retries == len(api.arrivals) - calls == bad.count(True)
    assert figures.budget_seconds > 0
    assert not figures.failures.keys() - {FailureKind.SERVER}


async def test_a_fifth_of_bad_answers_never_makes_a_retry_wait_for_the_budget(
    api: ScriptedApi,
) -> None:
    numbers = itertools.count()
    api.script = lambda _: Reply(503) if next(numbers) % 5 == 4 else GOOD
    async with UpstreamClient.open(
        config_for(api, rate=0.001, burst=2000, retry_budget=20)
    ) as client:
        for _ in range(10):
            await asyncio.gather(*(client.fetch(CLOSED, MemorySink()) for _ in range(30)))
        figures = client.statistics.of(Endpoint.CLOSED)
    # At a thousandth of a request a second, a retry that had to wait would wait for hours.
    assert figures.retries == figures.failures.total() >= 70


async def test_an_empty_budget_takes_no_attempt_from_a_request_that_keeps_failing_nor_from_its_witness(
    api: ScriptedApi,
) -> None:
    api.script = lambda arrival: page([], 0) if arrival.is_witness else Reply(500)
    async with UpstreamClient.open(config_for(api, retry_budget=1, breaker_failures=100)) as client:
        with pytest.raises(FetchFailed, match="answers others"):
            await client.fetch(OPEN, MemorySink())
        assert client.statistics.of(Endpoint.OPEN).budget_seconds > 0
        assert (
            client.statistics.of(Endpoint.ALLTIME).requests
            == sum(arrival.is_witness for arrival in api.arrivals)
            >= 1
        )
    assert sum(not arrival.is_witness for arrival in api.arrivals) >= 6


async def test_an_outage_with_an_empty_budget_is_unavailable_after_the_wait_and_blames_no_request(
    api: ScriptedApi,
) -> None:
    api.script = lambda _: Reply(500, b"boom")
    async with UpstreamClient.open(
        config_for(api, rate=1.0, burst=100, outage_wait=0.6, retry_budget=1, breaker_failures=100)
    ) as client:
        results = await asyncio.gather(
            *(client.fetch(CLOSED, MemorySink()) for _ in range(12)), return_exceptions=True
        )
        assert {type(result) for result in results} == {UpstreamUnavailable}
        assert client.statistics.of(Endpoint.CLOSED).retries == len(api.arrivals) - 12 < 3
        api.script = lambda _: GOOD
        await client.fetch(CLOSED, MemorySink())


async def test_retries_after_429_are_left_to_the_pace_and_not_charged_to_the_budget(
    api: ScriptedApi,
) -> None:
    api.script = _first(Reply(429, headers={"Retry-After": "0"}), times=12)
    async with UpstreamClient.open(config_for(api, rate=1000.0, retry_budget=1)) as client:
        await asyncio.gather(*(client.fetch(CLOSED, MemorySink()) for _ in range(6)))
        figures = client.statistics.of(Endpoint.CLOSED)
    assert figures.retries == figures.throttled == 12
    assert figures.budget_seconds == 0


async def test_a_limiter_of_the_callers_choice_is_asked_before_every_request(
    api: ScriptedApi,
) -> None:
    class Counting:
        asked = 0

        async def acquire(self) -> None:
            self.asked += 1

    limiter = Counting()
    api.script = _first(Reply(503), times=2)
    async with UpstreamClient.open(config_for(api), limiter) as client:
        await client.fetch(CLOSED, MemorySink())
    assert limiter.asked == len(api.arrivals) == 3


async def test_an_account_under_many_faults_ends_right(api: ScriptedApi) -> None:
    rows = rows_of(6200)
    served = serving(rows)
    count = [0]

    def script(arrival: Arrival) -> Reply:
        count[0] += 1
        bad = [
            Reply(500),
            Reply(drop=True),
            Reply(429, headers={"Retry-After": "0"}),
            Reply(200, b"{"),
            page([], len(rows)),
        ]
        reply = bad[count[0] // 4 % 5] if count[0] % 4 == 0 else served(arrival)
        assert isinstance(reply, Reply)
        return reply

    api.script = script
    async with UpstreamClient.open(config_for(api)) as client:
        for _ in range(3):
            sink = MemorySink()
            await client.fetch(CLOSED, sink)
            assert sink.decoded == rows
