"""The writing transaction."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from app.domain.holds.run_guard import Loss
from app.errors import DatabaseUnavailable, ReconError
from app.store.apply.fingerprints import FingerprintReader, Fingerprints
from app.store.apply.job import ApplyJob, Part
from app.store.apply.limits.limits import LossLimits, UnreservedError
from app.store.apply.limits.run_losses import RunLosses
from app.store.apply.results import Applied, Written
from app.store.apply.writing.writer import SliceWriter
from app.store.change_feed import ChangeFeed
from app.store.claims.fence import Fence
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import CLAIM_LOCK_SECONDS, LOCK_SECONDS, Connection, Purpose
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


@dataclass(frozen=True, slots=True)
class Steps:
    """What a writing transaction runs."""

    fingerprints: FingerprintReader
    writer: SliceWriter
    limits: LossLimits
    run_losses: RunLosses
    feed: ChangeFeed


class WriteTransaction:
    """Writes a part or nothing."""

    def __init__(
        self, database: Database, catalogue: Catalogue, steps: Steps, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        self._steps = steps
        self._fence = Fence(database)
        sql = database.queries("apply/transaction", window)
        self._sql = Statements(sql, catalogue, window)

    async def run(
        self,
        job: ApplyJob,
        part: Part,
        applied: Mapping[str, Applied],
        *,
        search_seconds: float | None,
    ) -> Written:
        """Write, reserving losses if other processes run."""
        losses: dict[str, Loss] = {}
        try:
            return await self._run_reserved(
                job, part, applied, losses, search_seconds=search_seconds
            )
        except BaseException:
            if job.context.guard is not None:
                job.context.guard.take_back(losses)
            # If PostgreSQL is away the reservation outlives the write, which is safe.
            with contextlib.suppress(ReconError):
                await self._steps.run_losses.release(job)
            raise

    async def _run_reserved(
        self,
        job: ApplyJob,
        part: Part,
        applied: Mapping[str, Applied],
        losses: dict[str, Loss],
        *,
        search_seconds: float | None,
    ) -> Written:
        while True:
            try:
                written = await self._attempt(
                    job, part, applied, losses, search_seconds=search_seconds
                )
            except UnreservedError as unreserved:
                await self._steps.run_losses.release(job)
                await self._steps.run_losses.reserve(job, unreserved.losses)
            else:
                job.reserved.clear()
                return written

    async def _attempt(
        self,
        job: ApplyJob,
        part: Part,
        applied: Mapping[str, Applied],
        losses: dict[str, Loss],
        *,
        search_seconds: float | None,
    ) -> Written:
        """Run once; `losses` collects those counted."""
        written, before = Written(), job.before if part.before is None else part.before
        async with self._transaction(job, part) as connection:
            untouched = await self._untouched(connection, job, part, before, written)
            if untouched.account_ids:
                written.add(
                    await self._steps.writer.write(
                        connection, job, untouched, before.horizon, search_seconds
                    )
                )
            judged = replace(part, now=untouched.now)
            losses.update(await self._steps.limits.judge(connection, job, judged, applied, written))
            await self._steps.run_losses.note(connection, job.context, losses)
            await self._note_changes(connection, job, written)
        return written

    @contextlib.asynccontextmanager
    async def _transaction(self, job: ApplyJob, part: Part) -> AsyncIterator[Connection]:
        """Repeatable read: concurrent writes fail."""
        seconds = job.context.account_seconds
        if len(part.account_ids) > 1:
            seconds = min(COMMAND_SECONDS, seconds * len(part.account_ids))
        is_trades = job.proven.endpoint.is_trades
        async with self._database.transaction(
            "repeatable_read",
            statement_seconds=seconds,
            idle_seconds=job.context.lease_seconds / 2,
            # Others must not wait for our locks while we wait for one, on trade_recon either.
            lock_seconds=CLAIM_LOCK_SECONDS,
            purpose=Purpose.WRITE_TRADES if is_trades else Purpose.WRITE_METRICS,
        ) as connection:
            yield connection

    async def _untouched(
        self,
        connection: Connection,
        job: ApplyJob,
        part: Part,
        before: Fingerprints,
        written: Written,
    ) -> Part:
        """Keep accounts still claimed and unchanged since the fetch."""
        context = job.context
        ours = await self._fence.lock_claims(
            connection, part.account_ids, context.claim_id, context.lease_seconds
        )
        await connection.limit_locks(LOCK_SECONDS)
        await self._require_staged(connection, job)
        proven = replace(job.proven, dates=part.dates or job.proven.dates)
        now = await self._steps.fingerprints.versions(connection, proven, list(ours))
        untouched = tuple(each for each in ours if before.unchanged(each, now))
        for account_id in part.account_ids:
            done = written.results[account_id]
            done.claim_lost = account_id not in ours
            done.left_alone = account_id in ours and account_id not in untouched
        return replace(part, account_ids=untouched, now=now)

    async def _require_staged(self, connection: Connection, job: ApplyJob) -> None:
        """Raise DatabaseUnavailable for a fetch that a crash took: staging is unlogged, and an
        empty fetch would read as rows that are gone.
        """
        # A crash truncates the table, so the first row suffices.
        if job.staged.rows and not await connection.fetch_value(
            self._sql.of("is_staged", job.table), job.staged.fetch_id
        ):
            raise DatabaseUnavailable(
                "The fetched rows were lost in a restart of PostgreSQL; they are fetched again."
            )

    async def _note_changes(self, connection: Connection, job: ApplyJob, written: Written) -> None:
        await self._steps.feed.note(
            connection,
            job.context.run_id,
            job.table.table.name,
            written.changed,
            inserted=written.inserted,
        )
