"""Inspections over HTTP."""

import datetime as dt
import uuid
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.web.schemas.common import LARGEST_LIMIT, MOST_ACCOUNTS, AccountId, AnyStatus
from app.web.schemas.orders import OrderReason
from app.web.schemas.report import IdentityReport


class InspectionOrder(BaseModel):
    """The scope of an inspection; every field is optional."""

    model_config = ConfigDict(extra="forbid")

    max_accounts: Annotated[int, Field(strict=True, ge=1, le=LARGEST_LIMIT)] | None = Field(
        default=None,
        description=(
            "Detect the issues of at most this many accounts that disagree, the longest unchecked"
            " first; null: of all."
        ),
    )
    account_ids: (
        Annotated[list[AccountId], Field(min_length=1, max_length=MOST_ACCOUNTS)] | None
    ) = Field(default=None, description="Only these accounts; null: all.")
    stop_at: AwareDatetime | None = Field(
        default=None,
        description=(
            "When it ends in order, whatever is left: a time in the future, with its zone; null:"
            " when nothing is left."
        ),
    )
    reason: OrderReason = None


class InspectedAccounts(BaseModel):
    """The accounts of an inspection."""

    known: int | None = Field(description="Accounts that are known; null until they were counted.")
    total: int = Field(
        description="Accounts that are inspected: all that are known, unless some are named."
    )
    inspected: int
    found: int = Field(description="With issues that need action.")
    explained: int = Field(
        description=(
            "Only with what is for information, or what a run found not to be the warehouse's to"
            " heal and what is as it was then."
        )
    )
    unchanged: int = Field(description="Nothing was found.")
    not_inspected: int = Field(
        description=(
            "Their rows cannot be read, they are locked, were deleted or left out, or the run ended"
            " before."
        )
    )


class _Counted(BaseModel):
    accounts: int
    share: float = Field(description="Of all accounts that are inspected.")


class InspectedIssue(_Counted):
    """Accounts by issue and severity."""

    issue: str
    severity: int = Field(description="1 (critical) to 5 (for information).")
    sample: list[str] = Field(description="Five of the accounts.")


class InspectedTable(_Counted):
    """Accounts by table and issue."""

    table: str
    issue: str


class InspectedBroker(_Counted):
    """Accounts with issues by broker; one counts for each of its brokers."""

    broker: str


class ShortTable(BaseModel):
    """A table that counts fewer trades than another on a date."""

    table: str
    accounts: int
    trades: int = Field(description="How many fewer than the table that counts most.")


class SurplusTable(BaseModel):
    """A table that counts more trades than all others on a date."""

    table: str
    accounts: int
    trades: int = Field(description="How many more than the others.")


class InspectedDate(_Counted):
    """Accounts with an issue on a date."""

    date: dt.date
    short: list[ShortTable]
    more: list[SurplusTable] = Field(
        description=(
            "Tables that count more than the two others, which agree, and more than alltime in all:"
            " such as trades stored twice."
        )
    )


class BeyondDates(_Counted):
    """Accounts whose alltime exceeds all tables, so that trades of unknown dates are missing."""


class LackingDate(_Counted):
    """A date that such accounts lack in every table: most likely a missed night."""

    date: dt.date


class FirstSeen(BaseModel):
    """An issue of an account."""

    issue: str
    first_seen: dt.datetime | None = Field(
        description="Since when it is open; null: it is open no more."
    )


class FoundAccount(BaseModel):
    """An account with its issues."""

    account_id: str
    issues: list[FirstSeen]


class UnreadAccount(BaseModel):
    """An account that was not inspected."""

    account_id: str
    reason: str | None


class Inspection(BaseModel):
    """An inspection's findings so far."""

    run_id: uuid.UUID
    status: AnyStatus
    message: str = Field(description="What it came to, in a sentence or two.")
    created_at: dt.datetime
    finished_at: dt.datetime | None
    history_from: dt.date | None = Field(
        description="The first date that is compared, by RECON_HISTORY_FROM; null: all."
    )
    error: str | None = Field(description="Why it ended early, and how many accounts are left.")
    accounts: InspectedAccounts
    by_issue: list[InspectedIssue]
    by_table: list[InspectedTable]
    by_broker: list[InspectedBroker]
    by_date: list[InspectedDate] = Field(description="The newest 2,000 dates.")
    beyond_dates: BeyondDates
    lacking_dates: list[LackingDate]
    identity: IdentityReport = Field(
        description="Rows that fit no account or several; not counted where accounts are named."
    )
    not_inspected: list[UnreadAccount] = Field(
        description="Accounts that could not be inspected, the first hundred."
    )
    listed: list[FoundAccount] = Field(
        description="Accounts with issues in the order of their ids, as many as `limit` allows."
    )
    next_after: str | None = Field(description="Give it as `after` for more; null: there are none.")
