"""Wake-ups inside this process."""

import asyncio
import contextlib
import random


class WakeSignal:
    """Wakes all current waiters."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake all waiters."""
        # A new event each time: a worker that takes one before looking for work misses no wake-up,
        # and takes none from another.
        self._event.set()
        self._event = asyncio.Event()

    @property
    def event(self) -> asyncio.Event:
        """The event of the next wake-up; to be taken before looking for work."""
        return self._event


async def sleep(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, at most about `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):
            await event.wait()
