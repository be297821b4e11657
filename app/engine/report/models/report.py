"""The report, and its kept figures."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.engine.report.models.runs import OpenTradesCompared


class Overall(Struct, frozen=True, kw_only=True):
    """Accounts, and those needing work."""

    total_accounts: int
    reconciled: int
    needs_reconciliation: int
    has_failures: int
    has_issues: int
    reconciliation_percentage: float | None
    last_activity: dt.datetime | None
    oldest_unreconciled: dt.datetime | None


class IssueType(Struct, frozen=True, kw_only=True):
    """Accounts with an issue."""

    issue_type: str
    severity: int
    account_count: int
    sample_accounts: Sequence[str]


class ActivityDay(Struct, frozen=True, kw_only=True):
    """Checks that ended on a day."""

    day: dt.date
    accounts_checked: int
    resolved: int
    failed: int


class Activity(Struct, frozen=True, kw_only=True):
    """Checks of seven days."""

    accounts_checked: int
    resolved: int
    failed: int
    days: Sequence[ActivityDay]


class UnresolvedKey(Struct, frozen=True, kw_only=True):
    """A natural key fitting no account or several."""

    table: str
    login: str
    platform: str
    broker: str
    account_id: str | None
    candidates: Sequence[str]
    rows: int


class UnresolvedKeys(Struct, frozen=True, kw_only=True):
    """Natural keys fitting no account, or several."""

    unmatched: int
    ambiguous: int
    sample: Sequence[UnresolvedKey]


class AcceptedFigures(Struct, frozen=True, kw_only=True):
    """Acceptances, and their end."""

    accounts: int
    issues: int
    first_until: dt.date | None
    last_until: dt.date | None
    by_issue: Mapping[str, int]


class HoldingAccount(Struct, frozen=True, kw_only=True):
    """One of `accounts` that hold back `reconciled_through`."""

    account_id: str
    issue: str | None
    first_date: dt.date | None
    accounts: int = 0


class MoneyRelation(Struct, frozen=True, kw_only=True):
    """Whether sums agree between two tables."""

    relation: str
    accounts: int
    holding: int
    is_used: bool
    reason: str
    learned_at: dt.datetime


class OpenTrades(OpenTradesCompared, frozen=True, kw_only=True):
    """Open trades at the newest audit."""

    run_id: uuid.UUID
    compared_at: dt.datetime | None


class Doubt(Struct, frozen=True, kw_only=True):
    """Why dates from one on (None: all) may differ."""

    first_date: dt.date | None
    reason: str


class ReportFigures(Struct, frozen=True, kw_only=True):
    """Kept figures; earlier versions lack those with defaults."""

    overall: Overall
    issues_by_type: Sequence[IssueType]
    activity: Sequence[ActivityDay]
    accounts_by_status: Mapping[str, int]
    identity: UnresolvedKeys
    doubts: Sequence[Doubt] = ()
    open_trades: OpenTrades | None = None
    history_from: dt.date | None = None
    accepted: AcceptedFigures | None = None
    holding: Sequence[HoldingAccount] = ()
    disagree_without_issue: int = 0
    accounts_with_trades: int = 1
    money_relations: Sequence[MoneyRelation] = ()


class ApiReport(Struct, frozen=True, kw_only=True):
    """API use of the answering process."""

    breaker: str
    since_start: Mapping[str, Any]


class EndedRun(Struct, frozen=True, kw_only=True):
    """The newest ended run, or holding accounts."""

    run_id: uuid.UUID
    kind: str
    status: str
    finished_at: dt.datetime
    requests: int
    error: str | None
    needs_confirmation: int
    left: Mapping[str, int] | None
    left_told: str | None
    needs_somebody: bool | None
    api: Mapping[str, Any]


class Report(Struct, frozen=True, kw_only=True):
    """The report.

    `reconciled_through` is None without such a date, `holding_run` without held accounts, `api`
    without a client.
    """

    as_of: dt.datetime
    overall: Overall
    issues_by_type: Sequence[IssueType]
    recent_activity: Activity
    history_from: dt.date | None
    money_relations: Sequence[MoneyRelation]
    reconciled_through: dt.date | None
    reconciled_through_reason: str
    reconciled_through_told: str
    accepted: AcceptedFigures | None
    audited: str
    holding_accounts: int
    held_back_by: Sequence[HoldingAccount]
    accounts_by_status: Mapping[str, int]
    disagree_without_issue: int
    message: str | None
    identity: UnresolvedKeys
    open_trades: OpenTrades | None
    api: ApiReport | None
    last_run: EndedRun | None
    holding_run: EndedRun | None
