"""Queues a run's accounts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.contract.tables import PAGE_ROWS
from app.domain.ids import AccountId
from app.domain.states import RunKind
from app.engine.api_usage import RunApiStats
from app.engine.preparation.run_maintenance import Maintained
from app.engine.preparation.shared_reads import SharedReadPlanning
from app.engine.preparation.upstream_phase import UpstreamPhase
from app.engine.repositories import Repositories
from app.errors import DatabaseError, ReconError, RowRefused
from app.store.runs.active_runs import ActiveRun
from app.store.runs.run_queue import Queue, Queued
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """Accounts not audited: queued `besides`, `unanswered`, or failed `apart`."""

    besides: Sequence[str]
    unanswered: Sequence[str]
    apart: Sequence[str] = ()

    @property
    def accounts(self) -> list[str]:
        return sorted({*self.besides, *self.unanswered, *self.apart})


class Enqueuing:
    """Fills a run's queue."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        upstream: UpstreamPhase,
        shared: SharedReadPlanning,
    ) -> None:
        self._store = store
        self._client = client
        self._upstream = upstream
        self._shared = shared

    async def enqueue(
        self,
        run: ActiveRun,
        among: Sequence[str] | None,
        use: RunApiStats,
        maintained: Maintained,
    ) -> Queued:
        """Queue accounts that need work, `among` these (None: all)."""
        request = run.request
        compared, unanswered = await self._compare(run, use)
        left_out = _LeftOut(
            await self._queued_besides(run, among, maintained),
            unanswered,
            await self._set_apart(run, maintained),
        )
        try:
            return await self._queue(run, among, compared, maintained, left_out)
        except (RowRefused, DatabaseError) as error:
            if request.kind is not RunKind.AUDIT:
                raise
            # The rows of equal accounts are written here.
            apart = await self._set_unwritable_apart(run, compared, error)
            left_out = replace(left_out, apart=[*left_out.apart, *apart])
            return await self._queue(run, among, compared, maintained, left_out)

    async def _compare(
        self, run: ActiveRun, use: RunApiStats
    ) -> tuple[Sequence[AccountId] | None, list[str]]:
        """Compare with upstream; audited (None: all) and unanswered accounts."""
        request, unanswered = run.request, list[str]()
        compared: Sequence[AccountId] | None = request.account_ids
        if request.kind is RunKind.AUDIT:
            if (
                compared is None
                and request.max_accounts is not None
                and await self._costs_less_by_id(request.max_accounts)
            ):
                compared = await self._store.preparations.oldest_accounts(request.max_accounts)
            unanswered = await self._upstream.compare_metrics(run, compared, use)
        if request.compares_rows and request.account_ids is not None:
            await self._upstream.compare_open_trades(run, request.account_ids, use)
        return compared, unanswered

    async def _queued_besides(
        self, run: ActiveRun, among: Sequence[str] | None, maintained: Maintained
    ) -> list[str]:
        """Accounts that no figure queues: unreadable, or able to get rows."""
        heals = run.request.kind is not RunKind.INSPECT
        placeable = (
            await self._store.detection.placeable_accounts() if among is None and heals else []
        )
        return sorted({*maintained.unread, *placeable})

    async def _set_apart(self, run: ActiveRun, maintained: Maintained) -> list[str]:
        """Fail accounts with locked or rejected rows of trade_recon; those that have one."""
        if maintained.locked:
            await self._store.claims.set_locked_apart(run.run_id, maintained.locked)
        await self._store.claims.set_refused_apart(run.run_id, maintained.refused)
        return [
            *maintained.locked,
            *(each for each in maintained.refused if each not in maintained.kept_out),
        ]

    async def _set_unwritable_apart(
        self, run: ActiveRun, compared: Sequence[AccountId] | None, error: ReconError
    ) -> Sequence[str]:
        known = compared if compared is not None else await self._store.account_lists.all_accounts()
        apart = await self._store.claims.set_unwritable_apart(run.run_id, error, known)
        _log.warning(
            "Rows of trade_recon cannot be written; their accounts fail, and the run goes on"
            " with the others.",
            action="queue.unwritable",
            run_id=str(run.run_id),
            accounts=len(apart),
            reason=str(error),
        )
        return apart

    async def _queue(
        self,
        run: ActiveRun,
        among: Sequence[str] | None,
        compared: Sequence[AccountId] | None,
        maintained: Maintained,
        left_out: _LeftOut,
    ) -> Queued:
        request = run.request
        is_inspection = request.kind is RunKind.INSPECT
        reads = await self._shared.propose(run)
        async with self._store.preparations.queue(run.run_id) as queue:
            queued = await self._queue_by_kind(queue, run, among, compared, left_out)
            if left_out.besides:
                await queue.accounts(left_out.besides)
            if not is_inspection and not request.compares_rows:
                # Runs that compare rows take all of their accounts.
                healed = await queue.given_ids(compared, left_out.accounts)
                queued = replace(queued, healed=healed, unchanged=max(0, queued.unchanged - healed))
            if maintained.unread or maintained.locked or maintained.refused or is_inspection:
                queued = replace(queued, is_all=False)
            await self._shared.note(run, queue, reads)
            await queue.finish(queued, maintained.result)
        return queued

    async def _queue_by_kind(
        self,
        queue: Queue,
        run: ActiveRun,
        among: Sequence[str] | None,
        compared: Sequence[AccountId] | None,
        left_out: _LeftOut,
    ) -> Queued:
        request = run.request
        if request.kind is RunKind.INSPECT:
            return await self._store.inspections.enqueue(
                queue,
                run.run_id,
                compared,
                limit=request.max_accounts,
                unread=left_out.besides,
                first=run.history_from,
            )
        if request.kind is RunKind.AUDIT:
            unknown = left_out.accounts
            queued = await queue.audited(
                compared,
                limit=request.max_accounts,
                unanswered=unknown,
                by_rows=request.compares_rows,
            )
            skipped = queued.skipped - len(unknown) + len(left_out.unanswered)
            return replace(queued, skipped=skipped)
        if request.account_ids is not None:
            return await queue.accounts(request.account_ids)
        return await queue.mismatched(
            retry=request.kind is RunKind.RETRY, limit=request.max_accounts, among=among
        )

    async def _costs_less_by_id(self, accounts: int) -> bool:
        return (
            accounts * PAGE_ROWS
            < await self._store.preparations.count_accounts() * self._client.max_ids
        )
