"""What each run asks of the API, as far as this process serves it: kept with the run, apart from
the process's own figures.
"""

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
    """The API statistics of one run, counted by all workers of this process that serve it."""

    run_id: RunId
    worker_id: WorkerId
    runs: Runs
    statistics: ApiStatistics = field(default_factory=ApiStatistics)
    _keeping: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep(self) -> None:
        """Write the figures so far into the run's record, as the part of this process.

        Do it before the work that they belong to is recorded as done: whoever sees a run at its end
        then sees all of them.
        """
        # One after the other: an earlier look that is written later would take back what the next
        # one had counted.
        async with self._keeping:
            await self.runs.set_api_statistics(
                self.run_id, self.worker_id, self.statistics.snapshot()
            )


class ApiUsage:
    """The use of the API by each run that this process serves."""

    def __init__(self, runs: Runs, worker_id: WorkerId) -> None:
        """Keep the figures in `runs`, as the part of this worker process."""
        self._runs = runs
        self._worker_id = worker_id
        self._held: OrderedDict[RunId, RunApiStats] = OrderedDict()

    @contextmanager
    def recording(self, run_id: RunId) -> Iterator[RunApiStats]:
        """Count for the run what is asked of the API inside.

        Figures are held between the batches of 32 runs; of more at once, those served longest ago
        begin anew.
        """
        use = self._held.setdefault(run_id, RunApiStats(run_id, self._worker_id, self._runs))
        self._held.move_to_end(run_id)
        while len(self._held) > _MOST_RUNS:
            self._held.popitem(last=False)
        with use.statistics.recording():
            yield use

    def forget(self, run_id: RunId) -> None:
        """The run is over; a worker that is still at it keeps what it counts."""
        self._held.pop(run_id, None)
