"""Changes of rows: each copy beside its successor, by column, with run and issues."""

import datetime as dt
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from app.domain.contract.tables import TABLES, Table
from app.domain.copies import Reason
from app.store.database.pool import Database
from app.store.database.queries import fill, for_schema, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection, Record
from app.store.pins import unit_of
from app.store.restore.columns import ColumnReader
from app.store.restore.conditions import CopyConditions, part
from app.store.restore.copies import NAMED_TABLES, RemovedRow, removed_row
from app.store.restore.shape import Shape
from app.store.schema.introspect import distribution

_NULLED = re.compile(r"stored with NULL, since the value cannot be held: ([^;]*)")


@dataclass(frozen=True, slots=True)
class Picked:
    """Filters (None: any); `before` continues a listing."""

    account_id: str | None = None
    table: str | None = None
    date: dt.date | None = None
    run_id: uuid.UUID | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """Exact texts of a differing column; None for null or no row."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """One change of a row.

    - `new_from`: `stored`, the next `copy`, or `gone`.
    - `is_written_since`: others wrote the stored row later.
    - `issues`: open then, those naming the date if any.
    - `stood_already`: a removed double; new values are of the remaining row.
    - `restored_with`: reason of a restore.
    """

    copy: RemovedRow
    columns: tuple[ColumnChange, ...]
    new_from: str
    is_written_since: bool
    run_kind: str | None
    issues: tuple[str, ...]
    stood_already: bool
    is_restore: bool
    restored_with: str | None


@dataclass(frozen=True, slots=True)
class NulledRow:
    """A row stored with NULL for values that do not fit; `sent` has these."""

    table: str
    account_id: str | None
    date: dt.date | None
    key: str
    sent: Mapping[str, str | None]
    run_id: uuid.UUID | None
    last_seen: dt.datetime


class ChangedRows:
    """Lists changes, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("restore/changed_rows")
        self._conditions = CopyConditions(database)
        self._columns = ColumnReader(database)
        units = " ".join(
            f"WHEN '{table.name}' THEN jsonb_build_array({_copied(unit_of(table))})"
            for table in TABLES.values()
        )
        moved = "\nUNION ALL\n".join(
            self._moved_there(table) for table in TABLES.values() if table.endpoint.is_trades
        )
        self._list = fill(
            self._sql["list_changes"],
            unit=f"CASE c.table_name {units} END",
            moved_there=f"moved_there AS MATERIALIZED (\n{moved}\n)",
        )

    def _moved_there(self, table: Table) -> str:
        """Statement for copies of trades moved to a date."""
        unit, name = unit_of(table), f"'{table.name}'"
        return (
            "("
            + fill(
                part(self._sql["moved_to_date"]),
                table=name,
                raw=for_schema(f"prop_trading_model.{table.name}", self._database.schema),
                date=quote(table.date_column or ""),
                same_unit=" AND ".join(f"t.{quote(column)} = r.{quote(column)}" for column in unit),
                same_unit_as_k=" AND ".join(
                    f"c.row_data -> '{column}' = k.row_data -> '{column}'" for column in unit
                ),
                is_moved=fill(part(self._sql["is_moved"]), table=name),
            )
            + ")"
        )

    async def page(self, picked: Picked, limit: int) -> list[ChangedRow]:
        """Up to `limit` matching changes."""
        given = picked.account_id, picked.table, picked.run_id, picked.date, picked.before, limit
        async with self._database.transaction(
            "repeatable_read", statement_seconds=COMMAND_SECONDS
        ) as connection:
            rows = await connection.fetch(self._list, *given)
            copies = {row["removed_id"]: removed_row(row) for row in rows}
            last = [copies[row["removed_id"]] for row in rows if row["next_text"] is None]
            present = await self._present(connection, last)
        return [
            _changed_row(copies[row["removed_id"]], row, present.get(row["removed_id"]))
            for row in rows
        ]

    async def nulled(self, picked: Picked, limit: int) -> list[NulledRow]:
        """Rows stored with NULLs, newest first."""
        rows = await self._database.fetch(
            self._sql["list_nulled_rows"],
            picked.account_id,
            picked.table,
            picked.run_id,
            picked.date,
            limit,
        )
        return [
            NulledRow(
                row["table_name"],
                row["account_id"],
                row["date"],
                row["row_key"],
                nulled_values(row["table_name"], row["reason"], row["row_text"]),
                row["run_id"],
                row["last_seen"],
            )
            for row in rows
        ]

    async def _present(
        self, connection: Connection, copies: Sequence[RemovedRow]
    ) -> dict[int, Record]:
        """Stored rows of copies, by key or of the trade elsewhere."""
        shards = await distribution(connection, self._database.schema)
        shaped: dict[tuple[object, ...], list[RemovedRow]] = defaultdict(list)
        for copy in copies:
            if copy.table in NAMED_TABLES:
                nulls = tuple(
                    copy.values.get(column) is None for column in NAMED_TABLES[copy.table].key
                )
                shaped[copy.table, nulls, frozenset(copy.values)].append(copy)
        found: dict[int, Record] = {}
        for together in shaped.values():
            raw = for_schema(f"prop_trading_model.{together[0].table}", self._database.schema)
            shard = shards.get(together[0].table)
            shape = Shape(together[0], await self._columns.of(connection, raw), raw, shard)
            if not shape.lacking:
                written = {
                    "is_foreign": self._conditions.foreign(shard),
                    "stood_there": self._conditions.stood_there(shard),
                }
                statement = fill(self._sql["get_present_rows"], **shape.tokens, **written)
                for row in await connection.fetch(
                    statement, [copy.removed_id for copy in together]
                ):
                    found.setdefault(row["removed_id"], row)
        return found


def nulled_values(table: str, reason: str, sent: str) -> dict[str, str | None]:
    """Sent values of nulled columns, which `reason` names."""
    named = _NULLED.search(reason)
    fields = (
        {field.column: field.api_name for field in NAMED_TABLES[table].fields}
        if table in NAMED_TABLES
        else {}
    )
    values = msgspec.json.decode(sent)
    columns = (
        [name.strip() for name in named.group(1).split(",")]
        if named and isinstance(values, dict)
        else []
    )
    return {column: _shown(values.get(fields.get(column, column))) for column in columns}


def _shown(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _changed_row(copy: RemovedRow, row: Record, present: Record | None) -> ChangedRow:
    stood_there = present is not None and not present["has_key"] and bool(present["stood_there"])
    is_double = copy.right_date is not None or stood_there
    if row["next_text"] is not None:
        text, new_from = row["next_text"], "copy"
    elif present is not None and (
        copy.reason is not Reason.REMOVED or present["has_key"] or is_double
    ):
        text, new_from = present["row_text"], "stored"
    else:
        text, new_from = "{}", "gone"
    old, new = copy.values, replace(copy, row=text).values
    columns = tuple(
        ColumnChange(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )
    is_since = new_from == "stored" and present is not None and bool(present["is_foreign"])
    stood = copy.right_date is not None or (new_from == "stored" and is_double)
    issues = tuple(row["named_issues"] or row["open_issues"] or ())
    return ChangedRow(
        copy,
        columns,
        new_from,
        is_since,
        row["run_kind"],
        issues,
        stood,
        row["is_restore"],
        row["restored_with"] or None,
    )


def _copied(columns: Iterable[str]) -> str:
    return ", ".join(f"c.row_data ->> '{column}'" for column in columns)
