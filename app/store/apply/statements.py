"""The statements of db/queries/changes.sql, and the column lists and conditions that fill them for
one raw table.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from app.domain.contract.tables import Endpoint
from app.store.database.queries import fill, quote
from app.store.database.window import ALL_DATES, Window
from app.store.pins import PINNED, unit_of
from app.store.schema.introspect import UniqueKey
from app.store.schema.raw_tables import (
    FIGURES,
    NO_COUNT,
    Catalogue,
    Column,
    Kind,
    WarehouseTable,
    names,
)
from app.store.staging.unsent import is_sent, is_unsent

KEY_PARAMETERS = ("platform", "broker", "login")
"""What a trade tells of its account."""
_QUOTE = '"'
_COUNT = "num_trades"
_WORTH = (*FIGURES, "profit", "lots")
"""The columns whose loss makes upstream suspect: of metrics the figures, of trades their money and
size.
"""
_KEPT = 512


class Statements:
    """The statements of db/queries/changes.sql for a warehouse's tables, each composed once: that
    takes as long as to run a small one.
    """

    def __init__(
        self, sql: Mapping[str, str], catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        """`sql` are the statements by name; they keep to the dates of the window."""
        self._sql = sql
        self.window = window
        self._catalogue = catalogue
        self._composed = lru_cache(_KEPT)(self._compose)
        self._kept_lists = lru_cache(_KEPT)(self._lists_of)

    def __getitem__(self, name: str) -> str:
        """A statement that is the same for all tables."""
        return self._sql[name]

    def of(self, name: str, table: WarehouseTable, *, has_unsent: bool = False, **more: str) -> str:
        """A statement for a table; `has_unsent`: for rows that may lack columns, `more` are tokens
        beside the column lists.
        """
        return self._composed(name, table.table.endpoint, has_unsent, tuple(more.items()))

    def lists(self, table: WarehouseTable) -> Mapping[str, str]:
        """The column lists themselves."""
        return self._kept_lists(table.table.endpoint, has_unsent=False)

    def _compose(
        self,
        name: str,
        endpoint: Endpoint,
        has_unsent: bool,  # noqa: FBT001 - a key of the cache
        more: tuple[tuple[str, str], ...],
    ) -> str:
        return fill(
            self._sql[name], **self._kept_lists(endpoint, has_unsent=has_unsent), **dict(more)
        )

    def _lists_of(self, endpoint: Endpoint, *, has_unsent: bool) -> Mapping[str, str]:
        tables = {each.name.lower(): self._catalogue[each].raw for each in Endpoint}
        return tables | column_lists(
            self._catalogue[endpoint], has_unsent=has_unsent, window=self.window
        )


def in_slice(table: WarehouseTable, alias: str, number: int, window: Window = ALL_DATES) -> str:
    """The condition that a row lies in the slices whose dates are parameter `number`; without dates
    they are all those of the window.
    """
    parameter = f"${number}::date[]"
    column = table.table.date_column
    if column is None:
        return f"{parameter} IS NULL"
    if table.table.endpoint.is_trades:
        return f"{alias}.{quote(column)} BETWEEN ({parameter})[1] AND ({parameter})[2]"
    # All dates are those that a calendar holds: others are never read, so nothing is known of them.
    is_date = f"{alias}.{quote(column)} BETWEEN {window.first_day} AND '9999-12-31'"
    # Dates of before the window are only asked for to be counted.
    return (
        f"(({parameter} IS NULL AND {is_date}) OR {alias}.{quote(column)} ="
        f" ANY({parameter}){window.since(quote(column), f'{alias}.')})"
    )


def column_lists(
    table: WarehouseTable, *, has_unsent: bool = False, window: Window = ALL_DATES
) -> dict[str, str]:
    """The column lists of a table for the statements.

    With `has_unsent` they fit rows that were sent without some columns: those keep what a stored
    row `t` has in them, and take the column's default in a new one. For rows that have all of them
    the shorter lists say the same, and cost less to plan.
    """
    date = table.table.date_column
    key = table.key
    trades = table.table.endpoint.is_trades
    values = table.values
    value_of = partial(_value, table) if has_unsent else _kept_value
    new_value_of = partial(_new_value, table) if has_unsent else _plain_value
    unit = tuple(column for column in key if column != date)
    figures = tuple(column for column in values if column.name in FIGURES)
    # A trade's account id comes from its natural key: where that fits none or several, the stored
    # id stays.
    t_values = [f"t.{quote(column.name)}" for column in values] + (
        ["t.account_id"] if trades else []
    )
    s_values = [value_of(column) for column in values] + (
        ["coalesce(s.account_id, t.account_id)"] if trades else []
    )
    news = [quote(f"n_{left.removeprefix('t.').strip(_QUOTE)}") for left in t_values]
    assignments = [
        f"{left.removeprefix('t.')} = m.{new}" for left, new in zip(t_values, news, strict=True)
    ]
    shard = [table.distributed_by] if table.changes_shard and table.distributed_by else []
    columns = (
        [quote(name) for name in (*key, *shard)]
        + [quote(column.name) for column in values]
        + (["account_id"] if trades else [])
    )
    s_columns = [f"s.{quote(name)}" for name in (*key, *shard)] + [
        new_value_of(column) for column in values
    ]
    s_columns += ["s.account_id"] if trades else []
    assignments += [f"{quote(name)} = {value}" for name, value in table.origin]
    columns += [quote(name) for name, _ in table.origin]
    s_columns += [value for _, value in table.origin]
    held = "s.account_id = ANY($2::text[])"
    if trades:
        held = (
            f"({held} OR s.account_id IS NULL AND (s.login::text, s.platform::text,"
            " coalesce(s.broker::text, '')) IN (SELECT login, platform, broker FROM"
            f" {table.raw.split('.')[0]}.recon_identity WHERE account_id = ANY($2::text[])))"
        )

    day = quote(date) if date else "NULL::date"
    schema = table.raw.split(".")[0]
    count_of = f"{schema}.recon_count"
    return {
        "raw": table.raw,
        "stage": table.stage,
        "date": day,
        "plain_date": day,
        "plain_day": day,
        "day_of_t": f"t.{day}" if date else day,
        "day_of_m": f"m.{day}" if date else day,
        "t_key": ", ".join(f"t.{quote(column)}" for column in key),
        "s_key": ", ".join(f"s.{quote(column)}" for column in key),
        "plain_key": ", ".join(quote(column) for column in key),
        "place": table.place,
        "place_order": table.place_order,
        "same_row": table.same_row,
        "locked_to_change": table.locked("NO KEY UPDATE"),
        "locked_to_go": table.locked("UPDATE"),
        "shard": quote(table.distributed_by or ""),
        "all_columns": ", ".join(quote(name) for name in table.stored),
        "r_columns": ", ".join(f"r.{quote(name)}" for name in table.stored),
        # A part of the key that is never NULL, to ask whether a row was there.
        "first_key": quote(key[0]),
        "same_doubled": table.same("s", "d"),
        "same_key_s": table.same("t", "s"),
        "is_stored": _is_stored(table),
        "same_unit": table.same("t", "s", unit),
        # A trade may stand under another date than upstream has.
        "same_wherever": table.same("t", "s", unit if trades else key),
        # From the side of local rows Citus would fetch all of a distributed table that their own
        # condition leaves.
        "met_or_not": "LEFT JOIN" if table.distributed_by is None else "JOIN",
        "is_among_theirs": _is_among_theirs(table, window),
        "is_in_place": f"t.{day} = s.{day}" if trades else f"t.{quote(key[0])} IS NOT NULL",
        "also_key": table.same("also", "t"),
        "held": f"{held} AND {in_slice(table, 's', 3, window)}",
        "in_slice": in_slice(table, "t", 3, window),
        "in_slice_second": in_slice(table, "t", 2, window),
        "since": window.since(date and quote(date)),
        "t_since": window.since(date and quote(date), "t."),
        # Of alltime only what it counts in the window can be compared.
        "less_history_of_s": "" if date else window.less_history_of("s", schema),
        "less_history_of_w": "" if date else window.less_history_of("w", schema),
        "day_of_s": f"s.{day}" if date else day,
        "is_theirs": (
            "(t.account_id IS NULL OR t.account_id = ANY($2::text[]) OR t.account_id ="
            " s.account_id)"
            if trades
            else "true"
        ),
        # The version of a row on another server is none of our transaction ids: there nobody's rows
        # but theirs are taken. One that our own transaction wrote is no newer than the fetch:
        # others with such an id are not visible in it.
        "is_old": (
            f"({_is_old(6)} OR age(t.xmin) <= 0)"
            if table.distributed_by is None
            else "$6::bigint IS NULL"
        ),
        "is_newer": f"NOT ({_is_old(4)})" if table.distributed_by is None else "$4::bigint IS NULL",
        "stage_name": table.stage.split(".")[1],
        "sent_in_slice": in_slice(table, "s", 3, window),
        "set_aside_in_slice": (
            "a.date BETWEEN ($3::date[])[1] AND ($3::date[])[2]"
            if trades
            else "($3::date[] IS NULL OR a.date = ANY($3::date[]))"
        ),
        "read_dates": _ranges_of(3, from_to=trades),
        "has_no_trades": (
            f"{count_of}(num_trades) = 0" if date and _COUNT in table.names else "false"
        ),
        "asked_dates": _ranges_of(7, from_to=trades),
        "differ": (
            f"({', '.join(t_values)}) IS DISTINCT FROM ({', '.join(s_values)})"
            if t_values
            else "false"
        ),
        # But the account id of a trade, which is not upstream's word.
        "values_differ": _differ(values, value_of),
        "changed_columns": _changed(values, value_of),
        "new_values": ", ".join(
            f"{right} AS {new}" for right, new in zip(s_values, news, strict=True)
        ),
        "assignments": ", ".join(assignments),
        "columns": ", ".join(columns),
        "s_columns": ", ".join(s_columns),
        **_losses(values, value_of),
        "is_empty": _is_empty(values),
        "figures_differ": (
            f"({names(figures, 't.')}) IS DISTINCT FROM ({', '.join(map(value_of, figures))})"
            if figures
            else "false"
        ),
        "count_is_sent": (
            is_sent(table, [_COUNT]) if _COUNT in {column.name for column in values} else "false"
        ),
        # What is no count tells nothing, and so allows no removal.
        "sent_trades": (
            "count(*)"
            if trades
            else (
                f"CASE WHEN bool_or('{_COUNT} ({NO_COUNT})' = ANY(nulled)) IS NOT TRUE THEN"
                f" coalesce(sum({count_of}(num_trades)), 0) END"
            )
        ),
        "row_trades": "1" if trades else f"{count_of}(t.num_trades)",
        # A daily row that upstream lacks is a date that upstream lacks: only finer tables ever lose
        # rows.
        "removable": (
            "true" if table.table.endpoint in (Endpoint.HOURLY, Endpoint.CLOSED) else "false"
        ),
        "plain_broker": '"broker"::text' if "broker" in table.stored else "NULL::text",
        "pinned": f"'{PINNED}'",
        "unit_of_s": (
            f"ARRAY[{', '.join(f's.{quote(column)}::text' for column in unit_of(table.table))}]"
        ),
        "unit_of_t": (
            f"ARRAY[{', '.join(f't.{quote(column)}::text' for column in unit_of(table.table))}]"
        ),
        "unit_of_f": (
            f"ARRAY[{', '.join(f'f.{quote(column)}::text' for column in unit_of(table.table))}]"
        ),
        "key_text": "concat_ws('|', " + ", ".join(f"s.{quote(column)}" for column in key) + ")",
        "t_key_text": "concat_ws('|', " + ", ".join(f"t.{quote(column)}" for column in key) + ")",
    }


def _ranges_of(number: int, *, from_to: bool) -> str:
    """The dates that were read, which are parameter `number`: the first and the last one
    (`from_to`), or each; null where all were.
    """
    if from_to:
        return f"datemultirange(daterange((${number}::date[])[1], (${number}::date[])[2], '[]'))"
    return (
        f"(SELECT range_agg(daterange(day, day, '[]')) FROM unnest(${number}::date[]) AS read"
        " (day))"
    )


def _is_old(number: int) -> str:
    """The condition that nobody can have written a stored row `t` since the horizon that is
    parameter `number`.
    """
    return f"age(t.xmin) > pg_current_xact_id()::text::bigint - ${number}::bigint"


def _plain_value(column: Column) -> str:
    """What a row `s` of upstream brings to a new row."""
    return column.capped(f"s.{quote(column.name)}")


def _kept_value(column: Column) -> str:
    """What a stored row `t` has in a column once a row `s` of upstream was written."""
    return column.kept(f"t.{quote(column.name)}", f"s.{quote(column.name)}")


def _value(table: WarehouseTable, column: Column) -> str:
    """What a row `s` of upstream brings to a stored row `t`: that keeps what it has in a column
    that was not sent.
    """
    return (
        f"CASE WHEN {is_unsent(table, column.name)} THEN t.{quote(column.name)} ELSE"
        f" {_kept_value(column)} END"
    )


def _new_value(table: WarehouseTable, column: Column) -> str:
    """What a row `s` of upstream brings to a new row: the column's default where it was not
    sent.
    """
    if column.default is None and column.name not in KEY_PARAMETERS:
        # What was not sent is NULL in staging, but for a natural key that cannot be read.
        return _plain_value(column)
    if column.default is None:
        return (
            f"CASE WHEN {is_unsent(table, column.name)} THEN NULL ELSE {_plain_value(column)} END"
        )
    # A cast to a limited type would cut off a default that is too long, of which the column takes
    # none.
    sql_type = column.sql_type if column.longest is None else "text"
    return (
        f"CASE WHEN {is_unsent(table, column.name)} THEN ({column.default})::{sql_type} ELSE"
        f" {_plain_value(column)} END"
    )


def _differ(columns: Sequence[Column], value_of: Callable[[Column], str]) -> str:
    """The condition that a stored row `t` holds something else than a row `s` of upstream brings
    it.
    """
    if not columns:
        return "false"
    return f"({names(tuple(columns), 't.')}) IS DISTINCT FROM ({', '.join(map(value_of, columns))})"


def _changed(columns: Sequence[Column], value_of: Callable[[Column], str]) -> str:
    """The names of those columns as an array."""
    each = (
        f"CASE WHEN t.{quote(column.name)} IS DISTINCT FROM {value_of(column)} THEN"
        f" '{column.name}' END"
        for column in columns
    )
    return f"array_remove(ARRAY[{', '.join(each)}]::text[], NULL)"


def _losses(columns: Sequence[Column], value_of: Callable[[Column], str]) -> dict[str, str]:
    """What a stored row `t` loses where a row of upstream, which brings `value_of` each column,
    overwrites it, as conditions.

    It `blanks` a figure (by NULL, or by a zero in place of a number, unless all of the row's trades
    go with it), `loses` anything (whatever becomes NULL, a lower count of trades), `falls` where it
    loses nothing but trades of its count, or `gains` instead.
    """
    pairs = {column: (f"t.{quote(column.name)}", value_of(column)) for column in columns}
    figures = [pairs[column] for column in columns if column.name in _WORTH]
    others = [pairs[column] for column in columns if column.name not in _WORTH]
    numbers = [
        pairs[column]
        for column in columns
        if column.name in _WORTH and column.kind is Kind.NUMBER and column.name != _COUNT
    ]
    counts = [
        pairs[column] for column in columns if column.name == _COUNT and column.kind is Kind.NUMBER
    ]
    emptied = [_becomes_null(old, new) for old, new in figures] + [
        f"{old} <> 0 AND {new} = 0" for old, new in numbers
    ]
    lowered = [f"{new} < {old}" for old, new in counts]
    # A date that loses its last trade has no figures for that reason: its count tells it.
    spent = [f"{old} > 0 AND {new} = 0" for old, new in counts]
    raised = [f"{new} > {old}" for old, new in counts]
    filled = [_becomes_null(new, old) for old, new in figures]
    lost = [*emptied, *(_becomes_null(old, new) for old, new in others)]
    return {
        "blanks": f"{_any(emptied)} AND NOT {_any(spent)}",
        "loses": _any([*lost, *lowered]),
        "falls": f"{_any(lowered)} AND NOT {_any(lost)}",
        "gains": _any([*raised, *filled]),
    }


def _is_empty(columns: Sequence[Column]) -> str:
    """The condition that a written row has trades and no figures of money: no row of a healthy
    upstream needs to look like this.
    """
    money = [
        quote(column.name)
        for column in columns
        if column.name in _WORTH and column.kind is Kind.NUMBER and column.name != _COUNT
    ]
    counts = [
        quote(column.name)
        for column in columns
        if column.name == _COUNT and column.kind is Kind.NUMBER
    ]
    empty = [
        *(f"coalesce({name} = 0, true)" for name in money),
        *(f"coalesce({name} <> 0, true)" for name in counts),
    ]
    return " AND ".join(empty) if money else "false"


def _becomes_null(old: str, new: str) -> str:
    return f"{old} IS NOT NULL AND {new} IS NULL"


def _any(conditions: Sequence[str]) -> str:
    # What is unknown, since one side is NULL, is none of these changes.
    return f"coalesce({' OR '.join(conditions)}, false)" if conditions else "false"


def _is_among_theirs(table: WarehouseTable, window: Window) -> str:
    """What a stored row `t` has in common with those of the fetch, said again: PostgreSQL may then
    read all of them at once.

    Row by row it would look for each trade in every partition, since it may stand under any date.
    Of trades that is their natural keys, whose parts are the parameters from 4 on.
    """
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
    """The condition that a row `s` of the fetch $1 is stored.

    Asked of each row by itself on one server; of a distributed table the rows that it has are
    looked up all at once.
    """
    if table.distributed_by is None:
        return f"EXISTS (SELECT FROM {table.raw} AS t WHERE {table.same('t', 's')})"
    return (
        f"s.ordinal IN (SELECT p.ordinal FROM {table.stage} AS p JOIN {table.raw} AS t ON"
        f" {table.same('t', 'p')} WHERE p.fetch_id = $1)"
    )


def narrow_lists(key: UniqueKey) -> dict[str, str]:
    """The column lists of a unique key that is narrower than upstream's."""
    equal = "IS NOT DISTINCT FROM" if key.nulls_are_equal else "="
    columns = [quote(column) for column in key.columns]
    return {
        "narrow": ", ".join(columns),
        "s_narrow": (
            ", ".join(f"s.{column}" for column in columns if column != '"account_id"') or "NULL"
        ),
        "narrow_filled": (
            "true"
            if key.nulls_are_equal
            else " AND ".join(f"s.{column} IS NOT NULL" for column in columns)
        ),
        "same_narrow": " AND ".join(f"t.{column} {equal} r.{column}" for column in columns),
    }
