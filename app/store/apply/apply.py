"""Makes slices of the warehouse equal to a proven fetch.

Entry points: `Applier.fingerprints` before a fetch, `Applier.apply` after it. Parts are written in
one transaction each (transaction.py) and retried (attempts.py).

Invariants:
1. A transaction locks an account's claim before writing (the fence).
2. A slice changed since its fetch began is left alone; repeatable read turns concurrent writes into
   errors.
3. A stored row is removed only on a settled date where upstream's rows agree with daily as read in
   this run, and none was rejected.
4. Rows removed, moved or overwritten are copied in the same transaction.
5. Writes beyond the limits are rolled back, and the account is held.
6. Changed slices are in the change feed before commit.
7. A row that the table cannot hold is set aside and stops no other.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence

from app.domain.contract.tables import Endpoint
from app.domain.holds.run_guard import Loss
from app.domain.ids import AccountId, Login
from app.store.apply.attempts import PartAttempts
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.descents import Descents
from app.store.apply.fingerprints import FingerprintReader, Fingerprints, Slice
from app.store.apply.job import ApplyJob
from app.store.apply.limits.limits import LossLimits
from app.store.apply.limits.run_losses import RunLosses
from app.store.apply.parts import Parts
from app.store.apply.rejects.partitions import Partitions
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.rejects.set_aside import SetAsideRows
from app.store.apply.results import Applied
from app.store.apply.trade_owners import TradeOwners
from app.store.apply.transaction import Steps, WriteTransaction
from app.store.apply.writing.writer import SliceWriter
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.statements import Statements
from app.store.write_pace import WritePace


class Applier:
    """Writes to the warehouse inside the window."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        feed: ChangeFeed,
        pace: WritePace,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._pace = pace
        self.window = window
        self._sql = Statements(database.queries("apply/apply", window), catalogue, window)
        self._fingerprints = FingerprintReader(database, catalogue, window)
        self._parts = Parts(database, catalogue, self._fingerprints, window)
        self._trade_owners = TradeOwners(database, catalogue, self._parts, window)
        self._descents = Descents(database)
        self._rejects = Rejects(database, catalogue, window)
        self._partitions = Partitions(database, catalogue, window)
        self._set_aside = SetAsideRows(database, catalogue, window)
        self._run_losses = RunLosses(database)
        self._writer = SliceWriter(database, catalogue, self._rejects, self._descents, window)
        self._attempts = PartAttempts(
            database, self._transaction(feed), self._rejects, self._run_losses, pace
        )

    def _transaction(self, feed: ChangeFeed) -> WriteTransaction:
        limits = LossLimits(self._database, self._catalogue, self._run_losses, self.window)
        steps = Steps(self._fingerprints, self._writer, limits, self._run_losses, feed)
        return WriteTransaction(self._database, self._catalogue, steps, self.window)

    async def fingerprints(self, proven: Slice) -> Fingerprints:
        """Fingerprints before a fetch."""
        return await self._fingerprints.take(proven)

    async def horizon(self) -> int:
        """See `FingerprintReader.horizon`."""
        return await self._fingerprints.horizon()

    async def fingerprints_since(self, proven: Slice, horizon: int) -> Fingerprints:
        """See `FingerprintReader.since`."""
        return await self._fingerprints.since(proven, horizon)

    async def reject(self, staged: StagedFetch, proven: Slice, context: WriteContext) -> None:
        """Mark rows that cannot be stored, where none of the fetch is written here."""
        table, before = self._catalogue[staged.endpoint], Fingerprints({}, 0)
        await self._reject(ApplyJob(staged, table, proven, before, context, RemovalEvidence()))

    async def resolve_trades(
        self, staged: StagedFetch, logins: Mapping[AccountId, Sequence[Login]]
    ) -> dict[AccountId, str]:
        """See `TradeOwners.resolve`."""
        return await self._trade_owners.resolve(staged, logins)

    async def reject_pinned(self, staged: StagedFetch) -> None:
        """Reject rows that meet pins, before a mere comparison."""
        await self._rejects.reject_pinned(staged, self._catalogue[staged.endpoint])

    async def note_losses(self, context: WriteContext, losses: Mapping[str, Loss]) -> None:
        """Share losses of held accounts with other processes."""
        if losses:
            async with self._database.connection() as connection:
                await self._run_losses.note(connection, context, losses)

    async def end_descents(self, days: Sequence[tuple[str, dt.date]]) -> None:
        """Mark the finer tables as read."""
        await self._descents.end(days)

    async def apply(
        self,
        staged: StagedFetch,
        proven: Slice,
        before: Fingerprints,
        context: WriteContext,
        evidence: RemovalEvidence | None = None,
        *,
        applied: defaultdict[str, Applied] | None = None,
    ) -> dict[str, Applied]:
        """Make the slices equal to the staged fetch; returns results by account.

        The empty id collects rows without a known account. Raises DatabaseUnavailable; `applied`
        then holds what was committed.
        """
        applied = defaultdict(Applied) if applied is None else applied
        table = self._catalogue[staged.endpoint]
        job = ApplyJob(staged, table, proven, before, context, evidence or RemovalEvidence())
        await self._reject(job)
        for part in await self._parts.of(job, applied, self._pace.chunk()):
            if len(part.account_ids) > 1 or not applied[part.account_ids[0]].hold:
                await self._attempts.apply(job, part, applied)
        await self._set_aside.record(job, applied)
        await self._report_unsettled(job, applied)
        return dict(applied)

    async def _reject(self, job: ApplyJob) -> None:
        await self._rejects.reject_doubled(job)
        await self._rejects.reject_pinned(job.staged, job.table)
        await self._partitions.provide(job, await self._rejects.reject_unfit(job))

    async def _report_unsettled(self, job: ApplyJob, applied: dict[str, Applied]) -> None:
        if job.proven.endpoint is not Endpoint.DAILY:
            return
        moving = job.context.moving_from, job.context.moving_until
        for row in await self._database.fetch(
            self._sql.of("get_moving_figures", job.table), job.staged.fetch_id, *moving
        ):
            applied[row["account_id"]].told[row["day"]] = row["trades"]
