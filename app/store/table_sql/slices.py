"""Which rows a fetch is about: conditions over the parameters that the statements of a write share.

The fetch is $1, the accounts are $2 and the dates $3. Of trades the dates are the first and the
last one, of metrics each one; null stands for all of the window.
"""

from dataclasses import dataclass
from typing import Self

from app.store.database.queries import quote
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.tables import WarehouseTable
from app.store.table_sql.table import schema_of

KEY_PARAMETERS = ("platform", "broker", "login")
"""The parts of a natural key in the order of the parameters from $4 on (`is_among_theirs`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSql:
    """Conditions that a stored row `t` or a staged row `s` belongs to the slices of a fetch."""

    in_slice: str
    """The date of a stored row `t` is one of $3."""
    in_slice_second: str
    """The same where the dates are $2."""
    sent_in_slice: str
    """The date of a staged row `s` is one of $3."""
    set_aside_in_slice: str
    """The date of a row `a` that was set aside is one of $3."""
    held: str
    """A staged row `s` belongs to the slices: its account, or of a trade without one an account
    that ever had its natural key, is one of $2, and its date one of $3."""
    read_dates: str
    """The dates $3 as a multirange."""
    asked_dates: str
    """The dates $7 as a multirange."""
    is_theirs: str
    """A stored trade `t` is without an account, of one of $2, or of the account of `s`."""
    is_among_theirs: str
    """What stored rows `t` have in common with those of the fetch, said again so that PostgreSQL
    may read them at once: row by row it would look for each trade in every partition. Of trades
    that is their natural keys, whose parts are $4 to $6."""
    is_stored: str
    """A row with the key of `s` is stored; of a distributed table asked for all rows of the fetch
    at once."""
    is_old: str
    """No writer can have written `t` since the horizon $6. Not comparable across servers: there
    only rows of these accounts count. A row of our own transaction is no newer than the fetch:
    others with such an id are not visible in it."""
    is_newer: str
    """Another writer may have written `t` since the horizon $4."""

    @classmethod
    def of(cls, table: WarehouseTable, window: Window = ALL_DATES) -> Self:
        """The conditions for the table in this warehouse, for the dates of a window."""
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
    """The condition that the date of a row is one of parameter `number`."""
    parameter = f"${number}::date[]"
    column = table.table.date_column
    if column is None:
        return f"{parameter} IS NULL"
    if table.table.endpoint.is_trades:
        return f"{alias}.{quote(column)} BETWEEN ({parameter})[1] AND ({parameter})[2]"
    # Only dates that a calendar holds: others are never read, so nothing is known of them.
    is_date = f"{alias}.{quote(column)} BETWEEN {window.first_day} AND '9999-12-31'"
    # Dates of before the window are only asked for to be counted.
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
