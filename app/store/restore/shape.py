"""A copy matched with its table's present columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.store.database.queries import quote
from app.store.pins import unit_of
from app.store.restore.columns import RestoredColumn
from app.store.restore.copies import NAMED_TABLES, RemovedRow
from app.store.table_sql.statements import values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySql:
    """Tokens of statements. `c` and `k` are copies, `r` the row in `c`, `t` a stored row, `w` a
    written one, `p` a place.
    """

    raw: str
    day_of_t: str
    """NULL for alltime."""
    day_of_w: str
    has_key: str
    """Besides the unit, `t` has the date."""
    same_unit: str
    """`t` and `r` are one unit: a trade on any date."""
    columns: str
    """Insertable columns of the copy."""
    r_columns: str
    """The same of `r`."""
    assignments: str
    """SET clause from `r`."""
    same_day_p: str
    """`t` has the date of `p`; prunes partitions."""
    key_of_w: str
    """As JSON."""
    key_of_c: str
    key_of_k: str
    key_of_t: str
    locked: str = "FOR UPDATE OF t"
    """Empty for distributed tables."""
    same_place: str = "t.tableoid = $3::oid AND t.ctid = $4::tid"
    """`t` is at $3, $4."""
    same_place_p: str = "t.tableoid = p.row_table AND t.ctid = p.row_place"
    shard_of_t: str = "NULL::text"
    """Of distributed tables."""
    shard_of_r: str = "NULL::text"
    in_shard: str = "true"
    """`t` is in shard $4."""


class Shape:
    """Valid for all copies with the same columns and null key parts."""

    def __init__(
        self, copy: RemovedRow, columns: Sequence[RestoredColumn], raw: str, shard: str | None
    ) -> None:
        """`shard` is the distribution column of the table `raw`, if any."""
        self.copy = copy
        self.shard = shard
        self._table = NAMED_TABLES[copy.table]
        self._raw = raw
        values = copy.values
        self._nulls = frozenset(column for column, value in values.items() if value is None)
        held = [column for column in columns if column.name in values and not column.is_generated]
        self.inserted = [column.name for column in held]
        # A distribution column cannot be updated.
        self.updated = [
            column.name for column in held if not column.is_numbered and column.name != shard
        ]
        self.unwritten = sorted({*values, *(column.name for column in columns)} - set(self.updated))
        self.lacking = [column for column in self._table.key if column not in values]
        self._sorts = {column.name: column for column in held if column.name in self.updated}
        self._lost = sorted(values.keys() - {column.name for column in columns})

    @property
    def tokens(self) -> dict[str, str]:
        """Values of all tokens."""
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
        """Non-key columns from upstream, as SQL array."""
        values = sorted({field.column for field in self._table.fields} - {*self._table.key})
        return "ARRAY['" + "', '".join(values) + "']"

    @property
    def _compared(self) -> dict[str, str]:
        """Tokens for the needed part of `r` and its equality with `t`.

        If all columns compare by type, others than the key are extracted only up to a difference.
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
        # Key columns last, as they seldom differ.
        ordered = sorted(self._sorts.values(), key=lambda column: column.name in needed)
        differ = " OR ".join(
            f"t.{quote(column.name)} IS DISTINCT FROM {_copied(column)}" for column in ordered
        )
        return {"copied": f"(SELECT {copied})", "is_equal": f"NOT ({differ})"}

    def _shard_tokens(self) -> dict[str, str]:
        """Tokens for a distributed table, where a ctid is ambiguous and no place to write to."""
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
        """Sentences on columns not restored exactly."""
        lost = f" The table no longer has {', '.join(self._lost)}: left out." if self._lost else ""
        return lost + (
            f" The table now holds {', '.join(changed)} in another form than the copy."
            if changed
            else ""
        )

    def _same(self, columns: Sequence[str]) -> str:
        """Equality of `t` and `r`, NULL included, that indexes support."""
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
    # No cast of text: truncation to the column's length might make it equal.
    return f"(c.row_data ->> {_literal(column.name)})" + (
        f"::{column.sql_type}" if column.sort == "plain" else ""
    )


def _json_key(row: str, columns: Sequence[str]) -> str:
    parts = ", ".join(f"{row} -> '{column}'" for column in columns)
    return f"jsonb_build_array({parts})"
