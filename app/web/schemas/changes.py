"""Changed, inserted and nulled rows over HTTP."""

import datetime as dt
import uuid
from typing import Literal

from pydantic import BaseModel, Field


class ColumnValues(BaseModel):
    """A column that differs, as text; null for NULL or no row."""

    name: str
    old: str | None
    new: str | None


class ChangedRow(BaseModel):
    """One row before and after a change."""

    id: int = Field(description="The copy of the row as it was, for `trade-recon removed restore`.")
    changed_at: dt.datetime
    account_id: str | None
    table: str
    date: dt.date | None = Field(
        description="The date under which the row stood; null for rows of alltime."
    )
    key: str = Field(description="The row's key, without the date.")
    reason: str = Field(
        description=(
            "overwritten, moved, removed or placeholder (metrics under a made-up account id, put"
            " aside)."
        )
    )
    run_id: uuid.UUID | None = Field(
        description="null: a restore, or ids were repaired outside a run."
    )
    run_kind: str | None
    issues: list[str] = Field(
        description=(
            "The issues of the account that were open then and asked for it: those of the date, or"
            " else all."
        )
    )
    restored_at: dt.datetime | None = Field(description="When the row was brought back.")
    columns: list[ColumnValues] = Field(description="The columns that differ.")
    new_from: Literal["stored", "copy", "gone"] = Field(
        description=(
            "Where the new values are from: the row as it is stored now, as the next change found"
            " it, or no row is stored."
        )
    )
    is_written_since: bool = Field(
        description=(
            "Somebody else wrote the stored row after the change: the new values are theirs."
        )
    )
    stood_already: bool = Field(
        description=(
            "The trade was stored twice: this row was removed as a double, and the new values are"
            " those of the one that stays."
        )
    )
    right_date: dt.date | None = Field(
        description=(
            "The date under which a trade stays of which this row was a double; null: no double, or"
            " an earlier version removed it."
        )
    )
    is_restore: bool = Field(description="A restore changed the row.")
    restored_with: str | None = Field(
        description="The reason that was given with the restore, while the row is pinned."
    )


class NulledRow(BaseModel):
    """A row stored with NULL in place of unusable values."""

    table: str
    account_id: str | None
    date: dt.date | None
    key: str
    sent: dict[str, str | None] = Field(description="What upstream sent, by column.")
    run_id: uuid.UUID | None
    last_seen: dt.datetime


class InsertedRows(BaseModel):
    """Rows of one account, table and date that one transaction inserted."""

    change_id: int
    changed_at: dt.datetime
    account_id: str
    table: str
    date: dt.date | None = Field(description="null for the row of alltime.")
    rows: int = Field(description="How many were inserted.")
    standing: int | None = Field(
        description=(
            "How many of them are stored as they were inserted; null where that cannot be told"
            " (distributed tables, old runs)."
        )
    )
    keys: list[str] = Field(description="The keys of the first 20 of those, without the date.")
    run_id: uuid.UUID | None
    run_kind: str | None
    issues: list[str] = Field(
        description=(
            "The issues of the account that were open then: those that name the date, or else all."
        )
    )


class ChangedRowPage(BaseModel):
    """A page of changes, newest first."""

    rows: list[ChangedRow]
    next: int | None = Field(description="For `before`, to read on; null at the end.")
    inserted: list[InsertedRows] = Field(
        description=(
            "Rows that were inserted and fit the same filter, newest first, of at most `limit`"
            " transactions; on the first page alone, and by `inserted_before`."
        )
    )
    inserted_next: int | None = Field(
        description="For `inserted_before`, to read on; null at the end."
    )
    nulled: list[NulledRow] = Field(
        description=(
            "Values stored as NULL that fit the same filter, the newest 100; on the first page"
            " alone."
        )
    )


class Change(BaseModel):
    """A slice that trade-recon wrote: the account's rows in a table on a date."""

    account_id: str
    table: str = Field(examples=["raw_metrics_daily"])
    date: dt.date | None = Field(description="null where the table's rows have no date (alltime).")
    changed_at: dt.datetime
    run_id: uuid.UUID | None = Field(description="null: account ids were repaired outside a run.")


class Changes(BaseModel):
    """A page of the change feed."""

    changes: list[Change] = Field(
        description=(
            "In the order in which they were committed; a change of many dates is one entry for"
            " each."
        )
    )
    next: str = Field(
        description=(
            "The cursor behind these changes, for `since`; the one that was given if there are"
            " none."
        )
    )
    more: bool = Field(description="Whether there was more behind these changes already.")
