"""Marks staged rows that the table cannot hold."""

import contextlib
from collections import defaultdict
from collections.abc import Sequence

from app.errors import DatabaseError, RowRefused
from app.store.apply.job import ApplyJob
from app.store.apply.rejects.reasons import DOUBLED, REFUSED
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import WarehouseTable
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.statements import Statements
from app.store.table_sql.unsent import is_sent


class Rejects:
    """Marks rejected rows."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        self._sql = Statements(
            database.queries("apply/rejects/rejects", window),
            catalogue,
            window,
            further=["condition", "are_sent"],
        )

    async def reject(
        self, connection: Connection, job: ApplyJob, ordinals: Sequence[int], reason: str
    ) -> None:
        """Mark rows within the writing transaction."""
        statement = self._sql.of("reject_rows", job.table)
        await connection.execute(statement, job.staged.fetch_id, list(ordinals), reason)

    async def mark(self, job: ApplyJob, found: Sequence[tuple[int, str]]) -> None:
        """Mark rows of a rolled-back write."""
        by_reason: dict[str, list[int]] = defaultdict(list)
        for ordinal, reason in found:
            by_reason[reason].append(ordinal)
        statement = self._sql.of("reject_rows", job.table)
        for reason, ordinals in by_reason.items():
            await self._database.execute(statement, job.staged.fetch_id, ordinals, reason)

    async def reject_doubled(self, job: ApplyJob) -> None:
        """Reject staged rows with equal keys."""
        if not job.staged.is_distinct:
            await self._database.execute(
                self._sql.of("reject_doubled_rows", job.table), job.staged.fetch_id, DOUBLED
            )

    async def reject_pinned(self, staged: StagedFetch, of: WarehouseTable) -> None:
        """Reject rows meeting pins; release pins that equal upstream's row."""
        table = of.table.name
        if await self._database.fetch_value(self._sql["has_pins"], table):
            equal = self._sql.of("release_equal_pins", of, has_unsent=staged.has_unsent)
            await self._database.execute(equal, staged.fetch_id, table)
            await self._database.execute(self._sql.of("reject_pinned", of), staged.fetch_id, table)

    async def reject_unfit(self, job: ApplyJob) -> int:
        """Reject rows violating constraints; returns their number."""
        rejected = 0
        for check in job.table.checks:
            are_sent = (
                is_sent(job.table, check.columns or (), "") if job.staged.has_unsent else "true"
            )
            statement = self._sql.of(
                "reject_unfit_rows", job.table, condition=check.condition, are_sent=are_sent
            )
            reason = f"{REFUSED}: {check.name} ({check.condition})"
            # A condition that raises on one value decides nothing; the write will.
            with contextlib.suppress(RowRefused, DatabaseError):
                rejected += await self._database.execute(statement, job.staged.fetch_id, reason)
        return rejected
