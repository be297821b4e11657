"""The worker pool: asyncio tasks that serve runs until they are told to stop.

A worker that meets an outage of upstream, or an error that trying again would not mend, ends the
run with the reason; one that loses PostgreSQL waits and goes on when it is back. Accounts that a
broken-off batch held are released as soon as PostgreSQL answers. One worker more serves only runs
of few named accounts, for which people wait: it is free when the others are at batches of
thousands. Another one serves only inspections, which need no upstream: it is free when the others
wait for that.
"""

import asyncio
import contextlib
import datetime as dt
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain.runs.waits import Hindrance, WaitReason
from app.domain.states import RunKind, RunStatus
from app.engine.api_usage import ApiUsage
from app.engine.batch.reconcile import BatchReconciler, count_broken_off
from app.engine.config import EngineConfig
from app.engine.end_log import log_end
from app.engine.isolation.bisect import FailedHealing, Isolation
from app.engine.preparation.inspection import Inspector
from app.engine.preparation.prepare_run import Preparation
from app.engine.report.refresh import SnapshotRefresher
from app.engine.report.waits import WaitReasons
from app.engine.repositories import Repositories
from app.engine.runs.housekeeping import keep_house
from app.engine.runs.locked_accounts import LockedAccounts
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
from app.store.database.listen import WakeUps
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from app.store.claims.claim import Claim

_log = get_logger(__name__)
_NAMED = 20
_WAITS_SECONDS = 2.0
"""Why runs wait is read at most this often, for the log."""
_LOOKED_AT = 3
"""Of so many runs it is looked why they wait, when there is nothing to do for any."""
_LONGEST_PAUSE = 15.0
_SHORTAGES = 3
"""When so many tries in a row of a run's own work lacked room, and there was room each time right
after, the run itself wants too much.
"""
_FAREWELL_SECONDS = 2.0
"""How long the figures of the report may take at the end of the process, for which whoever told it
to stop waits.
"""


@dataclass(frozen=True, slots=True)
class _Duty:
    """What a worker serves: every run, or `only` one of them, or only runs of few accounts that
    people `named`, or only `local` ones.
    """

    only: uuid.UUID | None = None
    named: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class _Conflict:
    """Others hold rows: what PostgreSQL said, and, on this process's clock, since when and when it
    is tried again.
    """

    reason: str
    since: float
    next_try: float


class WorkerPool:
    """Serves queued runs, all of them or one, with several workers in this process."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        summary: SnapshotRefresher,
    ) -> None:
        """Bind the parts; `now` gives the time (aware), `summary` is told of what was recorded."""
        self._store = store
        self._summary = summary
        self._config = config
        self._now = now
        self._batches = BatchReconciler(store, client, config, now)
        self._isolation = Isolation(self._batches, store, FailedHealing(store, self._batches.terms))
        inspector = Inspector(store, config, now)
        self._inspection = Isolation(inspector, store, inspector.record_unread)
        self._preparation = Preparation(store, client, config, now)
        self._usage = ApiUsage(store.runs, store.claims.worker_id)
        self._halts = StopSignals(store, self._today)
        self._locked_out = LockedAccounts(store, config.locked_seconds)
        self._client = client
        self._waiting = WaitReasons(store.waits, config.lease_seconds)
        self._only_run: uuid.UUID | None = None
        self._conflict: _Conflict | None = None
        self._told_hindrance: Hindrance | None = None
        self._told_at = -math.inf
        self._told_waits: dict[uuid.UUID, list[str]] = {}
        self._waits_read_at = -math.inf
        self._preparing: set[uuid.UUID] = set()
        self._finishing: set[uuid.UUID] = set()
        self._shortages: Counter[uuid.UUID] = Counter()
        self._orphans: list[Claim] = []
        self._bell = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped_at = math.inf
        direct_dsn = store.database.direct_dsn
        self._wake_ups = None if direct_dsn is None else WakeUps(store.database, direct_dsn)

    def wake(self) -> None:
        """There may be work, or less of it: look now instead of at the next poll."""
        # A new bell for each ring: a worker that takes one before it looks misses no ring, and
        # takes none from another.
        self._bell.set()
        self._bell = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether this process ends its work."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin no batch any more; those under way stop at their next safe point."""
        self._stopped_at = min(self._stopped_at, time.monotonic())
        self._stopping.set()
        self._halts.stop()
        self.wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve runs while the context lasts; at its end batches get the grace time to a safe
        point, the rest is released.

        Raises ConfigurationError if the direct way to the database leads to another one.
        """
        if self._wake_ups is not None:
            await self._wake_ups.check()
        others = [
            *self._companions(),
            asyncio.create_task(keep_house(self._store, self._config)),
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
                # A batch that finds no safe point in its grace time is cancelled, and given back,
                # by its worker. The time counts from the signal: requests under way have ended
                # meanwhile.
                until = self._stopped_at + self._config.grace_seconds + 1
                await asyncio.wait(workers, timeout=max(0.0, until - time.monotonic()))
            finally:
                # Also when the wait itself is cancelled by a second signal: what is held is given
                # back.
                await self._end(*others, *workers)

    async def run_until_finished(self, run_id: uuid.UUID) -> None:
        """Serve one run until there is nothing to do for it, since it is over or paused; for the
        command line.
        """
        self._only_run = run_id
        companions = self._companions()
        workers = [
            asyncio.create_task(self._serve(_Duty(run_id))) for _ in range(self._config.workers)
        ]
        try:
            await asyncio.gather(*workers)
            # A run whose time is up is not served any more; it is ended here, or the next process
            # would find it running.
            await self._halts.look()
        finally:
            await self._end(*companions, *workers)

    def _companions(self) -> "list[asyncio.Task[None]]":
        return [asyncio.create_task(self._heartbeat()), asyncio.create_task(self._watch())]

    async def _end(self, *tasks: "asyncio.Task[None]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._release_orphans()
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

    async def _heartbeat(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(self._config.lease_seconds / 4)

    async def _beat(self) -> bool:
        try:
            lost = await self._store.claims.beat(self._hindrance(), self._only_run)
        except ReconError as error:
            _log.warning(
                "A heartbeat was missed.", action="worker.heartbeat_missed", reason=str(error)
            )
            return False
        if lost:
            _log.warning(
                "The lease had ended: the accounts of this process were given up.",
                action="worker.lapsed",
                accounts=lost,
            )
        return True

    async def _watch(self) -> None:
        """Notice runs that are paused, over, or past their time."""
        while True:
            bell = self._bell
            await self._halts.look()
            await self._tell_hindrance()
            await self._batches.under_way.tell()
            await _sleep(self._config.poll_seconds, bell)

    def _hindrance(self) -> Hindrance | None:
        """What keeps the work of this process from going on."""
        if (found := self._client.hindrance) is not None or self._conflict is None:
            return found
        now = time.monotonic()
        return Hindrance(
            WaitReason.LOCKS,
            now - self._conflict.since,
            self._conflict.reason,
            max(0.0, self._conflict.next_try - now),
        )

    async def _tell_hindrance(self) -> None:
        """Tell, in the log and in the database, what keeps the work from going on, as soon as that
        changes.
        """
        before, found = self._told_hindrance, self._hindrance()
        is_new = (None if before is None else before.kind) != (
            None if found is None else found.kind
        )
        # The next try is told anew when it is past.
        is_past = (
            before is not None
            and before.next_in is not None
            and time.monotonic() - self._told_at > before.next_in
        )
        if not is_new and not is_past:
            return
        self._told_hindrance, self._told_at = found, time.monotonic()
        await self._beat()
        for run_id in self._halts.run_ids if is_new else ():
            if found is None:
                _log.info("A run goes on.", action="run.going_on", run_id=str(run_id))
            else:
                await self._tell_waits(run_id)

    async def _tell_waits(self, run_id: uuid.UUID) -> None:
        """Log why a run does not go on, once for each reason."""
        try:
            waits = await self._waiting.of(await self._store.run_reader.get(run_id))
        except ReconError as error:
            _log.warning(
                "It is not known why a run waits.",
                action="run.unwatched",
                run_id=str(run_id),
                reason=str(error),
            )
            return
        reasons = sorted(f"{wait.reason} {wait.accounts or ''}" for wait in waits)
        if waits and reasons != self._told_waits.get(run_id):
            for wait in waits:
                _log.warning(
                    "A run waits.",
                    action="run.waiting",
                    run_id=str(run_id),
                    reason=wait.reason.value,
                    why=wait.message,
                )
        self._told_waits[run_id] = reasons

    async def _serve(self, duty: _Duty) -> None:
        pause = self._config.poll_seconds
        # A claim without a heartbeat behind it would be anyone's: beat before the first.
        while not self._stopping.is_set() and not await self._beat():
            await _sleep(pause, self._bell)
        while not self._stopping.is_set():
            bell = self._bell
            try:
                await self._release_orphans()
                runs = await self._store.active_runs.active(
                    duty.only, named=duty.named, local=duty.local
                )
                if duty.only is not None and not runs:
                    return
                worked = await self._serve_some(runs)
                pause, self._conflict = self._config.poll_seconds, None
                await self._note_turn(runs, worked=worked)
            except (DatabaseUnavailable, WriteConflict) as error:
                # Both pass: PostgreSQL comes back, a conflicting writer commits. The accounts wait
                # in their run meanwhile.
                _log.warning(
                    "PostgreSQL does not answer or is busy with the same rows; the work waits.",
                    action="worker.waiting",
                    reason=str(error),
                    pause=round(pause, 1),
                )
                self._note_conflict(error, pause)
                worked, pause = False, min(pause * 2, _LONGEST_PAUSE)
            except Exception:
                if duty.only is not None:
                    raise
                # Nobody would notice a worker that ended: it says so, and tries again.
                _log.exception(
                    "A worker met an error that no run is to blame for; it tries again.",
                    action="worker.failed",
                )
                worked, pause = False, min(pause * 2, _LONGEST_PAUSE)
            if not worked:
                await _sleep(pause, bell)

    async def _note_turn(self, runs: list[ActiveRun], *, worked: bool) -> None:
        """After a turn without an error: what was done is to be counted, or it is told why there
        was nothing to do.
        """
        if worked:
            self._summary.note()
            return
        now = time.monotonic()
        if now - self._waits_read_at >= _WAITS_SECONDS:
            self._waits_read_at = now
            for run in runs[:_LOOKED_AT]:
                await self._tell_waits(run.run_id)

    def _note_conflict(self, error: ReconError, pause: float) -> None:
        """Others hold the rows that are to be written; that PostgreSQL is gone could not be told
        there.
        """
        if isinstance(error, WriteConflict):
            now = time.monotonic()
            self._conflict = _Conflict(
                str(error).rstrip("."), self._conflict.since if self._conflict else now, now + pause
            )

    async def _serve_some(self, runs: list[ActiveRun]) -> bool:
        """Do one piece of work for the first run that has one; whether there was any.

        Raises WriteConflict where a run has only accounts left whose rows somebody else holds, and
        no other run has work.
        """
        conflict: WriteConflict | None = None
        for run in runs:
            if self._stopping.is_set():
                return False
            try:
                if await self._serve_one(run):
                    return True
            except WriteConflict as error:
                conflict = error
        if conflict is not None:
            raise conflict
        return False

    async def _serve_one(self, run: ActiveRun) -> bool:
        """Do one piece of work for a run, and end the run where that fails; whether there was
        any.
        """
        try:
            worked = await self._serve_run(run)
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
            if await self._store.control.suspend(run.run_id, str(error), run.confirmed_at):
                await log_end(self._store, run.run_id, self._today())
            self._summary.note_end()
        except ReconError as error:
            if isinstance(error, ResourcesExhausted):
                # Raises DatabaseUnavailable where there is no room for anybody: that passes, and no
                # run is to blame.
                await self._store.database.require_room()
                self._shortages[run.run_id] += 1
                if self._shortages[run.run_id] < _SHORTAGES:
                    # There is room again: what was in want of it is tried once more.
                    raise DatabaseUnavailable(str(error)) from error
            _log.error(
                "A run failed; its accounts are released.",
                action="run.failed",
                run_id=str(run.run_id),
                reason=str(error),
            )
            await self._fail(run, str(error))
        except Exception as error:  # noqa: BLE001 - the last resort of a worker that must go on
            # A defect of ours: the run says so instead of meeting it for ever.
            _log.exception(
                "A run failed by an error of ours; its accounts are released.",
                action="run.failed",
                run_id=str(run.run_id),
            )
            await self._fail(run, f"An error in trade-recon itself ended the run: {error!r}.")
        else:
            self._shortages.pop(run.run_id, None)
            return worked
        return True

    async def _fail(self, run: ActiveRun, reason: str) -> None:
        self._forget(run.run_id)
        await self._store.runs.end_early(run.run_id, RunStatus.FAILED, reason)
        self._summary.note_end()
        await log_end(self._store, run.run_id, self._today())

    def _today(self) -> dt.date:
        return self._config.today(self._now())

    def _forget(self, run_id: uuid.UUID) -> None:
        self._told_waits.pop(run_id, None)
        self._batches.forget(run_id)
        self._usage.forget(run_id)
        self._isolation.forget(run_id)
        self._inspection.forget(run_id)
        self._locked_out.forget(run_id)
        self._shortages.pop(run_id, None)

    async def _serve_run(self, run: ActiveRun) -> bool:
        if not run.prepared:
            return await self._prepare(run)
        try:
            claim = await self._store.claims.claim(run.run_id, self._config.batch_size)
        except (RowRefused, DatabaseError) as error:
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
            return True
        if claim is None:
            return await self._finish(run)
        try:
            with (
                self._usage.recording(run.run_id) as use,
                self._halts.working_on(run.run_id) as halt,
            ):
                flow = self._inspection if run.request.kind is RunKind.INSPECT else self._isolation
                await halt.limit(flow.reconcile(claim, run, use, halt), self._config.grace_seconds)
        finally:
            # Recorded accounts are free already; whatever is left of the claim is given back.
            self._orphans.append(claim)
        await self._release_orphans()
        return True

    async def _finish(self, run: ActiveRun) -> bool:
        """End the run if nothing of it waits any more, and say whether it was ended here.

        What it did is counted before: whoever sees that the run is over finds it in the report. For
        named accounts, for which people wait, it is counted after, unless it takes next to nothing.
        """
        if run.run_id in self._finishing:
            return False
        if await self._count_waiting(run.run_id):
            await self._locked_out.set_apart(run.run_id)
            return False
        self._finishing.add(run.run_id)
        try:
            if run.request.account_ids is None or self._summary.is_cheap:
                await self._summary.catch_up()
            ended = await self._store.runs.finish(run.run_id, self._config.guard, self._today())
        finally:
            self._finishing.discard(run.run_id)
        if ended:
            self._summary.note_end()
            self._forget(run.run_id)
            await log_end(self._store, run.run_id, self._today())
        return ended

    async def _count_waiting(self, run_id: uuid.UUID) -> int:
        """How many accounts wait for their turn in a run, after deleted ones are recorded as gone
        and lost claims are given back.
        """
        state = await self._store.run_reader.get(run_id)
        waiting = int(state["waiting"] - state["untried"])
        if not waiting:
            return 0
        lost = await self._store.claims.release_lost()
        if lost:
            _log.warning(
                "Accounts that were claimed without an answer are given back.",
                action="claim.lost",
                accounts=lost,
            )
        gone = await self._store.claims.record_gone(run_id)
        if gone:
            _log.warning(
                "Accounts of a run were deleted from trade_recon while they waited; they are"
                " recorded as gone.",
                action="run.gone",
                run_id=str(run_id),
                accounts=gone,
            )
        return max(0, waiting - gone)

    async def _prepare(self, run: ActiveRun) -> bool:
        if run.run_id in self._preparing:
            return False
        self._preparing.add(run.run_id)
        try:
            if not await self._store.preparations.take(run.run_id):
                return False
            with (
                self._usage.recording(run.run_id) as use,
                self._halts.working_on(run.run_id) as halt,
            ):
                # It has no safe point, and needs none: it is done again from the beginning.
                await halt.limit(self._preparation.prepare(run, use), 0)
        finally:
            self._preparing.discard(run.run_id)
        self.wake()
        return True

    async def _release_orphans(self) -> None:
        while self._orphans:
            # Taken out first: another worker of this process may be here too.
            claim = self._orphans.pop()
            try:
                await count_broken_off(self._store, claim)
                await self._store.claims.release(claim)
            except ReconError:
                self._orphans.append(claim)
                raise


async def _sleep(seconds: float, bell: asyncio.Event) -> None:
    """Wait for the bell, at most about so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):
            await bell.wait()
