"""What a scrape tells, on a real server: the same figures as the report, in the text that
Prometheus reads.
"""

import asyncio
from collections.abc import Mapping

import httpx2
import pytest
import structlog
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from app.domain.contract.tables import Endpoint
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.upstream.failures import FailureKind
from app.upstream.resilience.breaker import BreakerState
from tests.conftest import Database, Server
from tests.support.commands import ended, served, settings_for
from tests.support.waiting import PATIENCE

_ALLTIME = Endpoint.ALLTIME.value
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def _scrape(client: httpx2.AsyncClient) -> Samples:
    """The samples by name and labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    families = list(text_string_to_metric_families(answer.text))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _of(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"trade_recon_upstream_{name}", frozenset(labels.items())]


def _state(samples: Samples) -> BreakerState:
    """The one state that counts 1; the others must be there with 0."""
    values = {state: _of(samples, "breaker_state", state=state.value) for state in BreakerState}
    assert sorted(values.values()) == [0, 0, 1]
    return next(state for state, value in values.items() if value)


async def test_a_scrape_tells_what_the_report_tells(
    filled: Database, sandbox: SandboxServer
) -> None:
    sandbox.log.reset()
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        sandbox.set_faults(Faults(probabilities={FaultKind.INTERNAL_ERROR: 1.0}, first_n=1))
        first = await ended(
            client, (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
        )
        sandbox.set_faults(
            Faults(probabilities={FaultKind.TOO_MANY_REQUESTS: 1.0}, first_n=1, retry_after=0)
        )
        second = await ended(
            client, (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
        )
        assert first["status"] == second["status"] == "succeeded"
        samples = await _scrape(client)
        api = (await client.get("/report")).json()["api"]
        assert samples == await _scrape(client), "a scrape must not count anything"
    figures = api["since_start"][_ALLTIME]
    for name, figure in (
        ("requests_total", "requests"),
        ("pages_total", "pages"),
        ("rows_total", "rows"),
        ("retries_total", "retries"),
        ("throttled_total", "throttled"),
    ):
        assert _of(samples, name, endpoint=_ALLTIME) == figures[figure] > 0
    for name, figure in (
        ("limiter_wait_seconds_total", "limiter_wait_seconds"),
        ("retry_budget_wait_seconds_total", "retry_budget_wait_seconds"),
    ):
        assert _of(samples, name, endpoint=_ALLTIME) == pytest.approx(figures[figure], abs=0.001)
    assert _of(samples, "requests_total", endpoint=_ALLTIME) == sandbox.log.counts[Endpoint.ALLTIME]
    failures = {
        kind: _of(samples, "failures_total", endpoint=_ALLTIME, kind=kind.value)
        for kind in FailureKind
    }
    assert (
        {kind.value: count for kind, count in failures.items() if count}
        == figures["failures"]
        == {"server_error": 1, "throttled": 1}
    )
    answered = figures["requests"] - 2
    assert _of(samples, "request_duration_seconds_bucket", endpoint=_ALLTIME, le="+Inf") == answered
    assert _of(samples, "request_duration_seconds_count", endpoint=_ALLTIME) == answered
    assert 0 < _of(samples, "request_duration_seconds_sum", endpoint=_ALLTIME) < 60
    assert (_state(samples), api["breaker"]) == (BreakerState.CLOSED, "closed")


async def test_a_scrape_is_in_the_format_of_prometheus_and_has_every_series_from_the_start(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(
        name.startswith("trade_recon_") and family.documentation
        for name, family in families.items()
    )
    assert {family.type for family in families.values()} == {"gauge", "counter", "histogram"}
    for name, family in families.items():
        if "endpoint" in family.samples[0].labels:
            assert {sample.labels["endpoint"] for sample in family.samples} == {
                endpoint.value for endpoint in Endpoint
            }, name
    assert not any(family.name.startswith("trade_recon") for family in REGISTRY.collect())


async def test_an_open_breaker_is_seen_in_the_report_the_metrics_and_the_log(
    filled: Database, sandbox: SandboxServer
) -> None:
    settings = settings_for(filled.dsn, sandbox.base_url).model_copy(
        update={
            "risk_api_breaker_failures": 1,
            "risk_api_breaker_seconds": 1,
            "recon_outage_wait": 30,
        }
    )
    sandbox.set_faults(Faults(down=True))
    with structlog.testing.capture_logs() as logs:
        async with served(settings) as client:
            location = (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
            async with asyncio.timeout(PATIENCE):
                while _state(await _scrape(client)) is not BreakerState.OPEN:  # noqa: ASYNC110 - another task's event
                    await asyncio.sleep(0.02)
            sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=1.0))
            async with asyncio.timeout(PATIENCE):
                while (await client.get("/report")).json()["api"]["breaker"] != "half_open":  # noqa: ASYNC110 - another task's event
                    await asyncio.sleep(0.02)
            sandbox.set_faults(NO_FAULTS)
            assert (await ended(client, location))["status"] == "succeeded"
            assert (await client.get("/report")).json()["api"]["breaker"] == "closed"
            assert _state(await _scrape(client)) is BreakerState.CLOSED
    told = [log["action"] for log in logs if str(log.get("action")).startswith("breaker_")]
    assert told[:2] == ["breaker_opened", "breaker_half_opened"]
    assert told[-1] == "breaker_closed"


async def test_a_scrape_is_answered_while_postgresql_is_away(
    postgres: Server, filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection:
        name = await connection.fetchval("SELECT current_database()")
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/metrics")).status_code == 200
        await postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
