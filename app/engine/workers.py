"""The worker pool: asyncio tasks that serve runs until they are told to stop.

A worker that meets an outage of upstream, or an error that trying again would not mend, ends the run with the reason;
one that loses PostgreSQL waits and goes on when it is back. Accounts that a broken-off batch held are released as soon
as PostgreSQL answers.
"""

import asyncio
import contextlib
import datetime as dt
import random
import uuid
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from app.domain.models import RunStatus
from app.engine.batch import BatchReconciler
from app.engine.config import EngineConfig
from app.engine.preparation import Preparation
from app.engine.store import Store
from app.engine.usage import RunUsage
from app.errors import DatabaseUnavailable, ReconError, WriteConflict
from app.store.runs import ActiveRun
from app.store.wake import WakeUps
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from app.store.claims import Claim

_log = get_logger(__name__)
_LONGEST_PAUSE = 15.0


class WorkerPool:
    """Serves queued runs, all of them or one, with several workers in this process."""

    def __init__(self, store: Store, client: UpstreamClient, config: EngineConfig, now: Callable[[], dt.datetime]) -> None:
        """Bind the parts; `now` gives the time (aware)."""
        self._store = store
        self._config = config
        self._batches = BatchReconciler(store, client, config, now)
        self._preparation = Preparation(store, client, config, now)
        self._usage = RunUsage(store.runs, store.claims.worker_id)
        self._preparing: set[uuid.UUID] = set()
        self._orphans: list[Claim] = []
        self._bell = asyncio.Event()
        self._stopping = asyncio.Event()
        direct_dsn = store.database.direct_dsn
        self._wake_ups = None if direct_dsn is None else WakeUps(store.database, direct_dsn)

    def wake(self) -> None:
        """There may be work: look now instead of at the next poll."""
        # A new bell for each ring: a worker that takes one before it looks misses no ring, and takes none from another.
        self._bell.set()
        self._bell = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve runs while the context lasts; at its end batches get the grace time to finish, the rest is released.

        Raises ConfigurationError if the direct way to the database leads to another one.
        """
        if self._wake_ups is not None:
            await self._wake_ups.check()
        others = [asyncio.create_task(self._heartbeat())]
        if self._wake_ups is not None:
            others.append(asyncio.create_task(self._wake_ups.listen(self.wake)))
        workers = [asyncio.create_task(self._serve(None)) for _ in range(self._config.workers)]
        try:
            yield
        finally:
            self._stopping.set()
            self.wake()
            try:
                await asyncio.wait(workers, timeout=self._config.grace_seconds)
            finally:
                # Also when the wait itself is cancelled by a second signal: what is held is given back.
                await self._end(*others, *workers)

    async def run_until_finished(self, run_id: uuid.UUID) -> None:
        """Serve one run until it is over; for the command line."""
        heart = asyncio.create_task(self._heartbeat())
        workers = [asyncio.create_task(self._serve(run_id)) for _ in range(self._config.workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            await self._end(heart, *workers)

    async def _end(self, *tasks: "asyncio.Task[None]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(ReconError):
            # Without PostgreSQL nothing can be released; the lease does it then.
            await self._store.claims.leave()

    async def _heartbeat(self) -> None:
        while True:
            try:
                await self._store.claims.beat()
            except ReconError as error:
                _log.warning("A heartbeat was missed.", action="worker.heartbeat_missed", reason=str(error))
            await asyncio.sleep(self._config.lease_seconds / 4)

    async def _serve(self, only: uuid.UUID | None) -> None:
        pause = self._config.poll_seconds
        await self._first_beat()
        while not self._stopping.is_set():
            bell = self._bell
            try:
                await self._release_orphans()
                runs = await self._store.runs.active(only)
                if only is not None and not runs:
                    return
                worked = await self._serve_some(runs)
                pause = self._config.poll_seconds
            except (DatabaseUnavailable, WriteConflict) as error:
                # Both pass: PostgreSQL comes back, a conflicting writer commits. The accounts wait in their run meanwhile.
                _log.warning(
                    "PostgreSQL does not answer or is busy with the same rows; the work waits.",
                    action="worker.waiting",
                    reason=str(error),
                    pause=round(pause, 1),
                )
                worked, pause = False, min(pause * 2, _LONGEST_PAUSE)
            if not worked:
                await _sleep(pause, bell)

    async def _first_beat(self) -> None:
        """A claim without a heartbeat behind it would be anyone's: beat before the first."""
        while not self._stopping.is_set():
            bell = self._bell
            try:
                await self._store.claims.beat()
            except ReconError as error:
                _log.warning("PostgreSQL does not answer; the work waits.", action="worker.waiting", reason=str(error))
                await _sleep(self._config.poll_seconds, bell)
            else:
                return

    async def _serve_some(self, runs: list[ActiveRun]) -> bool:
        """Do one piece of work for the first run that has one; whether there was any."""
        for run in runs:
            try:
                if await self._serve_run(run):
                    return True
            except (DatabaseUnavailable, WriteConflict):
                raise
            except ReconError as error:
                _log.error("A run failed; its accounts are released.", action="run.failed", run_id=str(run.run_id), reason=str(error))
                self._usage.forget(run.run_id)
                await self._store.runs.end_early(run.run_id, RunStatus.FAILED, str(error))
                return True
            except Exception as error:  # noqa: BLE001 - the last resort of a worker that must go on
                # A defect of ours: the run says so instead of meeting it for ever.
                _log.exception("A run failed by an error of ours; its accounts are released.", action="run.failed", run_id=str(run.run_id))
                self._usage.forget(run.run_id)
                await self._store.runs.end_early(run.run_id, RunStatus.FAILED, f"An error in trade-recon itself ended the run: {error!r}.")
                return True
        return False

    async def _serve_run(self, run: ActiveRun) -> bool:
        if not run.prepared:
            return await self._prepare(run)
        claim = await self._store.claims.claim(run.run_id, self._config.batch_size)
        if claim is None:
            ended = await self._store.runs.finish(run.run_id)
            if ended:
                self._usage.forget(run.run_id)
            return ended
        try:
            with self._usage.recording(run.run_id) as use:
                await self._batches.reconcile(claim, run.request.kind, use)
        finally:
            # Recorded accounts are free already; whatever is left of the claim is given back.
            self._orphans.append(claim)
        await self._release_orphans()
        return True

    async def _prepare(self, run: ActiveRun) -> bool:
        if run.run_id in self._preparing:
            return False
        self._preparing.add(run.run_id)
        try:
            if not await self._store.runs.take_preparation(run.run_id, self._store.claims.worker_id, self._config.lease_seconds):
                return False
            with self._usage.recording(run.run_id) as use:
                await self._preparation.prepare(run, use)
        finally:
            self._preparing.discard(run.run_id)
        self.wake()
        return True

    async def _release_orphans(self) -> None:
        while self._orphans:
            # Taken out first: another worker of this process may be here too.
            claim = self._orphans.pop()
            try:
                await self._store.claims.release(claim)
            except ReconError:
                self._orphans.append(claim)
                raise


async def _sleep(seconds: float, bell: asyncio.Event) -> None:
    """Wait for the bell, at most about so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):
            await bell.wait()
