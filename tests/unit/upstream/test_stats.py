import asyncio
import json
import math

from app.domain.contract.tables import Endpoint
from app.upstream.failures import FailureKind
from app.upstream.stats import LATENCY_BOUNDS, ApiStatistics, Latency


def test_a_snapshot_is_json_and_names_only_endpoints_that_were_asked() -> None:
    statistics = ApiStatistics()
    assert statistics.snapshot() == {}
    statistics.note_request(Endpoint.DAILY)
    statistics.note_failure(Endpoint.DAILY, FailureKind.DEADLINE)
    statistics.note_request(Endpoint.DAILY)
    statistics.note_answer(Endpoint.DAILY, 0.25)
    snapshot = json.loads(json.dumps(statistics.snapshot()))
    assert list(snapshot) == ["metrics/daily"]
    assert snapshot["metrics/daily"]["failures"] == {"deadline": 1}
    assert snapshot["metrics/daily"]["latency_seconds"] == {"p50": 0.25, "p90": 0.25, "p99": 0.25}
    assert statistics.requests == 2


def test_percentiles_of_many_latencies_stay_near_the_truth_in_bounded_memory() -> None:
    sample = Latency()
    for number in range(100_000):
        sample.add(number / 100_000)
    assert len(sample._kept) == 1024
    percentiles = sample.percentiles()
    assert abs(percentiles["p50"] - 0.5) < 0.1
    assert abs(percentiles["p99"] - 0.99) < 0.03


def test_latencies_are_counted_up_to_each_bound_and_the_bound_itself_belongs_to_it() -> None:
    latency = Latency()
    for seconds in (0.01, LATENCY_BOUNDS[0], 0.3, 3600):
        latency.add(seconds)
    counted = dict(latency.cumulative())
    assert [
        counted[LATENCY_BOUNDS[0]],
        counted[0.25],
        counted[0.5],
        counted[LATENCY_BOUNDS[-1]],
        counted[math.inf],
    ] == [2, 2, 3, 3, 4]
    assert latency.total == 0.01 + LATENCY_BOUNDS[0] + 0.3 + 3600


def test_a_429_counts_as_a_failure_and_as_throttled() -> None:
    statistics = ApiStatistics()
    statistics.note_failure(Endpoint.DAILY, FailureKind.THROTTLED)
    statistics.note_failure(Endpoint.DAILY, FailureKind.SERVER)
    assert statistics.of(Endpoint.DAILY).throttled == 1
    assert statistics.of(Endpoint.DAILY).failures.total() == 2


async def test_work_that_is_recorded_counts_its_own_requests_alone_tasks_and_parts_included() -> (
    None
):
    everything, one, other, part = (ApiStatistics() for _ in range(4))

    async def ask(times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)
            everything.note_request(Endpoint.DAILY)

    async def work(mine: ApiStatistics, times: int) -> None:
        with mine.recording():
            await asyncio.gather(ask(times), ask(times))
            if mine is one:
                with part.recording():
                    await ask(1)

    everything.note_request(Endpoint.DAILY)
    await asyncio.gather(work(one, 3), work(other, 5))
    assert [each.requests for each in (everything, one, other, part)] == [18, 7, 10, 1]
    everything.note_request(Endpoint.DAILY)
    assert (one.requests, other.requests) == (7, 10)
