"""Plans what a run of several batches reads once for all of them.

Entry points: `SharedReadPlanning.propose`, and `note` before batches may begin.
"""

import datetime as dt
from collections.abc import Callable, Sequence

from app.domain.accounts.progress import Progress
from app.domain.planning.contradictions import is_short
from app.domain.planning.estimates import recent_gaps
from app.domain.planning.planned_request import SharedRead
from app.domain.planning.sharing import SAMPLE, RunSize, propose
from app.engine.config import EngineConfig
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.store.runs.active_runs import ActiveRun
from app.store.runs.run_queue import Queue
from app.telemetry import get_logger

_log = get_logger(__name__)


class SharedReadPlanning:
    """Finds dates that most accounts lack in a sample of the accounts that a run takes."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        max_ids: Callable[[], int],
        now: Callable[[], dt.datetime],
    ) -> None:
        self._store = store
        self._config = config
        self._max_ids = max_ids
        self._now = now

    async def propose(self, run: ActiveRun) -> list[SharedRead]:
        """The reads to share, before the queue is filled: both need a connection of their own, and
        there may be just one.
        """
        request = run.request
        if (
            not request.shares_reads
            or not self._config.shared_read_bytes
            or not self._store.shared_reads.can_share()
        ):
            return []
        try:
            accounts, sample = await self._store.account_lists.sample_mismatched(SAMPLE)
            accounts = min(accounts, request.max_accounts or accounts)
            batches = -(-accounts // self._config.batch_size)
            if batches < 2:  # noqa: PLR2004 - one batch shares its reads anyway
                return []
            return await self._propose(run, sample, accounts, batches)
        except ReconError as error:
            _log.warning(
                "What the run's batches lack alike could not be found out; they ask by id.",
                action="run.reads_unplanned",
                run_id=str(run.run_id),
                reason=str(error),
            )
            return []

    async def note(self, run: ActiveRun, queue: Queue, reads: Sequence[SharedRead]) -> None:
        """Note them with the queue, so that no batch begins without."""
        await self._store.shared_reads.plan(queue.connection, run.run_id, reads)
        if reads:
            _log.info(
                "What most accounts of the run lack alike is read once.",
                action="run.reads_planned",
                run_id=str(run.run_id),
                reads=[f"{read.endpoint.value} {', '.join(map(str, read.days))}" for read in reads],
            )

    async def _propose(
        self, run: ActiveRun, sample: Sequence[str], accounts: int, batches: int
    ) -> list[SharedRead]:
        views = await self._store.detection.look(sample, run.run_id, keeps=False)
        now = self._now().date()
        short = [account_id for account_id, view in views.items() if is_short(view)]
        # Among all accounts a date is missing for everyone, among the short ones for some.
        gaps = {
            day
            for among in (short, await self._store.account_lists.sample(SAMPLE))
            for day in recent_gaps(await self._store.detection.coverage(among), now)
        }
        upstream = await self._store.detection.size()
        size = RunSize(accounts, batches, self._max_ids(), upstream)
        return await off_loop(
            propose,
            [(view, Progress()) for view in views.values()],
            frozenset(gaps),
            size,
        )
