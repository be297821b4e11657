"""Locks on copies that are being restored, and their mark once they were."""

import datetime as dt
from collections.abc import Sequence

from app.store.database.pool import Database
from app.store.database.transaction import Connection


class CopyLocks:
    """Keeps two restores from using one copy, or two copies of one row, at a time."""

    def __init__(self, database: Database) -> None:
        self._sql = database.queries("restore/copy_locks")

    async def lock(
        self, connection: Connection, removed_ids: Sequence[int]
    ) -> dict[int, dt.datetime | None]:
        """Lock copies until the end of the transaction; when each was restored."""
        await connection.execute(self._sql["lock_restoring"])
        rows = await connection.fetch(self._sql["lock_copies"], list(removed_ids))
        return {row["removed_id"]: row["restored_at"] for row in rows}

    async def mark(self, connection: Connection, removed_ids: Sequence[int]) -> None:
        """Note that copies were brought back."""
        await connection.execute(self._sql["mark_restored_rows"], list(removed_ids))
