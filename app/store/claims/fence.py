"""The fence: inside a writing transaction, lock the claims that still hold."""

import uuid
from collections.abc import Collection

from app.store.database.pool import Database
from app.store.database.transaction import Connection


class Fence:
    """Keeps a worker whose claim has expired from writing and from recording."""

    def __init__(self, database: Database) -> None:
        """Read the statement; a missing one fails here."""
        self._lock_claims = database.queries("claims/fence")["lock_claims"]

    async def lock_claims(
        self,
        connection: Connection,
        account_ids: Collection[str],
        claim_id: uuid.UUID,
        lease_seconds: float,
    ) -> dict[str, int]:
        """The accounts that the claim still holds, by id, with their failed attempts in a row."""
        rows = await connection.fetch(self._lock_claims, [*account_ids], claim_id, lease_seconds)
        return {row["account_id"]: row["failed_attempts"] for row in rows}
