"""Reads accounts."""

import datetime as dt
from collections.abc import Callable, Sequence

import msgspec

from app.domain.states import Outcome, RunStatus
from app.engine.records import read
from app.engine.report.models.accounts import (
    AcceptedIssue,
    AcceptedIssues,
    AccountList,
    AccountOutcome,
    AccountState,
    AccountStatistics,
    Attempt,
    CheckedDate,
    IssueHistory,
    ListedAccount,
    PinnedRow,
    SetAsideRow,
)
from app.engine.report.models.runs import RunState
from app.engine.report.records import AttemptRow, OpenIssues, RejectedRow
from app.engine.report.runs import compared_rows
from app.engine.repositories import Repositories
from app.store.database.transaction import Record
from app.store.restore.changed_rows import nulled_values


class AccountReader:
    """Reads accounts and acceptances."""

    def __init__(self, store: Repositories, today: Callable[[], dt.date]) -> None:
        self._store = store
        self._today = today

    async def page(
        self, statuses: Sequence[str] | None, issue: str | None, after: str | None, limit: int
    ) -> AccountList:
        """Accounts by id behind `after`, with these statuses and this open issue (None: any)."""
        rows = await self._store.account_reader.accounts(
            statuses, issue, after, limit + 1, self._today()
        )
        listed = [read(ListedAccount, row) for row in rows[:limit]]
        return AccountList(
            accounts=listed, next_after=listed[-1].account_id if len(rows) > limit else None
        )

    async def state(self, account_id: str) -> AccountState:
        """An account with its history; NotFound if unknown."""
        found = await self._store.account_reader.account(account_id, self._today())
        return read(
            AccountState,
            found.state,
            stats=read(AccountStatistics, found.state),
            issues=found.issues,
            attempts=[read(Attempt, row) for row in found.attempts],
            history=[read(IssueHistory, row) for row in found.history],
            set_aside=[_set_aside(row) for row in found.set_aside],
            rests_on=found.rests_on,
            accepted=[read(AcceptedIssue, row) for row in found.accepted],
            pinned=[read(PinnedRow, row) for row in found.pins],
        )

    async def outcome(self, state: RunState, account_id: str) -> AccountOutcome:
        """The outcome of an ended one-account run."""
        stored = await self._store.account_reader.attempt(state.run_id, account_id)
        account = await self._store.account_reader.account(account_id)
        attempt = _unattempted(state) if stored is None else read(AttemptRow, stored)
        return read(
            AccountOutcome,
            msgspec.structs.asdict(attempt),
            account_id=account_id,
            run_id=state.run_id,
            status=state.status,
            error=state.error,
            issues_found=attempt.issues_found or [],
            issues=read(OpenIssues, account.state).issues,
            compared=compared_rows(attempt.compared, attempt.requests),
            open_trades=state.open_trades,
            rests_on=state.rests_on,
        )

    async def checked_by_date(self) -> list[CheckedDate]:
        """Accounts last checked, for seven days, newest first."""
        return [
            read(CheckedDate, row) for row in await self._store.account_reader.checked_by_date()
        ]

    async def accepted(self) -> AcceptedIssues:
        """Listed acceptances, first to end first."""
        acceptances, today = self._store.acceptances, self._today()
        listed = [read(AcceptedIssue, row) for row in await acceptances.listed(today)]
        more = await acceptances.count(today) - len(listed)
        return AcceptedIssues(accepted=listed, more=max(0, more))


def _unattempted(state: RunState) -> AttemptRow:
    is_equal = state.status == RunStatus.SUCCEEDED
    none = 0 if is_equal else None
    return AttemptRow(
        outcome=Outcome.UNCHANGED.value if is_equal else None,
        # All requests of the run were for this account.
        requests=state.requests if is_equal else None,
        own_requests=none,
        own_seconds=None,
        rows_inserted=none,
        rows_updated=none,
        rows_moved=none,
        rows_removed=none,
        rows_set_aside=none,
        values_nulled=none,
        issues_found=None,
        detail=None,
        compared=None,
    )


def _set_aside(row: Record) -> SetAsideRow:
    rejected = read(RejectedRow, row)
    nulled = nulled_values(rejected.table, rejected.reason, rejected.row_text)
    return read(SetAsideRow, row, nulled=nulled)
