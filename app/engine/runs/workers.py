"""The worker pool: asyncio tasks that serve runs until stopped.

Lasting errors end a run; a lost PostgreSQL is waited for. Two further workers serve runs of few
named accounts, and inspections.
"""

import asyncio
import contextlib
import datetime as dt
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.domain.ids import RunId
from app.engine.config import EngineConfig
from app.engine.report.refresh import SnapshotRefresher
from app.engine.repositories import Repositories
from app.engine.runs.heartbeat import Heartbeat
from app.engine.runs.housekeeping import run_maintenance_loop
from app.engine.runs.serve import RunServer
from app.engine.runs.wait_log import WaitLog
from app.engine.runs.wake import WakeSignal, sleep
from app.engine.runs.watch import RunWatch
from app.engine.stopping import StopSignals
from app.errors import DatabaseUnavailable, ReconError, WriteConflict
from app.store.database.listen import WakeUps
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)
_LONGEST_PAUSE = 15.0
_FAREWELL_SECONDS = 2.0
"""Longest last refresh of the report."""


@dataclass(frozen=True, slots=True)
class _Duty:
    """Serves all runs, `only` one, `named` or `local` ones."""

    only: RunId | None = None
    named: bool = False
    local: bool = False


class WorkerPool:
    """Serves queued runs with several workers."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        summary: SnapshotRefresher,
    ) -> None:
        self._store = store
        self._summary = summary
        self._config = config
        self._wake = WakeSignal()
        self._signals = StopSignals(store, lambda: config.today(now()))
        self._waits = WaitLog(store, config.lease_seconds)
        self.heartbeat = Heartbeat(store.claims, client, config.lease_seconds)
        self.server = RunServer(
            store,
            client,
            config,
            now,
            summary,
            signals=self._signals,
            waits=self._waits,
            wake=self._wake,
        )
        self._watch = RunWatch(self._signals, self.heartbeat, self._waits, self.server.under_way)
        self._stopping = asyncio.Event()
        self._stopped_at = math.inf
        direct_dsn = store.database.direct_dsn
        self._wake_ups = None if direct_dsn is None else WakeUps(store.database, direct_dsn)

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    @property
    def is_stopping(self) -> bool:
        """Whether this process ends."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin no batch; others stop at their next checkpoint."""
        self._stopped_at = min(self._stopped_at, time.monotonic())
        self._stopping.set()
        self._signals.stop()
        self.wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve runs inside; then batches get their grace time.

        Raises ConfigurationError if the direct DSN leads elsewhere.
        """
        if self._wake_ups is not None:
            await self._wake_ups.check()
        others = [
            *self._companions(),
            asyncio.create_task(run_maintenance_loop(self._store, self._config)),
            asyncio.create_task(self._summary.keep()),
        ]
        if self._wake_ups is not None:
            others.append(asyncio.create_task(self._wake_ups.listen(self.wake)))
        self._summary.note()
        duties = [_Duty()] * self._config.workers + [_Duty(named=True), _Duty(local=True)]
        workers = [asyncio.create_task(self._serve(duty)) for duty in duties]
        try:
            yield
        finally:
            self.stop()
            try:
                # A worker cancels and returns a batch that reaches no checkpoint in its grace time,
                # which counts from the signal.
                until = self._stopped_at + self._config.grace_seconds + 1
                await asyncio.wait(workers, timeout=max(0.0, until - time.monotonic()))
            finally:
                # Even if a second signal cancels the wait: claims are released.
                await self._end(*others, *workers)

    async def run_until_finished(self, run_id: uuid.UUID) -> None:
        """Serve one run to its end or pause."""
        only = self.heartbeat.only_run = RunId(run_id)
        companions = self._companions()
        workers = [
            asyncio.create_task(self._serve(_Duty(only))) for _ in range(self._config.workers)
        ]
        try:
            await asyncio.gather(*workers)
            # A run whose time is up is not served any more: end it, or it would stay running.
            await self._signals.look()
        finally:
            await self._end(*companions, *workers)

    def _companions(self) -> "list[asyncio.Task[None]]":
        return [
            asyncio.create_task(self.heartbeat.keep()),
            asyncio.create_task(self._watch.keep(self._wake, self._config.poll_seconds)),
        ]

    async def _end(self, *tasks: "asyncio.Task[None]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.server.release_orphans()
            await self._store.claims.leave()
        except ReconError as error:
            _log.warning(
                "PostgreSQL does not answer at the end: what this process holds is free when its"
                " lease ends.",
                action="worker.left_silently",
                reason=str(error),
            )
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._summary.close()

    async def _serve(self, duty: _Duty) -> None:
        pause = self._config.poll_seconds
        # Beat before the first claim: without a heartbeat others would take it.
        while not self._stopping.is_set() and not await self.heartbeat.beat():
            await sleep(pause, self._wake.event)
        while not self._stopping.is_set():
            event, worked = self._wake.event, False
            try:
                runs = await self._runs_of(duty)
                if duty.only is not None and not runs:
                    return
                worked = await self._take_turn(runs)
                pause = self._config.poll_seconds
            except (DatabaseUnavailable, WriteConflict) as error:
                # Both pass; the accounts wait in their run meanwhile.
                _log.warning(
                    "PostgreSQL does not answer or is busy with the same rows; the work waits.",
                    action="worker.waiting",
                    reason=str(error),
                    pause=round(pause, 1),
                )
                self.heartbeat.note_conflict(error, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except Exception:
                if duty.only is not None:
                    raise
                # A dead worker would go unnoticed: log the error, and try again.
                _log.exception(
                    "A worker met an error that no run is to blame for; it tries again.",
                    action="worker.failed",
                )
                pause = min(pause * 2, _LONGEST_PAUSE)
            if not worked:
                await sleep(pause, event)

    async def _runs_of(self, duty: _Duty) -> list[ActiveRun]:
        await self.server.release_orphans()
        return await self._store.active_runs.active(duty.only, named=duty.named, local=duty.local)

    async def _take_turn(self, runs: list[ActiveRun]) -> bool:
        worked = await self._serve_some(runs)
        self.heartbeat.note_work()
        if worked:
            self._summary.note()
        else:
            await self._waits.tell_some(runs)
        return worked

    async def _serve_some(self, runs: list[ActiveRun]) -> bool:
        """Serve the first run with work; whether one had any.

        Raises WriteConflict if only locked accounts are left.
        """
        conflict: WriteConflict | None = None
        for run in runs:
            if self._stopping.is_set():
                return False
            try:
                if await self.server.serve(run):
                    return True
            except WriteConflict as error:
                conflict = error
        if conflict is not None:
            raise conflict
        return False
