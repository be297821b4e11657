"""The engine's interface."""

import asyncio
import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Sequence

from app.domain.ids import AccountId, RunId
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import Depth, RunKind, RunStatus
from app.engine.acceptances import Accepting
from app.engine.config import EngineConfig
from app.engine.preparation.history import begin_history
from app.engine.preparation.inspection import record_disagreements
from app.engine.preparation.maintenance import MaintenanceResult, fix_ids, maintain
from app.engine.records import RunRow, read
from app.engine.report.models.accounts import AcceptedIssue, AccountOutcome, RunUnderWay
from app.engine.report.refresh import SnapshotRefresher
from app.engine.report.views import Readings
from app.engine.repositories import Repositories
from app.engine.runs.orders import RunOrders
from app.engine.runs.starts import RunStarts
from app.engine.runs.workers import WorkerPool
from app.upstream.client import UpstreamClient

_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 1.0


class ReconService:
    """The engine of one process, with its `pool`."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._now = now
        self._config = config
        self.store = store
        self.readings = Readings(store, config, now, client)
        self.summary = SnapshotRefresher(self.readings)
        self._starting = RunStarts(store)
        self._steering = RunOrders(store, self.readings.today)
        self.pool = WorkerPool(store, client, config, now, self.summary)

    async def maintain(self, reason: str | None = None) -> MaintenanceResult:
        """Repair ids, renew account list and totals, record issues."""
        async with self.summary.ending():
            store = await self._compared()
            result = await maintain(store, self._config.today(self._now()))
            await record_disagreements(store, self._config, self._now())
        await self.store.orders.note("maintenance", None, reason, seconds=result.seconds)
        return result

    async def fix_ids(self) -> MaintenanceResult:
        """Repair missing and wrong account ids."""
        async with self.summary.ending():
            return await fix_ids(await self._compared(), self._config.today(self._now()))

    async def inspect(self) -> RunId:
        """Inspect all accounts in this process."""
        run_id = await self.start_run(RunRequest(RunKind.INSPECT))
        await self.pool.run_until_finished(run_id)
        return run_id

    async def _compared(self) -> Repositories:
        """The store, for the dates compared now."""
        return self.store.within(await begin_history(self.store, self._config, self._now()))

    async def start_run(
        self, request: RunRequest, idempotency_key: str | None = None, reason: str | None = None
    ) -> RunId:
        """Queue a run; a used key gives its run.

        Raises InvalidRequest, NotFound (accounts), Conflict (key reused, or such a run is active).
        """
        run_id = await self._starting.start(request, idempotency_key, reason)
        self.pool.wake()
        return run_id

    async def accept(
        self, account_id: str, code: IssueCode, reason: str, until: dt.date | None = None
    ) -> AcceptedIssue:
        """Accept an open issue; see `Accepting.accept`."""
        async with self.summary.ending():
            return await self._accepting().accept(account_id, code, reason, until)

    async def withdraw_acceptance(
        self, account_id: str, code: IssueCode, reason: str | None = None
    ) -> bool:
        """Withdraw an acceptance; see `Accepting.withdraw`."""
        async with self.summary.ending():
            return await self._accepting().withdraw(account_id, code, reason)

    def _accepting(self) -> Accepting:
        return Accepting(self.store, self._config.today(self._now()))

    async def pause(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Pause a run; errors as in `RunOrders`."""
        await self._steering.pause(run_id, reason)
        self.pool.wake()

    async def resume(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Resume a paused run."""
        await self._steering.resume(run_id, reason)
        self.pool.wake()

    async def cancel(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """End a run; repairs stay."""
        await self._steering.cancel(run_id, reason)
        self.summary.note_end()
        self.pool.wake()

    async def confirm(
        self, run_id: uuid.UUID, account_ids: Sequence[str] | None = None, reason: str | None = None
    ) -> None:
        """Let a run write what it held; see `RunOrders.confirm`."""
        await self._steering.confirm(run_id, account_ids, reason)
        self.pool.wake()

    async def wait_for_run(self, run_id: uuid.UUID, seconds: float = math.inf) -> RunStatus:
        """Wait until the run or this process ends, at most `seconds`."""
        pause, until = _LOOK_SECONDS, time.monotonic() + seconds
        while True:
            status = RunStatus(read(RunRow, await self.store.run_reader.get(run_id)).status)
            left = until - time.monotonic()
            if status.is_end or left <= 0 or self.pool.is_stopping:
                return status
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.2, _LONGEST_LOOK_SECONDS)

    async def reconcile_account(
        self,
        account_id: str,
        wait_seconds: float = math.inf,
        depth: Depth | None = None,
        reason: str | None = None,
    ) -> AccountOutcome | RunUnderWay:
        """Reconcile one account now, comparing rows unless `depth` differs.

        Gives the outcome, or the run after `wait_seconds`. Raises NotFound.
        """
        run_id = await self.start_run(
            RunRequest(RunKind.AUDIT, None, (AccountId(account_id),), depth=depth), reason=reason
        )
        status = await self.wait_for_run(run_id, wait_seconds)
        if not status.is_end:
            return RunUnderWay(run_id)
        return await self.readings.outcome(run_id, account_id)
