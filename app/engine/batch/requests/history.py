"""Keeps what upstream counts before the compared history (RECON_HISTORY_FROM)."""

from collections.abc import Sequence

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.detect import Detector
from app.engine.batch.requests.fetch import Fetched
from app.engine.batch.state import BatchState
from app.engine.preparation.history import find_before, find_forgotten, take_parts
from app.engine.repositories import Repositories


class BatchHistory:
    """Keeps the counts that a batch's reads of daily and alltime rows show."""

    def __init__(self, store: Repositories, detector: Detector) -> None:
        self._store = store
        self._detector = detector

    async def note_daily(
        self, state: BatchState, planned: PlannedRequest, fetched: Fetched
    ) -> None:
        """Keep what daily rows of a read count before the history."""
        if state.run.history_from is not None and planned.request.endpoint is Endpoint.DAILY:
            before = find_before(state.views, state.progress, planned, fetched.staged.before)
            await self._store.histories.note_before(state.run.history_from, before)

    async def note_parts(self, state: BatchState) -> None:
        """Keep what daily rows count that were read in parts."""
        if state.run.history_from is not None:
            parts = take_parts(state.progress)
            await self._store.histories.note_before(state.run.history_from, parts)

    async def note_forgotten(self, state: BatchState, account_ids: Sequence[AccountId]) -> None:
        """Keep what alltime counts beyond all daily rows that upstream still sends."""
        if state.run.history_from is None:
            return
        views = {account_id: state.views[account_id] for account_id in account_ids}
        forgotten = find_forgotten(views, state.progress)
        if forgotten:
            await self._store.histories.note_before(state.run.history_from, forgotten)
            state.views.update(await self._detector.views(sorted(forgotten), state.claim))
