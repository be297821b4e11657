"""The column lists and conditions that fill the statements of db/queries/changes.sql for one raw table."""

from app.domain.contract import Endpoint
from app.store.catalogue import FIGURES, WarehouseTable, names
from app.store.queries import quote
from app.store.survey import UniqueKey

_QUOTE = '"'


def in_slice(table: WarehouseTable, alias: str, number: int) -> str:
    """The condition that a row lies in the slices whose dates are parameter `number`."""
    parameter = f"${number}::date[]"
    column = table.table.date_column
    if column is None:
        return f"{parameter} IS NULL"
    if table.table.endpoint.is_trades:
        return f"{alias}.{quote(column)} BETWEEN ({parameter})[1] AND ({parameter})[2]"
    return f"({parameter} IS NULL OR {alias}.{quote(column)} = ANY({parameter}))"


def column_lists(table: WarehouseTable, shape: frozenset[str] | None = None) -> dict[str, str]:
    """The column lists of a table for the statements; `shape` limits the values to the columns that were sent."""
    date = table.table.date_column
    key = table.key
    trades = table.table.endpoint.is_trades
    sent = tuple(column for column in table.values if shape is None or column.name in shape)
    unit = tuple(column for column in key if column != date)
    figures = tuple(column for column in sent if column.name in FIGURES)
    # A trade's account id comes from its natural key: where that fits none or several, the stored id stays.
    t_values = [f"t.{quote(column.name)}" for column in sent] + (["t.account_id"] if trades else [])
    s_values = [f"s.{quote(column.name)}" for column in sent] + (["coalesce(s.account_id, t.account_id)"] if trades else [])
    news = [quote(f"n_{left.removeprefix('t.').strip(_QUOTE)}") for left in t_values]
    assignments = [f"{left.removeprefix('t.')} = m.{new}" for left, new in zip(t_values, news, strict=True)]
    shard = [table.distributed_by] if table.changes_shard and table.distributed_by else []
    columns = [quote(name) for name in (*key, *shard)] + [quote(column.name) for column in sent] + (["account_id"] if trades else [])
    s_columns = [f"s.{name}" for name in columns]
    assignments += [f"{quote(name)} = {value}" for name, value in table.origin]
    columns += [quote(name) for name, _ in table.origin]
    s_columns += [value for _, value in table.origin]
    held = "s.account_id = ANY($2::text[])"
    if trades:
        held = (
            f"({held} OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN"
            f" (SELECT login, platform, broker FROM {table.raw.split('.')[0]}.recon_identity WHERE account_id = ANY($2::text[])))"
        )

    day = quote(date) if date else "NULL::date"
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
        # Said again of metrics, whose key begins with the account: PostgreSQL may then read their rows together.
        "is_among_theirs": "true" if trades else f"t.account_id = ANY($2::text[]) AND {in_slice(table, 't', 3)}",
        "is_in_place": f"t.{day} = s.{day}" if trades else "true",
        "also_key": table.same("also", "t"),
        "held": f"{held} AND {in_slice(table, 's', 3)}",
        "in_slice": in_slice(table, "t", 3),
        "day_of_s": f"s.{day}" if date else day,
        "is_theirs": "(t.account_id IS NULL OR t.account_id = ANY($2::text[]) OR t.account_id = s.account_id)" if trades else "true",
        # The version of a row on another server is none of our transaction ids: there nobody's rows but theirs are taken.
        "is_old": "age(t.xmin) > pg_current_xact_id()::text::bigint - $7::bigint" if table.distributed_by is None else "$7::bigint IS NULL",
        "stage_name": table.stage.split(".")[1],
        "sent_in_slice": in_slice(table, "s", 3),
        "differ": f"({', '.join(t_values)}) IS DISTINCT FROM ({', '.join(s_values)})" if t_values else "false",
        "new_values": ", ".join(f"{right} AS {new}" for right, new in zip(s_values, news, strict=True)),
        "assignments": ", ".join(assignments),
        "columns": ", ".join(columns),
        "s_columns": ", ".join(s_columns),
        "figures_differ": f"({names(figures, 't.')}) IS DISTINCT FROM ({names(figures, 's.')})" if figures else "false",
        "sent_trades": "count(*)" if trades else "coalesce(sum(num_trades), 0)",
        "row_trades": "1" if trades else "coalesce(t.num_trades, 0)",
        # A daily row that upstream lacks is a date that upstream lacks: only finer tables ever lose rows.
        "removable": "true" if table.table.endpoint in (Endpoint.HOURLY, Endpoint.CLOSED) else "false",
        "key_text": "concat_ws('|', " + ", ".join(f"s.{quote(column)}" for column in key) + ")",
        "t_key_text": "concat_ws('|', " + ", ".join(f"t.{quote(column)}" for column in key) + ")",
    }


def _is_stored(table: WarehouseTable) -> str:
    """The condition that a row `s` of the fetch $1 is stored.

    Asked of each row by itself on one server; of a distributed table the rows that it has are looked up all at once.
    """
    if table.distributed_by is None:
        return f"EXISTS (SELECT FROM {table.raw} AS t WHERE {table.same('t', 's')})"
    return f"s.ordinal IN (SELECT p.ordinal FROM {table.stage} AS p JOIN {table.raw} AS t ON {table.same('t', 'p')} WHERE p.fetch_id = $1)"


def narrow_lists(key: UniqueKey) -> dict[str, str]:
    """The column lists of a unique key that is narrower than upstream's."""
    equal = "IS NOT DISTINCT FROM" if key.nulls_are_equal else "="
    columns = [quote(column) for column in key.columns]
    return {
        "narrow": ", ".join(columns),
        "s_narrow": ", ".join(f"s.{column}" for column in columns if column != '"account_id"') or "NULL",
        "narrow_filled": "true" if key.nulls_are_equal else " AND ".join(f"s.{column} IS NOT NULL" for column in columns),
        "same_narrow": " AND ".join(f"t.{column} {equal} r.{column}" for column in columns),
    }
