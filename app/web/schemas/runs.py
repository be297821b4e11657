"""What goes over HTTP: requests as they may be, answers as they are."""

import datetime as dt
import math
import uuid
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.domain.runs.orders import LONGEST_REASON
from app.domain.states import Depth, Outcome, RunKind, RunStatus
from app.web.schemas.acceptances import AcceptedFigures, AcceptedIssue, HoldingAccount
from app.web.schemas.leftovers import LEFT, LEFT_TOLD, NEEDS_SOMEBODY, RESTS_ON, RunLeft
from app.web.schemas.money import MoneyRelation
from app.web.schemas.progress import UnderWay

_MOST_ACCOUNTS = 10_000
_LARGEST_LIMIT = 2**31 - 1

AccountId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        pattern="^[^\\x00]+$",  # PostgreSQL holds every character but this one
        description="An account id as the warehouse holds it; in a path percent-encoded, so that `/` is `%2F`.",
    ),
]

AnyKind = RunKind | str
AnyStatus = RunStatus | str
AnyOutcome = Outcome | str
"""What the record may hold: also words of a newer version of trade-recon, while both run, or after this one was put back."""


OrderReason = Annotated[str | None, Field(max_length=LONGEST_REASON, description="Why, in words of yours; it stays in the record.")]
_DEPTH = (
    "How far the accounts are compared: `rows`: every row and column of every table, whatever the counts say; `counts`: where the counts "
    "disagree."
)


class AccountOrder(BaseModel):
    """How one account shall be reconciled; everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    depth: Depth = Field(default=Depth.ROWS, description=_DEPTH)
    reason: OrderReason = None


class RunOrder(BaseModel):
    """What a run shall do; everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    kind: RunKind = Field(
        default=RunKind.FULL,
        description="`full`: mismatched accounts that are not backing off; `retry`: all mismatched accounts; "
        "`audit`: every account is compared with upstream; `inspect`: detected alone, nothing is healed and upstream is not asked.",
    )
    max_accounts: Annotated[int, Field(strict=True, ge=1, le=_LARGEST_LIMIT)] | None = Field(
        default=None, description="At most so many accounts, the longest unchecked first; null: all."
    )
    account_ids: Annotated[list[AccountId], Field(min_length=1, max_length=_MOST_ACCOUNTS)] | None = Field(
        default=None, description="Only these accounts, whatever their state; null: those that the kind takes."
    )
    changed_only: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="With `full`: only accounts of which a row was written since the last run over all accounts, as `ingestion_timestamp` "
        "tells; deletions are found by runs without this.",
    )
    depth: Depth | None = Field(
        default=None,
        description=f"{_DEPTH} null: `rows` with `account_ids`, else `counts`.",
    )
    stop_at: AwareDatetime | None = Field(
        default=None,
        description="When the run ends in order, whatever is left: a time in the future, with its zone; null: when nothing is left.",
    )
    reason: OrderReason = None


class GivenReason(BaseModel):
    """Why an order is given; it stays in the record of the run, and in the log."""

    model_config = ConfigDict(extra="forbid")

    reason: OrderReason = None


class GivenOrder(BaseModel):
    """An order that was given about a run."""

    order: str = Field(description="start, pause, resume, cancel, confirm, restore or release.")
    reason: str | None
    given_at: dt.datetime


class RunAccepted(BaseModel):
    """A run was queued."""

    run_id: uuid.UUID


class RunAccounts(BaseModel):
    """Accounts of a run by outcome."""

    total: int
    unchanged: int = Field(description="There was nothing to heal.")
    healed: int = Field(description="Issues were there and none is left.")
    explained: int = Field(description="What is left is not the warehouse's to heal.")
    partial: int = Field(description="Some issues were closed, some that can be healed are left.")
    failed: int = Field(description="No issue was closed.")
    flapping: int = Field(description="Held back: the same issue opened again and again right after healing.")
    needs_confirmation: int = Field(
        description="Held: upstream suddenly has nothing for them, or healing would rewrite most of their rows; the run can be confirmed."
    )
    gone: int = Field(description="Deleted from trade_recon by somebody else while they waited; `gone_accounts` names some.")
    found: int = Field(description="An inspection found issues that are more than information.")
    skipped: int = Field(description="Left out, since they are backing off after failures or held back.")
    waiting: int = Field(description="Not done yet; of a run that is over, those that are left.")
    postponed: int = Field(
        description="Read, or waiting to be read, a second time at the end of the run, since a fetch could not be completed."
    )
    done: int


class RunRows(BaseModel):
    """Rows of the warehouse that a run wrote."""

    inserted: int
    updated: int
    moved: int
    removed: int
    set_aside: int = Field(description="Rows of upstream that the warehouse cannot hold as they are.")


class RunWait(BaseModel):
    """One reason why a run does not go on."""

    reason: str = Field(
        description="`upstream_down`, `upstream_throttles`, `quota`, `locks`, `accounts_held`, `preparation_held`, `unattended`, `turn`, "
        "`postponed`, `paused` or `guard`; a newer version may know others."
    )
    message: str = Field(description="What the run waits for, since when, and when something changes or what to do, in a sentence.")
    since: dt.datetime | None
    until: dt.datetime | None = Field(description="When it is tried again, or held accounts are free; null: not known.")
    accounts: int | None = Field(description="The accounts that it concerns, where it does not concern all.")


class ComparedTable(BaseModel):
    """What of a table was compared row by row."""

    table: str
    rows: int = Field(description="Rows of upstream and stored ones together.")
    columns: int = Field(description="Columns that were compared in each row, those of the key included.")
    differing: int = Field(description="Rows that differed before anything was written.")


class ComparedRows(BaseModel):
    """What was compared row by row, and what it cost."""

    tables: list[ComparedTable]
    rows: int
    columns: int
    differing: int
    requests: int | None = Field(description="Requests that were sent for it.")


class OpenTradesOfDate(BaseModel):
    """A date on which upstream's snapshot has another number of open trades than is stored."""

    date: dt.date
    upstream: int
    stored: int


class OpenTradesCompared(BaseModel):
    """Upstream's snapshot of open trades against what is stored of its dates; nothing follows from it."""

    upstream: int | None
    stored: int | None
    stored_of_other_dates: int | None = Field(description="Stored rows of dates that the snapshot does not have: earlier snapshots.")
    dates: list[OpenTradesOfDate] = Field(description="The newest dates that differ, a hundred at most.")
    dates_that_differ: int
    error: str | None = Field(description="Why the snapshot could not be read.")


class Run(BaseModel):
    """A run as it stands."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    stop_at: dt.datetime | None = Field(description="When the run ends, whatever is left.")
    confirmed_at: dt.datetime | None = Field(description="When somebody let the run write what it had held.")
    history_from: dt.date | None = Field(description="The first date that the run compares, by RECON_HISTORY_FROM; null: all.")
    error: str | None = Field(description="Why the run ended early, and how many accounts are left.")
    under_way: UnderWay | None = Field(description="The batches that are worked on and not recorded yet; null where none is.")
    waiting_for: list[RunWait] = Field(description="Why the run does not go on; empty while it does, and once it is over.")
    request: Any = Field(description="What the run was asked to do, as the process that started it wrote it.")
    accounts: RunAccounts
    left: RunLeft | None = LEFT
    left_told: str | None = LEFT_TOLD
    needs_somebody: bool | None = NEEDS_SOMEBODY
    rests_on: str | None = RESTS_ON
    known_accounts: int | None = Field(
        description="The accounts that were known when those of the run were chosen; null: that was not yet, or by an earlier version."
    )
    gone_accounts: list[str] = Field(description="Accounts that were deleted from trade_recon while they waited in the run, at most 20.")
    total_processed: int
    fully_resolved: int
    partially_resolved: int
    failed: int
    skipped_due_to_previous_failure: int
    rows: RunRows
    values_nulled: int = Field(description="Values that cannot be stored as they were sent: NULL, or U+FFFD in a text, stands for them.")
    requests: int = Field(description="Requests sent to upstream, retries included.")
    phases: dict[str, float] = Field(description="Seconds by phase, summed over workers.")
    api_stats: dict[str, Any] = Field(description="API statistics by worker process, endpoint and figure.")
    maintenance: dict[str, Any] = Field(description="What the maintenance before the run did.")
    orders: list[GivenOrder] = Field(description="What was ordered about the run, first to last, at most 100.")
    compared: ComparedRows | None = Field(description="What was compared row by row; null where only counts were.")
    open_trades: OpenTradesCompared | None = Field(
        description="The open trades of the named accounts against upstream's snapshot; null where they were not compared."
    )


class RowCounts(BaseModel):
    """What was done to rows."""

    inserted: int
    overwritten: int
    moved: int
    removed: int
    set_aside: int = Field(description="Rows of upstream that cannot be held; only those that no later run met.")
    nulled: int = Field(description="Rows that are stored with NULL in place of a value; only those that no later run met.")


class TableResult(RowCounts):
    """What a run did to a table."""

    table: str


class DateResult(TableResult):
    """What a run did to a table on a date."""

    date: dt.date | None = Field(description="null where rows have none (alltime).")


class BrokerResult(TableResult):
    """What a run did to rows of a broker in a table."""

    broker: str | None


class IssueResult(RowCounts):
    """What a run did for accounts with an issue; an account with several counts for each."""

    issue: str
    accounts: int
    closed: int = Field(description="Accounts at which the issue is open no more.")


class RunResult(BaseModel):
    """What a run did, so far."""

    run_id: uuid.UUID
    by_table: list[TableResult]
    by_date: list[DateResult] = Field(description="The newest 2,000 lines.")
    by_broker: list[BrokerResult]
    by_issue: list[IssueResult]


class ListedRun(BaseModel):
    """A run among others."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    stop_at: dt.datetime | None
    confirmed_at: dt.datetime | None
    history_from: dt.date | None
    error: str | None = Field(description="Why the run ended early, and what is to be done.")
    needs_somebody: bool | None = NEEDS_SOMEBODY
    total: int = Field(description="Accounts.")
    done: int
    healed: int
    failed: int
    needs_confirmation: int
    requests: int
    rows_written: int = Field(description="Rows that were inserted, overwritten, moved or removed.")


class RunList(BaseModel):
    """Runs, newest first."""

    runs: list[ListedRun]
    next_before: uuid.UUID | None = Field(description="Give it as `before` for older ones; null: there are none.")


class Confirmation(BaseModel):
    """Which of the accounts that a run holds are let through."""

    model_config = ConfigDict(extra="forbid")

    account_ids: Annotated[list[AccountId], Field(min_length=1, max_length=_MOST_ACCOUNTS)] | None = Field(
        default=None, description="These alone: the others stay held, and the run does nothing else; null: all of them."
    )
    reason: OrderReason = None


class UnmatchedKey(BaseModel):
    """Rows whose account id is missing or wrong and fits no account or several."""

    table: str
    login: str
    platform: str
    broker: str
    account_id: str | None = Field(description="The id that the rows carry.")
    candidates: list[str] = Field(description="The accounts that fit; none of them is guessed.")
    rows: int


class Maintenance(BaseModel):
    """What maintenance did."""

    closed_trades_updated: int
    open_trades_updated: int
    md5_hashes_fixed: int
    unmatched_combinations: int = Field(description="Natural keys that no account or several fit.")
    metrics_rows_updated: int
    ambiguous_combinations: int = Field(description="Natural keys that several accounts fit.")
    accounts_added: int
    totals_changed: int
    unmatched: list[UnmatchedKey] = Field(description="The largest of the unmatched combinations.")
    history_from: dt.date | None = Field(description="The first date that is counted, by RECON_HISTORY_FROM; null: all.")
    rows_before_history: int = Field(description="Rows that are stored of dates before that; they are left alone.")
    accounts_locked: int = Field(description="Accounts whose totals were not written: another transaction holds their rows in trade_recon.")
    accounts_refused: int = Field(
        description="Accounts that PostgreSQL does not let into trade_recon, or whose rows there cannot be written."
    )
    accounts_known: int = Field(description="All accounts that are known by then.")
    message: str | None = Field(description="What to do where no account is known.")
    seconds: float


class IssueEntry(BaseModel):
    """An open issue; evidence stands beside these names."""

    model_config = ConfigDict(extra="allow")

    type: str
    severity: int = Field(description="1 (critical) to 5 (for information).")
    description: str
    affected: list[str]
    resolution_strategy: str


def _understood(issues: object) -> object:
    """Without the entries that an earlier system wrote in a form of its own: the next run replaces them."""
    entries = issues if isinstance(issues, list) else []
    return [entry for entry in entries if _is_issue(entry)]


def _is_issue(entry: object) -> bool:
    try:
        IssueEntry.model_validate(entry)
    except ValidationError:
        return False
    return True


Issues = Annotated[list[IssueEntry], BeforeValidator(_understood)]


def _finite(value: object) -> object:
    """A number that JSON can write; None for any other."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]


class AccountEffort(BaseModel):
    """What was asked and written for one account in a run; null where nothing was recorded of it."""

    requests: int | None = Field(description="Requests that it took part in: one for several accounts counts for each of them.")
    own_requests: Number = Field(
        description="Its share of the requests that were sent: one for several accounts is shared in equal parts; null for old attempts."
    )
    own_seconds: Number = Field(
        description="Its share of the time of its requests, from the first page to the write; null for old attempts."
    )
    rows_inserted: int | None
    rows_updated: int | None
    rows_moved: int | None
    rows_removed: int | None
    rows_set_aside: int | None
    values_nulled: int | None


class Attempt(AccountEffort):
    """What one run did to the account."""

    run_id: uuid.UUID
    kind: AnyKind
    outcome: AnyOutcome | None = Field(
        description="null if the account only failed together with others and was not tried alone: it waits for the next run."
    )
    finished_at: dt.datetime
    seconds: Number = Field(description="What the account's batch took.")
    issues_found: list[str] | None
    issues_left: list[str] | None
    detail: str | None
    compared: dict[str, Any] | None = Field(description="Rows, columns and differing rows by table, if all rows were compared.")


class IssueHistory(BaseModel):
    """The opening of an issue, and its closing with the evidence."""

    type: str
    severity: int
    opened_at: dt.datetime
    opened_run: uuid.UUID | None
    closed_at: dt.datetime | None
    closed_run: uuid.UUID | None
    closing_evidence: dict[str, Any] | None


class AccountStatistics(BaseModel):
    """What each table holds of the account."""

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
    """A row of upstream that the warehouse does not hold as it was sent."""

    table: str
    key: str
    date: dt.date | None = Field(description="null where its date cannot be read, and for rows of alltime.")
    copies: int = Field(description="How often upstream sends it.")
    reason: str
    nulled: dict[str, str | None] = Field(description="Of a row that is stored: the columns that hold NULL instead, and what was sent.")
    first_seen: dt.datetime
    last_seen: dt.datetime


class PinnedRow(BaseModel):
    """A row that a restore brought back, and that stays as it is until it is released or upstream sends the same values."""

    table: str
    key: list[str | None] = Field(description="The row's key; of a trade without its date.")
    date: dt.date | None = Field(description="null for rows of alltime.")
    removed_id: int = Field(description="The copy from which it was restored.")
    run_id: uuid.UUID | None = Field(description="The run that had changed it.")
    reason: str | None = Field(description="Why it was restored, as far as that was told.")
    pinned_at: dt.datetime


class Account(BaseModel):
    """An account as it stands."""

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
    history: list[IssueHistory] = Field(description="Openings and closings of issues, newest first.")
    set_aside: list[SetAsideRow] = Field(description="Rows of upstream that are not held as they were sent, the newest 20.")
    rests_on: str = Field(description="When and how it was last compared, in a sentence.")
    accepted: list[AcceptedIssue] = Field(description="Those of the open issues that somebody accepted, the first to end first.")
    pinned: list[PinnedRow] = Field(description="Rows that a restore brought back and that no run changes, the first 100.")


class AccountOutcome(AccountEffort):
    """What came of healing one account."""

    account_id: str
    run_id: uuid.UUID
    status: AnyStatus
    error: str | None = Field(description="Why the run ended early.")
    outcome: AnyOutcome | None = Field(description="null if the run failed before the account's turn.")
    issues_found: list[str]
    issues: Issues = Field(description="The issues that are still open.")
    detail: str | None
    compared: ComparedRows | None = Field(description="What was compared row by row; null where only counts were.")
    open_trades: OpenTradesCompared | None = Field(
        description="The account's open trades against upstream's snapshot; null where they were not compared."
    )
    rests_on: str | None = RESTS_ON


class Overall(BaseModel):
    """The account figures of the report; `reconciled` and `needs_reconciliation` add up to all."""

    total_accounts: int
    reconciled: int = Field(description="The tables agree, in total and on each date, and no issue is open.")
    needs_reconciliation: int = Field(description="All others.")
    has_failures: int = Field(description="The last run that took them failed at them.")
    has_issues: int = Field(description="An issue is recorded as open; those that need reconciliation, but for `disagree_without_issue`.")
    reconciliation_percentage: float | None
    last_activity: dt.datetime | None
    oldest_unreconciled: dt.datetime | None


class IssueType(BaseModel):
    """Accounts with one kind of issue."""

    issue_type: str
    severity: int
    account_count: int
    sample_accounts: list[str]


class ActivityDay(BaseModel):
    """One of the last seven days."""

    day: dt.date
    accounts_checked: int = Field(
        description="Checks that ended: an account counts once for each run that took it. Inspections do not count."
    )
    resolved: int = Field(description="Those of the checks that left the account unchanged, healed or explained.")
    failed: int = Field(description="Those of the checks that failed.")


class Activity(BaseModel):
    """What was done in the last seven days."""

    accounts_checked: int = Field(
        description="Checks that ended: an account counts once for each run that took it. Inspections do not count."
    )
    resolved: int = Field(description="Those of the checks that left the account unchanged, healed or explained.")
    failed: int = Field(description="Those of the checks that failed.")
    days: list[ActivityDay]


class IdentityReport(BaseModel):
    """Rows that fit no account or several."""

    unmatched: int
    ambiguous: int
    sample: list[UnmatchedKey]


class ApiReport(BaseModel):
    """The use of the API by the process that answers."""

    breaker: str
    since_start: dict[str, Any]


class LastRun(BaseModel):
    """The newest run that ended."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    finished_at: dt.datetime
    requests: int
    error: str | None = Field(description="Why it ended so; how many accounts it holds, since when, and the call that writes them.")
    needs_confirmation: int = Field(description="The accounts that it holds.")
    left: RunLeft | None = LEFT
    left_told: str | None = LEFT_TOLD
    needs_somebody: bool | None = NEEDS_SOMEBODY
    api: dict[str, Any]


class HoldingRun(BaseModel):
    """The newest run that left accounts held."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    finished_at: dt.datetime
    error: str | None = Field(
        description="Why it was stopped, if it was; how many accounts it holds, since when, and the call that writes them."
    )
    needs_confirmation: int = Field(description="The accounts that it holds.")


class OpenTrades(OpenTradesCompared):
    """Upstream's snapshot of open trades against what is stored of its dates, as the newest audit counted them; nothing follows from it."""

    run_id: uuid.UUID
    compared_at: dt.datetime | None


class Report(BaseModel):
    """How the warehouse stands."""

    as_of: dt.datetime = Field(description="When the figures were counted; what is said of the API is newer.")
    overall: Overall
    issues_by_type: list[IssueType]
    recent_activity: Activity
    history_from: dt.date | None = Field(
        description="The first date that runs compare, by RECON_HISTORY_FROM; null: all. Rows of earlier dates are left alone."
    )
    money_relations: list[MoneyRelation] = Field(
        description="Which sums of amounts are equal between tables, as the last run over all accounts learned it."
    )
    reconciled_through: dt.date | None = Field(
        description="The date through which everything is reconciled; null while that cannot be said."
    )
    reconciled_through_reason: str = Field(description="Why it is no later date, in a sentence.")
    reconciled_through_told: str = Field(
        description="The date in words, with the accounts that it is true but for, since their issues are accepted."
    )
    accepted: AcceptedFigures | None = Field(description="Accounts with accepted issues, which do not hold the date back; null: none.")
    audited: str = Field(description="When all accounts were last compared with upstream, in a sentence.")
    holding_accounts: int = Field(description="How many accounts hold the date back.")
    held_back_by: list[HoldingAccount] = Field(description="The first 20 of these, those of which no date is known first.")
    accounts_by_status: dict[str, int]
    disagree_without_issue: int = Field(
        description="Accounts whose tables disagree and of which no issue is recorded yet: maintenance, an inspection or the next run does."
    )
    message: str | None = Field(description="What the figures rest on where that is nothing: no account is known, or none has a trade.")
    identity: IdentityReport
    open_trades: OpenTrades | None = Field(description="null until an audit of all accounts counted them.")
    api: ApiReport | None
    last_run: LastRun | None
    holding_run: HoldingRun | None = Field(description="null while no account waits for confirmation.")


class Change(BaseModel):
    """One slice of a raw table that trade-recon wrote: rows of the account, on the date, were inserted, overwritten, moved or removed."""

    account_id: str
    table: str = Field(examples=["raw_metrics_daily"])
    date: dt.date | None = Field(description="null where the table's rows have no date (alltime).")
    changed_at: dt.datetime
    run_id: uuid.UUID | None = Field(description="null: account ids were mended outside a run.")


class Changes(BaseModel):
    """A piece of the change feed."""

    changes: list[Change] = Field(description="In the order in which they were committed; a change of many dates is one entry for each.")
    next: str = Field(description="The cursor behind these changes, for `since`; the one that was given if there are none.")
    more: bool = Field(description="Whether there was more behind these changes already.")


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The process can do its work."""

    status: Literal["ready"] = "ready"
