"""A budget for retries: they are paid for by successes, so that they never make up most of what an
ailing API gets.

Six attempts a request, from every caller, are six times the traffic just when the API can bear the
least. With a budget retries are at most about a third of all requests in the long run: each success
pays for half a retry, and what time alone pays for is little. Nobody loses an attempt: who finds
the budget empty waits in line.
"""

import asyncio
from contextlib import suppress

_SHARE_OF_SUCCESS = 0.5
"""Retries that one success pays for: with f of the answers bad, retries are f of the traffic, and
paid for while f is below a third.
"""


class RetryBudget:
    """Leave to send a retry, one caller after the other.

    It starts with `capacity` retries and never holds more; each success adds half of one, each
    second `per_second`. Use it within one event loop.
    """

    def __init__(self, capacity: int, per_second: float) -> None:
        """Start full; both must be above 0, or a caller may wait for ever."""
        self._capacity = float(capacity)
        self._per_second = per_second
        self._left = self._capacity
        self._counted_at = 0.0  # full is full, whenever the first look comes
        self._line = asyncio.Lock()
        self._paid = asyncio.Event()

    async def take(self, patience: float) -> bool:
        """Wait in line for one retry, at most `patience` seconds; whether it was had.

        A caller who is cancelled takes none.
        """
        try:
            async with asyncio.timeout(patience), self._line:
                while (missing := 1 - self._count()) > 0:
                    await self._wait(missing / self._per_second)
                # No waiting from here on: a cancellation comes either before a retry is taken or
                # after it was given.
                self._left -= 1
                return True
        except TimeoutError:
            return False

    def succeeded(self) -> None:
        """A request was answered well: that pays for half a retry."""
        self._left = min(self._capacity, self._count() + _SHARE_OF_SUCCESS)
        self._paid.set()

    def _count(self) -> float:
        """What is left, with what time has added."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._capacity, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        return self._left

    async def _wait(self, seconds: float) -> None:
        """Wait for the next success, at most so long."""
        self._paid.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._paid.wait()
