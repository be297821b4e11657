import asyncio

from app.upstream.resilience.retry_budget import RetryBudget

_HARDLY = 0.001
"""Retries a second that time alone pays for: none while a test lasts."""

_AT_ONCE = 0.0
"""The patience of a caller who does not wait."""


async def _takes_at_once(budget: RetryBudget) -> int:
    taken = 0
    while await budget.take(_AT_ONCE):
        taken += 1
    return taken


async def test_retries_go_out_at_once_until_the_budget_is_empty() -> None:
    budget = RetryBudget(7, _HARDLY)
    assert await _takes_at_once(budget) == 7


async def test_two_successes_pay_for_one_retry() -> None:
    budget = RetryBudget(3, _HARDLY)
    await _takes_at_once(budget)
    for _ in range(4):
        budget.succeeded()
    assert await _takes_at_once(budget) == 2


async def test_any_number_of_successes_saves_up_no_more_than_the_capacity() -> None:
    budget = RetryBudget(3, _HARDLY)
    for _ in range(1000):
        budget.succeeded()
    assert await _takes_at_once(budget) == 3


async def test_a_caller_who_waits_is_served_by_successes() -> None:
    budget = RetryBudget(1, _HARDLY)
    await _takes_at_once(budget)
    caller = asyncio.create_task(budget.take(60))
    budget.succeeded()
    await asyncio.sleep(0.01)
    assert not caller.done()
    budget.succeeded()
    assert await caller


async def test_without_any_success_time_lets_one_after_the_other_through() -> None:
    budget = RetryBudget(1, 100)
    await _takes_at_once(budget)
    assert await asyncio.gather(*(budget.take(60) for _ in range(5))) == [True] * 5


async def test_callers_are_served_in_the_order_in_which_they_came() -> None:
    budget = RetryBudget(1, _HARDLY)
    await _takes_at_once(budget)
    served: list[int] = []

    async def call(number: int) -> None:
        assert await budget.take(60)
        served.append(number)

    callers = [asyncio.create_task(call(number)) for number in range(5)]
    for _ in range(10):
        await asyncio.sleep(0)
        budget.succeeded()
    await asyncio.gather(*callers)
    assert served == [0, 1, 2, 3, 4]


async def test_patience_that_ends_gives_no_leave_and_takes_nothing() -> None:
    budget = RetryBudget(1, _HARDLY)
    await _takes_at_once(budget)
    assert await asyncio.gather(*(budget.take(0.02) for _ in range(3))) == [False] * 3
    budget.succeeded()
    budget.succeeded()
    assert await _takes_at_once(budget) == 1


async def test_cancelled_callers_take_nothing_and_hold_nobody_up() -> None:
    budget = RetryBudget(1, _HARDLY)
    await _takes_at_once(budget)
    callers = [asyncio.create_task(budget.take(60)) for _ in range(4)]
    await asyncio.sleep(0.01)
    # The first is woken and cancelled in the same moment, the third waits behind others.
    budget.succeeded()
    budget.succeeded()
    callers[0].cancel()
    callers[2].cancel()
    assert await callers[1]
    await asyncio.wait([callers[0], callers[2]])
    assert callers[0].cancelled()
    assert callers[2].cancelled()
    assert not callers[3].done()
    budget.succeeded()
    budget.succeeded()
    assert await callers[3]
    assert await _takes_at_once(budget) == 0
