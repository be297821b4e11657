"""A circuit breaker: purgatory's state machine, driven by outcomes judged outside of it.

Purgatory (3.0.1) lets every caller into a half-open circuit and counts cancellations and late
successes. So callers report a `Permit`'s outcome.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from purgatory.domain.messages.events import ContextChanged
from purgatory.domain.model import CLOSED, HALF_OPENED, Context, HalfOpenedState, OpenedState

from app.errors import UpstreamUnavailable

_WINDOW_CALLS = 50
_WINDOW_SECONDS = 120.0
_WINDOW_FAILURES = 25


class BreakerState(StrEnum):
    """Open: none is sent. Half open: one probe decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpen(UpstreamUnavailable):
    """The breaker let nothing through."""


_COUNTED = BreakerOpen("A request failed.")


class Permit:
    """Permission to send, withdrawn without an outcome."""

    __slots__ = ("_breaker", "_decided", "_era")

    def __init__(self, breaker: "CircuitBreaker", era: int) -> None:
        self._breaker = breaker
        self._era = era
        self._decided = False

    @property
    def is_current(self) -> bool:
        """Whether the breaker's state is unchanged."""
        return self._era == self._breaker.era

    def succeed(self) -> None:
        """The API answered well."""
        self._decide(failed=False)

    def fail(self) -> None:
        """The API failed."""
        self._decide(failed=True)

    def withdraw(self) -> None:
        """Nothing was learnt; the next caller probes."""
        self._decide(failed=None)

    def _decide(self, *, failed: bool | None) -> None:
        if self._decided:
            return
        self._decided = True
        # An outcome from before the last change of state says nothing of the API of now.
        if self.is_current:
            self._breaker.take_outcome(failed=failed)

    def __enter__(self) -> Self:
        """Hold the permit."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Withdraw unless an outcome was reported."""
        self.withdraw()


class CircuitBreaker:
    """Stops requests after `failures` in a row, or half of 50 within 2 minutes; after `seconds` one
    probes.
    """

    def __init__(
        self, failures: int, seconds: float, on_change: Callable[[BreakerState], None]
    ) -> None:
        # An infinite ttl: purgatory's wall clock never ends the open state, our timer on the loop's
        # clock does.
        self._context = Context("upstream", failures, math.inf)
        self._seconds = seconds
        self._on_change = on_change
        self._waiting: deque[asyncio.Future[Permit]] = deque()
        self._window: deque[tuple[float, bool]] = deque(maxlen=_WINDOW_CALLS)
        self._timer: asyncio.TimerHandle | None = None
        self._probing = False
        self.era = 0

    @property
    def state(self) -> BreakerState:
        """The present state."""
        if self._context.state == CLOSED:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._context.state == HALF_OPENED else BreakerState.OPEN

    @property
    def probe_in(self) -> float | None:
        """Seconds until the next probe."""
        if self._timer is None or self.state is not BreakerState.OPEN:
            return None
        return max(0.0, self._timer.when() - asyncio.get_running_loop().time())

    async def admit(self, patience: float) -> Permit:
        """A permit within `patience` seconds; BreakerOpen."""
        permit = self._try_admit()
        if permit is not None:
            return permit
        if patience <= 0:
            raise BreakerOpen("The API keeps failing; no request was sent.")
        place: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(patience):
                return await place
        except TimeoutError:
            self._hand_back(place)
            raise BreakerOpen(
                f"The API kept failing for the {patience:.0f} s that the request could wait."
            ) from None
        except asyncio.CancelledError:
            self._hand_back(place)
            raise
        finally:
            if place in self._waiting:
                self._waiting.remove(place)

    def force(self) -> Permit:
        """A permit in any state."""
        if self.state is not BreakerState.CLOSED:
            self._probing = (
                True  # before the state changes, or the first in line would be let through as well
            )
        if self.state is BreakerState.OPEN:
            self.close()
            self._half_open()
        return Permit(self, self.era)

    def take_outcome(self, *, failed: bool | None) -> None:
        """Count an outcome; None: nothing was learnt."""
        self._probing = False
        if failed is None:
            self._serve_line()
            return
        if failed:
            self._context.handle_exception(_COUNTED)
        else:
            self._context.handle_end_request()
        if self.state is BreakerState.CLOSED and self._too_many_failed(failed=failed):
            self._context.set_state(OpenedState(self._context.name))
        self._follow_changes()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _try_admit(self) -> Permit | None:
        # Asking the state instead of entering purgatory's open context: that raises its one shared
        # exception.
        state = self.state
        if state is BreakerState.CLOSED:
            return Permit(self, self.era)
        if state is BreakerState.HALF_OPEN and not self._probing:
            self._probing = True
            return Permit(self, self.era)
        return None

    def _hand_back(self, place: asyncio.Future[Permit]) -> None:
        # The permit may have been granted in the very moment in which its caller gave up: lost, it
        # would block the probe for ever.
        if place.done() and not place.cancelled():
            place.result().withdraw()

    def _serve_line(self) -> None:
        while self._waiting:
            if self._waiting[0].done():  # its caller gave up and is about to leave the line
                self._waiting.popleft()
                continue
            permit = self._try_admit()
            if permit is None:
                return
            self._waiting.popleft().set_result(permit)

    def _too_many_failed(self, *, failed: bool) -> bool:
        now = asyncio.get_running_loop().time()
        self._window.append((now, failed))
        while self._window[0][0] < now - _WINDOW_SECONDS:
            self._window.popleft()
        return (
            len(self._window) == _WINDOW_CALLS
            and sum(failed for _, failed in self._window) >= _WINDOW_FAILURES
        )

    def _half_open(self) -> None:
        self._context.set_state(HalfOpenedState())
        self._follow_changes()

    def _follow_changes(self) -> None:
        changed = any(isinstance(message, ContextChanged) for message in self._context.messages)
        self._context.messages.clear()
        if not changed:
            return
        self.era += 1
        self._window.clear()
        if self.state is BreakerState.OPEN:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._half_open)
        self._on_change(self.state)
        self._serve_line()
