"""What the faces ask of the engine: maintain, start runs, heal one account."""

import asyncio
import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from app.domain.ids import RunId
from app.domain.issues.codes import IssueCode
from app.domain.runs.emptiness import NOBODY_KNOWN
from app.domain.runs.request import IdempotencyKey, RunRequest
from app.domain.states import Depth, RunKind, RunStatus
from app.engine.acceptances import Accepting
from app.engine.config import EngineConfig
from app.engine.preparation.history import begin_history
from app.engine.preparation.inspection import record_disagreements
from app.engine.preparation.maintenance import MaintenanceResult, fix_ids, maintain
from app.engine.report.refresh import SnapshotRefresher
from app.engine.report.views import Readings, shown_comparison
from app.engine.repositories import Repositories
from app.engine.runs.orders import RunOrders
from app.engine.runs.workers import WorkerPool
from app.errors import InvalidRequest, NotFound
from app.store.database.transaction import Record
from app.upstream.client import UpstreamClient

_MOST_ACCOUNTS = 2**31 - 1
_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 1.0


class ReconService:
    """One process's engine; `pool` serves the runs that are started here or elsewhere."""

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
        self._steering = RunOrders(store, self.readings.today)
        self.pool = WorkerPool(store, client, config, now, self.summary)

    async def maintain(self, reason: str | None = None) -> MaintenanceResult:
        """Mend ids, refresh the account list and all totals, record the issues of what disagrees;
        the reason stays in the record.
        """
        async with self.summary.ending():
            store = await self._compared()
            result = await maintain(store, self._config.today(self._now()))
            await record_disagreements(store, self._config, self._now())
        await self.store.orders.note(
            "maintenance", None, reason, seconds=result.as_json()["seconds"]
        )
        return result

    async def fix_ids(self) -> MaintenanceResult:
        """Mend missing and wrong account ids only."""
        async with self.summary.ending():
            return await fix_ids(await self._compared(), self._config.today(self._now()))

    async def inspect(self) -> RunId:
        """Inspect all accounts, in this process; the run that did it."""
        run_id = await self.start_run(RunRequest(RunKind.INSPECT))
        await self.pool.run_until_finished(run_id)
        return run_id

    async def _compared(self) -> Repositories:
        """The store, for which there are only the dates that are compared now."""
        return self.store.within(await begin_history(self.store, self._config, self._now()))

    async def start_run(
        self, request: RunRequest, idempotency_key: str | None = None, reason: str | None = None
    ) -> RunId:
        """Queue a run; a worker of any process takes it up.

        With a key that was used before: the run that was started with it.

        The reason stays in the record of the run. Raises InvalidRequest for limits that make no
        sense, NotFound for account ids that no account has, Conflict if the key was used for
        another request, or if a full run is active beside which this one would be a second.
        """
        key = None if idempotency_key is None else IdempotencyKey(idempotency_key, request.digest)
        if key is not None and (known := await self.store.runs.of_key(key)) is not None:
            return known
        request = _with_utc_stop(request)
        if request.stop_at is not None and await self.store.runs.is_past(request.stop_at):
            raise InvalidRequest(
                f"stop_at must be in the future; {request.stop_at.isoformat()} is past. No run was"
                " started."
            )
        if request.max_accounts is not None and not 1 <= request.max_accounts <= _MOST_ACCOUNTS:
            raise InvalidRequest(f"max_accounts must be from 1 to {_MOST_ACCOUNTS}.")
        if request.changed_only:
            self._require_changes(request)
        if request.kind is RunKind.INSPECT and request.depth is not None:
            raise InvalidRequest(
                "depth goes with runs that ask upstream, and an inspection does not. No run was"
                " started."
            )
        if request.account_ids is not None:
            if not request.account_ids:
                raise InvalidRequest("account_ids must name at least one account, or be left out.")
            unknown = await self.store.account_lists.unknown_accounts(request.account_ids)
            if unknown:
                hint = "" if await self.store.preparations.count_accounts() else f" {NOBODY_KNOWN}"
                named = f"{', '.join(unknown[:5])}{' and others' if len(unknown) > 5 else ''}"  # noqa: PLR2004
                raise NotFound(f"No such account: {named}. No run was started.{hint}")
            limited = tuple(dict.fromkeys(request.account_ids))[: request.max_accounts]
            # Ingestion may have brought an account since the last maintenance.
            kept_out = await self.store.account_lists.add_accounts(limited)
            for account_id, why in kept_out.items():
                raise InvalidRequest(
                    f"{account_id} cannot be reconciled, since trade_recon refuses its row: {why}."
                    " No run was started."
                )
            request = msgspec.structs.replace(request, account_ids=limited)
        run_id = await self.store.runs.create(request, key)
        await self.store.orders.note("start", run_id, reason, kind=request.kind.value)
        self.pool.wake()
        return run_id

    def _require_changes(self, request: RunRequest) -> None:
        if request.kind is not RunKind.FULL or request.account_ids is not None:
            raise InvalidRequest(
                "changed_only goes with a run of kind full, and without account_ids. No run was"
                " started."
            )
        unstamped = self.store.touched.unstamped
        if unstamped:
            raise InvalidRequest(
                f"changed_only needs the column ingestion_timestamp, which {', '.join(unstamped)}"
                " has not. No run was started."
            )

    async def accept(
        self, account_id: str, code: IssueCode, reason: str, until: dt.date | None = None
    ) -> Mapping[str, object]:
        """Accept an open issue of an account as it stands, until a date; how it is accepted then.

        Raises as `Accepting.accept` does.
        """
        async with self.summary.ending():
            return await self._accepting().accept(account_id, code, reason, until)

    async def withdraw_acceptance(
        self, account_id: str, code: IssueCode, reason: str | None = None
    ) -> bool:
        """Let an accepted issue count again; whether it was accepted.

        Raises NotFound if there is no such account.
        """
        async with self.summary.ending():
            return await self._accepting().withdraw(account_id, code, reason)

    def _accepting(self) -> Accepting:
        return Accepting(self.store, self._config.today(self._now()))

    async def pause(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Take no more accounts of the run until it is resumed; what is under way stops at its next
        safe point.

        Like the three below raises NotFound if there is no such run, Conflict if it is in no state
        for this.
        """
        await self._steering.pause(run_id, reason)
        self.pool.wake()

    async def resume(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Let a paused run go on."""
        await self._steering.resume(run_id, reason)
        self.pool.wake()

    async def cancel(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """End a run for good; what was healed stays healed."""
        await self._steering.cancel(run_id, reason)
        self.summary.note_end()
        self.pool.wake()

    async def confirm(
        self, run_id: uuid.UUID, account_ids: Sequence[str] | None = None, reason: str | None = None
    ) -> None:
        """Let a run write what it held, of all accounts or of these alone; raises InvalidRequest if
        it does not hold one of them.
        """
        await self._steering.confirm(run_id, account_ids, reason)
        self.pool.wake()

    async def wait_for_run(self, run_id: uuid.UUID, seconds: float = math.inf) -> RunStatus:
        """Wait until a run is over, at most so long and not while this process ends; how it stands
        then.
        """
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
    ) -> "Mapping[str, object] | uuid.UUID":
        """Compare one account with upstream and heal it now, before all other work and whatever its
        state.

        Every row of it is compared unless `depth` says otherwise. What came of it, or the id of its
        run if that is not over after `wait_seconds`. Raises NotFound for an unknown account.
        """
        run_id = await self.start_run(
            RunRequest(RunKind.AUDIT, None, (account_id,), depth=depth), reason=reason
        )
        status = await self.wait_for_run(run_id, wait_seconds)
        if not status.is_end:
            return run_id
        state = await self.readings.run_state(run_id)
        attempt = await self.store.account_reader.attempt(run_id, account_id)
        account = await self.store.account_reader.account(account_id)
        fields: Sequence[str] = (
            "outcome",
            "requests",
            "own_requests",
            "own_seconds",
            "rows_inserted",
            "rows_updated",
            "rows_moved",
            "rows_removed",
            "rows_set_aside",
            "values_nulled",
        )
        return {
            "account_id": account_id,
            "run_id": run_id,
            "status": status.value,
            "error": state["error"],
            **_figures_of(attempt, fields, state),
            "issues_found": (attempt["issues_found"] or []) if attempt else [],
            "issues": account.state["issues"],
            "detail": attempt["detail"] if attempt else None,
            "compared": shown_comparison(
                attempt["compared"] if attempt else None, attempt["requests"] if attempt else None
            ),
            "open_trades": state["open_trades"],
            "rests_on": state["rests_on"],
        }


def _figures_of(
    attempt: Record | None, fields: Sequence[str], state: Mapping[str, Any]
) -> Mapping[str, object]:
    """What a run of one account came to; an account on which all compared tables agree needs no
    attempt: it is left as it was.
    """
    if attempt is not None:
        return {name: attempt[name] for name in fields}
    if state["status"] != RunStatus.SUCCEEDED:
        return dict.fromkeys(fields)
    # What the run asked it asked for this account.
    return {
        **dict.fromkeys(fields, 0),
        "outcome": "unchanged",
        "requests": state["requests"],
        "own_seconds": None,
    }


def _with_utc_stop(request: RunRequest) -> RunRequest:
    """The request with its stop in UTC, in which each process and PostgreSQL can read it;
    InvalidRequest if that is no time there.
    """
    if request.stop_at is None:
        return request
    sentence = f"stop_at must lie before the year {dt.MAXYEAR} in UTC. No run was started."
    try:
        stop_at = request.stop_at.astimezone(dt.UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidRequest(sentence) from error
    if stop_at.year == dt.MAXYEAR:
        # Its last moment reads as infinity in PostgreSQL's driver.
        raise InvalidRequest(sentence)
    return msgspec.structs.replace(request, stop_at=stop_at)
