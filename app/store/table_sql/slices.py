"""The rows of a fetch, as conditions over the parameters of a write.

$1 is the fetch, $2 the accounts, $3 the dates: of trades first and last, of metrics each; null is
all.
"""

from dataclasses import dataclass
from typing import Self

from app.store.database.queries import quote
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.tables import WarehouseTable
from app.store.table_sql.table import schema_of

KEY_PARAMETERS = ("platform", "broker", "login")
"""A natural key, as parameters from $4 (`is_among_theirs`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSql:
    """Conditions that `t` or `s` belongs to a fetch's slices."""

    in_slice: str
    """The date of `t` is in $3."""
    in_slice_second: str
    """The same of $2."""
    sent_in_slice: str
    set_aside_in_slice: str
    """The same of `a`, a row set aside."""
    held: str
    """`s` is in the slices; a trade without account by any account that had its natural key."""
    read_dates: str
    """$3 as a multirange."""
    asked_dates: str
    """$7 likewise."""
    is_theirs: str
    """Trade `t` has no account, one in $2, or that of `s`."""
    is_among_theirs: str
    """What `t` shares with the fetch's rows, to read them at once instead of one by one through all
    partitions: of trades the natural keys, $4 to $6.
    """
    is_stored: str
    """The key of `s` is stored; for all rows at once where distributed."""
    is_old: str
    """No other writer can have written `t` since the horizon $6. Transaction ids of several servers
    do not compare: there only these accounts' rows count.
    """
    is_newer: str
    """Another writer may have, since $4."""

    @classmethod
    def of(cls, table: WarehouseTable, window: Window = ALL_DATES) -> Self:
        """The conditions for a table and window."""
        is_trades, is_local = table.table.endpoint.is_trades, table.distributed_by is None
        return cls(
            in_slice=in_slice(table, "t", 3, window),
            in_slice_second=in_slice(table, "t", 2, window),
            sent_in_slice=in_slice(table, "s", 3, window),
            set_aside_in_slice=(
                "a.date BETWEEN ($3::date[])[1] AND ($3::date[])[2]"
                if is_trades
                else "($3::date[] IS NULL OR a.date = ANY($3::date[]))"
            ),
            held=f"{_is_of_accounts(table)} AND {in_slice(table, 's', 3, window)}",
            read_dates=_ranges_of(3, from_to=is_trades),
            asked_dates=_ranges_of(7, from_to=is_trades),
            is_theirs=(
                "(t.account_id IS NULL OR t.account_id = ANY($2::text[]) OR t.account_id ="
                " s.account_id)"
                if is_trades
                else "true"
            ),
            is_among_theirs=_is_among_theirs(table, window),
            is_stored=_is_stored(table),
            is_old=(f"({_is_old(6)} OR age(t.xmin) <= 0)" if is_local else "$6::bigint IS NULL"),
            is_newer=f"NOT ({_is_old(4)})" if is_local else "$4::bigint IS NULL",
        )


def in_slice(table: WarehouseTable, alias: str, number: int, window: Window = ALL_DATES) -> str:
    """A row's date is in parameter `number`."""
    parameter = f"${number}::date[]"
    column = table.table.date_column
    if column is None:
        return f"{parameter} IS NULL"
    if table.table.endpoint.is_trades:
        return f"{alias}.{quote(column)} BETWEEN ({parameter})[1] AND ({parameter})[2]"
    # Only dates within the calendar: others are never read.
    is_date = f"{alias}.{quote(column)} BETWEEN {window.first_day} AND '9999-12-31'"
    # Dates before the window are only asked for to be counted.
    return (
        f"(({parameter} IS NULL AND {is_date}) OR {alias}.{quote(column)} ="
        f" ANY({parameter}){window.since(quote(column), f'{alias}.')})"
    )


def _is_of_accounts(table: WarehouseTable) -> str:
    named = "s.account_id = ANY($2::text[])"
    if not table.table.endpoint.is_trades:
        return named
    return (
        f"({named} OR s.account_id IS NULL AND (s.login::text, s.platform::text,"
        " coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM"
        f" {schema_of(table)}.recon_identity WHERE account_id = ANY($2::text[])))"
    )


def _ranges_of(number: int, *, from_to: bool) -> str:
    if from_to:
        return f"datemultirange(daterange((${number}::date[])[1], (${number}::date[])[2], '[]'))"
    return (
        f"(SELECT range_agg(daterange(day, day, '[]')) FROM unnest(${number}::date[]) AS read"
        " (day))"
    )


def _is_old(number: int) -> str:
    return f"age(t.xmin) > pg_current_xact_id()::text::bigint - ${number}::bigint"


def _is_among_theirs(table: WarehouseTable, window: Window) -> str:
    if not table.table.endpoint.is_trades:
        return f"t.account_id = ANY($2::text[]) AND {in_slice(table, 't', 3, window)}"
    types = {column.name: column.sql_type for column in table.columns}
    among = {
        name: f"t.{quote(name)} = ANY(${number}::text[]::{types[name]}[])"
        for number, name in enumerate(KEY_PARAMETERS, 4)
    }
    theirs = " AND ".join(
        f"(t.{quote(name)} IS NULL OR {each})" if name in table.optional else each
        for name, each in among.items()
    )
    return theirs + window.since(quote(table.table.date_column or ""), "t.")


def _is_stored(table: WarehouseTable) -> str:
    if table.distributed_by is None:
        return f"EXISTS (SELECT FROM {table.raw} AS t WHERE {table.same('t', 's')})"
    return (
        f"s.ordinal IN (SELECT p.ordinal FROM {table.stage} AS p JOIN {table.raw} AS t ON"
        f" {table.same('t', 'p')} WHERE p.fetch_id = $1)"
    )
