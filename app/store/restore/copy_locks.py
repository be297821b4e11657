"""Locks and marks of restored copies."""

import datetime as dt
from collections.abc import Sequence

from app.store.database.pool import Database
from app.store.database.transaction import Connection


class CopyLocks:
    """Serialises restores of one copy or row."""

    def __init__(self, database: Database) -> None:
        self._sql = database.queries("restore/copy_locks")

    async def lock(
        self, connection: Connection, removed_ids: Sequence[int]
    ) -> dict[int, dt.datetime | None]:
        """Lock copies; returns when each was restored."""
        await connection.execute(self._sql["lock_restoring"])
        rows = await connection.fetch(self._sql["lock_copies"], list(removed_ids))
        return {row["removed_id"]: row["restored_at"] for row in rows}

    async def mark(self, connection: Connection, removed_ids: Sequence[int]) -> None:
        """Mark copies as restored."""
        await connection.execute(self._sql["mark_restored_rows"], list(removed_ids))
