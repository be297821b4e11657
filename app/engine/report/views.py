"""The engine's read side, which never asks upstream."""

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
    """Reads the record; `client` adds API statistics."""

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
        """A run; NotFound if unknown."""
        return await self._runs.state(run_id)

    async def runs(
        self,
        statuses: Sequence[str] | None,
        kinds: Sequence[str] | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> RunList:
        """Runs before `before`, newest first; NotFound if that is unknown."""
        return await self._runs.page(statuses, kinds, before, limit)

    async def held_accounts(self, run_id: uuid.UUID, limit: int) -> list[HeldAccount]:
        """The first held accounts, with reasons."""
        return await self._runs.held_accounts(run_id, limit)

    async def left_runs(self) -> list[LeftRun]:
        """Runs that no living process serves."""
        return await self._runs.left()

    async def run_result(self, run_id: uuid.UUID) -> RunResult:
        """Written rows; NotFound if unknown."""
        return await self._runs.result(run_id)

    async def inspection(self, run_id: uuid.UUID, listing: Listing) -> Inspection:
        """An inspection so far; NotFound if unknown."""
        return await self._inspections.result(run_id, listing)

    async def accounts(
        self, statuses: Sequence[str] | None, issue: str | None, after: str | None, limit: int
    ) -> AccountList:
        """Accounts by id; see `AccountReader.page`."""
        return await self._accounts.page(statuses, issue, after, limit)

    async def account(self, account_id: str) -> AccountState:
        """An account; NotFound if unknown."""
        return await self._accounts.state(account_id)

    async def outcome(self, run_id: uuid.UUID, account_id: str) -> AccountOutcome:
        """The outcome of an ended one-account run."""
        return await self._accounts.outcome(await self._runs.state(run_id), account_id)

    async def accepted_issues(self) -> AcceptedIssues:
        """Acceptances, first to end first."""
        return await self._accounts.accepted()

    async def changes(self, since: str | None, limit: int) -> Changes:
        """Slices after a cursor; InvalidRequest if malformed."""
        return await self._changes.since(since, limit)

    async def changed_rows(self, wanted: ChangeFilter, limit: int) -> ChangedRowPage:
        """Changed rows; see `ChangeReader.rows`."""
        return await self._changes.rows(wanted, limit)

    async def removed_copies(
        self, wanted: Wanted, limit: int, before: int | None
    ) -> list[RemovedCopy]:
        """Copies older than `before`, newest first."""
        return await self._changes.copies(wanted, limit, before)

    async def unresolved_keys(self, limit: int) -> UnresolvedKeys:
        """Keys that fit no account or several."""
        return await unresolved_keys(self._store, limit=limit)

    async def run_attempts(self, run_id: uuid.UUID) -> list[RunAttempt]:
        """Finished accounts, in order."""
        return await self._runs.attempts(run_id)

    async def checked_by_date(self) -> list[CheckedDate]:
        """Accounts last checked, for seven days, newest first."""
        return await self._accounts.checked_by_date()

    async def report(self) -> Report:
        """The report, counted now."""
        return self.shown(await self._report.counted())

    async def kept(self) -> ReportSnapshot:
        """The kept snapshot, or one counted now."""
        return await self._report.kept()

    async def keep_report(self, least_seconds: float = 0, share: float = 0) -> bool:
        """Refresh the snapshot; see `ReportReader.refresh`."""
        return await self._report.refresh(least_seconds, share)

    def shown(self, snapshot: ReportSnapshot) -> Report:
        """The report now, with this process's API use."""
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
        """Whether the database answers; DatabaseUnavailable, DatabaseError."""
        return await self._store.reports.is_ready()

    def api_use(self) -> ApiUse | None:
        """API use here, if there is a client."""
        return None if self._client is None else api_use(self._client)

    def api_state(self) -> tuple[object, ...] | None:
        """A value that changes with the report's API part."""
        client = self._client
        return None if client is None else (client.breaker_state, client.statistics.requests)
