"""Unique keys narrower than upstream's."""

from app.store.apply.rejects.reasons import BOTH_SENT, TOO_NARROW
from app.store.apply.writing.part_write import PartWrite
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import (
    NarrowKeySql,
    Statements,
    names_of,
    narrow_key,
    values_of,
)


class NarrowKeys:
    """Rejects rows that they exclude."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        sql = database.queries("apply/writing/narrow_keys", window)
        self._sql = Statements(sql, catalogue, window, further=names_of(NarrowKeySql))

    async def reject(self, write: PartWrite) -> int:
        """Reject rows, noting conflicting ones; returns their number."""
        rejected = 0
        table = write.job.table
        for key in table.narrow_keys:
            statement = self._sql.of(
                "reject_too_narrow", table, has_unsent=False, **values_of(narrow_key(key))
            )
            for row in await write.connection.fetch(
                statement, *write.head, TOO_NARROW, BOTH_SENT, key.name
            ):
                write.job.beside[row["ordinal"]] = {
                    "unique_key": key.name,
                    "columns": list(key.columns),
                    "held_by": {"key": row["other_key"], "account_id": row["other_account"]},
                }
                rejected += 1
        return rejected
