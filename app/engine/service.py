"""The engine as the faces use it."""

import asyncio
import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from app.domain.ids import RunId
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import Depth, RunKind, RunStatus
from app.engine.acceptances import Accepting
from app.engine.config import EngineConfig
from app.engine.preparation.history import begin_history
from app.engine.preparation.inspection import record_disagreements
from app.engine.preparation.maintenance import MaintenanceResult, fix_ids, maintain
from app.engine.report.models.accounts import AccountOutcome, RunUnderWay
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
    """The engine of one process; `pool` serves runs that are started here or elsewhere."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
    ) -> None:
        """Bind the parts; `now` gives the time (aware)."""
        self._now = now
        self._config = config
        self.store = store
        self.readings = Readings(store, config, now, client)
        self.summary = SnapshotRefresher(self.readings)
        self._starting = RunStarts(store)
        self._steering = RunOrders(store, self.readings.today)
        self.pool = WorkerPool(store, client, config, now, self.summary)

    async def maintain(self, reason: str | None = None) -> MaintenanceResult:
        """Repair ids, renew account list and totals, and record the issues of what disagrees."""
        async with self.summary.ending():
            store = await self._compared()
            result = await maintain(store, self._config.today(self._now()))
            await record_disagreements(store, self._config, self._now())
        await self.store.orders.note(
            "maintenance", None, reason, seconds=result.as_json()["seconds"]
        )
        return result

    async def fix_ids(self) -> MaintenanceResult:
        """Repair missing and wrong account ids alone."""
        async with self.summary.ending():
            return await fix_ids(await self._compared(), self._config.today(self._now()))

    async def inspect(self) -> RunId:
        """Inspect all accounts in this process; the run that did it."""
        run_id = await self.start_run(RunRequest(RunKind.INSPECT))
        await self.pool.run_until_finished(run_id)
        return run_id

    async def _compared(self) -> Repositories:
        """The store, bound to the dates that are compared now."""
        return self.store.within(await begin_history(self.store, self._config, self._now()))

    async def start_run(
        self, request: RunRequest, idempotency_key: str | None = None, reason: str | None = None
    ) -> RunId:
        """Queue a run for the workers of any process; with a used key, the run that has it.

        Raises InvalidRequest for limits that make no sense, NotFound for unknown accounts, Conflict
        if the key was used for another request, or if such a run is active.
        """
        run_id = await self._starting.start(request, idempotency_key, reason)
        self.pool.wake()
        return run_id

    async def accept(
        self, account_id: str, code: IssueCode, reason: str, until: dt.date | None = None
    ) -> Mapping[str, object]:
        """Accept an open issue as it stands, until a date; see `Accepting.accept`."""
        async with self.summary.ending():
            return await self._accepting().accept(account_id, code, reason, until)

    async def withdraw_acceptance(
        self, account_id: str, code: IssueCode, reason: str | None = None
    ) -> bool:
        """Withdraw an acceptance; whether there was one.

        Raises NotFound if there is no such account.
        """
        async with self.summary.ending():
            return await self._accepting().withdraw(account_id, code, reason)

    def _accepting(self) -> Accepting:
        return Accepting(self.store, self._config.today(self._now()))

    async def pause(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Pause a run; work under way stops at its next safe point.

        Like the three below raises NotFound if there is no such run, Conflict if its state does not
        allow it.
        """
        await self._steering.pause(run_id, reason)
        self.pool.wake()

    async def resume(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Let a paused run go on."""
        await self._steering.resume(run_id, reason)
        self.pool.wake()

    async def cancel(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """End a run for good; what was repaired stays repaired."""
        await self._steering.cancel(run_id, reason)
        self.summary.note_end()
        self.pool.wake()

    async def confirm(
        self, run_id: uuid.UUID, account_ids: Sequence[str] | None = None, reason: str | None = None
    ) -> None:
        """Let a run write what it held, of all accounts or of these alone.

        Raises InvalidRequest if it does not hold one of them.
        """
        await self._steering.confirm(run_id, account_ids, reason)
        self.pool.wake()

    async def wait_for_run(self, run_id: uuid.UUID, seconds: float = math.inf) -> RunStatus:
        """Wait until a run or this process ends, at most so long; the run's status then."""
        pause, until = _LOOK_SECONDS, time.monotonic() + seconds
        while True:
            status = RunStatus((await self.store.run_reader.get(run_id))["status"])
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
        """Reconcile one account now, before all other work and whatever its state.

        Every row is compared unless `depth` says otherwise. Gives the outcome, or the run if it is
        not over after `wait_seconds`. Raises NotFound for an unknown account.
        """
        run_id = await self.start_run(
            RunRequest(RunKind.AUDIT, None, (account_id,), depth=depth), reason=reason
        )
        status = await self.wait_for_run(run_id, wait_seconds)
        if not status.is_end:
            return RunUnderWay(run_id)
        return await self.readings.outcome(run_id, account_id)
