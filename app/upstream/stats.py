"""Figures on the use of the API, per endpoint, since the client was opened."""

import random
from collections import Counter
from dataclasses import dataclass, field

from app.domain.contract import Endpoint
from app.upstream.faults import FailureKind

_SAMPLES = 1024
_PERCENTILES = (50, 90, 99)


class LatencySample:
    """Percentiles of any number of latencies from a fixed number of them: each has the same chance to be kept."""

    def __init__(self) -> None:
        """Start without a latency."""
        self._kept: list[float] = []
        self._seen = 0

    def add(self, seconds: float) -> None:
        """Take one latency into account."""
        self._seen += 1
        if len(self._kept) < _SAMPLES:
            self._kept.append(seconds)
        elif (place := random.randrange(self._seen)) < _SAMPLES:
            self._kept[place] = seconds

    def percentiles(self) -> dict[str, float]:
        """Seconds below which 50, 90 and 99 of 100 requests were answered; empty before the first answer."""
        ordered = sorted(self._kept)
        return {f"p{share}": round(ordered[len(ordered) * share // 100], 4) for share in _PERCENTILES if ordered}


@dataclass(slots=True)
class EndpointStatistics:
    """Figures of one endpoint; `requests` counts everything sent, retries and probes too, `latency` what was answered well."""

    requests: int = 0
    pages: int = 0
    rows: int = 0
    retries: int = 0
    throttled: int = 0
    failures: Counter[FailureKind] = field(default_factory=Counter)
    latency: LatencySample = field(default_factory=LatencySample)
    limiter_seconds: float = 0.0

    def snapshot(self) -> dict[str, object]:
        """The figures as JSON values; latencies and waits in seconds."""
        return {
            "requests": self.requests,
            "pages": self.pages,
            "rows": self.rows,
            "retries": self.retries,
            "throttled": self.throttled,
            "failures": {kind.value: count for kind, count in sorted(self.failures.items())},
            "latency_seconds": self.latency.percentiles(),
            "limiter_wait_seconds": round(self.limiter_seconds, 3),
        }


class ApiStatistics:
    """Figures of every endpoint."""

    def __init__(self) -> None:
        """Start at zero."""
        self._endpoints = {endpoint: EndpointStatistics() for endpoint in Endpoint}

    def of(self, endpoint: Endpoint) -> EndpointStatistics:
        """The figures of one endpoint, to be read or added to."""
        return self._endpoints[endpoint]

    @property
    def requests(self) -> int:
        """Requests sent to all endpoints together."""
        return sum(figures.requests for figures in self._endpoints.values())

    def snapshot(self) -> dict[str, dict[str, object]]:
        """The figures of each endpoint that was asked, by its name, as JSON values."""
        return {endpoint.value: figures.snapshot() for endpoint, figures in self._endpoints.items() if figures.requests}
