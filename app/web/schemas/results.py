"""A run's results by table, date, broker and issue, over HTTP."""

import datetime as dt
import uuid

from pydantic import BaseModel, Field


class ComparedTable(BaseModel):
    """A table's row-by-row comparison."""

    table: str
    rows: int = Field(description="Rows of upstream and stored ones together.")
    columns: int = Field(
        description="Columns that were compared in each row, those of the key included."
    )
    differing: int = Field(description="Rows that differed before anything was written.")


class ComparedRows(BaseModel):
    """A row-by-row comparison and its cost."""

    tables: list[ComparedTable]
    rows: int
    columns: int
    differing: int
    requests: int | None = Field(description="Requests that were sent for it.")


class OpenTradesOfDate(BaseModel):
    """A date on which open trades differ in number."""

    date: dt.date
    upstream: int
    stored: int


class OpenTradesCompared(BaseModel):
    """Upstream's snapshot of open trades against stored ones, for information."""

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
    """Rows by what was done to them."""

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
    """A run's work on a table."""

    table: str


class DateResult(TableResult):
    """A run's work on a table and date."""

    date: dt.date | None = Field(description="null where rows have none (alltime).")


class BrokerResult(TableResult):
    """A run's work on a broker's rows in a table."""

    broker: str | None


class IssueResult(RowCounts):
    """A run's work for accounts with an issue; each counts for all its issues."""

    issue: str
    accounts: int
    closed: int = Field(description="Accounts at which the issue is open no more.")


class RunResult(BaseModel):
    """A run's results so far."""

    run_id: uuid.UUID
    by_table: list[TableResult]
    by_date: list[DateResult] = Field(description="The newest 2,000 lines.")
    by_broker: list[BrokerResult]
    by_issue: list[IssueResult]
