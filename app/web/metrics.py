"""Prometheus metrics of the API client, read at each scrape."""

import math
from collections.abc import Callable, Iterable, Iterator

from fastapi import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from app.engine.report.models.api import ApiUse, EndpointUse

_PREFIX = "trade_recon_upstream"

_COUNTERS: tuple[tuple[str, str, Callable[[EndpointUse], float]], ...] = (
    (
        "requests",
        "Requests sent, including retries and probes.",
        lambda figures: figures.requests,
    ),
    ("pages", "Pages of rows that came.", lambda figures: figures.pages),
    (
        "rows",
        "Rows that came, rows that neighbouring pages share counted twice.",
        lambda figures: figures.rows,
    ),
    ("retries", "Requests sent again after a failure.", lambda figures: figures.retries),
    (
        "throttled",
        "Responses with status 429 (too many requests).",
        lambda figures: figures.throttled,
    ),
    (
        "limiter_wait_seconds",
        "Seconds that requests waited for the quota, summed over them.",
        lambda figures: figures.limiter_seconds,
    ),
    (
        "retry_budget_wait_seconds",
        "Seconds that retries waited for their budget, summed over them.",
        lambda figures: figures.budget_seconds,
    ),
)


class MetricsResponse(Response):
    """Prometheus' text format."""

    media_type = CONTENT_TYPE_PLAIN_0_0_4


class _UpstreamCollector(Collector):
    def __init__(self, use: ApiUse) -> None:
        self._use = use

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        yield self._breaker()
        yield from self._counters()
        yield self._failures()
        yield self._durations()

    def _breaker(self) -> Metric:
        family = GaugeMetricFamily(
            f"{_PREFIX}_breaker_state",
            "1 for the circuit breaker's state, 0 for the others.",
            labels=["state"],
        )
        for state in self._use.breaker_states:
            family.add_metric([state], float(state == self._use.breaker))
        return family

    def _counters(self) -> Iterator[Metric]:
        for name, meaning, figure in _COUNTERS:
            family = CounterMetricFamily(f"{_PREFIX}_{name}", meaning, labels=["endpoint"])
            for endpoint, figures in self._use.endpoints.items():
                family.add_metric([endpoint], figure(figures))
            yield family

    def _failures(self) -> Metric:
        family = CounterMetricFamily(
            f"{_PREFIX}_failures",
            "Requests that failed, by the kind of failure.",
            labels=["endpoint", "kind"],
        )
        for endpoint, figures in self._use.endpoints.items():
            for kind, failures in figures.failures.items():
                family.add_metric([endpoint, kind], failures)
        return family

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            f"{_PREFIX}_request_duration_seconds",
            "How long requests took that were answered well, waits left out.",
            labels=["endpoint"],
        )
        for endpoint, figures in self._use.endpoints.items():
            buckets = [
                ("+Inf" if math.isinf(bound) else str(bound), float(count))
                for bound, count in figures.latency
            ]
            family.add_metric([endpoint], buckets, figures.latency_total)
        return family


def exposition(use: ApiUse | None) -> bytes:
    """A process's metrics as text."""
    registry = (
        CollectorRegistry()
    )  # not the library's own, in which other parts of the process would show up
    if use is not None:
        registry.register(_UpstreamCollector(use))
    return generate_latest(registry)
