"""Rows brought back from their copies, and what follows from that for their accounts: their totals, and that the next run compares them."""

import datetime as dt
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from app.domain.closing import ClosedAs
from app.domain.contract import TABLES, Endpoint
from app.domain.issues import IssueCode, restored_issue
from app.engine.store import Store
from app.store.copies import Restored
from app.store.removed import RemovedRows

_DATED = frozenset(TABLES[endpoint].name for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED))


class Restoring:
    """Brings rows back; once that is over, or breaks off, totals, status and issues of their accounts follow.

    `accounts` are those of which rows were written.
    """

    def __init__(self, store: Store) -> None:
        """Bind the store."""
        self._store = store
        self._rows = RemovedRows(store.database, store.feed)
        self._days = defaultdict[str, set[dt.date]](set)

    @property
    def accounts(self) -> list[str]:
        """The accounts of which rows were brought back so far."""
        return sorted(self._days)

    async def attempt(self, removed_ids: Sequence[int]) -> AsyncGenerator[Restored]:
        """What would come of each, if it were restored now; nothing is changed."""
        async for restored in self._rows.restore(removed_ids, is_trial=True):
            yield restored

    async def restore(self, removed_ids: Sequence[int]) -> AsyncGenerator[Restored]:
        """Bring rows back as RemovedRows does; what came of each, as it happens."""
        try:
            async for restored in self._rows.restore(removed_ids):
                self._note(restored)
                yield restored
        finally:
            await self._follow()

    def _note(self, restored: Restored) -> None:
        for account_id, days in restored.changed.items():
            self._days[account_id] |= {day for day in days if day is not None} if restored.table in _DATED else set()

    async def _follow(self) -> None:
        """Count the accounts again, and open an issue by which the next run asks upstream about them, whatever their tables say."""
        known = await self._store.detection.known_accounts(self.accounts)
        if not known:
            return
        compared = self._store.within(await self._store.histories.window())
        await compared.detection.refresh_stats(known)
        issues = {account_id: (restored_issue(sorted(self._days[account_id])),) for account_id in known}
        await self._store.runs.record_issues(issues, [IssueCode.UPSTREAM_DRIFT], note="rows were brought back", closed_as=ClosedAs.GONE)
        await self._store.detection.ask_again(known, [(account_id, day) for account_id in known for day in sorted(self._days[account_id])])
        await self._store.sweep.follow_state(known)
