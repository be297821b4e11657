"""When to retry, and what to blame."""

import asyncio
import random
from dataclasses import dataclass

from app.domain.wording.counts import counted
from app.errors import FetchFailed, UpstreamError, UpstreamUnavailable
from app.upstream.failures import AttemptFailed, FailureKind
from app.upstream.resilience.outage import Outage

LEAST_ATTEMPTS = 6
"""Attempts before a request is given up."""
_NEEDED = {
    (False, False): (LEAST_ATTEMPTS, 3),
    (False, True): (3, 2),
    (True, False): (4, 2),
    (True, True): (2, 1),
}
"""Attempts, and failures between others' successes, by suspect and divisible.

Parts of several accounts are further attempts.
"""
_ATTEMPTS_WITHOUT_PROBE = 2
"""Its parts would open the breaker."""
_JITTER = 0.5


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """The pipeline's limits (see `UpstreamConfig`)."""

    deadline: float
    outage_wait: float
    retry_wait: float
    longest_retry_wait: float
    concurrency: int
    breaker_failures: int
    breaker_seconds: float
    retry_budget: int
    retries_per_second: float
    check_wait: float


@dataclass(frozen=True, slots=True)
class Share:
    """A request's deadline (None: the usual) and parts; a suspect failed before."""

    deadline: float | None = None
    is_divisible: bool = False
    names_several: bool = False
    is_suspect: bool = False


class Call:
    """One request and its attempts."""

    def __init__(self, outage: Outage, limits: PipelineLimits, share: Share = Share()) -> None:
        self._outage = outage
        self._limits = limits
        self._is_divisible = share.is_divisible or share.names_several
        self.is_suspect = share.is_suspect
        self._least_attempts, self._needed_proofs = _NEEDED[share.is_suspect, share.names_several]
        self._answers = outage.answers
        self._failures = 0
        self._proven_failures = 0
        self._is_proven = False
        self._first_failure: float | None = None
        self._failed_at = 0.0
        self._not_before = 0.0
        self.last: AttemptFailed | None = None

    @property
    def needs_probe(self) -> bool:
        """Whether only a probe tells the cause."""
        if self._is_proven or not self._failures or self.is_proven_since:
            return False
        if self.is_suspect or (self._is_divisible and self._is_late):
            return True
        return self._failures >= (_ATTEMPTS_WITHOUT_PROBE if self._is_divisible else LEAST_ATTEMPTS)

    @property
    def is_proven_since(self) -> bool:
        """Whether the API answered another request meanwhile."""
        return self._outage.answers > self._answers

    @property
    def says_nothing_of_the_api(self) -> bool:
        """Whether failures are this request's alone."""
        return self.is_suspect or (self._proven_failures > 0 and self.is_proven_since)

    @property
    def is_hopeless(self) -> bool:
        """It timed out, others are answered: its parts tell more."""
        return self._is_late and (self._is_divisible or self.is_suspect) and self.is_proven_since

    @property
    def _is_late(self) -> bool:
        return self.last is not None and self.last.kind is FailureKind.DEADLINE

    @property
    def was_throttled(self) -> bool:
        """Whether its last answer was 429."""
        return self.last is not None and self.last.kind is FailureKind.THROTTLED

    @property
    def patience(self) -> float:
        """Seconds that the call may still wait."""
        return self._limits.outage_wait - max(self._outage.seconds, self._age)

    @property
    def asked_wait(self) -> float:
        """Seconds left of the API's wait."""
        return min(self._not_before - asyncio.get_running_loop().time(), self.patience)

    @property
    def check_wait(self) -> float:
        """Seconds until a probe checks that wait."""
        return (
            0.0
            if self.is_suspect
            else self._failed_at + self._limits.check_wait - asyncio.get_running_loop().time()
        )

    @property
    def _age(self) -> float:
        return (
            0.0
            if self._first_failure is None
            else asyncio.get_running_loop().time() - self._first_failure
        )

    def decide(self, error: Exception) -> bool | float:
        """Whether to retry, or after how many seconds."""
        if not isinstance(error, AttemptFailed):
            return False
        self.last = error
        self._failed_at = asyncio.get_running_loop().time()
        if self._first_failure is None:
            self._first_failure = self._failed_at
        self._failures += 1
        self._is_proven = self.is_proven_since
        self._proven_failures += self._is_proven
        if self.is_hopeless or self.patience <= 0 or self._is_enough:
            return False
        self._answers = self._outage.answers
        if error.retry_after is None:
            # After a 429 the pace holds everybody back, unless it was this request's alone.
            return (
                0.0
                if self.was_throttled and not self.is_suspect and self._proven_failures <= 1
                else True
            )
        # Kept before the next attempt, where it can end as soon as the API is known to answer
        # others.
        self._not_before = (
            self._failed_at
            + error.retry_after
            + (0.0 if self.was_throttled else random.uniform(0, _JITTER))
        )
        return 0.0

    @property
    def _is_enough(self) -> bool:
        """Whether it failed enough while others succeeded."""
        # Too many requests of all together can meet one of them several times.
        least = (
            LEAST_ATTEMPTS if self.was_throttled and not self.is_suspect else self._least_attempts
        )
        return self._failures >= least and self._proven_failures >= self._needed_proofs

    def verdict(self) -> UpstreamError:
        """The error that ends the call."""
        if self._outage.seconds >= self._limits.outage_wait:
            return self.outage_verdict()
        return FetchFailed(
            f"The API answers others, but this request failed {counted(self._failures, 'time')}."
            f" Last: {self.last}"
        )

    def outage_verdict(self) -> UpstreamUnavailable:
        """The error of an outage."""
        failure = self.last or self._outage.last
        last = "" if failure is None else f" Last: {failure}"
        return UpstreamUnavailable(
            f"The API was out for {self._limits.outage_wait:g} s, as long as the service may wait; "
            "what was healed before stays, nothing else was changed. "
            f"Start again when it is back.{last}",
            None if failure is None else str(failure),
        )
