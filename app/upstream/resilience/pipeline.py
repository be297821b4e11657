"""The way of every request to the API: breaker, a free connection, quota, deadline; then retries
within their budget and the verdict.

Retries happen here and nowhere else. Who is to blame for a request that keeps failing is decided by
what happens to the others: if they succeed in between, it is this request (FetchFailed); if nobody
succeeds, it is an outage, and the work waits (UpstreamUnavailable after `outage_wait` seconds). A
lone request asks for a witness: a tiny request known to be good.

A suspect is a request whose accounts made a larger one fail, or failed before. Its failures say
nothing about the API: they do not open the breaker and slow nobody down, and a witness is asked for
at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TypeVar

import stamina

from app.domain.contract.tables import Endpoint
from app.domain.runs.waits import Hindrance, WaitReason
from app.errors import FetchFailed, RequestTooLarge, UpstreamError
from app.telemetry import get_logger
from app.upstream.failures import FOREIGN, AttemptFailed, FailureKind, Redactor, kind_of, translate
from app.upstream.resilience.attempts import Call, PipelineLimits, Share
from app.upstream.resilience.breaker import BreakerOpen, BreakerState, CircuitBreaker, Permit
from app.upstream.resilience.outage import Outage
from app.upstream.resilience.pace import Pace
from app.upstream.resilience.retry_budget import RetryBudget
from app.upstream.stats import ApiStatistics

_LEAST_OUTAGE = 1.0
"""Seconds without an answer after which it is told that the API is out; a failure among answers is
none.
"""
_LONG_TURN = 3.0
"""Seconds that a request waits for its permit before the quota is told as what holds everything
up.
"""
_Result = TypeVar("_Result")
_Attempt = Callable[[], Awaitable[_Result]]
_ALONE = Share()
_log = get_logger(__name__)


class RequestPipeline:
    """Sends requests when the quota, the breaker and the connections allow it, and again where that
    may help.

    `witness` is the tiny request that tells a bad request from an outage. Use it within one event
    loop.
    """

    def __init__(
        self,
        pace: Pace,
        limits: PipelineLimits,
        redact: Redactor,
        statistics: ApiStatistics,
        witness: _Attempt[object],
    ) -> None:
        """Start with a closed breaker and nobody waiting."""
        self._pace = pace
        self._limits = limits
        self._redact = redact
        self._statistics = statistics
        self._witness = witness
        self._outage = Outage()
        self._breaker = CircuitBreaker(
            limits.breaker_failures, limits.breaker_seconds, log_breaker_change
        )
        self._budget = RetryBudget(limits.retry_budget, limits.retries_per_second)
        self._connections = asyncio.Semaphore(limits.concurrency)
        self._final = asyncio.Lock()
        self._checking = asyncio.Lock()
        self._next_check = 0.0

    @property
    def state(self) -> BreakerState:
        """The breaker's state."""
        return self._breaker.state

    @property
    def hindrance(self) -> Hindrance | None:
        """What keeps requests from going on; None while they do, or nobody wants to send any."""
        outage, last = self._outage, self._outage.last
        if (
            last is not None
            and outage.seconds
            and (outage.seconds >= _LEAST_OUTAGE or self.state is not BreakerState.CLOSED)
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

    def close(self) -> None:
        """Leave no timer behind."""
        self._breaker.close()

    async def run(
        self, endpoint: Endpoint, attempt: _Attempt[_Result], share: Share = _ALONE
    ) -> _Result:
        """What `attempt` returns, tried until it succeeds or the verdict is clear.

        UpstreamRefused, RequestTooLarge and FetchFailed come at once where trying again cannot
        help; FetchFailed also when only this request keeps failing, UpstreamUnavailable when the
        API is out.
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
        if call.needs_witness:
            await self._pay(call, Endpoint.ALLTIME)
            await self._ask_witness(call)
        if call.is_hopeless:
            raise call.verdict() from call.last
        return await self._send(call, endpoint, attempt, again=again, deadline=deadline)

    async def _ask_witness(self, call: Call, *, is_check: bool = False) -> None:
        with suppress(FetchFailed, RequestTooLarge):  # an answer is an answer
            await self._send(
                call, Endpoint.ALLTIME, self._witness, is_witness=True, is_check=is_check
            )

    async def _keep_wait(self, call: Call) -> None:
        """Wait as long as the API asked the call to; not much longer than until it is known that it
        answers others.
        """
        while (left := call.asked_wait) > 0:
            if (early := call.check_wait) > 0:
                await asyncio.sleep(min(left, early))
            elif await self._answers_others(call):
                return
            else:
                await self._outage.wait_for_answer(call.asked_wait)

    async def _answers_others(self, call: Call) -> bool:
        """Whether the API answers others while it asks the call to wait: one witness is asked for
        all who wait.
        """
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
                await self._ask_witness(call, is_check=True)
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
        is_witness: bool = False,
        is_check: bool = False,
    ) -> _Result:
        loop = asyncio.get_running_loop()
        async with self._turn(call, endpoint, in_pause=is_check) as permit:
            self._statistics.note_request(endpoint, again=again)
            started = loop.time()
            is_own = call.says_nothing_of_the_api and not is_witness
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
        """Wait until the budget has room for one more request than there would be without failures.

        When the call's patience ends first, it goes on: the turn that it then asks for finds the
        patience at its end.
        """
        started = asyncio.get_running_loop().time()
        await self._budget.take(call.patience)
        self._statistics.note_budget_wait(endpoint, asyncio.get_running_loop().time() - started)

    @asynccontextmanager
    async def _turn(
        self, call: Call, endpoint: Endpoint, *, in_pause: bool = False
    ) -> AsyncIterator[Permit]:
        """Leave to send one request now, with a connection to send it on; `in_pause` also while the
        API asks to wait.
        """
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
        """Whether this call sends the one request that is owed to the API when all patience has
        ended.

        A wait that the API itself asked for can use the patience up without a single further
        request. Other calls wait here for what comes of the probe: once the API has answered, they
        may send too; otherwise they end with their last error.
        """
        async with self._final:
            if self._outage.seconds >= self._limits.outage_wait:
                if self._outage.was_probed:
                    raise call.last or AttemptFailed(
                        FailureKind.THROTTLED, "The API answers nobody in time."
                    )
                self._outage.was_probed = True
                try:
                    yield True
                except asyncio.CancelledError:
                    self._outage.was_probed = False
                    raise
                return
        yield False

    def _judge(
        self, error: UpstreamError, endpoint: Endpoint, permit: Permit, *, is_own: bool
    ) -> None:
        """Tell breaker, pace and statistics what an error means: only failures of the API count
        against it, not a request's own.
        """
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
