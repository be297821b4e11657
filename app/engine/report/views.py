"""The read side of the engine: runs, accounts, changes and the report as typed models.

Nothing here asks upstream.
"""

import datetime as dt
import uuid
from collections.abc import Callable, Sequence

from app.domain.copies import Wanted
from app.engine.config import EngineConfig
from app.engine.report.accounts import AccountReader
from app.engine.report.changes import ChangeReader
from app.engine.report.inspection import InspectionReader, Listing
from app.engine.report.models.accounts import (
    AcceptedIssues,
    AccountList,
    AccountOutcome,
    AccountState,
    CheckedDate,
)
from app.engine.report.models.api import ApiUse, api_use
from app.engine.report.models.changes import ChangedRowPage, ChangeFilter, Changes, RemovedCopy
from app.engine.report.models.inspection import Inspection
from app.engine.report.models.report import ApiReport, Report, UnresolvedKeys
from app.engine.report.models.runs import (
    HeldAccount,
    LeftRun,
    RunAttempt,
    RunList,
    RunResult,
    RunState,
)
from app.engine.report.runs import RunReader
from app.engine.report.snapshot import ReportReader, ReportSnapshot, unresolved_keys
from app.engine.repositories import Repositories
from app.upstream.client import UpstreamClient


class Readings:
    """Reads the record; `client`, where there is one, adds this process's API statistics."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        client: UpstreamClient | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._client = client
        self._runs = RunReader(store, config.lease_seconds, self.today)
        self._accounts = AccountReader(store, self.today)
        self._changes = ChangeReader(store)
        self._report = ReportReader(store, config, now)
        self._inspections = InspectionReader(store, self._runs)

    def today(self) -> dt.date:
        """The business date."""
        return self._config.today(self._now())

    async def run_state(self, run_id: uuid.UUID) -> RunState:
        """A run as it stands; NotFound if there is none."""
        return await self._runs.state(run_id)

    async def runs(
        self,
        statuses: Sequence[str] | None,
        kinds: Sequence[str] | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> RunList:
        """Runs, newest first, at most `limit`; NotFound if there is no run `before`."""
        return await self._runs.page(statuses, kinds, before, limit)

    async def held_accounts(self, run_id: uuid.UUID, limit: int) -> list[HeldAccount]:
        """The first accounts that a run holds, with the reason."""
        return await self._runs.held_accounts(run_id, limit)

    async def left_runs(self) -> list[LeftRun]:
        """Runs that no living process works on."""
        return await self._runs.left()

    async def run_result(self, run_id: uuid.UUID) -> RunResult:
        """Rows that a run wrote by table, date, broker and issue; NotFound if there is none."""
        return await self._runs.result(run_id)

    async def inspection(self, run_id: uuid.UUID, listing: Listing) -> Inspection:
        """The result of an inspection so far; NotFound if there is no such inspection."""
        return await self._inspections.result(run_id, listing)

    async def accounts(
        self, statuses: Sequence[str] | None, issue: str | None, after: str | None, limit: int
    ) -> AccountList:
        """Accounts by id, at most `limit` behind `after`: of these states and with this open issue
        (None: any).
        """
        return await self._accounts.page(statuses, issue, after, limit)

    async def account(self, account_id: str) -> AccountState:
        """An account as it stands, with its history; NotFound if it is unknown."""
        return await self._accounts.state(account_id)

    async def outcome(self, run_id: uuid.UUID, account_id: str) -> AccountOutcome:
        """The outcome of a run of one account that ended."""
        return await self._accounts.outcome(await self._runs.state(run_id), account_id)

    async def accepted_issues(self) -> AcceptedIssues:
        """All accepted issues, the first to end first."""
        return await self._accounts.accepted()

    async def changes(self, since: str | None, limit: int) -> Changes:
        """Slices written after a cursor; InvalidRequest if it is malformed."""
        return await self._changes.since(since, limit)

    async def changed_rows(self, wanted: ChangeFilter, limit: int) -> ChangedRowPage:
        """Changed rows, newest first; on the first page also inserted rows and nulled values."""
        return await self._changes.rows(wanted, limit)

    async def removed_copies(
        self, wanted: Wanted, limit: int, before: int | None
    ) -> list[RemovedCopy]:
        """Copies of rows, at most `limit` older than `before`, newest first."""
        return await self._changes.copies(wanted, limit, before)

    async def unresolved_keys(self, limit: int) -> UnresolvedKeys:
        """Natural keys that fit no account or several, the largest first."""
        return await unresolved_keys(self._store, limit=limit)

    async def run_attempts(self, run_id: uuid.UUID) -> list[RunAttempt]:
        """The accounts that a run is done with, in its order."""
        return await self._runs.attempts(run_id)

    async def checked_by_date(self) -> list[CheckedDate]:
        """Accounts last checked on each of the last seven days, newest first."""
        return await self._accounts.checked_by_date()

    async def report(self) -> Report:
        """The report, counted now."""
        return self.shown(await self._report.counted())

    async def kept(self) -> ReportSnapshot:
        """The snapshot of the report that was kept; counted now if there is none."""
        return await self._report.kept()

    async def keep_report(self, least_seconds: float = 0, share: float = 0) -> bool:
        """Refresh the snapshot; False if another process does, or did so recently."""
        return await self._report.refresh(least_seconds, share)

    def shown(self, snapshot: ReportSnapshot) -> Report:
        """The report of a snapshot at this moment, with this process's use of the API."""
        client = self._client
        api = (
            None
            if client is None
            else ApiReport(
                breaker=client.breaker_state.value, since_start=client.statistics.snapshot()
            )
        )
        return self._report.shown(snapshot, api)

    async def is_ready(self) -> bool:
        """Whether the database answers with our schema; DatabaseUnavailable or DatabaseError if
        not.
        """
        return await self._store.reports.is_ready()

    def api_use(self) -> ApiUse | None:
        """The use of the API by this process; None where there is no client."""
        return None if self._client is None else api_use(self._client)

    def api_state(self) -> tuple[object, ...] | None:
        """What the API's part of the report depends on: while it is equal, that part is."""
        client = self._client
        return None if client is None else (client.breaker_state, client.statistics.requests)
