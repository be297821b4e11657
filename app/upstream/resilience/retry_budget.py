"""A retry budget: successes pay for retries, so that these never make up most of the traffic.

Six attempts of every caller would be six times the traffic just when the API can bear the least.
Each success pays for half a retry, so that in the long run about a third of requests are retries.
No attempt is lost: callers wait in line.
"""

import asyncio
from contextlib import suppress

_SHARE_OF_SUCCESS = 0.5
"""Retries that a success pays for; enough while less than a third of responses fail."""


class RetryBudget:
    """Permits to retry, one caller after the other.

    It starts with `capacity` and never holds more; each success adds half a retry, each second
    `per_second`. One event loop only.
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
        """Wait for one retry, at most `patience` seconds; whether it was granted."""
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
        """A success pays for half a retry."""
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
