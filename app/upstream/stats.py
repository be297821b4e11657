"""API statistics per endpoint; `recording()` also counts for the work inside, its tasks
included.
"""

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import accumulate

from app.domain.contract.tables import Endpoint
from app.upstream.failures import FailureKind

LATENCY_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of latencies in seconds."""

_SAMPLES = 1024
_PERCENTILES = (50, 90, 99)


class Latency:
    """Sampled percentiles, counts by bound, sum."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._seen = 0
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Add one latency."""
        self._counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.total += seconds
        self._seen += 1
        if len(self._kept) < _SAMPLES:
            self._kept.append(seconds)
        elif (
            place := random.randrange(self._seen)
        ) < _SAMPLES:  # each latency has the same chance to be kept
            self._kept[place] = seconds

    def percentiles(self) -> dict[str, float]:
        """Seconds by percentile."""
        ordered = sorted(self._kept)
        return {
            f"p{share}": round(ordered[len(ordered) * share // 100], 4)
            for share in _PERCENTILES
            if ordered
        }

    def cumulative(self) -> list[tuple[float, int]]:
        """Latencies up to each bound and infinity."""
        return list(zip((*LATENCY_BOUNDS, math.inf), accumulate(self._counts), strict=True))


@dataclass(slots=True)
class EndpointStatistics:
    """One endpoint's figures; `requests` include retries and probes."""

    requests: int = 0
    pages: int = 0
    rows: int = 0
    retries: int = 0
    throttled: int = 0
    failures: Counter[FailureKind] = field(default_factory=Counter)
    latency: Latency = field(default_factory=Latency)
    limiter_seconds: float = 0.0
    budget_seconds: float = 0.0

    def snapshot(self) -> dict[str, object]:
        """As JSON values."""
        return {
            "requests": self.requests,
            "pages": self.pages,
            "rows": self.rows,
            "retries": self.retries,
            "throttled": self.throttled,
            "failures": {kind.value: count for kind, count in sorted(self.failures.items())},
            "latency_seconds": self.latency.percentiles(),
            "limiter_wait_seconds": round(self.limiter_seconds, 3),
            "retry_budget_wait_seconds": round(self.budget_seconds, 3),
        }


class ApiStatistics:
    """Figures by endpoint, noted in recordings, too."""

    def __init__(self) -> None:
        self._endpoints = {endpoint: EndpointStatistics() for endpoint in Endpoint}

    def of(self, endpoint: Endpoint) -> EndpointStatistics:
        """One endpoint's figures."""
        return self._endpoints[endpoint]

    @property
    def requests(self) -> int:
        """Requests to all endpoints."""
        return sum(figures.requests for figures in self._endpoints.values())

    def snapshot(self) -> dict[str, dict[str, object]]:
        """By endpoint requested, as JSON values."""
        return {
            endpoint.value: figures.snapshot()
            for endpoint, figures in self._endpoints.items()
            if figures.requests
        }

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the requests of clients inside."""
        token = _recording.set((*_recording.get(), self))
        try:
            yield
        finally:
            _recording.reset(token)

    def note_request(self, endpoint: Endpoint, *, again: bool = False) -> None:
        """A request is sent, `again` after failure."""
        for figures in self._noting(endpoint):
            figures.requests += 1
            figures.retries += again

    def note_answer(self, endpoint: Endpoint, seconds: float) -> None:
        """A request was answered well."""
        for figures in self._noting(endpoint):
            figures.latency.add(seconds)

    def note_failure(self, endpoint: Endpoint, kind: FailureKind) -> None:
        """A request failed."""
        for figures in self._noting(endpoint):
            figures.failures[kind] += 1
            figures.throttled += kind is FailureKind.THROTTLED

    def note_page(self, endpoint: Endpoint, rows: int) -> None:
        """A page came."""
        for figures in self._noting(endpoint):
            figures.pages += 1
            figures.rows += rows

    def note_limiter_wait(self, endpoint: Endpoint, seconds: float) -> None:
        """A request waited for the quota."""
        for figures in self._noting(endpoint):
            figures.limiter_seconds += seconds

    def note_budget_wait(self, endpoint: Endpoint, seconds: float) -> None:
        """A retry waited for its budget."""
        for figures in self._noting(endpoint):
            figures.budget_seconds += seconds

    def _noting(self, endpoint: Endpoint) -> Iterator[EndpointStatistics]:
        for statistics in (self, *_recording.get()):
            yield statistics.of(endpoint)


_recording: ContextVar[tuple[ApiStatistics, ...]] = ContextVar(
    "api_statistics_recording", default=()
)
"""Of the present work."""
