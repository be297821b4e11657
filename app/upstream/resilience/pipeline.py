"""The request pipeline: admission, deadline, budgeted retries, verdict. Nothing else retries.

A request that fails while others succeed is at fault (FetchFailed); if none does it is an outage
(UpstreamUnavailable after `outage_wait` seconds). A tiny request known to be good probes for a lone
one. A suspect's failures count for nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import stamina

from app.domain.contract.tables import Endpoint
from app.domain.runs.waits import Hindrance
from app.errors import FetchFailed, RequestTooLarge, UpstreamError
from app.telemetry import get_logger
from app.upstream.failures import AttemptFailed, FailureKind, kind_of
from app.upstream.foreign_errors import FOREIGN, translate
from app.upstream.redaction import Redactor
from app.upstream.resilience.admission import Admission
from app.upstream.resilience.attempts import Call, PipelineLimits, Share
from app.upstream.resilience.breaker import BreakerOpen, BreakerState, CircuitBreaker, Permit
from app.upstream.resilience.outage import Outage
from app.upstream.resilience.pace import Pace
from app.upstream.resilience.retry_budget import RetryBudget
from app.upstream.stats import ApiStatistics

_Result = TypeVar("_Result")
_Attempt = Callable[[], Awaitable[_Result]]
_ALONE = Share()
_log = get_logger(__name__)


class RequestPipeline:
    """Sends and retries requests in one event loop."""

    def __init__(
        self,
        pace: Pace,
        limits: PipelineLimits,
        redact: Redactor,
        statistics: ApiStatistics,
        probe: _Attempt[object],
    ) -> None:
        self._pace = pace
        self._limits = limits
        self._redact = redact
        self._statistics = statistics
        self._probe = probe
        self._outage = Outage()
        self._breaker = CircuitBreaker(
            limits.breaker_failures, limits.breaker_seconds, log_breaker_change
        )
        self._budget = RetryBudget(limits.retry_budget, limits.retries_per_second)
        self._admission = Admission(self._breaker, pace, self._outage, limits, statistics)
        self._checking = asyncio.Lock()
        self._next_check = 0.0

    @property
    def state(self) -> BreakerState:
        """The breaker's state."""
        return self._breaker.state

    @property
    def hindrance(self) -> Hindrance | None:
        """What holds wanted requests up."""
        return self._admission.hindrance

    def close(self) -> None:
        """Leave no timer behind."""
        self._breaker.close()

    async def run(
        self, endpoint: Endpoint, attempt: _Attempt[_Result], share: Share = _ALONE
    ) -> _Result:
        """The result of `attempt`, retried until the verdict is clear.

        UpstreamRefused, RequestTooLarge, FetchFailed: no retry helps. UpstreamUnavailable: an
        outage.
        """
        call = Call(self._outage, self._limits, share)
        retries = stamina.retry_context(
            on=call.decide,
            # `decide` bounds them: by number while the API answers others, by time while it is out
            attempts=None,
            timeout=None,
            wait_initial=self._limits.retry_wait,
            wait_max=self._limits.longest_retry_wait,
            wait_jitter=self._limits.retry_wait,
        )
        with self._outage.awaited():
            try:
                async for retry in retries:
                    with retry:
                        again = retry.num > 1
                        await self._keep_wait(call)
                        # Not after a 429: it cost the API nothing, and the pace slows everybody
                        # down for it already.
                        if again and not call.was_throttled:
                            await self._pay(call, endpoint)
                        return await self._try(
                            call, endpoint, attempt, again=again, deadline=share.deadline
                        )
            except AttemptFailed as failure:
                raise call.verdict() from failure
            except BreakerOpen:
                raise call.outage_verdict() from call.last
        raise AssertionError("retries end with a result or an error")

    async def _try(
        self,
        call: Call,
        endpoint: Endpoint,
        attempt: _Attempt[_Result],
        *,
        again: bool,
        deadline: float | None,
    ) -> _Result:
        if call.needs_probe:
            await self._pay(call, Endpoint.ALLTIME)
            await self._ask_probe(call)
        if call.is_hopeless:
            raise call.verdict() from call.last
        return await self._send(call, endpoint, attempt, again=again, deadline=deadline)

    async def _ask_probe(self, call: Call, *, is_check: bool = False) -> None:
        with suppress(FetchFailed, RequestTooLarge):  # an answer is an answer
            await self._send(call, Endpoint.ALLTIME, self._probe, is_probe=True, is_check=is_check)

    async def _keep_wait(self, call: Call) -> None:
        """Wait as the API asked, unless it answers a probe meanwhile."""
        while (left := call.asked_wait) > 0:
            if (early := call.check_wait) > 0:
                await asyncio.sleep(min(left, early))
            elif await self._answers_others(call):
                return
            else:
                await self._outage.wait_for_answer(call.asked_wait)

    async def _answers_others(self, call: Call) -> bool:
        """One probe serves all waiting calls."""
        async with self._checking:
            if call.is_proven_since and not self._pace.is_paused:
                return True
            loop = asyncio.get_running_loop()
            if (
                loop.time() < self._next_check
                or self._breaker.state is not BreakerState.CLOSED
                or call.asked_wait <= 0
            ):
                return False
            try:
                await self._ask_probe(call, is_check=True)
            except AttemptFailed:
                self._next_check = loop.time() + call.asked_wait
                return False
            self._pace.resume()
            return True

    async def _send(
        self,
        call: Call,
        endpoint: Endpoint,
        attempt: _Attempt[_Result],
        *,
        again: bool = False,
        deadline: float | None = None,
        is_probe: bool = False,
        is_check: bool = False,
    ) -> _Result:
        loop = asyncio.get_running_loop()
        async with self._admission.turn(call, endpoint, in_pause=is_check) as permit:
            self._statistics.note_request(endpoint, again=again)
            started = loop.time()
            is_own = call.says_nothing_of_the_api and not is_probe
            try:
                async with asyncio.timeout(deadline or self._limits.deadline):
                    result = await attempt()
            except UpstreamError as error:
                self._judge(error, endpoint, permit, is_own=is_own)
                raise
            except FOREIGN as error:
                ours = translate(error, self._redact)
                self._judge(ours, endpoint, permit, is_own=is_own)
                raise ours from self._redact.cause(error)
            permit.succeed()
            self._outage.answered()
            self._pace.succeeded()
            self._budget.succeeded()
            self._statistics.note_answer(endpoint, loop.time() - started)
            return result

    async def _pay(self, call: Call, endpoint: Endpoint) -> None:
        started = asyncio.get_running_loop().time()
        await self._budget.take(call.patience)
        self._statistics.note_budget_wait(endpoint, asyncio.get_running_loop().time() - started)

    def _judge(
        self, error: UpstreamError, endpoint: Endpoint, permit: Permit, *, is_own: bool
    ) -> None:
        """Tell breaker, pace and statistics."""
        self._statistics.note_failure(endpoint, kind_of(error))
        if not isinstance(error, AttemptFailed):
            self._outage.answered()
            return
        self._outage.failed(error)
        if is_own:
            return
        if error.kind is FailureKind.THROTTLED:
            # No longer than the patience lasts: at its end one request finds out whether the API is
            # back.
            patience = max(0.0, self._limits.outage_wait - self._outage.seconds)
            self._pace.throttled(
                None if error.retry_after is None else min(error.retry_after, patience)
            )
        else:
            permit.fail()


def log_breaker_change(state: BreakerState) -> None:
    """Log a change of the breaker's state."""
    match state:
        case BreakerState.OPEN:
            _log.warning(
                "The API keeps failing: no request is sent for a while.", action="breaker_opened"
            )
        case BreakerState.HALF_OPEN:
            _log.info(
                "One request is sent to see whether the API is back.", action="breaker_half_opened"
            )
        case BreakerState.CLOSED:
            _log.info("The API answers again.", action="breaker_closed")
