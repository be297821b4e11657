"""The quota, and a brake after a 429."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

_PAUSE_SECONDS = 1.0
_SLOWEST_SHARE = 1 / 16
_REGAINED_SHARE = 1 / 32


class Limiter(Protocol):
    """Keeps all replicas within the API's quota."""

    async def acquire(self) -> None:
        """Wait for one more request."""


class Pace:
    """Permits to send, one caller after the other.

    A 429 pauses all (1 s unless named) and halves the rate; each success restores a part.
    """

    def __init__(self, limiter: Limiter, rate: float, longest_pause: float) -> None:
        self._limiter = limiter
        self._rate = rate
        self._longest_pause = longest_pause
        self._line = asyncio.Lock()
        self._share = 1.0
        self._paused_until = 0.0
        self._next_at = 0.0
        self._resumed = asyncio.Event()
        self._turn_since: float | None = None

    @property
    def is_paused(self) -> bool:
        """Whether all must wait."""
        return self.pause_left > 0

    @property
    def pause_left(self) -> float:
        """Seconds left of that wait."""
        return max(0.0, self._paused_until - asyncio.get_running_loop().time())

    @property
    def turn_seconds(self) -> float:
        """Seconds that the first caller has waited for the quota."""
        return (
            0.0
            if self._turn_since is None
            else asyncio.get_running_loop().time() - self._turn_since
        )

    async def acquire(self, *, in_pause: bool = False) -> None:
        """Wait for a permit, `in_pause` for a probe."""
        if in_pause:
            await self._limiter.acquire()
            return
        loop = asyncio.get_running_loop()
        async with self._line, self._turn():
            while True:
                wait = max(self._paused_until, self._next_at) - loop.time()
                if wait > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._resumed.wait()
                    continue  # the pause may have become longer, or have ended
                await self._limiter.acquire()
                # A permit that outlived a pause is thrown away: used late, it would come on top of
                # those that its time allows.
                if self._paused_until <= loop.time():
                    break
            if self._share < 1:
                self._next_at = loop.time() + 1 / (self._rate * self._share)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self._turn_since = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._turn_since = None

    def throttled(self, retry_after: float | None) -> None:
        """Slow down after a 429."""
        now = asyncio.get_running_loop().time()
        if (
            self._paused_until <= now
        ):  # answers to requests sent before the pause belong to the same overload
            self._share = max(_SLOWEST_SHARE, self._share / 2)
        pause = _PAUSE_SECONDS if retry_after is None else retry_after
        self._paused_until = max(self._paused_until, now + min(pause, self._longest_pause))

    def resume(self) -> None:
        """End the pause, as only one request was asked to wait."""
        self._paused_until = 0.0
        self._resumed.set()
        self._resumed = asyncio.Event()

    def succeeded(self) -> None:
        """Restore a part of the rate."""
        self._share = min(1.0, self._share + _REGAINED_SHARE)
