import asyncio

from aiolimiter import AsyncLimiter

from app.upstream.resilience.pace import Pace


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_many_answers_to_one_overload_halve_the_speed_once() -> None:
    pace = Pace(AsyncLimiter(100, 0.1), 1000, 10)
    for _ in range(8):
        pace.throttled(0.05)
    assert pace._share == 0.5
    await asyncio.sleep(0.06)
    pace.throttled(0.05)
    assert pace._share == 0.25
    for _ in range(100):
        pace.succeeded()
    assert pace._share == 1


async def test_a_pause_is_as_long_as_the_longest_wait_asked_for_and_bounded() -> None:
    pace = Pace(AsyncLimiter(100, 0.1), 1000, 0.1)
    started = _now()
    pace.throttled(3600)
    pace.throttled(0)
    await pace.acquire()
    assert 0.1 <= _now() - started < 60


async def test_a_pause_that_begins_while_a_caller_waits_for_the_limiter_holds_for_it() -> None:
    pace = Pace(AsyncLimiter(1, 0.05), 1000, 10)
    await pace.acquire()
    caller = asyncio.create_task(pace.acquire())
    await asyncio.sleep(0.01)
    started = _now()
    pace.throttled(0.2)
    await caller
    assert _now() - started >= 0.2


async def test_a_cancelled_caller_does_not_hold_up_the_line() -> None:
    pace = Pace(AsyncLimiter(10, 0.1), 1000, 10)
    pace.throttled(0.05)
    callers = [asyncio.create_task(pace.acquire()) for _ in range(3)]
    await asyncio.sleep(0.01)
    callers[0].cancel()
    callers[1].cancel()
    async with asyncio.timeout(2):
        await callers[2]
