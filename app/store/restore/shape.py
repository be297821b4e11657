"""A copy against the columns that its table has now, as the statements name it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.store.database.queries import quote
from app.store.pins import unit_of
from app.store.restore.columns import RestoredColumn
from app.store.restore.copies import NAMED_TABLES, RemovedRow
from app.store.table_sql.statements import values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySql:
    """What the tokens stand for: `c` is a copy, `k` another one, `r` the row in `c`, `t` a stored
    row, `w` a written one, `p` a place.
    """

    raw: str
    """The raw table."""
    day_of_t: str
    """The date of a stored row `t`; NULL for alltime."""
    day_of_w: str
    """The date of a written row `w`."""
    has_key: str
    """A stored row `t` of the copy's unit also has its date."""
    same_unit: str
    """Stored `t` and copied `r` are one unit: trades on whatever date."""
    columns: str
    """The columns of the copy that can be inserted."""
    r_columns: str
    """The same of the copied row `r`."""
    assignments: str
    """SET for `t` from the copied row `r`."""
    same_day_p: str
    """A stored row `t` has the date of place `p`, by which PostgreSQL leaves out partitions."""
    key_of_w: str
    """The key of a written row `w` as JSON."""
    key_of_c: str
    """The key of the copy `c`."""
    key_of_k: str
    """The key of another copy `k`."""
    key_of_t: str
    """The key of a stored row `t`."""
    locked: str = "FOR UPDATE OF t"
    """The clause that locks stored rows; empty where the table is distributed."""
    same_place: str = "t.tableoid = $3::oid AND t.ctid = $4::tid"
    """A stored row `t` lies at the place $3 and $4."""
    same_place_p: str = "t.tableoid = p.row_table AND t.ctid = p.row_place"
    """A stored row `t` lies at place `p`."""
    shard_of_t: str = "NULL::text"
    """The shard of a stored row `t` of a distributed table."""
    shard_of_r: str = "NULL::text"
    """The shard of the copied row `r`."""
    in_shard: str = "true"
    """A stored row `t` lies in shard $4."""


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
        """What the tokens of the statements stand for."""
        return {**values_of(self._copy_sql()), **self._compared, **self._shard_tokens()}

    def _copy_sql(self) -> CopySql:
        date, unit, key = self._table.date_column, unit_of(self._table), self._table.key
        has_key = self._same([column for column in key if column not in unit])
        stored_key = ", ".join(f"t.{quote(column)}" for column in key)
        return CopySql(
            raw=self._raw,
            day_of_t=f"t.{quote(date)}" if date else "NULL::date",
            day_of_w=f"w.{quote(date)}" if date else "NULL::date",
            has_key=has_key or "true",
            same_unit=self._same(unit),
            columns=", ".join(quote(column) for column in self.inserted),
            r_columns=", ".join(f"r.{quote(column)}" for column in self.inserted),
            assignments=", ".join(
                f"{quote(column)} = r.{quote(column)}" for column in self.updated
            ),
            same_day_p=f"t.{quote(date)} = p.day" if date else "true",
            key_of_w=_json_key("w.new_row", key),
            key_of_c=_json_key("c.row_data", key),
            key_of_k=_json_key("k.row_data", key),
            key_of_t=f"jsonb_build_array({stored_key})",
        )

    @property
    def sent_values(self) -> str:
        """The columns that upstream sends beside the key, as an array of SQL."""
        values = sorted({field.column for field in self._table.fields} - {*self._table.key})
        return "ARRAY['" + "', '".join(values) + "']"

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

    def _shard_tokens(self) -> dict[str, str]:
        """Those that differ where the table is distributed: a place names a row of each shard
        there, and nothing can be written by it.
        """
        if self.shard is None:
            return {}
        date, same_unit = self._table.date_column, self._same(unit_of(self._table))
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
