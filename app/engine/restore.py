"""Restores rows; the next run compares them."""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import Issue, IssueCode, overtaken_issue, pinned_issue, restored_issue
from app.domain.runs.orders import Way
from app.domain.verdict.closing import ClosedAs
from app.engine.repositories import Repositories
from app.store.pins import Pins
from app.store.restore.copies import Restored
from app.store.restore.restore import RemovedRows
from app.telemetry import get_logger

if TYPE_CHECKING:
    from app.domain.ids import AccountId

_DATED = frozenset(
    TABLES[endpoint].name for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
)
_NAMED = 5
_log = get_logger(__name__)


class Restoring:
    """Restores rows; totals, status and issues follow, even on failure."""

    def __init__(self, store: Repositories) -> None:
        self._store = store
        self._rows = RemovedRows(store.database, store.feed)
        self._pins = Pins(store.database)
        self._days = defaultdict[str, set[dt.date]](set)

    @property
    def accounts(self) -> list[str]:
        """Accounts of restored rows."""
        return sorted(self._days)

    async def waiting_of_run(self, run_id: uuid.UUID) -> list[int]:
        """A run's unrestored copies, newest first; NotFound if unknown."""
        return await self._rows.waiting_of_run(run_id)

    async def inserted_by_run(self, run_id: uuid.UUID) -> int | None:
        """Rows a run inserted; None if no longer known."""
        return await self._rows.inserted_by_run(run_id)

    async def attempt(self, removed_ids: Sequence[int]) -> AsyncGenerator[Restored]:
        """A trial restore, changing nothing."""
        async for restored in self._rows.restore(removed_ids, Way(is_trial=True)):
            yield restored

    async def restore(
        self, removed_ids: Sequence[int], *, pins: bool = False, reason: str | None = None
    ) -> AsyncGenerator[Restored]:
        """Restore rows; each result as it happens. With `pins` no later run changes them."""
        try:
            async for restored in self._rows.restore(removed_ids, Way(pins=pins, reason=reason)):
                self._note(restored)
                yield restored
        finally:
            await self._follow(is_pinned=pins)

    async def release(
        self,
        *,
        account_id: str | None = None,
        run_id: uuid.UUID | None = None,
        removed_ids: Sequence[int] | None = None,
    ) -> int:
        """Release pins, so that the next run compares the rows; how many."""
        released, days = await self._pins.release(
            account_id=account_id, run_id=run_id, removed_ids=removed_ids
        )
        for account, of_account in days.items():
            self._days[account] |= of_account
        await self._follow(is_pinned=False)
        return released

    async def release_overtaken(self, account_ids: Sequence[str] | None = None) -> int:
        """Release pins of rows changed since; how many."""
        overtaken = await self._pins.overtaken(account_ids)
        if not overtaken:
            return 0
        released, days = await self._pins.release(removed_ids=overtaken)
        self._days.update({account_id: set(of_account) for account_id, of_account in days.items()})
        await self._follow(is_pinned=False, issue=overtaken_issue)
        _log.warning(
            "Pinned rows are no longer stored as restored: another writer changed or deleted them"
            " since. Their pins are over.",
            action="pins.overtaken",
            pins=released,
            accounts=len(days),
            sample=sorted(days)[:_NAMED],
        )
        return released

    def _note(self, restored: Restored) -> None:
        for account_id, days in restored.changed.items():
            self._days[account_id] |= (
                {day for day in days if day is not None} if restored.table in _DATED else set()
            )

    async def _follow(
        self, *, is_pinned: bool, issue: Callable[[Sequence[dt.date]], Issue] = restored_issue
    ) -> None:
        """Recount accounts, and open issues."""
        known = await self._store.account_lists.known_accounts(self.accounts)
        if not known:
            return
        compared = self._store.within(await self._store.histories.window())
        await compared.detection.refresh_stats(known)
        pins, elsewhere = await self._store.detection.pins(known)
        codes, note = (
            [IssueCode.PINNED_BY_RESTORE],
            "rows were pinned" if is_pinned else "rows were brought back",
        )
        issues: dict[AccountId, list[Issue]] = {
            each: [pinned_issue(pins[each], elsewhere.get(each, 0))] if each in pins else []
            for each in known
        }
        if not is_pinned:
            codes.append(IssueCode.UPSTREAM_DRIFT)
            for account_id in known:
                issues[account_id].append(issue(sorted(self._days[account_id])))
        await self._store.issue_history.record_issues(
            issues, codes, note=note, closed_as=ClosedAs.GONE
        )
        if not is_pinned:
            days = [
                (account_id, day) for account_id in known for day in sorted(self._days[account_id])
            ]
            await self._store.account_lists.ask_again(known, days)
        await self._store.sweep.follow_state(known)
