"""Prepares, reconciles or ends a run, piece by piece."""

import datetime as dt
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.domain.ids import RunId
from app.domain.states import RunKind
from app.engine.api_usage import ApiUsage
from app.engine.batch.batch_progress import BatchProgress
from app.engine.batch.reconcile import BatchReconciler
from app.engine.batch.record import count_broken_off
from app.engine.config import EngineConfig
from app.engine.isolation.bisect import Isolation
from app.engine.isolation.failed_accounts import FailedAccounts
from app.engine.preparation.inspection import Inspector
from app.engine.preparation.prepare_run import Preparation
from app.engine.report.refresh import SnapshotRefresher
from app.engine.repositories import Repositories
from app.engine.runs.endings import RunEndings
from app.engine.runs.wait_log import WaitLog
from app.engine.runs.wake import WakeSignal
from app.engine.stopping import StopSignals
from app.errors import (
    ClaimLost,
    DatabaseError,
    DatabaseUnavailable,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    UpstreamSuspect,
    WriteConflict,
)
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from app.store.claims.claim import Claim

_log = get_logger(__name__)
_NAMED = 20
_SHORTAGES = 3
"""Passing shortages in a row that fail a run."""


class RunServer:
    """Serves runs for all workers here."""

    def __init__(  # noqa: PLR0913 - what workers share
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        summary: SnapshotRefresher,
        *,
        signals: StopSignals,
        waits: WaitLog,
        wake: WakeSignal,
    ) -> None:
        self._store = store
        self._config = config
        self._signals = signals
        self._waits = waits
        self._wake = wake
        self._batches = BatchReconciler(store, client, config, now)
        self._isolation = Isolation(
            self._batches, store, FailedAccounts(store, self._batches.terms)
        )
        inspector = Inspector(store, config, now)
        self._inspection = Isolation(inspector, store, inspector.record_unread)
        self._preparation = Preparation(store, client, config, now)
        self._usage = ApiUsage(store.runs, store.claims.worker_id)
        self._endings = RunEndings(store, config, now, summary, self._forget)
        self._preparing: set[RunId] = set()
        self._shortages: Counter[RunId] = Counter()
        self._orphans: list[Claim] = []

    @property
    def under_way(self) -> BatchProgress:
        """Batches not recorded yet."""
        return self._batches.under_way

    async def serve(self, run: ActiveRun) -> bool:
        """Do one piece of work, failing the run on errors; whether there was any.

        Raises DatabaseUnavailable and WriteConflict, which pass.
        """
        try:
            worked = await self.work_on(run)
        except (DatabaseUnavailable, WriteConflict):
            raise
        except ClaimLost as error:
            _log.warning(
                "Another worker took the work over.",
                action="worker.superseded",
                run_id=str(run.run_id),
                reason=str(error),
            )
            return False
        except UpstreamSuspect as error:
            await self._endings.suspend(run, str(error))
        except ReconError as error:
            await self._meet_failure(run, error)
        except Exception as error:  # noqa: BLE001 - the last resort of a worker that must go on
            # A defect of ours ends the run, which would meet it forever.
            _log.exception(
                "A run failed by an error of ours; its accounts are released.",
                action="run.failed",
                run_id=str(run.run_id),
            )
            reason = f"An error in trade-recon itself ended the run: {error!r}."
            await self._endings.fail(run, reason)
        else:
            self._shortages.pop(run.run_id, None)
            return worked
        return True

    async def work_on(self, run: ActiveRun) -> bool:
        """Prepare, reconcile or finish; whether there was work."""
        if not run.prepared:
            return await self.prepare(run)
        try:
            claim = await self._store.claims.claim(run.run_id, self._config.batch_size)
        except (RowRefused, DatabaseError) as error:
            await self._set_unwritable_apart(run, error)
            return True
        if claim is None:
            return await self._endings.finish(run)
        try:
            with (
                self._usage.recording(run.run_id) as use,
                self._signals.working_on(run.run_id) as stop,
            ):
                flow = self._inspection if run.request.kind is RunKind.INSPECT else self._isolation
                await stop.limit(flow.reconcile(claim, run, use, stop), self._config.grace_seconds)
        finally:
            # Recorded accounts are free already; the rest of the claim is released.
            self._orphans.append(claim)
        await self.release_orphans()
        return True

    async def prepare(self, run: ActiveRun) -> bool:
        """Prepare the run, unless another worker does."""
        if run.run_id in self._preparing:
            return False
        self._preparing.add(run.run_id)
        try:
            if not await self._store.preparations.take(run.run_id):
                return False
            with (
                self._usage.recording(run.run_id) as use,
                self._signals.working_on(run.run_id) as stop,
            ):
                # Without a checkpoint: it is repeated from the beginning.
                await stop.limit(self._preparation.prepare(run, use), 0)
        finally:
            self._preparing.discard(run.run_id)
        self._wake.set()
        return True

    async def release_orphans(self) -> None:
        """Release the rest of ended claims."""
        while self._orphans:
            # Popped first: another worker of this process may be here too.
            claim = self._orphans.pop()
            try:
                await count_broken_off(self._store, claim)
                await self._store.claims.release(claim)
            except ReconError:
                self._orphans.append(claim)
                raise

    async def _set_unwritable_apart(self, run: ActiveRun, error: ReconError) -> None:
        apart = await self._store.claims.set_unwritable_apart(run.run_id, error)
        _log.warning(
            "Rows of trade_recon cannot be written; their accounts fail, and the run goes on"
            " with the others.",
            action="claim.unwritable",
            run_id=str(run.run_id),
            accounts=len(apart),
            sample=apart[:_NAMED],
            reason=str(error),
        )

    async def _meet_failure(self, run: ActiveRun, error: ReconError) -> None:
        await self._require_room(run, error)
        _log.error(
            "A run failed; its accounts are released.",
            action="run.failed",
            run_id=str(run.run_id),
            reason=str(error),
        )
        await self._endings.fail(run, str(error))

    async def _require_room(self, run: ActiveRun, error: ReconError) -> None:
        """Raise DatabaseUnavailable for passing shortages."""
        if isinstance(error, ResourcesExhausted):
            await self._store.database.require_room()
            self._shortages[run.run_id] += 1
            if self._shortages[run.run_id] < _SHORTAGES:
                # There is room again: retry.
                raise DatabaseUnavailable(str(error)) from error

    def _forget(self, run_id: RunId) -> None:
        self._waits.forget(run_id)
        self._batches.forget(run_id)
        self._usage.forget(run_id)
        self._isolation.forget(run_id)
        self._inspection.forget(run_id)
        self._shortages.pop(run_id, None)
