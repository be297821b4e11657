"""The report over HTTP."""

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, Field

from app.web.schemas.acceptances import AcceptedFigures, HoldingAccount
from app.web.schemas.common import AnyKind, AnyStatus
from app.web.schemas.leftovers import LEFT, LEFT_TOLD, NEEDS_SOMEBODY, RunLeft
from app.web.schemas.maintenance import UnmatchedKey
from app.web.schemas.results import OpenTradesCompared


class Overall(BaseModel):
    """Figures of accounts; `reconciled` and `needs_reconciliation` add up to all."""

    total_accounts: int
    reconciled: int = Field(
        description="The tables agree, in total and on each date, and no issue is open."
    )
    needs_reconciliation: int = Field(description="All others.")
    has_failures: int = Field(description="The last run that took them failed at them.")
    has_issues: int = Field(
        description=(
            "An issue is recorded as open; those that need reconciliation, but for"
            " `disagree_without_issue`."
        )
    )
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
        description=(
            "Checks that ended: an account counts once for each run that took it. Inspections do"
            " not count."
        )
    )
    resolved: int = Field(
        description="Those of the checks that left the account unchanged, healed or explained."
    )
    failed: int = Field(description="Those of the checks that failed.")


class Activity(BaseModel):
    """Work of the last seven days."""

    accounts_checked: int = Field(
        description=(
            "Checks that ended: an account counts once for each run that took it. Inspections do"
            " not count."
        )
    )
    resolved: int = Field(
        description="Those of the checks that left the account unchanged, healed or explained."
    )
    failed: int = Field(description="Those of the checks that failed.")
    days: list[ActivityDay]


class IdentityReport(BaseModel):
    """Rows that fit no account or several."""

    unmatched: int
    ambiguous: int
    sample: list[UnmatchedKey]


class ApiReport(BaseModel):
    """The answering process's use of the API."""

    breaker: str
    since_start: dict[str, Any]


class LastRun(BaseModel):
    """The newest run that ended."""

    run_id: uuid.UUID
    kind: AnyKind
    status: AnyStatus
    finished_at: dt.datetime
    requests: int
    error: str | None = Field(
        description=(
            "Why it ended so; how many accounts it holds, since when, and the call that writes"
            " them."
        )
    )
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
        description=(
            "Why it was stopped, if it was; how many accounts it holds, since when, and the call"
            " that writes them."
        )
    )
    needs_confirmation: int = Field(description="The accounts that it holds.")


class OpenTrades(OpenTradesCompared):
    """Upstream's snapshot of open trades against stored ones, from the newest audit."""

    run_id: uuid.UUID
    compared_at: dt.datetime | None


class MoneyRelation(BaseModel):
    """Sums of net profit or lots that should be equal in two tables."""

    relation: str = Field(
        description=(
            "The two tables and the figure, such as daily_hourly_net_profit; RECON_MONEY takes"
            " these names."
        )
    )
    accounts: int = Field(
        description="Accounts whose counts agree in both tables and that have an amount in either."
    )
    holding: int = Field(
        description="Those of them for which both sums are equal but for rounding."
    )
    is_used: bool = Field(
        description="Whether accounts for which it does not hold have the issue money_mismatch."
    )
    reason: str = Field(description="Why it is used or not.")
    learned_at: dt.datetime


class Report(BaseModel):
    """The state of the warehouse."""

    as_of: dt.datetime = Field(
        description="When the figures were counted; those of the API are newer."
    )
    overall: Overall
    issues_by_type: list[IssueType]
    recent_activity: Activity
    history_from: dt.date | None = Field(
        description=(
            "The first date that runs compare, by RECON_HISTORY_FROM; null: all. Rows of earlier"
            " dates are left alone."
        )
    )
    money_relations: list[MoneyRelation] = Field(
        description=(
            "Which sums of amounts are equal between tables, as the last run over all accounts"
            " learned it."
        )
    )
    reconciled_through: dt.date | None = Field(
        description=(
            "The date through which everything is reconciled; null while that cannot be said."
        )
    )
    reconciled_through_reason: str = Field(description="Why it is no later date, in a sentence.")
    reconciled_through_told: str = Field(
        description=(
            "The date in words, with the accounts that it is true but for, since their issues are"
            " accepted."
        )
    )
    accepted: AcceptedFigures | None = Field(
        description="Accounts with accepted issues, which do not hold the date back; null: none."
    )
    audited: str = Field(
        description="When all accounts were last compared with upstream, in a sentence."
    )
    holding_accounts: int = Field(description="How many accounts hold the date back.")
    held_back_by: list[HoldingAccount] = Field(
        description="The first 20 of these, those of which no date is known first."
    )
    accounts_by_status: dict[str, int]
    disagree_without_issue: int = Field(
        description=(
            "Accounts whose tables disagree and of which no issue is recorded yet: maintenance, an"
            " inspection or the next run does."
        )
    )
    message: str | None = Field(
        description=(
            "What the figures rest on where that is nothing: no account is known, or none has a"
            " trade."
        )
    )
    identity: IdentityReport
    open_trades: OpenTrades | None = Field(
        description="null until an audit of all accounts counted them."
    )
    api: ApiReport | None
    last_run: LastRun | None
    holding_run: HoldingRun | None = Field(
        description="null while no account waits for confirmation."
    )
