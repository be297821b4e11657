"""Ends runs that this process serves."""

import datetime as dt
from collections.abc import Callable

from app.domain.ids import RunId
from app.domain.states import RunStatus
from app.engine.config import EngineConfig
from app.engine.end_log import log_end
from app.engine.records import RunRow, read
from app.engine.report.refresh import SnapshotRefresher
from app.engine.repositories import Repositories
from app.engine.runs.locked_accounts import LockedAccounts
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger

_log = get_logger(__name__)


class RunEndings:
    """Ends runs once, calling `forget`."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        summary: SnapshotRefresher,
        forget: Callable[[RunId], None],
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._summary = summary
        self._locked_out = LockedAccounts(store, config.locked_seconds)
        self._forget_others = forget
        self._finishing: set[RunId] = set()

    async def finish(self, run: ActiveRun) -> bool:
        """End the run if no account waits; whether it ended here.

        The report is refreshed before; for named accounts after, unless that is cheap.
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
            if run.request.shares_reads:
                # What the run shared is of no use now, and this process may end with it.
                await self._store.staging.purge_dead(self._config.lease_seconds)
        return ended

    async def fail(self, run: ActiveRun, reason: str) -> None:
        """End the run as failed."""
        self._forget(run.run_id)
        await self._store.runs.end_early(run.run_id, RunStatus.FAILED, reason)
        self._summary.note_end()
        await log_end(self._store, run.run_id, self._today())

    async def suspend(self, run: ActiveRun, reason: str) -> None:
        """Suspend the run, if not yet done."""
        if await self._store.control.suspend(run.run_id, reason, run.confirmed_at):
            await log_end(self._store, run.run_id, self._today())
        self._summary.note_end()

    def _forget(self, run_id: RunId) -> None:
        self._locked_out.forget(run_id)
        self._forget_others(run_id)

    def _today(self) -> dt.date:
        return self._config.today(self._now())

    async def _count_waiting(self, run_id: RunId) -> int:
        """Waiting accounts, after deleted and lost ones are recorded."""
        row = read(RunRow, await self._store.run_reader.get(run_id))
        waiting = row.waiting - row.untried
        if not waiting:
            return 0
        lost = await self._store.claims.release_lost()
        if lost:
            _log.warning(
                "Claims that were made without an answer are released.",
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
