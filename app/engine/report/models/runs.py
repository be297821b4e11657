"""A run as reported."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class RunAccounts(Struct, frozen=True, kw_only=True):
    """Accounts by outcome, with their sum `done`."""

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
    """Rows written, or set aside."""

    inserted: int
    updated: int
    moved: int
    removed: int
    set_aside: int

    @property
    def written(self) -> int:
        """Rows inserted, overwritten, moved or removed."""
        return self.inserted + self.updated + self.moved + self.removed


class RunWait(Struct, frozen=True, kw_only=True):
    """Why a run waits; `accounts` if not all."""

    reason: str
    message: str
    since: dt.datetime | None
    until: dt.datetime | None
    accounts: int | None


class UnderWay(Struct, frozen=True, kw_only=True):
    """Progress of unrecorded batches."""

    accounts: int
    done: int
    requests: int
    rows_written: int


class ComparedTable(Struct, frozen=True, kw_only=True):
    """Compared rows; `differing` before the write."""

    table: str
    rows: int
    columns: int
    differing: int


class ComparedRows(Struct, frozen=True, kw_only=True):
    """Row comparison, and its requests."""

    tables: Sequence[ComparedTable]
    rows: int
    columns: int
    differing: int
    requests: int | None


class OpenTradesOfDate(Struct, frozen=True, kw_only=True):
    """A date with different open trades."""

    date: dt.date
    upstream: int
    stored: int


class OpenTradesCompared(Struct, frozen=True, kw_only=True):
    """Upstream's open trades against stored ones."""

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
    """A run.

    `left` counts accounts by kind of leftover, `left_told` in words; None before the end, or for
    earlier versions.
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
    """A run in a list."""

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
    """Runs, newest first; `next_before` continues."""

    runs: Sequence[ListedRun]
    next_before: uuid.UUID | None


class HeldAccount(Struct, frozen=True, kw_only=True):
    """A held account."""

    account_id: str
    detail: str | None


class RunAttempt(Struct, frozen=True, kw_only=True):
    """A finished account, with its checksum now."""

    account_id: str
    outcome: str
    issues_found: Sequence[str] | None
    issues_left: Sequence[str] | None
    detail: str | None
    trades_recon_checksum: bool | None
    has_few_hours: bool


class LeftRun(Struct, frozen=True, kw_only=True):
    """A run without a living process."""

    run_id: uuid.UUID
    kind: str
    created_at: dt.datetime


class RowCounts(Struct, frozen=True, kw_only=True):
    """Rows by operation."""

    inserted: int
    overwritten: int
    moved: int
    removed: int
    set_aside: int
    nulled: int


class TableResult(RowCounts, frozen=True, kw_only=True):
    """A table's rows, by date or broker."""

    table: str
    date: dt.date | None = None
    broker: str | None = None


class IssueResult(RowCounts, frozen=True, kw_only=True):
    """Accounts and rows of an issue."""

    issue: str
    accounts: int
    closed: int


class RunResult(Struct, frozen=True, kw_only=True):
    """Rows that a run wrote."""

    run_id: uuid.UUID
    by_table: Sequence[TableResult]
    by_date: Sequence[TableResult]
    by_broker: Sequence[TableResult]
    by_issue: Sequence[IssueResult]
