"""Orders over HTTP."""

import datetime as dt
import uuid
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.domain.runs.orders import LONGEST_REASON
from app.domain.states import Depth, RunKind
from app.web.schemas.common import LARGEST_LIMIT, MOST_ACCOUNTS, AccountId

OrderReason = Annotated[
    str | None,
    Field(max_length=LONGEST_REASON, description="Why, in your own words; kept in the record."),
]
_DEPTH = (
    "How far the accounts are compared: `rows`: every row and column of every table, whatever the"
    " counts say; `counts`: where the counts disagree."
)


class AccountOrder(BaseModel):
    """How one account is reconciled; every field is optional."""

    model_config = ConfigDict(extra="forbid")

    depth: Depth = Field(default=Depth.ROWS, description=_DEPTH)
    reason: OrderReason = None


class RunOrder(BaseModel):
    """The scope of a run; every field is optional."""

    model_config = ConfigDict(extra="forbid")

    kind: RunKind = Field(
        default=RunKind.FULL,
        description=(
            "`full`: mismatched accounts that are not backing off; `retry`: all mismatched"
            " accounts; `audit`: every account is compared with upstream; `inspect`: detected"
            " alone, nothing is healed and upstream is not asked."
        ),
    )
    max_accounts: Annotated[int, Field(strict=True, ge=1, le=LARGEST_LIMIT)] | None = Field(
        default=None,
        description="At most this many accounts, the longest unchecked first; null: all.",
    )
    account_ids: (
        Annotated[list[AccountId], Field(min_length=1, max_length=MOST_ACCOUNTS)] | None
    ) = Field(
        default=None,
        description="Only these accounts, whatever their state; null: those that the kind takes.",
    )
    changed_only: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description=(
            "With `full`: only accounts of which a row was written since the last run over all"
            " accounts, as `ingestion_timestamp` tells; deletions are found by runs without this."
        ),
    )
    depth: Depth | None = Field(
        default=None,
        description=f"{_DEPTH} null: `rows` with `account_ids`, else `counts`.",
    )
    stop_at: AwareDatetime | None = Field(
        default=None,
        description=(
            "When the run ends in order, whatever is left: a time in the future, with its zone;"
            " null: when nothing is left."
        ),
    )
    reason: OrderReason = None


class GivenReason(BaseModel):
    """Why an order is given, for the record and the log."""

    model_config = ConfigDict(extra="forbid")

    reason: OrderReason = None


class GivenOrder(BaseModel):
    """A recorded order about a run."""

    order: str = Field(description="start, pause, resume, cancel, confirm, restore or release.")
    reason: str | None
    given_at: dt.datetime


class RunAccepted(BaseModel):
    """A run was queued."""

    run_id: uuid.UUID


class Confirmation(BaseModel):
    """Which held accounts of a run are confirmed."""

    model_config = ConfigDict(extra="forbid")

    account_ids: (
        Annotated[list[AccountId], Field(min_length=1, max_length=MOST_ACCOUNTS)] | None
    ) = Field(
        default=None,
        description=(
            "These alone: the others stay held, and the run does nothing else; null: all of them."
        ),
    )
    reason: OrderReason = None
