import json

from app.domain.contract import Endpoint
from app.upstream.faults import FailureKind
from app.upstream.stats import ApiStatistics, LatencySample


def test_a_snapshot_is_json_and_names_only_endpoints_that_were_asked() -> None:
    statistics = ApiStatistics()
    assert statistics.snapshot() == {}
    daily = statistics.of(Endpoint.DAILY)
    daily.requests += 2
    daily.failures[FailureKind.DEADLINE] += 1
    daily.latency.add(0.25)
    snapshot = json.loads(json.dumps(statistics.snapshot()))
    assert list(snapshot) == ["metrics/daily"]
    assert snapshot["metrics/daily"]["failures"] == {"deadline": 1}
    assert snapshot["metrics/daily"]["latency_seconds"] == {"p50": 0.25, "p90": 0.25, "p99": 0.25}
    assert statistics.requests == 2


def test_percentiles_of_many_latencies_stay_near_the_truth_in_bounded_memory() -> None:
    sample = LatencySample()
    for number in range(100_000):
        sample.add(number / 100_000)
    assert len(sample._kept) == 1024
    percentiles = sample.percentiles()
    assert abs(percentiles["p50"] - 0.5) < 0.1
    assert abs(percentiles["p99"] - 0.99) < 0.03
