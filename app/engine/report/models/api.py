"""API use of one process."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from app.domain.contract.tables import Endpoint
from app.upstream.client import UpstreamClient
from app.upstream.failures import FailureKind
from app.upstream.resilience.breaker import BreakerState
from app.upstream.stats import ApiStatistics, EndpointStatistics


class EndpointUse(Struct, frozen=True, kw_only=True):
    """Figures; waits are summed seconds, `latency` counts requests by bound."""

    requests: int
    pages: int
    rows: int
    retries: int
    throttled: int
    limiter_seconds: float
    budget_seconds: float
    failures: Mapping[str, int]
    latency: Sequence[tuple[float, int]]
    latency_total: float


class ApiUse(Struct, frozen=True, kw_only=True):
    """Breaker state, and figures by endpoint."""

    breaker: str
    breaker_states: Sequence[str]
    endpoints: Mapping[str, EndpointUse]


def api_use(client: UpstreamClient) -> ApiUse:
    """A client's use."""
    return use_of(client.breaker_state, client.statistics)


def use_of(breaker: BreakerState, statistics: ApiStatistics) -> ApiUse:
    """Use by endpoint; absent figures are 0."""
    return ApiUse(
        breaker=breaker.value,
        breaker_states=[state.value for state in BreakerState],
        endpoints={endpoint.value: _endpoint(statistics.of(endpoint)) for endpoint in Endpoint},
    )


def _endpoint(figures: EndpointStatistics) -> EndpointUse:
    return EndpointUse(
        requests=figures.requests,
        pages=figures.pages,
        rows=figures.rows,
        retries=figures.retries,
        throttled=figures.throttled,
        limiter_seconds=figures.limiter_seconds,
        budget_seconds=figures.budget_seconds,
        failures={kind.value: figures.failures[kind] for kind in FailureKind},
        latency=figures.latency.cumulative(),
        latency_total=figures.latency.total,
    )
