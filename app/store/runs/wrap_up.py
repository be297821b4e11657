"""Work after the end of a run."""

import uuid

from app.store.database.pool import Database


class WrapUp:
    """Clears an active run's data, notes holds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("runs/wrap_up")
        self._clear_scan, self._note_held_since = sql["clear_scan"], sql["note_held_since"]

    async def clear_scan(self, run_id: uuid.UUID) -> None:
        """Drop the audit's notes of upstream."""
        await self._database.execute(self._clear_scan, run_id)

    async def note_held_since(self, run_id: uuid.UUID) -> None:
        """Note since which run its held accounts are held."""
        await self._database.execute(self._note_held_since, run_id)
