"""Copies of removed, moved or overwritten rows, and results of restoring them."""

import contextlib
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from app.domain.contract.tables import TABLES, Table
from app.domain.copies import Reason
from app.store.database.transaction import Record

NAMED_TABLES: Mapping[str, Table] = {table.name: table for table in TABLES.values()}
_REASONS: Mapping[str, Reason] = {reason.value: reason for reason in Reason}
_TEXTS = msgspec.json.Decoder(dict[str, str | None])
_LISTED = 10
"""Names in a sentence."""


@dataclass(frozen=True)
class RemovedRow:
    """A copy, its row as exact JSON text.

    `right_date`: the row doubled a trade that stays under this date.
    """

    removed_id: int
    removed_at: dt.datetime
    table: str
    account_id: str | None
    date: dt.date | None
    reason: Reason
    run_id: uuid.UUID | None
    restored_at: dt.datetime | None
    row: str
    right_date: dt.date | None = None

    @cached_property
    def values(self) -> Mapping[str, str | None]:
        """Text values by column: strings unquoted, others as JSON, None for null."""
        with contextlib.suppress(msgspec.ValidationError):
            # Sets of copies only hold keys, as text.
            return _TEXTS.decode(self.row)
        return {
            column: _text(bytes(value))
            for column, value in msgspec.json.decode(self.row, type=dict[str, msgspec.Raw]).items()
        }

    @property
    def key(self) -> str:
        """The key without date, in column order."""
        table, values = NAMED_TABLES.get(self.table), self.values
        return (
            "/".join(
                values.get(column) or "-" for column in table.key if column != table.date_column
            )
            if table
            else "-"
        )

    @property
    def name(self) -> str:
        """The row in a sentence."""
        dated = self.table in NAMED_TABLES and NAMED_TABLES[self.table].date_column is not None
        return f"{self.table} {self.key}" + (f" of {self.date}" if dated else "")


@dataclass(frozen=True, slots=True)
class Restored:
    """Result of one copy; `is_there`: the row now stands as copied.

    `changed` are written slices of `table`, by account.
    """

    removed_id: int
    is_there: bool
    sentence: str
    table: str = ""
    account_id: str | None = None
    date: dt.date | None = None
    changed: Mapping[str, set[dt.date | None]] = field(default_factory=dict)
    is_written: bool = False


def removed_row(row: Record) -> RemovedRow:
    """A copy from recon_removed_rows."""
    return RemovedRow(
        row["removed_id"],
        row["removed_at"],
        row["table_name"],
        row["account_id"],
        row["date"],
        _REASONS[row["reason"]],
        row["run_id"],
        row["restored_at"],
        row["row_text"],
        row["right_date"],
    )


def refusal(copy: RemovedRow, why: str) -> Restored:
    """Result of a copy not restored."""
    return told_of(copy, f"{copy.name} was not restored: {why}.", is_there=False)


def told_of(
    copy: RemovedRow,
    sentence: str,
    *,
    is_there: bool = True,
    changed: Mapping[str, set[dt.date | None]] | None = None,
    is_written: bool = False,
) -> Restored:
    """Result with a sentence."""
    return Restored(
        copy.removed_id,
        is_there,
        sentence,
        copy.table,
        copy.account_id,
        copy.date,
        changed or {},
        is_written,
    )


def _text(value: bytes) -> str | None:
    if value == b"null":
        return None
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()


def listed(names: Sequence[str]) -> str:
    """The first names and how many follow."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
