"""One raw table as statements name it; each attribute fills the ``{{token}}`` of its name.

Rows: `t` stored, `s` staged, `m` and `f` picked. A *unit* is a key without what upstream may
correct: a trade's date.
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
    """Names, keys, places and counts of a raw table."""

    raw: str
    stage: str
    """Its staging table."""
    stage_name: str
    """Without schema, as a whole row is named."""
    alltime: str
    daily: str
    hourly: str
    closed: str
    open: str

    key: str
    t_key: str
    s_key: str
    first_key: str
    """Never NULL in a row: NULL marks a missing match."""
    key_text: str
    """The key of `s` as one text."""
    t_key_text: str
    unit_of_s: str
    """An array of texts, as in recon_pins."""
    unit_of_t: str
    unit_of_f: str
    unpinned: str
    """Further condition: `t` of table $1 is not pinned."""
    same_key: str
    """`t` and `s` have the same key."""
    same_doubled: str
    """`s` has the key `d` of several staged rows."""
    also_key: str
    same_unit: str
    """`t` and `s` are one unit, on any date."""
    is_in_place: str
    """`t` of `same_unit` also has the date of `s`."""
    join_stored: str
    """Keeps staged rows without a match; inner where Citus would fetch the whole table."""

    place: str
    """Columns that locate `t` within a key that repeats."""
    place_order: str
    """Order of `t` within a key; the first stays."""
    same_row: str
    """`t` has key and place of `m`."""
    shard: str
    """Citus' distribution column."""
    locked_to_change: str
    """Locks `t` for an update that keeps its key; empty where distributed."""
    locked_to_go: str
    """Locks `t` for deletion or a new key."""
    free_to_change: str
    """Skips locked rows."""
    free_to_go: str
    all_columns: str
    r_columns: str
    broker: str
    """As text; NULL without the column."""

    date: str
    """The date column; NULL for alltime, as below."""
    day_of_t: str
    day_of_s: str
    day_of_m: str
    is_dated: str
    first_day: str
    """The window's first date, as a literal."""
    since: str
    """Further condition: the row lies in the window."""
    t_since: str

    row_trades: str
    """Trades counted by `t`."""
    sent_trades: str
    """Trades counted by staged rows; NULL if any count is invalid."""
    has_no_trades: str
    less_history_of_s: str
    """Takes trades before the window off alltime's count in `s`."""
    less_history_of_w: str
    removable: str
    """Only the finest tables lose rows."""
    pinned: str
    """Reason of staged rows that meet a pinned one."""

    @classmethod
    def of(cls, table: WarehouseTable, window: Window = ALL_DATES) -> Self:
        """The table in this warehouse and window."""
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
        # An invalid count proves nothing, and so allows no removal.
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
    """Quoted columns, of `alias` if given."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(f"{prefix}{quote(column)}" for column in columns)
