"""Compares fetched with stored rows, before and after the write."""

from collections.abc import Mapping

from app.domain.accounts.comparison import ComparedTable
from app.domain.ids import AccountId
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.progress import note_differing, note_unequal
from app.engine.batch.requests.fetch import Fetched
from app.engine.batch.state import BatchState
from app.engine.repositories import Repositories


class FetchComparison:
    """Finds differences without counting."""

    def __init__(self, store: Repositories) -> None:
        self._store = store

    async def before_write(
        self, state: BatchState, planned: PlannedRequest, fetched: Fetched
    ) -> dict[AccountId, ComparedTable]:
        """Compare, and record differences as issues."""
        ids = [account_id for account_id in planned.account_ids if state.compares(account_id)]
        if not ids:
            return {}
        state.columns[planned.request.endpoint] = self._store.comparison.columns(fetched.staged)
        await self._store.applier.reject_pinned(fetched.staged)
        compared = await self._store.comparison.compare(fetched.staged, fetched.proven, ids)
        differing = sorted(
            account_id for account_id, found in compared.items() if found.differences
        )
        for account_id in differing:
            note_differing(state.progress[account_id], planned, compared[account_id])
        async with state.noting:
            found = {account_id: state.found_by_rows(account_id) for account_id in differing}
            await self._store.issue_history.note_differing(
                state.claim.run_id, found, state.moving.first
            )
        return compared

    async def after_write(
        self,
        state: BatchState,
        planned: PlannedRequest,
        fetched: Fetched,
        compared: Mapping[AccountId, ComparedTable],
    ) -> None:
        """Compare rows that differed again."""
        differing = [account_id for account_id, found in compared.items() if found.differences]
        again: Mapping[AccountId, ComparedTable] = {}
        if differing:
            again = await self._store.comparison.compare(
                fetched.staged, fetched.proven, differing, is_written=True
            )
        for account_id, found in compared.items():
            note_unequal(state.progress[account_id], planned, again.get(account_id, found))
