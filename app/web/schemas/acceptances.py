"""Accepted issues over HTTP."""

import datetime as dt
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.domain.issues.acceptance import MOST_DAYS, USUAL_DAYS
from app.domain.runs.orders import LONGEST_REASON


class Acceptance(BaseModel):
    """Why an issue is accepted, and until when."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=LONGEST_REASON,
            description="Why, in your own words; kept in the record.",
        ),
    ]
    until: dt.date | None = Field(
        default=None,
        description=(
            f"The first date on which it counts again, at most {MOST_DAYS} days from today; null:"
            f" {USUAL_DAYS} days from today."
        ),
    )


class AcceptedIssue(BaseModel):
    """An open issue that holds nothing back while its figures stay, until a date."""

    account_id: str
    issue: str
    reason: str
    until: dt.date = Field(description="The first date on which it counts again.")
    accepted_at: dt.datetime
    evidence: dict[str, Any] = Field(
        description="The issue as it was shown then; it counts again once its figures are others."
    )


class AcceptedIssues(BaseModel):
    """Accepted issues, first to end first; at most 1,000 are listed."""

    accepted: list[AcceptedIssue]
    more: int = Field(description="How many more are accepted that are not listed.")


class Withdrawn(BaseModel):
    """An issue counts again."""

    account_id: str
    issue: str
    was_accepted: bool = Field(description="false: it was not accepted, and nothing was changed.")


class AcceptedFigures(BaseModel):
    """Numbers of accepted issues."""

    accounts: int
    issues: int
    first_until: dt.date = Field(description="When the first of it ends.")
    last_until: dt.date
    by_issue: dict[str, int] = Field(
        description="Accounts at which an issue is accepted, by its code."
    )


class HoldingAccount(BaseModel):
    """An account that holds back `reconciled_through`."""

    account_id: str
    issue: str | None = Field(
        description=(
            "The issue that does, or needs_confirmation; null: its tables disagree, and no run has"
            " come to it."
        )
    )
    first_date: dt.date | None = Field(
        description="From which date on; null: not known, so that no date is sure."
    )
