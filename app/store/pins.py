"""Pins: restored rows that no run changes before their release or upstream's agreement."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from app.domain.contract.tables import TABLES, Table
from app.store.database.pool import Database
from app.store.database.queries import fill, for_schema, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection
from app.store.schema.introspect import distribution

PINNED = "pinned by restore"
"""The reason of upstream's rows that meet a pinned one."""


def unit_of(table: Table) -> list[str]:
    """A row's identity: of trades the key without the date."""
    return [
        column
        for column in table.key
        if not (table.endpoint.is_trades and column == table.date_column)
    ]


class Pins:
    """Sets and releases pins."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("pins")
        self._pin = {
            table.name: fill(
                sql["pin_rows"],
                key=", ".join(f"c.row_data ->> '{column}'" for column in unit_of(table)),
            )
            for table in TABLES.values()
        }
        self._release = sql["release_pins"]
        self._tables, self._overtaken = sql["get_pinned_tables"], sql["get_overtaken_pins"]

    async def pin(
        self, connection: Connection, table: str, removed_ids: Sequence[int], reason: str | None
    ) -> None:
        """Pin the rows that this transaction restored from copies."""
        if removed_ids:
            await connection.execute(self._pin[table], list(removed_ids), reason)

    async def release(
        self,
        *,
        account_id: str | None = None,
        run_id: uuid.UUID | None = None,
        removed_ids: Sequence[int] | None = None,
    ) -> tuple[int, Mapping[str, set[dt.date]]]:
        """Release matching pins: their number, and dates by account."""
        ids = None if removed_ids is None else list(removed_ids)
        rows = await self._database.fetch(self._release, account_id, run_id, ids)
        days: dict[str, set[dt.date]] = {}
        for row in rows:
            if row["account_id"] is not None:
                of_row = {row["date"], *row["doubled_dates"]} - {None}
                days.setdefault(row["account_id"], set()).update(of_row)
        return len(rows), days

    async def overtaken(self, account_ids: Sequence[str] | None = None) -> list[int]:
        """Copies of pinned rows written or deleted since their restore."""
        ids = None if account_ids is None else list(account_ids)
        names = {row["table_name"] for row in await self._database.fetch(self._tables, ids)}
        tables = [table for table in TABLES.values() if table.name in names]
        shards = await distribution(self._database, self._database.schema) if tables else {}
        found: list[int] = []
        for table in tables:
            statement = self._overtaken_of(table, is_shared=table.name in shards)
            found += [
                row["removed_id"]
                for row in await self._database.fetch(statement, ids, seconds=COMMAND_SECONDS)
            ]
        return found

    def _overtaken_of(self, table: Table, *, is_shared: bool) -> str:
        values = sorted({field.column for field in table.fields} - {*table.key, "account_id"})
        return fill(
            self._overtaken,
            table=f"'{table.name}'",
            raw=for_schema(f"prop_trading_model.{table.name}", self._database.schema),
            has_whole_key=" AND ".join(
                f"c.row_data ->> '{column}' IS NOT NULL" for column in table.key
            ),
            same_key=" AND ".join(f"t.{quote(column)} = r.{quote(column)}" for column in table.key),
            values="ARRAY['" + "', '".join(values) + "']",
            # The version of a row on another server is none of our transaction ids.
            version_of_c="NULL::xid" if is_shared else "c.xmin",
            is_same_version="false" if is_shared else "t.xmin = p.version",
        )
