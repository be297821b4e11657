"""Inserted rows, which have no copies."""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Table
from app.store.database.pool import Database
from app.store.database.queries import fill, for_schema, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection, Record
from app.store.pins import unit_of
from app.store.restore.changed_rows import Picked
from app.store.restore.copies import NAMED_TABLES
from app.store.schema.introspect import distribution

KEYS_NAMED = 20
"""Rows named per slice."""


@dataclass(frozen=True, slots=True)
class InsertedRows:
    """Rows of a slice inserted by one transaction.

    `standing` ones are unchanged (None: unknown), `keys` names the first. `issues` as for
    `ChangedRow`.
    """

    change_id: int
    changed_at: dt.datetime
    account_id: str
    table: str
    date: dt.date | None
    rows: int
    standing: int | None
    keys: tuple[str, ...]
    run_id: uuid.UUID | None
    run_kind: str | None
    issues: tuple[str, ...]


class Inserted:
    """Lists inserted rows, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("restore/inserted_rows")

    async def page(self, picked: Picked, limit: int) -> list[InsertedRows]:
        """Matching insertions of up to `limit` transactions, older than `picked.before`."""
        given = picked.account_id, picked.table, picked.run_id, picked.date, picked.before, limit
        async with self._database.transaction(
            "repeatable_read", statement_seconds=COMMAND_SECONDS
        ) as connection:
            rows = await connection.fetch(self._sql["list_inserted_rows"], *given)
            of_table: dict[str, list[Record]] = defaultdict(list)
            for row in rows:
                of_table[row["table_name"]].append(row)
            shards = await distribution(connection, self._database.schema) if rows else {}
            # Row versions of other servers are not comparable with our transaction ids.
            standing: dict[tuple[int, dt.date | None], Record] = {}
            for table in sorted(of_table.keys() & NAMED_TABLES.keys() - shards.keys()):
                standing |= await self._standing(connection, NAMED_TABLES[table], of_table[table])
        return [_inserted(row, standing.get((row["change_id"], row["date"]))) for row in rows]

    async def _standing(
        self, connection: Connection, table: Table, rows: Sequence[Record]
    ) -> dict[tuple[int, dt.date | None], Record]:
        """Unchanged rows by change and date."""
        date = table.date_column
        shown = [f"t.{quote(column)}" for column in table.key if column != date]
        statement = fill(
            self._sql["get_standing_rows"],
            raw=for_schema(f"prop_trading_model.{table.name}", self._database.schema),
            t_key_text="concat_ws('/', "
            + ", ".join(f"coalesce({column}::text, '-')" for column in shown)
            + ")",
            same_day=f"t.{quote(date)} = w.day" if date else "w.day IS NULL",
            same_unit=" AND ".join(
                f"k.row_data ->> '{column}' IS NOT DISTINCT FROM t.{quote(column)}::text"
                for column in unit_of(table)
            ),
        )
        columns = (
            [row[name] for row in rows] for name in ("change_id", "account_id", "date", "run_id")
        )
        found = await connection.fetch(statement, *columns, KEYS_NAMED, table.name)
        return {(row["change_id"], row["day"]): row for row in found}


def _inserted(row: Record, standing: Record | None) -> InsertedRows:
    return InsertedRows(
        row["change_id"],
        row["changed_at"],
        row["account_id"],
        row["table_name"],
        row["date"],
        row["rows"],
        None if standing is None else standing["rows"],
        () if standing is None else tuple(standing["keys"] or ()),
        row["run_id"],
        row["run_kind"],
        tuple(row["named_issues"] or row["open_issues"] or ()),
    )
