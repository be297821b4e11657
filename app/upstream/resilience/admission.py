"""When a request may be sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from app.domain.contract.tables import Endpoint
from app.domain.runs.waits import Hindrance, WaitReason
from app.upstream.failures import AttemptFailed, FailureKind
from app.upstream.resilience.attempts import Call, PipelineLimits
from app.upstream.resilience.breaker import BreakerOpen, BreakerState, CircuitBreaker, Permit
from app.upstream.resilience.outage import Outage
from app.upstream.resilience.pace import Pace
from app.upstream.stats import ApiStatistics

_LEAST_OUTAGE = 1.0
"""Seconds of an unreported outage."""
_LONG_TURN = 3.0
"""Seconds until the quota is reported."""


class Admission:
    """Admits requests: breaker, a free connection, quota."""

    def __init__(
        self,
        breaker: CircuitBreaker,
        pace: Pace,
        outage: Outage,
        limits: PipelineLimits,
        statistics: ApiStatistics,
    ) -> None:
        self._breaker = breaker
        self._pace = pace
        self._outage = outage
        self._limits = limits
        self._statistics = statistics
        self._connections = asyncio.Semaphore(limits.concurrency)
        self._final = asyncio.Lock()

    @property
    def hindrance(self) -> Hindrance | None:
        """What holds wanted requests up."""
        outage, last = self._outage, self._outage.last
        if (
            last is not None
            and outage.seconds
            and (outage.seconds >= _LEAST_OUTAGE or self._breaker.state is not BreakerState.CLOSED)
        ):
            ends_in = max(0.0, self._limits.outage_wait - outage.seconds)
            if last.kind is FailureKind.THROTTLED:
                return Hindrance(
                    WaitReason.UPSTREAM_THROTTLES,
                    outage.seconds,
                    last.brief,
                    self._pace.pause_left or None,
                    ends_in,
                )
            probe_in = self._breaker.probe_in
            # Before all is given up one more request is sent.
            return Hindrance(
                WaitReason.UPSTREAM_DOWN,
                outage.seconds,
                last.brief,
                None if probe_in is None else min(probe_in, ends_in),
                ends_in,
            )
        if (waited := self._pace.turn_seconds) >= _LONG_TURN:
            return Hindrance(WaitReason.QUOTA, waited)
        return None

    @asynccontextmanager
    async def turn(
        self, call: Call, endpoint: Endpoint, *, in_pause: bool = False
    ) -> AsyncIterator[Permit]:
        """Permission to send a request, `in_pause` at any time."""
        loop = asyncio.get_running_loop()
        while True:
            is_patient = call.patience > 0
            async with (
                nullcontext(enter_result=False) if is_patient else self._final_probe(call)
            ) as is_probe:
                try:
                    patience = call.patience if is_patient else self._limits.deadline
                    permit = (
                        self._breaker.force() if is_probe else await self._breaker.admit(patience)
                    )
                except BreakerOpen:
                    if not is_patient:
                        raise
                    continue
                with permit:
                    # Those who wait for the pace have a connection in hand that they do not use
                    # yet.
                    async with nullcontext() if in_pause else self._connections:
                        started = loop.time()
                        await self._pace.acquire(in_pause=in_pause)
                        self._statistics.note_limiter_wait(endpoint, loop.time() - started)
                        # The patience may have ended, and the breaker opened, during the wait.
                        if (call.patience > 0 or not is_patient) and (
                            permit.is_current or is_probe
                        ):
                            yield permit
                            return

    @asynccontextmanager
    async def _final_probe(self, call: Call) -> AsyncIterator[bool]:
        """Whether this call sends the last request of all patience; others wait for its result."""
        async with self._final:
            if self._outage.seconds >= self._limits.outage_wait:
                if self._outage.was_probed:
                    raise call.last or AttemptFailed(
                        FailureKind.THROTTLED, "The API answers no request in time."
                    )
                self._outage.was_probed = True
                try:
                    yield True
                except asyncio.CancelledError:
                    self._outage.was_probed = False
                    raise
                return
        yield False
