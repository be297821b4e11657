"""An inspection as reported."""

import datetime as dt
import uuid
from collections.abc import Sequence

from msgspec import Struct

from app.engine.report.models.report import UnresolvedKeys


class InspectedAccounts(Struct, frozen=True, kw_only=True):
    """Accounts by result; `known` once counted."""

    known: int | None
    total: int
    inspected: int
    found: int
    explained: int
    unchanged: int
    not_inspected: int


class Counted(Struct, frozen=True, kw_only=True):
    """Accounts, and share of the inspected."""

    accounts: int
    share: float


class InspectedIssue(Counted, frozen=True, kw_only=True):
    """Accounts with an issue."""

    issue: str
    severity: int
    sample: Sequence[str]


class InspectedTable(Counted, frozen=True, kw_only=True):
    """Accounts with a table's issue."""

    table: str
    issue: str


class InspectedBroker(Counted, frozen=True, kw_only=True):
    """A broker's accounts with issues."""

    broker: str


class TableTrades(Struct, frozen=True, kw_only=True):
    """Trades a table lacks or has in excess."""

    table: str
    accounts: int
    trades: int


class InspectedDate(Counted, frozen=True, kw_only=True):
    """Accounts with a date's issue."""

    date: dt.date
    short: Sequence[TableTrades]
    more: Sequence[TableTrades]


class LackingDate(Counted, frozen=True, kw_only=True):
    """A date all tables seem to lack."""

    date: dt.date


class FirstSeen(Struct, frozen=True, kw_only=True):
    """An account's issue, and since when."""

    issue: str
    first_seen: dt.datetime | None


class FoundAccount(Struct, frozen=True, kw_only=True):
    """An account with its issues."""

    account_id: str
    issues: Sequence[FirstSeen]


class UnreadAccount(Struct, frozen=True, kw_only=True):
    """An account not inspected."""

    account_id: str
    reason: str | None


class Breakdowns(Struct, frozen=True, kw_only=True):
    """Accounts with issues, by several keys."""

    by_issue: Sequence[InspectedIssue]
    by_table: Sequence[InspectedTable]
    by_broker: Sequence[InspectedBroker]
    by_date: Sequence[InspectedDate]
    beyond_dates: Counted
    lacking_dates: Sequence[LackingDate]


class Inspection(Breakdowns, frozen=True, kw_only=True):
    """An inspection so far; `next_after` continues `listed`."""

    run_id: uuid.UUID
    status: str
    message: str
    created_at: dt.datetime
    finished_at: dt.datetime | None
    history_from: dt.date | None
    error: str | None
    accounts: InspectedAccounts
    identity: UnresolvedKeys
    not_inspected: Sequence[UnreadAccount]
    listed: Sequence[FoundAccount]
    next_after: str | None
