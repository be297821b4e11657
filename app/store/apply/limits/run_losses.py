"""Losses of a run, counted over its processes.

They are reserved before they are written, one process after the other, so that processes which do
not see each other's transactions keep the run's limits together.
"""

from collections.abc import Mapping
from dataclasses import replace

from app.domain.holds.run_guard import Loss, RunCounts, RunGuard
from app.store.apply.context import WriteContext
from app.store.apply.job import ApplyJob
from app.store.database.pool import Database
from app.store.database.transaction import Connection


class RunLosses:
    """Counts losses in recon_run_losses."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("apply/limits/run_losses")

    async def reserve(self, job: ApplyJob, losses: Mapping[str, Loss]) -> None:
        """Count losses before the write.

        Excessive ones are not counted: the write then finds the run suspect.
        """
        guard = job.context.guard
        if guard is None:
            raise ValueError("without a guard nothing is to be reserved")
        async with self._database.transaction() as connection:
            await connection.execute(self._sql["lock_losses"], f"{job.context.run_id}")
            guard.recorded = await self.recorded(connection, job.context, guard)
            if not guard.judge(losses):
                await self.note(connection, job.context, losses)
                guard.add(losses)
                job.reserved.update(losses)

    async def release(self, job: ApplyJob) -> None:
        """Release unwritten reservations."""
        left = dict(job.reserved)
        if not left:
            return
        async with self._database.transaction() as connection:
            job.reserved.clear()
            if job.context.guard is not None:
                job.context.guard.take_back(left)
            rows = [loss.rows for loss in left.values()]
            await connection.execute(
                self._sql["release_losses"], job.context.run_id, list(left), rows
            )

    async def note(
        self, connection: Connection, context: WriteContext, losses: Mapping[str, Loss]
    ) -> None:
        """Publish losses to other processes."""
        if losses and context.worker_id is not None:
            each = losses.values()
            await connection.execute(
                self._sql["note_losses"],
                context.run_id,
                context.worker_id,
                list(losses),
                [loss.rows for loss in each],
                [loss.lowers for loss in each],
                [loss.rewrites for loss in each],
            )

    async def recorded(
        self, connection: Connection, context: WriteContext, guard: RunGuard
    ) -> RunCounts:
        """The guard's counts, with current figures of others."""
        row = await connection.fetch_row(
            self._sql["get_losses_elsewhere"], context.run_id, context.worker_id
        )
        if row is None:
            return guard.recorded
        return replace(
            guard.recorded,
            others_lowered=row["lowered"],
            others_lost=row["lost"],
            others_rewritten=row["rewritten"],
        )

    async def has_others(self, connection: Connection, context: WriteContext) -> bool:
        """Whether other processes are at work."""
        if context.worker_id is None:
            return False
        return bool(
            await connection.fetch_value(
                self._sql["has_other_workers"], context.worker_id, context.lease_seconds
            )
        )
