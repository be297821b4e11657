"""Divides a fetch into transactions."""

import datetime as dt
from dataclasses import replace

from app.store.apply.fingerprints import FingerprintReader
from app.store.apply.job import ApplyJob, Part
from app.store.apply.results import Applied
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.statements import Statements

_MOST_ACCOUNTS = 1000
"""More would block the event loop."""


class Parts:
    """Divides by number of rows."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        fingerprints: FingerprintReader,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._fingerprints = fingerprints
        self._sql = Statements(database.queries("apply/parts", window), catalogue, window)

    async def count(self, staged: StagedFetch) -> dict[str, int]:
        """Staged rows by account."""
        statement = self._sql.of("count_staged", self._catalogue[staged.endpoint])
        return {
            row["account_id"]: row["rows"]
            for row in await self._database.fetch(statement, staged.fetch_id)
        }

    async def of(self, job: ApplyJob, applied: dict[str, Applied], most: int) -> list[Part]:
        """Parts of up to `most` rows, if divisible, without held accounts."""
        sizes = job.staged.accounts
        if sizes is None:
            sizes = await self.count(job.staged)
        for account_id in {*sizes, *job.staged.before}:
            applied[account_id].sent = True
        parts: list[Part] = []
        together: list[str] = []
        filled = 0
        for account_id in sorted(job.proven.account_ids):
            if job.context.holds(account_id):
                continue
            size = sizes.get(account_id, 0)
            if job.proven.endpoint.is_trades and size > most:
                parts += await self._of_account(job, account_id, most, applied)
                continue
            if together and (filled + size > most or len(together) == _MOST_ACCOUNTS):
                parts.append(Part(tuple(together)))
                together, filled = [], 0
            together.append(account_id)
            filled += size
        return [*parts, Part(tuple(together))] if together else parts

    async def _of_account(
        self, job: ApplyJob, account_id: str, most: int, applied: dict[str, Applied]
    ) -> list[Part]:
        """Contiguous date ranges."""
        whole = replace(job.proven, account_ids=(account_id,))
        parts = [
            Part((account_id,), dates, await self._fingerprints.take(replace(whole, dates=dates)))
            for dates in await self._ranges(job, account_id, most)
        ]
        # After those of its parts: this shows writers since the fetch began, the parts' own show
        # later ones.
        now = await self._fingerprints.take(whole)
        if not job.before.unchanged(account_id, now.slices):
            applied[account_id].left_alone = True
            return []
        return parts

    async def _ranges(
        self, job: ApplyJob, account_id: str, most: int
    ) -> list[tuple[dt.date, dt.date]]:
        """Date ranges of up to `most` rows; a date is never split."""
        if job.proven.dates is None:
            raise ValueError("trades are proven from a date to a date")
        first, last = job.proven.dates[0], job.proven.dates[-1]
        statement = self._sql.of("count_staged_days", job.table)
        ranges: list[tuple[dt.date, dt.date]] = []
        filled = 0
        for row in await self._database.fetch(statement, job.staged.fetch_id, account_id):
            if filled and filled + row["rows"] > most and row["day"] <= last:
                ranges.append((first, row["day"] - dt.timedelta(days=1)))
                first, filled = row["day"], 0
            filled += row["rows"]
        return [*ranges, (first, last)]
