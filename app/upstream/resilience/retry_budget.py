"""A retry budget: each success pays for half a retry, as retries multiply the load of a failing
API.
"""

import asyncio
from contextlib import suppress

_SHARE_OF_SUCCESS = 0.5


class RetryBudget:
    """Permits to retry, one caller after the other: at most `capacity`, regained by successes and,
    `per_second`, by time.
    """

    def __init__(self, capacity: int, per_second: float) -> None:
        """Start full; both must be above 0."""
        self._capacity = float(capacity)
        self._per_second = per_second
        self._left = self._capacity
        self._counted_at = 0.0  # full is full, whenever the first look comes
        self._line = asyncio.Lock()
        self._paid = asyncio.Event()

    async def take(self, patience: float) -> bool:
        """Whether a retry was granted within `patience` seconds."""
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
        """Add half a retry."""
        self._left = min(self._capacity, self._count() + _SHARE_OF_SUCCESS)
        self._paid.set()

    def _count(self) -> float:
        now = asyncio.get_running_loop().time()
        self._left = min(self._capacity, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        return self._left

    async def _wait(self, seconds: float) -> None:
        """Wait for a success."""
        self._paid.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._paid.wait()
