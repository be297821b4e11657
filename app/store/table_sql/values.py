"""Values of staged `s` beside stored `t`: what differs, what is written.

A column not sent keeps its value, or takes its default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from app.store.database.queries import quote
from app.store.schema.raw.columns import FIGURES, Column, names
from app.store.schema.raw.tables import WarehouseTable
from app.store.table_sql.losses import LossSql, is_empty
from app.store.table_sql.slices import KEY_PARAMETERS
from app.store.table_sql.table import COUNT
from app.store.table_sql.unsent import is_sent, is_unsent


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSql:
    """Lists of columns, and conditions on values."""

    differ: str
    """`t` differs from `s` in an assignable column."""
    values_differ: str
    """Without a trade's account id, which upstream does not send."""
    figures_differ: str
    """A figure that judges accounts differs."""
    changed_columns: str
    """Names of differing columns, an array."""
    new_values: str
    """Values after the write, as columns `n_NAME` of `m`."""
    assignments: str
    """SET for `t` from those, with the origin."""
    columns: str
    s_columns: str
    count_is_sent: str
    is_empty: str
    """A written row has trades but no money: no healthy upstream sends it."""

    @classmethod
    def of(cls, table: WarehouseTable, *, has_unsent: bool = False) -> Self:
        """Shorter, and cheaper to plan, without `has_unsent`."""
        value_of = partial(_value, table) if has_unsent else _kept_value
        new_value_of = partial(_new_value, table) if has_unsent else _plain_value
        columns, s_columns = _inserted(table, new_value_of)
        new_values, assignments = _assigned(table, value_of)
        figures = tuple(column for column in table.values if column.name in FIGURES)
        return cls(
            differ=_differ(table, value_of),
            values_differ=_differ_in(table.values, value_of),
            figures_differ=_differ_in(figures, value_of),
            changed_columns=_changed(table.values, value_of),
            new_values=new_values,
            assignments=assignments,
            columns=columns,
            s_columns=s_columns,
            count_is_sent=_count_is_sent(table),
            is_empty=is_empty(table.values),
        )


def losses_of(table: WarehouseTable, *, has_unsent: bool = False) -> LossSql:
    """What `t` loses to `s`."""
    return LossSql.of(table.values, partial(_value, table) if has_unsent else _kept_value)


def _with_account(table: WarehouseTable) -> bool:
    """Whether the account id is assigned: a trade's, from its natural key."""
    return table.table.endpoint.is_trades


def _sides(table: WarehouseTable, value_of: Callable[[Column], str]) -> list[tuple[str, str, str]]:
    """Assignable columns: name, stored and written value."""
    sides = [(each.name, f"t.{quote(each.name)}", value_of(each)) for each in table.values]
    if _with_account(table):
        sides.append(("account_id", "t.account_id", "coalesce(s.account_id, t.account_id)"))
    return sides


def _differ(table: WarehouseTable, value_of: Callable[[Column], str]) -> str:
    sides = _sides(table, value_of)
    if not sides:
        return "false"
    stored = ", ".join(old for _, old, _ in sides)
    return f"({stored}) IS DISTINCT FROM ({', '.join(new for _, _, new in sides)})"


def _assigned(table: WarehouseTable, value_of: Callable[[Column], str]) -> tuple[str, str]:
    sides = _sides(table, value_of)
    new_values = ", ".join(f"{new} AS {quote(f'n_{name}')}" for name, _, new in sides)
    assignments = [f"{old.removeprefix('t.')} = m.{quote(f'n_{name}')}" for name, old, _ in sides]
    assignments += [f"{quote(name)} = {value}" for name, value in table.origin]
    return new_values, ", ".join(assignments)


def _inserted(table: WarehouseTable, new_value_of: Callable[[Column], str]) -> tuple[str, str]:
    shard = [table.distributed_by] if table.changes_shard and table.distributed_by else []
    columns = [quote(name) for name in (*table.key, *shard)]
    values = [f"s.{column}" for column in columns]
    columns += [quote(column.name) for column in table.values]
    values += [new_value_of(column) for column in table.values]
    if _with_account(table):
        columns.append("account_id")
        values.append("s.account_id")
    columns += [quote(name) for name, _ in table.origin]
    values += [value for _, value in table.origin]
    return ", ".join(columns), ", ".join(values)


def _plain_value(column: Column) -> str:
    return column.capped(f"s.{quote(column.name)}")


def _kept_value(column: Column) -> str:
    """The value of `t` after the write."""
    return column.kept(f"t.{quote(column.name)}", f"s.{quote(column.name)}")


def _value(table: WarehouseTable, column: Column) -> str:
    """`_kept_value`, but a column not sent keeps the stored value."""
    return (
        f"CASE WHEN {is_unsent(table, column.name)} THEN t.{quote(column.name)} ELSE"
        f" {_kept_value(column)} END"
    )


def _new_value(table: WarehouseTable, column: Column) -> str:
    """The value in a new row; a column not sent takes its default."""
    plain = _plain_value(column)
    if column.default is None and column.name not in KEY_PARAMETERS:
        # A column not sent is NULL in staging, except a natural key that cannot be read.
        return plain
    unsent = is_unsent(table, column.name)
    if column.default is None:
        return f"CASE WHEN {unsent} THEN NULL ELSE {plain} END"
    # A cast to a limited type would truncate a default that the column rejects.
    sql_type = column.sql_type if column.longest is None else "text"
    return f"CASE WHEN {unsent} THEN ({column.default})::{sql_type} ELSE {plain} END"


def _differ_in(columns: Sequence[Column], value_of: Callable[[Column], str]) -> str:
    if not columns:
        return "false"
    return f"({names(tuple(columns), 't.')}) IS DISTINCT FROM ({', '.join(map(value_of, columns))})"


def _changed(columns: Sequence[Column], value_of: Callable[[Column], str]) -> str:
    each = (
        f"CASE WHEN t.{quote(column.name)} IS DISTINCT FROM {value_of(column)} THEN"
        f" '{column.name}' END"
        for column in columns
    )
    return f"array_remove(ARRAY[{', '.join(each)}]::text[], NULL)"


def _count_is_sent(table: WarehouseTable) -> str:
    has_count = COUNT in {column.name for column in table.values}
    return is_sent(table, [COUNT]) if has_count else "false"
