"""The way of every request to the API: breaker, a free connection, quota, deadline; then retries within their budget and the verdict.

Retries happen here and nowhere else. Who is to blame for a request that keeps failing is decided by what happens to the
others: if they succeed in between, it is this request (FetchFailed); if nobody succeeds, it is an outage, and the work
waits (UpstreamUnavailable after `outage_wait` seconds). A lone request asks for a witness: a tiny request known to be good.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

import stamina

from app.domain.contract import Endpoint
from app.domain.wording import counted
from app.errors import FetchFailed, RequestTooLarge, UpstreamError, UpstreamUnavailable
from app.telemetry import get_logger
from app.upstream.breaker import BreakerOpen, BreakerState, CircuitBreaker, Permit
from app.upstream.budget import RetryBudget
from app.upstream.faults import FOREIGN, AttemptFailed, FailureKind, Redactor, kind_of, translate
from app.upstream.pace import Pace
from app.upstream.stats import ApiStatistics

LEAST_ATTEMPTS = 6
"""A request is tried at least this often before it is given up."""

_PROVEN_FAILURES = 3
"""Failures of one request between successes of others that prove the request, not the API, to be at fault."""

_ATTEMPTS_OF_SEVERAL = 3
"""The same as `LEAST_ATTEMPTS` for a request that names several accounts: its parts are further attempts."""

_ATTEMPTS_WITHOUT_WITNESS = 2
"""So often a request that has parts fails before a witness is asked for: the parts fail, too, and would open the breaker for all others."""

_JITTER = 0.5

_Result = TypeVar("_Result")
_Attempt = Callable[[], Awaitable[_Result]]
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Seconds and counts: total deadline of one request, patience with an outage, first and longest wait before a retry.

    `retry_budget` and `retries_per_second` are what successes need not pay for: retries at once, and in the course of time.
    """

    deadline: float
    outage_wait: float
    retry_wait: float
    longest_retry_wait: float
    concurrency: int
    breaker_failures: int
    breaker_seconds: float
    retry_budget: int
    retries_per_second: float


class Outage:
    """For how long nobody got an answer; counted only while somebody waits for one.

    So a run that starts hours after an outage began, with nobody asking in between, has its full patience.
    """

    def __init__(self) -> None:
        """Start in good health."""
        self.answers = 0
        self.was_probed = False
        """Whether one more request was sent after all patience with this outage had ended."""
        self._since: float | None = None
        self._callers = 0

    @property
    def seconds(self) -> float:
        """Seconds since the first failure that no success followed; 0 in good health."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    def answered(self) -> None:
        """The API answered somebody."""
        self.answers += 1
        self._end()

    def failed(self) -> None:
        """The API failed somebody."""
        if self._since is None:
            self._since = asyncio.get_running_loop().time()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Count a caller who waits for an answer."""
        self._callers += 1
        try:
            yield
        finally:
            self._callers -= 1
            if not self._callers:
                self._end()

    def _end(self) -> None:
        self._since = None
        self.was_probed = False


@dataclass(frozen=True, slots=True)
class Share:
    """What one request is among others: how long an answer may take (None: the usual), and whether its work can be asked for in parts.

    Its parts are those of one account, or, with `names_several`, of several.
    """

    deadline: float | None = None
    is_divisible: bool = False
    names_several: bool = False


class Call:
    """One request and its attempts: whether another is worth while, and whom to blame."""

    def __init__(self, outage: Outage, limits: GuardLimits, share: Share = Share()) -> None:
        """Start without an attempt."""
        self._outage = outage
        self._limits = limits
        self._is_divisible = share.is_divisible or share.names_several
        self._least_attempts = _ATTEMPTS_OF_SEVERAL if share.names_several else LEAST_ATTEMPTS
        self._needed_proofs = min(_PROVEN_FAILURES, self._least_attempts - 1)
        self._answers = outage.answers
        self._failures = 0
        self._proven_failures = 0
        self._is_proven = False
        self._first_failure: float | None = None
        self.last: AttemptFailed | None = None

    @property
    def needs_witness(self) -> bool:
        """Whether it failed more than once while no answer to another request tells a bad request from an outage."""
        if self._is_proven or not self._failures:
            return False
        is_late = self._is_divisible and self.last is not None and self.last.kind is FailureKind.DEADLINE
        return is_late or self._failures >= (_ATTEMPTS_WITHOUT_WITNESS if self._is_divisible else LEAST_ATTEMPTS)

    @property
    def was_throttled(self) -> bool:
        """Whether its last attempt came too early for the API, and not to a failure."""
        return self.last is not None and self.last.kind is FailureKind.THROTTLED

    @property
    def patience(self) -> float:
        """Seconds that the call may still wait for the API."""
        return self._limits.outage_wait - max(self._outage.seconds, self._age)

    @property
    def _age(self) -> float:
        return 0.0 if self._first_failure is None else asyncio.get_running_loop().time() - self._first_failure

    def decide(self, error: Exception) -> bool | float:
        """Whether to try again after this error: False, True for the usual wait, or the seconds to wait. Called once per failure."""
        if not isinstance(error, AttemptFailed):
            return False
        self.last = error
        if self._first_failure is None:
            self._first_failure = asyncio.get_running_loop().time()
        if error.kind is not FailureKind.THROTTLED:  # the request is not at fault: only time bounds it
            self._failures += 1
            self._is_proven = self._outage.answers > self._answers
            self._proven_failures += self._is_proven
        self._answers = self._outage.answers
        if error.kind is FailureKind.DEADLINE and self._is_divisible and self._is_proven:
            # The API answers others in time: what is slow in this one is found in its parts, sooner than by waiting once more for all.
            return False
        if self.patience <= 0 or (self._failures >= self._least_attempts and self._proven_failures >= self._needed_proofs):
            return False
        if error.kind is FailureKind.THROTTLED:
            return 0.0  # the pace holds everybody back for the time that the API asked for
        if error.retry_after is None:
            return True
        return min(error.retry_after + random.uniform(0, _JITTER), self.patience)

    def verdict(self) -> UpstreamError:
        """The error that tells why the call is given up."""
        if self._outage.seconds >= self._limits.outage_wait:
            return self.outage_verdict()
        return FetchFailed(f"The API answers others, but this request failed {counted(self._failures, 'time')}. Last: {self.last}")

    def outage_verdict(self) -> UpstreamUnavailable:
        """The error that tells that nobody gets an answer."""
        last = "" if self.last is None else f" Last: {self.last}"
        return UpstreamUnavailable(
            f"The API was out for {self._limits.outage_wait:g} s, as long as the service may wait; "
            "what was healed before stays, nothing else was changed. "
            f"Start again when it is back.{last}"
        )


class Guard:
    """Sends requests when the quota, the breaker and the connections allow it, and again where that may help.

    `witness` is the tiny request that tells a bad request from an outage. Use it within one event loop.
    """

    def __init__(self, pace: Pace, limits: GuardLimits, redact: Redactor, statistics: ApiStatistics, witness: _Attempt[object]) -> None:
        """Start with a closed breaker and nobody waiting."""
        self._pace = pace
        self._limits = limits
        self._redact = redact
        self._statistics = statistics
        self._witness = witness
        self._outage = Outage()
        self._breaker = CircuitBreaker(limits.breaker_failures, limits.breaker_seconds, _log_change)
        self._budget = RetryBudget(limits.retry_budget, limits.retries_per_second)
        self._connections = asyncio.Semaphore(limits.concurrency)
        self._final = asyncio.Lock()

    @property
    def state(self) -> BreakerState:
        """The breaker's state."""
        return self._breaker.state

    def close(self) -> None:
        """Leave no timer behind."""
        self._breaker.close()

    async def run(self, endpoint: Endpoint, attempt: _Attempt[_Result], share: Share = Share()) -> _Result:
        """What `attempt` returns, tried until it succeeds or the verdict is clear.

        UpstreamRefused, RequestTooLarge and FetchFailed come at once where trying again cannot help; FetchFailed also
        when only this request keeps failing, UpstreamUnavailable when the API is out.
        """
        call = Call(self._outage, self._limits, share)
        retries = stamina.retry_context(
            on=call.decide,
            attempts=None,  # `decide` bounds them: by number while the API answers others, by time while it is out
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
                        # Not after a 429: it cost the API nothing, and the pace slows everybody down for it already.
                        if again and not call.was_throttled:
                            await self._pay(call, endpoint)
                        return await self._try(call, endpoint, attempt, again=again, deadline=share.deadline)
            except AttemptFailed as failure:
                raise call.verdict() from failure
            except BreakerOpen:
                raise call.outage_verdict() from call.last
        raise AssertionError("retries end with a result or an error")

    async def _try(self, call: Call, endpoint: Endpoint, attempt: _Attempt[_Result], *, again: bool, deadline: float | None) -> _Result:
        if call.needs_witness:
            await self._pay(call, Endpoint.ALLTIME)
            with suppress(FetchFailed, RequestTooLarge):  # an answer is an answer
                await self._send(call, Endpoint.ALLTIME, self._witness)
        return await self._send(call, endpoint, attempt, again=again, deadline=deadline)

    async def _send(
        self, call: Call, endpoint: Endpoint, attempt: _Attempt[_Result], *, again: bool = False, deadline: float | None = None
    ) -> _Result:
        loop = asyncio.get_running_loop()
        async with self._turn(call, endpoint) as permit:
            self._statistics.note_request(endpoint, again=again)
            started = loop.time()
            try:
                async with asyncio.timeout(deadline or self._limits.deadline):
                    result = await attempt()
            except UpstreamError as error:
                self._judge(error, endpoint, permit)
                raise
            except FOREIGN as error:
                ours = translate(error, self._redact)
                self._judge(ours, endpoint, permit)
                raise ours from self._redact.cause(error)
            permit.succeed()
            self._outage.answered()
            self._pace.succeeded()
            self._budget.succeeded()
            self._statistics.note_answer(endpoint, loop.time() - started)
            return result

    async def _pay(self, call: Call, endpoint: Endpoint) -> None:
        """Wait until the budget has room for one more request than there would be without failures.

        When the call's patience ends first, it goes on: the turn that it then asks for finds the patience at its end.
        """
        started = asyncio.get_running_loop().time()
        await self._budget.take(call.patience)
        self._statistics.note_budget_wait(endpoint, asyncio.get_running_loop().time() - started)

    @asynccontextmanager
    async def _turn(self, call: Call, endpoint: Endpoint) -> AsyncIterator[Permit]:
        """Leave to send one request now, with a connection to send it on."""
        loop = asyncio.get_running_loop()
        while True:
            is_patient = call.patience > 0
            async with nullcontext(enter_result=False) if is_patient else self._final_probe(call) as is_probe:
                try:
                    patience = call.patience if is_patient else self._limits.deadline
                    permit = self._breaker.force() if is_probe else await self._breaker.admit(patience)
                except BreakerOpen:
                    if not is_patient:
                        raise
                    continue
                with permit:
                    async with self._connections:
                        started = loop.time()
                        await self._pace.acquire()
                        self._statistics.note_limiter_wait(endpoint, loop.time() - started)
                        # The patience may have ended, and the breaker opened, during the wait.
                        if (call.patience > 0 or not is_patient) and (permit.is_current or is_probe):
                            yield permit
                            return

    @asynccontextmanager
    async def _final_probe(self, call: Call) -> AsyncIterator[bool]:
        """Whether this call sends the one request that is owed to the API when all patience has ended.

        A wait that the API itself asked for can use the patience up without a single further request. Other calls wait here for
        what comes of the probe: once the API has answered, they may send too; otherwise they end with their last error.
        """
        async with self._final:
            if self._outage.seconds >= self._limits.outage_wait:
                if self._outage.was_probed:
                    raise call.last or AttemptFailed(FailureKind.THROTTLED, "The API answers nobody in time.")
                self._outage.was_probed = True
                try:
                    yield True
                except asyncio.CancelledError:
                    self._outage.was_probed = False
                    raise
                return
        yield False

    def _judge(self, error: UpstreamError, endpoint: Endpoint, permit: Permit) -> None:
        """Tell breaker, pace and statistics what an error means: only failures of the API count against it."""
        self._statistics.note_failure(endpoint, kind_of(error))
        if not isinstance(error, AttemptFailed):
            self._outage.answered()
            return
        self._outage.failed()
        if error.kind is FailureKind.THROTTLED:
            # No longer than the patience lasts: at its end one request finds out whether the API is back.
            patience = max(0.0, self._limits.outage_wait - self._outage.seconds)
            self._pace.throttled(None if error.retry_after is None else min(error.retry_after, patience))
        else:
            permit.fail()


def _log_change(state: BreakerState) -> None:
    match state:
        case BreakerState.OPEN:
            _log.warning("The API keeps failing: no request is sent for a while.", action="breaker_opened")
        case BreakerState.HALF_OPEN:
            _log.info("One request is sent to see whether the API is back.", action="breaker_half_opened")
        case BreakerState.CLOSED:
            _log.info("The API answers again.", action="breaker_closed")
