"""API statistics by run."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.domain.ids import RunId, WorkerId
from app.store.runs.lifecycle import Runs
from app.upstream.stats import ApiStatistics

_MOST_RUNS = 32


@dataclass(frozen=True, slots=True)
class RunApiStats:
    """One run's statistics in this process."""

    run_id: RunId
    worker_id: WorkerId
    runs: Runs
    statistics: ApiStatistics = field(default_factory=ApiStatistics)
    _keeping: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep(self) -> None:
        """Write the figures into the run, before its work is recorded."""
        # Serialised: an older snapshot written later would undo a newer one.
        async with self._keeping:
            await self.runs.set_api_statistics(
                self.run_id, self.worker_id, self.statistics.snapshot()
            )


class ApiUsage:
    """Statistics of runs served here."""

    def __init__(self, runs: Runs, worker_id: WorkerId) -> None:
        self._runs = runs
        self._worker_id = worker_id
        self._held: OrderedDict[RunId, RunApiStats] = OrderedDict()

    @contextmanager
    def recording(self, run_id: RunId) -> Iterator[RunApiStats]:
        """Count requests inside; the last 32 runs are held."""
        use = self._held.setdefault(run_id, RunApiStats(run_id, self._worker_id, self._runs))
        self._held.move_to_end(run_id)
        while len(self._held) > _MOST_RUNS:
            self._held.popitem(last=False)
        with use.statistics.recording():
            yield use

    def forget(self, run_id: RunId) -> None:
        """Drop an ended run."""
        self._held.pop(run_id, None)
