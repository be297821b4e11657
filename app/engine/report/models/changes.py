"""Changes as the engine reports them: the change feed; changed, inserted and nulled rows."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from msgspec import Struct


class ChangeFilter(Struct, frozen=True, kw_only=True):
    """Which changes are read; None: any.

    `before` and `inserted_before` continue the lists of changed and of inserted rows.
    """

    account_id: str | None = None
    table: str | None = None
    date: dt.date | None = None
    run_id: uuid.UUID | None = None
    before: int | None = None
    inserted_before: int | None = None


class Change(Struct, frozen=True, kw_only=True):
    """A slice of a raw table that was written."""

    account_id: str
    table: str
    date: dt.date | None
    changed_at: dt.datetime
    run_id: uuid.UUID | None


class Changes(Struct, frozen=True, kw_only=True):
    """A page of the change feed; `next` is the cursor behind it."""

    changes: Sequence[Change]
    next: str
    more: bool


class RemovedCopy(Struct, frozen=True, kw_only=True):
    """The copy of a row that was removed, moved or overwritten; `row` is JSON text.

    With `right_date` the row was a double of a trade, which stays under this date.
    """

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
    """A row that was overwritten, moved or removed, with its values before and after.

    `new_from` is `stored`, `copy` (the next change found these values) or `gone`.
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
    """Rows of an account, table and date that one transaction inserted; `standing` of them are
    unchanged (None: unknown).
    """

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
    """A row of upstream that is stored with NULL in place of the values `sent`."""

    table: str
    account_id: str | None
    date: dt.date | None
    key: str
    sent: Mapping[str, str | None]
    run_id: uuid.UUID | None
    last_seen: dt.datetime


class ChangedRowPage(Struct, frozen=True, kw_only=True):
    """Changed rows, newest first; inserted and nulled ones on the first page."""

    rows: Sequence[ChangedRow]
    next: int | None
    inserted: Sequence[InsertedRows]
    inserted_next: int | None
    nulled: Sequence[NulledRow]
