"""An account as reported."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.domain.ids import RunId
from app.engine.report.models.runs import ComparedRows, OpenTradesCompared


class AccountEffort(Struct, frozen=True, kw_only=True):
    """Effort in a run; None if not recorded."""

    requests: int | None
    own_requests: float | None
    own_seconds: float | None
    rows_inserted: int | None
    rows_updated: int | None
    rows_moved: int | None
    rows_removed: int | None
    rows_set_aside: int | None
    values_nulled: int | None


class Attempt(AccountEffort, frozen=True, kw_only=True):
    """One run's work on the account."""

    run_id: uuid.UUID
    kind: str
    outcome: str | None
    finished_at: dt.datetime
    seconds: float | None
    issues_found: Sequence[str] | None
    issues_left: Sequence[str] | None
    detail: str | None
    compared: Mapping[str, Mapping[str, int]] | None


class IssueHistory(Struct, frozen=True, kw_only=True):
    """An issue's opening and closing."""

    type: str
    severity: int
    opened_at: dt.datetime
    opened_run: uuid.UUID | None
    closed_at: dt.datetime | None
    closed_run: uuid.UUID | None
    closing_evidence: Mapping[str, Any] | None


class AccountStatistics(Struct, frozen=True, kw_only=True):
    """Trades that each table counts."""

    has_alltime: bool
    num_trades_alltime: int
    has_daily: bool
    num_trades_daily: int
    has_hourly: bool
    num_trades_hourly: int
    has_raw_closed: bool
    num_trades_raw_closed: int
    mismatched_days: int
    trades_recon_checksum: bool

    @property
    def trades(self) -> tuple[int, int, int, int]:
        """Alltime, daily, hourly, closed."""
        return (
            self.num_trades_alltime,
            self.num_trades_daily,
            self.num_trades_hourly,
            self.num_trades_raw_closed,
        )


class SetAsideRow(Struct, frozen=True, kw_only=True):
    """A row not stored as sent; `nulled` values became NULL."""

    table: str
    key: str
    date: dt.date | None
    copies: int
    reason: str
    nulled: Mapping[str, str | None]
    first_seen: dt.datetime
    last_seen: dt.datetime


class PinnedRow(Struct, frozen=True, kw_only=True):
    """A restored row that no run changes."""

    table: str
    key: Sequence[str | None]
    date: dt.date | None
    account_id: str | None
    removed_id: int
    run_id: uuid.UUID | None
    reason: str | None
    pinned_at: dt.datetime


class AcceptedIssue(Struct, frozen=True, kw_only=True):
    """An accepted issue, with evidence then."""

    account_id: str
    issue: str
    reason: str
    until: dt.date
    accepted_at: dt.datetime
    evidence: Mapping[str, Any]


class AcceptedIssues(Struct, frozen=True, kw_only=True):
    """First to end first; `more` are not listed."""

    accepted: Sequence[AcceptedIssue]
    more: int


class AccountState(Struct, frozen=True, kw_only=True):
    """An account; `issues` may be another system's."""

    account_id: str
    status: str
    stats: AccountStatistics
    issues: Sequence[Any]
    failed_attempts: int
    last_checked: dt.datetime | None
    last_reconciled: dt.datetime | None
    last_failed_attempt: dt.datetime | None
    next_attempt_at: dt.datetime | None
    attempts: Sequence[Attempt]
    history: Sequence[IssueHistory]
    set_aside: Sequence[SetAsideRow]
    rests_on: str
    accepted: Sequence[AcceptedIssue]
    pinned: Sequence[PinnedRow]


class ListedAccount(Struct, frozen=True, kw_only=True):
    """An account in a list."""

    account_id: str
    status: str
    num_trades_alltime: int
    num_trades_daily: int
    num_trades_hourly: int
    num_trades_raw_closed: int
    failed_attempts: int
    last_checked: dt.datetime | None
    last_reconciled: dt.datetime | None
    next_attempt_at: dt.datetime | None
    issues: Sequence[str]

    @property
    def trades(self) -> tuple[int, int, int, int]:
        """Alltime, daily, hourly, closed."""
        return (
            self.num_trades_alltime,
            self.num_trades_daily,
            self.num_trades_hourly,
            self.num_trades_raw_closed,
        )


class CheckedDate(Struct, frozen=True, kw_only=True):
    """Accounts last checked on a date; `resolved` by checksum."""

    check_date: dt.date
    accounts_checked: int
    resolved: int
    failed: int


class AccountList(Struct, frozen=True, kw_only=True):
    """Accounts by id; `next_after` continues."""

    accounts: Sequence[ListedAccount]
    next_after: str | None


class RunUnderWay(Struct, frozen=True):
    """A run that outlasts its caller."""

    run_id: RunId


class AccountOutcome(AccountEffort, frozen=True, kw_only=True):
    """The outcome of a one-account run."""

    account_id: str
    run_id: uuid.UUID
    status: str
    error: str | None
    outcome: str | None
    issues_found: Sequence[str]
    issues: Sequence[Any]
    detail: str | None
    compared: ComparedRows | None
    open_trades: OpenTradesCompared | None
    rests_on: str | None
