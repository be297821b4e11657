"""A run as the engine reports it: its state, the list of runs, and the rows that it wrote."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class RunAccounts(Struct, frozen=True, kw_only=True):
    """Accounts of a run by outcome; `done` is the sum of all outcomes."""

    total: int
    unchanged: int
    healed: int
    explained: int
    partial: int
    failed: int
    flapping: int
    needs_confirmation: int
    gone: int
    found: int
    skipped: int
    waiting: int
    postponed: int
    done: int


class RunRows(Struct, frozen=True, kw_only=True):
    """Rows that a run wrote, and rows of upstream that it set aside."""

    inserted: int
    updated: int
    moved: int
    removed: int
    set_aside: int

    @property
    def written(self) -> int:
        """Rows that were inserted, overwritten, moved or removed."""
        return self.inserted + self.updated + self.moved + self.removed


class RunWait(Struct, frozen=True, kw_only=True):
    """One reason why a run does not go on; `accounts` where it does not concern all of them."""

    reason: str
    message: str
    since: dt.datetime | None
    until: dt.datetime | None
    accounts: int | None


class UnderWay(Struct, frozen=True, kw_only=True):
    """Progress of the batches that are not recorded yet."""

    accounts: int
    done: int
    requests: int
    rows_written: int


class ComparedTable(Struct, frozen=True, kw_only=True):
    """Rows and columns of a table that were compared; `differing` before anything was written."""

    table: str
    rows: int
    columns: int
    differing: int


class ComparedRows(Struct, frozen=True, kw_only=True):
    """The comparison row by row, with the requests that it cost."""

    tables: Sequence[ComparedTable]
    rows: int
    columns: int
    differing: int
    requests: int | None


class OpenTradesOfDate(Struct, frozen=True, kw_only=True):
    """A date on which the snapshot and the warehouse count different open trades."""

    date: dt.date
    upstream: int
    stored: int


class OpenTradesCompared(Struct, frozen=True, kw_only=True):
    """Upstream's snapshot of open trades against the stored ones of its dates."""

    upstream: int | None
    stored: int | None
    stored_of_other_dates: int | None
    dates: Sequence[OpenTradesOfDate]
    dates_that_differ: int
    error: str | None


class GivenOrder(Struct, frozen=True, kw_only=True):
    """An order about a run."""

    order: str
    reason: str | None
    given_at: dt.datetime


class RunState(Struct, frozen=True, kw_only=True):
    """A run as it stands.

    `left` has the accounts by what is left of them, `left_told` the same in words; both are None
    until the run ends, and of runs that an earlier version ended.
    """

    run_id: uuid.UUID
    kind: str
    status: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    stop_at: dt.datetime | None
    confirmed_at: dt.datetime | None
    history_from: dt.date | None
    error: str | None
    under_way: UnderWay | None
    waiting_for: Sequence[RunWait]
    request: Any
    accounts: RunAccounts
    left: Mapping[str, int] | None
    left_told: str | None
    needs_somebody: bool | None
    rests_on: str | None
    known_accounts: int | None
    gone_accounts: Sequence[str]
    total_processed: int
    fully_resolved: int
    partially_resolved: int
    failed: int
    skipped_due_to_previous_failure: int
    rows: RunRows
    values_nulled: int
    requests: int
    phases: Mapping[str, float]
    api_stats: Mapping[str, Any]
    maintenance: Mapping[str, Any]
    orders: Sequence[GivenOrder]
    compared: ComparedRows | None
    open_trades: OpenTradesCompared | None


class ListedRun(Struct, frozen=True, kw_only=True):
    """A run in a list, read from its row alone."""

    run_id: uuid.UUID
    kind: str
    status: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    stop_at: dt.datetime | None
    confirmed_at: dt.datetime | None
    history_from: dt.date | None
    error: str | None
    needs_somebody: bool | None
    total: int
    done: int
    healed: int
    failed: int
    needs_confirmation: int
    requests: int
    rows_written: int


class RunList(Struct, frozen=True, kw_only=True):
    """Runs, newest first; `next_before` continues the list."""

    runs: Sequence[ListedRun]
    next_before: uuid.UUID | None


class HeldAccount(Struct, frozen=True, kw_only=True):
    """An account that a run holds, with the reason."""

    account_id: str
    detail: str | None


class RunAttempt(Struct, frozen=True, kw_only=True):
    """An account that a run is done with; `trades_recon_checksum` is that of now."""

    account_id: str
    outcome: str
    issues_found: Sequence[str] | None
    issues_left: Sequence[str] | None
    detail: str | None
    trades_recon_checksum: bool | None
    has_few_hours: bool


class LeftRun(Struct, frozen=True, kw_only=True):
    """A run that no living process works on."""

    run_id: uuid.UUID
    kind: str
    created_at: dt.datetime


class RowCounts(Struct, frozen=True, kw_only=True):
    """Rows by what was done to them."""

    inserted: int
    overwritten: int
    moved: int
    removed: int
    set_aside: int
    nulled: int


class TableResult(RowCounts, frozen=True, kw_only=True):
    """Rows of a table; by date or by broker where the list is by these."""

    table: str
    date: dt.date | None = None
    broker: str | None = None


class IssueResult(RowCounts, frozen=True, kw_only=True):
    """Accounts with an issue, those at which it was closed, and their rows."""

    issue: str
    accounts: int
    closed: int


class RunResult(Struct, frozen=True, kw_only=True):
    """Rows that a run wrote by table, date, broker and issue."""

    run_id: uuid.UUID
    by_table: Sequence[TableResult]
    by_date: Sequence[TableResult]
    by_broker: Sequence[TableResult]
    by_issue: Sequence[IssueResult]
