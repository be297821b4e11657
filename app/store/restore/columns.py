"""Present columns of raw tables."""

from dataclasses import dataclass

from app.store.database.pool import Database
from app.store.database.transaction import Connection


@dataclass(frozen=True, slots=True)
class RestoredColumn:
    """A column; `is_numbered` ones get values only at insertion.

    `sort` is how values compare with a copy: as `text`, `plain` by type, `other` as JSON.
    """

    name: str
    is_generated: bool
    is_numbered: bool
    sql_type: str
    sort: str


class ColumnReader:
    """Reads columns."""

    def __init__(self, database: Database) -> None:
        self._get = database.queries("restore/columns")["get_columns"]

    async def of(self, connection: Connection, raw: str) -> list[RestoredColumn]:
        """Columns of a raw table."""
        return [
            RestoredColumn(
                row["name"], row["is_generated"], row["is_numbered"], row["sql_type"], row["sort"]
            )
            for row in await connection.fetch(self._get, raw)
        ]
