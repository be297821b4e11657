"""Dates whose daily rows an audit changed and whose finer rows are unread.

Recorded transactionally, against crashes.
"""

import datetime as dt
from collections.abc import Sequence

from app.domain.contract.tables import Endpoint
from app.store.apply.job import ApplyJob
from app.store.database.pool import Database
from app.store.database.transaction import Connection


class Descents:
    """Adds and removes dates whose finer rows are still to be read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("apply/descents")
        self._begin, self._end = sql["begin_descents"], sql["end_descents"]

    async def begin(
        self, connection: Connection, job: ApplyJob, account_id: str, days: Sequence[dt.date]
    ) -> None:
        """Record changed daily dates."""
        is_descending = account_id in job.evidence.descending
        if job.proven.endpoint is Endpoint.DAILY and is_descending and days:
            await connection.execute(self._begin, [account_id] * len(days), list(days))

    async def end(self, days: Sequence[tuple[str, dt.date]]) -> None:
        """Remove dates once read."""
        if days:
            await self._database.execute(
                self._end, [day[0] for day in days], [day[1] for day in days]
            )
