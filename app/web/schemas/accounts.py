"""Accounts over HTTP: state, issues, history, statistics."""

import datetime as dt
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.web.schemas.acceptances import AcceptedIssue
from app.web.schemas.common import AnyKind, AnyOutcome, AnyStatus, Number
from app.web.schemas.leftovers import RESTS_ON
from app.web.schemas.results import ComparedRows, OpenTradesCompared


class IssueEntry(BaseModel):
    """An open issue; further fields are evidence."""

    model_config = ConfigDict(extra="allow")

    type: str
    severity: int = Field(description="1 (critical) to 5 (for information).")
    description: str
    affected: list[str]
    resolution_strategy: str


def _understood(issues: object) -> object:
    """The issues without entries in an earlier system's form, which the next run replaces."""
    entries = issues if isinstance(issues, list) else []
    return [entry for entry in entries if _is_issue(entry)]


def _is_issue(entry: object) -> bool:
    try:
        IssueEntry.model_validate(entry)
    except ValidationError:
        return False
    return True


Issues = Annotated[list[IssueEntry], BeforeValidator(_understood)]


class AccountEffort(BaseModel):
    """Requests and writes for one account in a run; null: not recorded."""

    requests: int | None = Field(
        description=(
            "Requests that it took part in: one for several accounts counts for each of them."
        )
    )
    own_requests: Number = Field(
        description=(
            "Its share of the requests that were sent: one for several accounts is shared in equal"
            " parts; null for old attempts."
        )
    )
    own_seconds: Number = Field(
        description=(
            "Its share of the time of its requests, from the first page to the write; null for old"
            " attempts."
        )
    )
    rows_inserted: int | None
    rows_updated: int | None
    rows_moved: int | None
    rows_removed: int | None
    rows_set_aside: int | None
    values_nulled: int | None


class Attempt(AccountEffort):
    """One run's work on the account."""

    run_id: uuid.UUID
    kind: AnyKind
    outcome: AnyOutcome | None = Field(
        description=(
            "null if the account only failed together with others and was not tried alone: it waits"
            " for the next run."
        )
    )
    finished_at: dt.datetime
    seconds: Number = Field(description="What the account's batch took.")
    issues_found: list[str] | None
    issues_left: list[str] | None
    detail: str | None
    compared: dict[str, Any] | None = Field(
        description="Rows, columns and differing rows by table, if all rows were compared."
    )


class IssueHistory(BaseModel):
    """An issue's opening, and closing with evidence."""

    type: str
    severity: int
    opened_at: dt.datetime
    opened_run: uuid.UUID | None
    closed_at: dt.datetime | None
    closed_run: uuid.UUID | None
    closing_evidence: dict[str, Any] | None


class AccountStatistics(BaseModel):
    """The account's rows in each table."""

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


class SetAsideRow(BaseModel):
    """A row of upstream that is not stored as sent."""

    table: str
    key: str
    date: dt.date | None = Field(
        description="null where its date cannot be read, and for rows of alltime."
    )
    copies: int = Field(description="How often upstream sends it.")
    reason: str
    nulled: dict[str, str | None] = Field(
        description=("Of a stored row: the columns that hold NULL instead, and the values sent.")
    )
    first_seen: dt.datetime
    last_seen: dt.datetime


class PinnedRow(BaseModel):
    """A restored row, which stays until it is released or upstream sends the same values."""

    table: str
    key: list[str | None] = Field(description="The row's key; of a trade without its date.")
    date: dt.date | None = Field(description="null for rows of alltime.")
    account_id: str | None = Field(
        description="Whose row it is as restored; another account's id, or null, at a trade that is"
        " this account's by its natural key."
    )
    removed_id: int = Field(description="The copy from which it was restored.")
    run_id: uuid.UUID | None = Field(description="The run that had changed it.")
    reason: str | None = Field(description="Why it was restored, as far as that was told.")
    pinned_at: dt.datetime


class Account(BaseModel):
    """An account's present state."""

    account_id: str
    status: str
    stats: AccountStatistics
    issues: Issues
    failed_attempts: int
    last_checked: dt.datetime | None
    last_reconciled: dt.datetime | None
    last_failed_attempt: dt.datetime | None
    next_attempt_at: dt.datetime | None
    attempts: list[Attempt] = Field(description="The last attempts, newest first.")
    history: list[IssueHistory] = Field(
        description="Openings and closings of issues, newest first."
    )
    set_aside: list[SetAsideRow] = Field(
        description="Rows of upstream that are not held as they were sent, the newest 20."
    )
    rests_on: str = Field(description="When and how it was last compared, in a sentence.")
    accepted: list[AcceptedIssue] = Field(description="Accepted open issues, first to end first.")
    pinned: list[PinnedRow] = Field(
        description="Rows that a restore brought back and that no run changes, the first 100."
    )


class AccountOutcome(AccountEffort):
    """The result of reconciling one account."""

    account_id: str
    run_id: uuid.UUID
    status: AnyStatus
    error: str | None = Field(description="Why the run ended early.")
    outcome: AnyOutcome | None = Field(
        description="null if the run failed before the account's turn."
    )
    issues_found: list[str]
    issues: Issues = Field(description="The issues that are still open.")
    detail: str | None
    compared: ComparedRows | None = Field(
        description="What was compared row by row; null where only counts were."
    )
    open_trades: OpenTradesCompared | None = Field(
        description=(
            "The account's open trades against upstream's snapshot; null where they were not"
            " compared."
        )
    )
    rests_on: str | None = RESTS_ON
