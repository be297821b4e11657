"""The rules by which a copy is brought back: what is right for it, and the parts of the statements
that do it.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.domain.copies import Reason
from app.errors import ReconError, RowRefused, WriteConflict
from app.store.database.errors import UNIQUE_VIOLATION
from app.store.database.queries import quote
from app.store.database.transaction import Record
from app.store.pins import unit_of
from app.store.restore.copies import NAMED_TABLES, RemovedRow, Restored, listed, refusal, told_of

TRIES = 3
_CHECK_VIOLATION = "23514"


@dataclass(frozen=True, slots=True)
class RestoredColumn:
    """A column of a raw table; `is_numbered`: its value is given once, when the row is inserted.

    `sort` tells how it compares with a value of a copy: `text` as text, `plain` as a value of its
    type, `other` only as JSON.
    """

    name: str
    is_generated: bool
    is_numbered: bool
    sql_type: str
    sort: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is to be changed, and why."""

    why: str


Deed = Literal["insert", "nothing"] | Record | Refused
"""What is to be done: a row of `lock_present_rows` gets the copy's values."""


class Shape:
    """A copy against the columns that its table has now; the same for all copies with the same
    columns and the same null key parts.
    """

    def __init__(
        self, copy: RemovedRow, columns: Sequence[RestoredColumn], raw: str, shard: str | None
    ) -> None:
        """Bind the copy; `raw` is its table, and `shard` the column by which that is distributed,
        if it is.
        """
        self.copy = copy
        self.shard = shard
        self._table = NAMED_TABLES[copy.table]
        self._raw = raw
        values = copy.values
        self._nulls = frozenset(column for column, value in values.items() if value is None)
        held = [column for column in columns if column.name in values and not column.is_generated]
        self.inserted = [column.name for column in held]
        # The column by which a table is distributed is never assigned.
        self.updated = [
            column.name for column in held if not column.is_numbered and column.name != shard
        ]
        self.unwritten = sorted({*values, *(column.name for column in columns)} - set(self.updated))
        self.lacking = [column for column in self._table.key if column not in values]
        self._sorts = {column.name: column for column in held if column.name in self.updated}
        self._lost = sorted(values.keys() - {column.name for column in columns})

    @property
    def tokens(self) -> dict[str, str]:
        """The parts of the statements that depend on the table and on the copy."""
        date = self._table.date_column
        unit = unit_of(self._table)
        stored_key = ", ".join(f"t.{quote(column)}" for column in self._table.key)
        return {
            "raw": self._raw,
            "day_of_t": f"t.{quote(date)}" if date else "NULL::date",
            "day_of_w": f"w.{quote(date)}" if date else "NULL::date",
            "has_key": (
                self._same([column for column in self._table.key if column not in unit]) or "true"
            ),
            "same_unit": self._same(unit),
            "columns": ", ".join(quote(column) for column in self.inserted),
            "r_columns": ", ".join(f"r.{quote(column)}" for column in self.inserted),
            "assignments": ", ".join(
                f"{quote(column)} = r.{quote(column)}" for column in self.updated
            ),
            "locked": "FOR UPDATE OF t",
            "same_place": "t.tableoid = $3::oid AND t.ctid = $4::tid",
            **self._compared,
            "same_place_p": "t.tableoid = p.row_table AND t.ctid = p.row_place",
            "same_day_p": f"t.{quote(date)} = p.day" if date else "true",
            "key_of_w": _json_key("w.new_row", self._table.key),
            "key_of_c": _json_key("c.row_data", self._table.key),
            "key_of_k": _json_key("k.row_data", self._table.key),
            "key_of_t": f"jsonb_build_array({stored_key})",
            "shard_of_t": "NULL::text",
            "shard_of_r": "NULL::text",
            "in_shard": "true",
            **self._shard_tokens(date, self._same(unit)),
        }

    @property
    def _compared(self) -> dict[str, str]:
        """The copy `r` as far as the judgement needs it, and whether a row `t` equals it.

        Where every column compares as what it is, the key alone is read from the copy, and the
        others up to the first that differs.
        """
        needed = [*dict.fromkeys((*self._table.key, "account_id"))]
        if (
            any(column.sort == "other" for column in self._sorts.values())
            or not set(needed) <= self._sorts.keys()
        ):
            return {
                "copied": f"jsonb_populate_record(NULL::{self._raw}, c.row_data)",
                "is_equal": "(to_jsonb(t) - $2::text[]) = (to_jsonb(r) - $2::text[])",
            }
        copied = ", ".join(
            f"(c.row_data ->> {_literal(name)})::{self._sorts[name].sql_type} AS {quote(name)}"
            for name in needed
        )
        # The parts of the key last: they seldom differ.
        ordered = sorted(self._sorts.values(), key=lambda column: column.name in needed)
        differ = " OR ".join(
            f"t.{quote(column.name)} IS DISTINCT FROM {_copied(column)}" for column in ordered
        )
        return {"copied": f"(SELECT {copied})", "is_equal": f"NOT ({differ})"}

    def _shard_tokens(self, date: str | None, same_unit: str) -> dict[str, str]:
        """Those that differ where the table is distributed: a place names a row of each shard
        there, and nothing can be written by it.
        """
        if self.shard is None:
            return {}
        same_day = f"t.{quote(date)} = $3::date" if date else "$3::date IS NULL"
        return {
            "locked": "",
            "same_place": f"{same_unit} AND {same_day} AND t.{quote(self.shard)}::text = $4",
            "shard_of_t": f"t.{quote(self.shard)}::text",
            "shard_of_r": f"r.{quote(self.shard)}::text",
            "in_shard": f"t.{quote(self.shard)}::text = $4",
        }

    def remarks(self, changed: Sequence[str]) -> str:
        """What is to be said of columns that could not be brought back as they were."""
        lost = f" The table no longer has {', '.join(self._lost)}: left out." if self._lost else ""
        return lost + (
            f" The table now holds {', '.join(changed)} in another form than the copy."
            if changed
            else ""
        )

    def _same(self, columns: Sequence[str]) -> str:
        """The condition that a stored row `t` and the copy `r` agree, NULL with NULL: written so
        that an index serves it.
        """
        return " AND ".join(
            (
                f"t.{quote(column)} IS NULL"
                if column in self._nulls
                else f"t.{quote(column)} = r.{quote(column)}"
            )
            for column in columns
        )


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _copied(column: RestoredColumn) -> str:
    # A text is never cut to its column's length, which might make it equal.
    return f"(c.row_data ->> {_literal(column.name)})" + (
        f"::{column.sql_type}" if column.sort == "plain" else ""
    )


def _json_key(row: str, columns: Sequence[str]) -> str:
    parts = ", ".join(f"{row} -> '{column}'" for column in columns)
    return f"jsonb_build_array({parts})"


def decide(copy: RemovedRow, present: Sequence[Record]) -> Deed:
    """What is right for a copy, given the rows that stand for it now: of its key, and of the same
    trade on other dates.
    """
    here = [row for row in present if row["has_key"]]
    elsewhere = [row for row in present if not row["has_key"]]
    if here:
        return _decide_here(copy.reason, here)
    return _decide_elsewhere(copy, elsewhere) if elsewhere else "insert"


def _decide_here(reason: Reason, here: Sequence[Record]) -> Deed:
    if here[0]["is_elsewhere"]:
        return Refused(
            f"its row stands under {here[0]['row_shard']} now, by which the table is distributed,"
            " and cannot go back from there"
        )
    if len(here) == 1 and here[0]["is_equal"]:
        return "nothing"
    if reason is not Reason.OVERWRITTEN:
        return Refused("another row has its key now, and stays as it is")
    if len(here) > 1:
        return Refused(f"{len(here)} rows have its key now, and nothing tells which of them it was")
    return _unless_foreign(here[0])


def _decide_elsewhere(copy: RemovedRow, elsewhere: Sequence[Record]) -> Deed:
    # What stood beside the copy's row, or was brought back beside it, is not what became of it.
    became = [row for row in elsewhere if not row["stood_there"] and row["beside_as"] is None]
    if copy.right_date is not None or (
        copy.reason in {Reason.MOVED, Reason.REMOVED} and not became
    ):
        # The trade was stored twice before the run, and so it is again.
        return "insert"
    dates = listed(list(dict.fromkeys(str(row["day"]) for row in elsewhere)))
    if copy.reason is not Reason.MOVED:
        return Refused(
            f"the same trade stands under {dates} now and would be stored twice; restore the copies"
            " of its moves first"
        )
    if len(became) > 1:
        return Refused(
            f"the same trade is stored {len(elsewhere)} times under other dates ({dates}), and"
            " nothing tells which it became"
        )
    return _unless_foreign(became[0])


def _unless_foreign(row: Record) -> Deed:
    """The row, unless somebody else wrote it since the copy was kept: what that says is newer than
    the copy.
    """
    if row["is_foreign"]:
        return Refused(
            "somebody wrote the row after trade-recon did, and what it holds now stays as it is"
        )
    return row


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: its account (None: a trade without an id), and its date (None: rows of
    alltime).
    """

    account_id: str | None
    day: dt.date | None


def changed_slices(copy: RemovedRow, *places: Place) -> dict[str, set[dt.date | None]]:
    """The slices that changed, as the feed takes them: those in which the row stands now, and stood
    before.
    """
    changed: dict[str, set[dt.date | None]] = {}
    for place in places:
        # A trade without an account id belongs to the account for which the copy was kept.
        account_id = place.account_id or copy.account_id
        if account_id is not None:
            changed.setdefault(account_id, set()).add(place.day)
    return changed


def explained(error: ReconError) -> str:
    """Why PostgreSQL did not take the row, as the end of a sentence."""
    if (
        isinstance(error, RowRefused)
        and error.sqlstate == UNIQUE_VIOLATION
        and error.relation
        and not error.is_raised
    ):
        return (
            f"another row has its place in the unique key {error.constraint} of {error.relation[1]}"
            " now, and stays as it is"
        )
    if (
        isinstance(error, RowRefused)
        and error.sqlstate == _CHECK_VIOLATION
        and error.constraint is None
    ):
        return (
            "no partition of the table takes its date; let the table's owner make one, and restore"
            " it again"
        )
    # Its first line alone: PostgreSQL quotes whole rows below it.
    said = str(error).partition("\n")[0].removesuffix(".")
    return (
        f"others were writing it each of {TRIES} times; restore it again ({said})"
        if isinstance(error, WriteConflict)
        else said
    )


def just_so(copy: RemovedRow) -> Restored:
    """What is told of a copy whose row stands as it is."""
    return told_of(copy, f"{copy.name} is stored just so already; nothing was changed.")


def stored_again(copy: RemovedRow, present: Sequence[Record]) -> str:
    """The sentence of a copy whose row was inserted; `present` stand for the same trade under other
    dates.
    """
    also = (
        f" The trade stands under {listed([str(row['day']) for row in present])}, too."
        if present
        else ""
    )
    return f"{copy.name} is stored again.{also}"


def written_back(copy: RemovedRow, deed: Record, kept: int) -> str:
    """The sentence of a copy whose values a stored row (`deed`) got back."""
    back = (
        "has its old values again"
        if deed["has_key"]
        else f"is back from {deed['day']} with its old values"
    )
    return f"{copy.name} {back}; what it held until now is kept as {kept}."


def deleted(copy: RemovedRow) -> Restored:
    """What is told of a copy that is gone."""
    return refusal(copy, "somebody deleted the copy meanwhile")


def restored_already(copy: RemovedRow, at: dt.datetime) -> Restored:
    """What is told of a copy that was used before."""
    return refusal(copy, f"it was restored already, at {at:%Y-%m-%d %H:%M:%S %Z}")
