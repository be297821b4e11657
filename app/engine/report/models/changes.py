"""Changes as reported."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from msgspec import Struct


class ChangeFilter(Struct, frozen=True, kw_only=True):
    """None: any; `before` and `inserted_before` continue their lists."""

    account_id: str | None = None
    table: str | None = None
    date: dt.date | None = None
    run_id: uuid.UUID | None = None
    before: int | None = None
    inserted_before: int | None = None


class Change(Struct, frozen=True, kw_only=True):
    """A written slice of a raw table."""

    account_id: str
    table: str
    date: dt.date | None
    changed_at: dt.datetime
    run_id: uuid.UUID | None


class Changes(Struct, frozen=True, kw_only=True):
    """A page of the feed, with its cursor."""

    changes: Sequence[Change]
    next: str
    more: bool


class RemovedCopy(Struct, frozen=True, kw_only=True):
    """A row as it was, in JSON; `right_date`: the one its double keeps."""

    removed_id: int
    removed_at: dt.datetime
    table: str
    account_id: str | None
    date: dt.date | None
    reason: str
    right_date: dt.date | None
    run_id: uuid.UUID | None
    restored_at: dt.datetime | None
    row: str
    key: str


class ColumnValues(Struct, frozen=True, kw_only=True):
    """A column that differs."""

    name: str
    old: str | None
    new: str | None


class ChangedRow(Struct, frozen=True, kw_only=True):
    """An overwritten, moved or removed row.

    `new_from`: `stored`, `copy` (of the next change) or `gone`.
    """

    id: int
    changed_at: dt.datetime
    account_id: str | None
    table: str
    date: dt.date | None
    key: str
    reason: str
    run_id: uuid.UUID | None
    run_kind: str | None
    issues: Sequence[str]
    restored_at: dt.datetime | None
    columns: Sequence[ColumnValues]
    new_from: str
    is_written_since: bool
    stood_already: bool
    right_date: dt.date | None
    is_restore: bool
    restored_with: str | None


class InsertedRows(Struct, frozen=True, kw_only=True):
    """Rows one transaction inserted; `standing` are unchanged."""

    change_id: int
    changed_at: dt.datetime
    account_id: str
    table: str
    date: dt.date | None
    rows: int
    standing: int | None
    keys: Sequence[str]
    run_id: uuid.UUID | None
    run_kind: str | None
    issues: Sequence[str]


class NulledRow(Struct, frozen=True, kw_only=True):
    """A row with NULL for values `sent`."""

    table: str
    account_id: str | None
    date: dt.date | None
    key: str
    sent: Mapping[str, str | None]
    run_id: uuid.UUID | None
    last_seen: dt.datetime


class ChangedRowPage(Struct, frozen=True, kw_only=True):
    """Newest first; others on the first page."""

    rows: Sequence[ChangedRow]
    next: int | None
    inserted: Sequence[InsertedRows]
    inserted_next: int | None
    nulled: Sequence[NulledRow]
