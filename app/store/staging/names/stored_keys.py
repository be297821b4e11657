"""Natural keys of stored rows."""

from collections.abc import Sequence

from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Record


class StoredKeys:
    """Reads raw tables."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._get = database.queries("staging/names/stored_keys")["get_stored_keys"]

    async def fetch(
        self, account_ids: Sequence[str], seconds: float = COMMAND_SECONDS
    ) -> list[Record]:
        """Rows of account_id, login, platform, broker and first_day."""
        return await self._database.fetch(self._get, list(account_ids), seconds=seconds)
