"""The columns that a raw table has now, and what may be written to them."""

from dataclasses import dataclass

from app.store.database.pool import Database
from app.store.database.transaction import Connection


@dataclass(frozen=True, slots=True)
class RestoredColumn:
    """A column of a raw table; `is_numbered`: its value is given once, when the row is inserted.

    `sort` tells how it compares with a value of a copy: `text` as text, `plain` as a value of its
    type, `other` only as JSON.
    """

    name: str
    is_generated: bool
    is_numbered: bool
    sql_type: str
    sort: str


class ColumnReader:
    """Reads columns from the catalogue."""

    def __init__(self, database: Database) -> None:
        self._get = database.queries("restore/columns")["get_columns"]

    async def of(self, connection: Connection, raw: str) -> list[RestoredColumn]:
        """The columns of a raw table."""
        return [
            RestoredColumn(
                row["name"], row["is_generated"], row["is_numbered"], row["sql_type"], row["sort"]
            )
            for row in await connection.fetch(self._get, raw)
        ]
