"""The change feed (interface; its author fills it in)."""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping

from app.store.pool import Connection, Database


class ChangeFeed:
    """Placeholder until its author has written it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(
        self, connection: Connection, run_id: uuid.UUID | None, table: str, changed: Mapping[str, Collection[dt.date | None]]
    ) -> None:
        """Nothing yet."""
