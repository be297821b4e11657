"""What a run did, by table, date, broker and issue, as it goes over HTTP."""

import datetime as dt
import uuid

from pydantic import BaseModel, Field


class ComparedTable(BaseModel):
    """What of a table was compared row by row."""

    table: str
    rows: int = Field(description="Rows of upstream and stored ones together.")
    columns: int = Field(
        description="Columns that were compared in each row, those of the key included."
    )
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
    """Upstream's snapshot of open trades against what is stored of its dates; nothing follows from
    it.
    """

    upstream: int | None
    stored: int | None
    stored_of_other_dates: int | None = Field(
        description="Stored rows of dates that the snapshot does not have: earlier snapshots."
    )
    dates: list[OpenTradesOfDate] = Field(
        description="The newest dates that differ, a hundred at most."
    )
    dates_that_differ: int
    error: str | None = Field(description="Why the snapshot could not be read.")


class RowCounts(BaseModel):
    """What was done to rows."""

    inserted: int
    overwritten: int
    moved: int
    removed: int
    set_aside: int = Field(
        description="Rows of upstream that cannot be held; only those that no later run met."
    )
    nulled: int = Field(
        description=(
            "Rows that are stored with NULL in place of a value; only those that no later run met."
        )
    )


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
