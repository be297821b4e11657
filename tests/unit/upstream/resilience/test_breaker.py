import asyncio
import tracemalloc

import pytest

from app.upstream.resilience.breaker import BreakerOpen, BreakerState, CircuitBreaker


def _breaker(failures: int = 3, seconds: float = 0.05) -> tuple[CircuitBreaker, list[BreakerState]]:
    changes: list[BreakerState] = []
    return CircuitBreaker(failures, seconds, changes.append), changes


async def _fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        (await breaker.admit(0)).fail()


async def _until(breaker: CircuitBreaker, state: BreakerState) -> None:
    async with asyncio.timeout(5):
        while True:
            if breaker.state is state:
                return
            await asyncio.sleep(0.005)


async def test_failures_in_a_row_open_it_and_a_probe_that_succeeds_closes_it() -> None:
    breaker, changes = _breaker()
    await _fail(breaker, 2)
    (await breaker.admit(0)).succeed()
    await _fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED
    await _fail(breaker, 1)
    assert breaker.state.value == "open"
    await _until(breaker, BreakerState.HALF_OPEN)
    (await breaker.admit(0)).succeed()
    assert breaker.state.value == "closed"
    assert changes == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_half_of_the_calls_failing_opens_it_though_never_in_a_row() -> None:
    breaker, _ = _breaker(failures=10)
    for _ in range(25):
        (await breaker.admit(0)).fail()
        if breaker.state is BreakerState.CLOSED:
            (await breaker.admit(0)).succeed()
    assert breaker.state is BreakerState.OPEN
    breaker.close()


async def test_a_fifth_of_the_calls_failing_does_not_open_it() -> None:
    breaker, _ = _breaker(failures=10)
    for number in range(1000):
        permit = await breaker.admit(0)
        if number % 5 == 0:
            permit.fail()
        else:
            permit.succeed()
    assert breaker.state is BreakerState.CLOSED


async def test_half_open_lets_one_probe_through_and_a_failed_one_opens_it_for_all() -> None:
    breaker, _ = _breaker()
    await _fail(breaker, 3)
    waiting = [asyncio.create_task(breaker.admit(5)) for _ in range(50)]
    await _until(breaker, BreakerState.HALF_OPEN)
    await asyncio.sleep(0)
    (probe,) = [task for task in waiting if task.done()]
    probe.result().fail()
    assert breaker.state is BreakerState.OPEN
    await _until(breaker, BreakerState.HALF_OPEN)
    await asyncio.sleep(0)
    _, second = [task for task in waiting if task.done()]
    assert waiting.index(second) == 1  # in the order in which they came
    second.result().succeed()
    await asyncio.gather(*waiting)


async def test_a_probe_that_learnt_nothing_gives_its_place_to_the_next() -> None:
    breaker, _ = _breaker()
    await _fail(breaker, 3)
    await _until(breaker, BreakerState.HALF_OPEN)
    with pytest.raises(asyncio.CancelledError), await breaker.admit(0):
        raise asyncio.CancelledError
    assert breaker.state is BreakerState.HALF_OPEN
    (await breaker.admit(0)).succeed()
    assert breaker.state.value == "closed"


async def test_a_waiter_cancelled_in_the_moment_of_its_grant_does_not_keep_the_probe() -> None:
    breaker, _ = _breaker()
    await _fail(breaker, 3)
    waiting = asyncio.create_task(breaker.admit(5))
    await asyncio.sleep(0)
    breaker._half_open()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    (await breaker.admit(0)).withdraw()
    breaker.close()


async def test_outcomes_of_calls_from_before_the_opening_change_nothing() -> None:
    breaker, _ = _breaker()
    early, other = await breaker.admit(0), await breaker.admit(0)
    await _fail(breaker, 3)
    await _until(breaker, BreakerState.HALF_OPEN)
    early.succeed()
    assert breaker.state is BreakerState.HALF_OPEN
    other.fail()
    assert breaker.state is BreakerState.HALF_OPEN
    probe = await breaker.admit(0)
    assert not early.is_current
    assert probe.is_current
    with pytest.raises(BreakerOpen):
        await breaker.admit(0)


async def test_a_wait_is_bounded() -> None:
    breaker, _ = _breaker(seconds=60)
    await _fail(breaker, 3)
    with pytest.raises(BreakerOpen) as caught:
        await breaker.admit(0.02)
    assert caught.value.__cause__ is None
    assert not breaker._waiting
    breaker.close()


async def test_a_hundred_thousand_rejections_cost_no_memory() -> None:
    breaker, _ = _breaker(seconds=600)
    await _fail(breaker, 3)

    async def reject(times: int) -> None:
        for _ in range(times):
            with pytest.raises(BreakerOpen):
                await breaker.admit(0)

    await reject(100)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await reject(100_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100_000
    breaker.close()


async def test_the_wall_clock_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker, _ = _breaker(seconds=600)
    await _fail(breaker, 3)
    monkeypatch.setattr("time.time", lambda: 1e12)
    with pytest.raises(BreakerOpen):
        await breaker.admit(0)
    breaker.close()
