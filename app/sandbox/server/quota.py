"""The sandbox's quota."""

import math
import time
from collections.abc import Callable

from app.errors import InvalidRequest


class Quota:
    """A leaky bucket: `burst + rate * t` requests in `t` seconds; InvalidRequest."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with the whole burst."""
        if rate <= 0 or burst < 1:
            raise InvalidRequest(
                "The sandbox's quota needs a rate above 0 and a burst of 1 or more."
            )
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = 0.0
        self._at = clock()

    def take(self) -> float:
        """0, or the seconds to wait."""
        now = self._clock()
        self._level = max(0.0, self._level - (now - self._at) * self._rate)
        self._at = now
        excess = self._level + 1 - self._burst
        # A hair of tolerance: a client that keeps exactly to the rate must not fail on rounding.
        if excess > 1e-9:  # noqa: PLR2004
            return excess / self._rate
        self._level += 1
        return 0.0


def retry_after(wait: float) -> str:
    """A wait as `Retry-After` has it: in whole seconds, rounded up."""
    return str(math.ceil(wait))
