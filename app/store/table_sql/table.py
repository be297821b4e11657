"""One raw table as statements name it: each attribute is what a ``{{token}}`` of its name stands
for.

Rows have fixed names in all statements: `t` is a stored row, `s` a staged one, `m` and `f` are
rows that a CTE picked. A row's *unit* is its key without what upstream may correct: of trades the
date.
"""

from dataclasses import dataclass
from typing import Self

from app.domain.contract.tables import Endpoint
from app.store.database.queries import quote
from app.store.database.window import ALL_DATES, Window
from app.store.pins import PINNED, unit_of
from app.store.schema.raw.columns import NO_COUNT
from app.store.schema.raw.tables import WarehouseTable

COUNT = "num_trades"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSql:
    """Names, keys, places and counts of a raw table and its staging table."""

    raw: str
    """The raw table."""
    stage: str
    """Its staging table."""
    stage_name: str
    """The staging table without its schema, as a whole row of it is named."""
    alltime: str
    """The raw table of alltime metrics, whichever table the statement is for."""
    daily: str
    """The raw table of daily metrics."""
    hourly: str
    """The raw table of hourly metrics."""
    closed: str
    """The raw table of closed trades."""
    open: str
    """The raw table of open trades."""

    key: str
    """The key's columns."""
    t_key: str
    """The key's columns of a stored row `t`."""
    s_key: str
    """The key's columns of a staged row `s`."""
    first_key: str
    """A key column that is never NULL: NULL tells that an outer join met no row."""
    key_text: str
    """The key of a staged row `s` as one text."""
    t_key_text: str
    """The key of a stored row `t` as one text."""
    unit_of_s: str
    """The unit of a staged row `s` as an array of texts, as recon_pins has it."""
    unit_of_t: str
    """The unit of a stored row `t`."""
    unit_of_f: str
    """The unit of a picked row `f`."""
    unpinned: str
    """The further condition that a stored row `t` of table $1 is not pinned: what a restore brought
    back keeps the id that it had."""
    same_key: str
    """Stored `t` and staged `s` have the same key."""
    same_doubled: str
    """Staged `s` and the key `d` of several staged rows are the same."""
    also_key: str
    """Staged `also` has the key of stored `t`."""
    same_unit: str
    """Stored `t` and staged `s` are one unit: trades on whatever date."""
    is_in_place: str
    """A stored row `t` of `same_unit` also has the date of `s`."""
    join_stored: str
    """The join to stored rows that keeps staged ones which meet none. An inner join where the table
    is distributed: from the side of local rows Citus would fetch all of it."""

    place: str
    """Where a stored row `t` lies, as columns behind its key; empty where the key is unique."""
    place_order: str
    """The order of stored rows `t` of one key, the one that stays first."""
    same_row: str
    """Stored `t` is the row whose key and place `m` has."""
    shard: str
    """The column by which Citus spreads the table over servers."""
    locked_to_change: str
    """The clause that locks stored rows `t` for an update of no key; empty where the table is
    distributed, which locks no rows for a join."""
    locked_to_go: str
    """The clause that locks stored rows `t` for a delete or a new key."""
    free_to_change: str
    """As `locked_to_change`, passing over rows that others have locked."""
    free_to_go: str
    """As `locked_to_go`, passing over rows that others have locked."""
    all_columns: str
    """All columns that can be written, whatever fills them."""
    r_columns: str
    """The same of a row `r`."""
    broker: str
    """The broker of a written row as text, NULL where the table has none."""

    date: str
    """The date column; NULL for alltime, as for all that follow."""
    day_of_t: str
    """The date of a stored row `t`."""
    day_of_s: str
    """The date of a staged row `s`."""
    day_of_m: str
    """The date of a picked row `m`."""
    is_dated: str
    """Whether the table has dates."""
    first_day: str
    """The first date of the window, as a literal."""
    since: str
    """The further condition that a row lies in the window; empty without one."""
    t_since: str
    """The same of a stored row `t`."""

    row_trades: str
    """How many trades a stored row `t` counts."""
    sent_trades: str
    """How many trades staged rows count together; NULL where one has a count that is none."""
    has_no_trades: str
    """A staged row counts no trades."""
    less_history_of_s: str
    """What is taken off the alltime count of `s`: the trades of before the window."""
    less_history_of_w: str
    """The same of an account `w`."""
    removable: str
    """Whether a run may remove rows. A daily row that upstream lacks is a date that it lacks: only
    finer tables lose rows."""
    pinned: str
    """The reason of staged rows that meet a pinned one."""

    @classmethod
    def of(cls, table: WarehouseTable, window: Window = ALL_DATES) -> Self:
        """The table in this warehouse, for the dates of a window."""
        schema = schema_of(table)
        return cls(
            **_names(table, schema),
            **_keys(table, schema),
            **_places(table),
            **_dates(table, window),
            **_counts(table, window, schema),
        )


def schema_of(table: WarehouseTable) -> str:
    """The quoted schema of a raw table."""
    return table.raw.split(".")[0]


def _names(table: WarehouseTable, schema: str) -> dict[str, str]:
    return {
        "raw": table.raw,
        "stage": table.stage,
        "stage_name": table.stage.split(".")[1],
        "alltime": f"{schema}.raw_metrics_alltime",
        "daily": f"{schema}.raw_metrics_daily",
        "hourly": f"{schema}.raw_metrics_hourly",
        "closed": f"{schema}.raw_trades_closed",
        "open": f"{schema}.raw_trades_open",
    }


def _keys(table: WarehouseTable, schema: str) -> dict[str, str]:
    key = table.key
    is_trades = table.table.endpoint.is_trades
    unit = tuple(unit_of(table.table))
    day = table.table.date_column

    def text(alias: str) -> str:
        return f"concat_ws('|', {listed(key, alias)})"

    def unit_as_text(alias: str) -> str:
        return f"ARRAY[{', '.join(f'{alias}.{quote(column)}::text' for column in unit)}]"

    return {
        "key": listed(key),
        "t_key": listed(key, "t"),
        "s_key": listed(key, "s"),
        "first_key": quote(key[0]),
        "key_text": text("s"),
        "t_key_text": text("t"),
        "unit_of_s": unit_as_text("s"),
        "unit_of_t": unit_as_text("t"),
        "unit_of_f": unit_as_text("f"),
        "unpinned": (
            f"\n      AND NOT EXISTS (SELECT FROM {schema}.recon_pins AS p WHERE p.table_name = $1"
            f" AND p.row_key = {unit_as_text('t')})"
        ),
        "same_key": table.same("t", "s"),
        "same_doubled": table.same("s", "d"),
        "also_key": table.same("also", "t"),
        "same_unit": table.same("t", "s", unit),
        "is_in_place": (
            f"t.{quote(day)} = s.{quote(day)}"
            if is_trades and day
            else f"t.{quote(key[0])} IS NOT NULL"
        ),
        "join_stored": "LEFT JOIN" if table.distributed_by is None else "JOIN",
    }


def _places(table: WarehouseTable) -> dict[str, str]:
    to_change, to_go = table.locked("NO KEY UPDATE"), table.locked("UPDATE")
    return {
        "place": table.place,
        "place_order": table.place_order,
        "same_row": table.same_row,
        "shard": quote(table.distributed_by or ""),
        "locked_to_change": to_change,
        "locked_to_go": to_go,
        "free_to_change": to_change and f"{to_change} SKIP LOCKED",
        "free_to_go": to_go and f"{to_go} SKIP LOCKED",
        "all_columns": listed(table.stored),
        "r_columns": listed(table.stored, "r"),
        "broker": '"broker"::text' if "broker" in table.stored else "NULL::text",
    }


def _dates(table: WarehouseTable, window: Window) -> dict[str, str]:
    column = table.table.date_column
    day = quote(column) if column else None
    return {
        "date": day or "NULL::date",
        **{f"day_of_{row}": f"{row}.{day}" if day else "NULL::date" for row in "tsm"},
        "is_dated": "true" if day else "false",
        "first_day": window.first_day,
        "since": window.since(day),
        "t_since": window.since(day, "t."),
    }


def _counts(table: WarehouseTable, window: Window, schema: str) -> dict[str, str]:
    is_trades, is_dated = table.table.endpoint.is_trades, table.table.date_column is not None
    count = f"{schema}.recon_count"
    return {
        "row_trades": "1" if is_trades else f"{count}(t.{COUNT})",
        # What is no count tells nothing, and so allows no removal.
        "sent_trades": (
            "count(*)"
            if is_trades
            else (
                f"CASE WHEN bool_or('{COUNT} ({NO_COUNT})' = ANY(nulled)) IS NOT TRUE THEN"
                f" coalesce(sum({count}({COUNT})), 0) END"
            )
        ),
        "has_no_trades": f"{count}({COUNT}) = 0" if is_dated and COUNT in table.names else "false",
        "less_history_of_s": "" if is_dated else window.less_history_of("s", schema),
        "less_history_of_w": "" if is_dated else window.less_history_of("w", schema),
        "removable": (
            "true" if table.table.endpoint in (Endpoint.HOURLY, Endpoint.CLOSED) else "false"
        ),
        "pinned": f"'{PINNED}'",
    }


def listed(columns: tuple[str, ...], alias: str = "") -> str:
    """The columns as a list for SQL, each of a row `alias`, if one is named."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(f"{prefix}{quote(column)}" for column in columns)
