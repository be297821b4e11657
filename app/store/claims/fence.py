"""Locks valid claims inside a writing transaction."""

import uuid
from collections.abc import Collection

from app.store.database.pool import Database
from app.store.database.transaction import Connection


class Fence:
    """Stops writes under expired claims."""

    def __init__(self, database: Database) -> None:
        self._lock_claims = database.queries("claims/fence")["lock_claims"]

    async def lock_claims(
        self,
        connection: Connection,
        account_ids: Collection[str],
        claim_id: uuid.UUID,
        lease_seconds: float,
    ) -> dict[str, int]:
        """Accounts still held, with consecutive failures."""
        rows = await connection.fetch(self._lock_claims, [*account_ids], claim_id, lease_seconds)
        return {row["account_id"]: row["failed_attempts"] for row in rows}
