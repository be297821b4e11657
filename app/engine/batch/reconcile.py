"""Takes a claimed batch through detect, plan, fetch, apply, verify, record.

Entry points: `BatchReconciler.reconcile`; `app.engine.batch.record.count_broken_off`.

Invariants:
1. Only detection after a write closes issues.
2. Only proven fetches are applied, in one transaction under the claim's fence.
3. A failure costs its request's accounts alone: postponed once, then failed.
4. A batch stops between requests; finished accounts are recorded.
5. A suspect upstream suspends the run after the record.
"""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.domain.ids import RunId
from app.domain.states import Outcome
from app.engine.api_usage import RunApiStats
from app.engine.batch.batch_progress import BatchProgress
from app.engine.batch.detect import Detector
from app.engine.batch.holds import BatchHolds
from app.engine.batch.record import BatchRecorder
from app.engine.batch.requests.shared import RunReads
from app.engine.batch.rounds import ProcessReads, Rounds
from app.engine.batch.run_guards import RunGuards
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.engine.stopping import StopSignal
from app.store.claims.claim import Claim
from app.store.results.account_result import Terms
from app.store.runs.active_runs import ActiveRun
from app.upstream.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class _Shared:
    """What reconcilers of all windows of dates share."""

    reads: ProcessReads
    under_way: BatchProgress
    guards: RunGuards


class BatchReconciler:
    """Detects, repairs and records claimed accounts."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        shared: "_Shared | None" = None,
    ) -> None:
        self._store = store
        self._client = client
        self._config = config
        self._now = now
        self._shared = shared = shared or _Shared(
            ProcessReads(asyncio.Semaphore(config.fetches), RunReads(client, config)),
            BatchProgress(store),
            RunGuards(store.runs, config.guard),
        )
        self._detector = detector = Detector(store, config, now, shared.guards)
        self._holds = holds = BatchHolds(store, config, now)
        self._rounds = Rounds(store, client, config, now, detector, holds, shared.reads)
        self._recorder = BatchRecorder(store, config, now)

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, stop: StopSignal
    ) -> Counter[Outcome]:
        """Repair and record; outcomes of accounts still ours.

        Raises UpstreamRefused, UpstreamUnavailable, DatabaseUnavailable, with nothing recorded.
        """
        bound = self.within(run.history_from)
        if bound is not self:
            return await bound.reconcile(claim, run, use, stop)
        state = await self._detect(replace(claim, by_rows=run.request.compares_rows), run, stop)
        await self._hold(state)
        try:
            with state.use.recording(), self.under_way.working(state):
                await self._rounds.run(state)
            outcomes = await self._recorder.record(state, use)
        except (Exception, asyncio.CancelledError):
            await self._recorder.break_off(state, use)
            raise
        await self._recorder.suspend_if_suspect(state)
        await off_loop(state.release)
        return outcomes

    async def _detect(self, claim: Claim, run: ActiveRun, stop: StopSignal) -> BatchState:
        state = await self._detector.begin(claim, run, stop)
        await self._holds.cover_accepted(state)
        await self._detector.note_found(state)
        return state

    async def _hold(self, state: BatchState) -> None:
        await self._holds.hold_flapping(state)
        state.timings["detect"] += time.monotonic() - state.begun

    def within(self, first: dt.date | None) -> "BatchReconciler":
        """The reconciler for dates from `first` on (None: all)."""
        store = self._store.within(first)
        if store is self._store:
            return self
        return BatchReconciler(store, self._client, self._config, self._now, self._shared)

    @property
    def under_way(self) -> BatchProgress:
        """Batches not recorded yet."""
        return self._shared.under_way

    def terms(self) -> Terms:
        """The terms of recording now."""
        return self._recorder.terms()

    def forget(self, run_id: RunId) -> None:
        """Drop an ended run."""
        self._shared.guards.forget(run_id)
