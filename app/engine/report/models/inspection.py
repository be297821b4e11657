"""An inspection as the engine reports it: accounts by issue, table, broker and date."""

import datetime as dt
import uuid
from collections.abc import Sequence

from msgspec import Struct

from app.engine.report.models.report import UnresolvedKeys


class InspectedAccounts(Struct, frozen=True, kw_only=True):
    """Accounts of an inspection; `known` is None until they were counted."""

    known: int | None
    total: int
    inspected: int
    found: int
    explained: int
    unchanged: int
    not_inspected: int


class Counted(Struct, frozen=True, kw_only=True):
    """Accounts, and their share of those that are inspected."""

    accounts: int
    share: float


class InspectedIssue(Counted, frozen=True, kw_only=True):
    """Accounts with an issue of a severity."""

    issue: str
    severity: int
    sample: Sequence[str]


class InspectedTable(Counted, frozen=True, kw_only=True):
    """Accounts with an issue that concerns a table."""

    table: str
    issue: str


class InspectedBroker(Counted, frozen=True, kw_only=True):
    """Accounts of a broker with issues."""

    broker: str


class TableTrades(Struct, frozen=True, kw_only=True):
    """Trades that a table is short of, or has too many, on a date."""

    table: str
    accounts: int
    trades: int


class InspectedDate(Counted, frozen=True, kw_only=True):
    """Accounts with an issue that names a date."""

    date: dt.date
    short: Sequence[TableTrades]
    more: Sequence[TableTrades]


class LackingDate(Counted, frozen=True, kw_only=True):
    """A date that seems to be missing in all tables."""

    date: dt.date


class FirstSeen(Struct, frozen=True, kw_only=True):
    """An issue of an account, and since when it is open."""

    issue: str
    first_seen: dt.datetime | None


class FoundAccount(Struct, frozen=True, kw_only=True):
    """An account with its issues."""

    account_id: str
    issues: Sequence[FirstSeen]


class UnreadAccount(Struct, frozen=True, kw_only=True):
    """An account that was not inspected, with the reason."""

    account_id: str
    reason: str | None


class Breakdowns(Struct, frozen=True, kw_only=True):
    """Accounts with issues, counted in several ways."""

    by_issue: Sequence[InspectedIssue]
    by_table: Sequence[InspectedTable]
    by_broker: Sequence[InspectedBroker]
    by_date: Sequence[InspectedDate]
    beyond_dates: Counted
    lacking_dates: Sequence[LackingDate]


class Inspection(Breakdowns, frozen=True, kw_only=True):
    """The result of an inspection so far; `next_after` continues the list of accounts."""

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
