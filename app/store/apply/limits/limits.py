"""Loss limits, measured on the write itself."""

from collections.abc import Mapping, Sequence

from app.domain.accounts.hold import Hold
from app.domain.holds.account_holds import rewriting
from app.domain.holds.run_guard import Loss, RunGuard
from app.domain.wording.counts import choose, counted
from app.store.apply.job import ApplyJob, Part
from app.store.apply.limits.figures import HoldFigureReader
from app.store.apply.limits.lowered import LoweredAccounts
from app.store.apply.limits.run_losses import RunLosses
from app.store.apply.limits.verdict import Verdict
from app.store.apply.results import Applied, Written
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue


class HeldError(Exception):
    """Rolls the transaction back: these accounts are held; `news` were not held before."""

    def __init__(self, holds: Mapping[str, Hold], news: Mapping[str, Loss]) -> None:
        super().__init__(f"{counted(len(holds), 'account')} {choose(len(holds), 'is', 'are')} held")
        self.holds = holds
        self.news = news


class UnreservedError(Exception):
    """Rolls the transaction back: the losses must be reserved among the other processes first."""

    def __init__(self, losses: Mapping[str, Loss]) -> None:
        super().__init__(f"losses of {counted(len(losses), 'account')} are not reserved")
        self.losses = losses


class LossLimits:
    """Limits checked before commit."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        run_losses: RunLosses,
        window: Window = ALL_DATES,
    ) -> None:
        self._run_losses = run_losses
        self._figures = HoldFigureReader(database, catalogue, window)
        self._lowered = LoweredAccounts(database, catalogue, window)
        self._note_doubts_sql = database.queries("apply/limits/limits")["note_doubts"]

    async def judge(
        self,
        connection: Connection,
        job: ApplyJob,
        part: Part,
        applied: Mapping[str, Applied],
        written: Written,
    ) -> dict[str, Loss]:
        """What the transaction takes from accounts, counted in the run's guard.

        Raises HeldError where it is too much. Lowered dates are noted, for audits to read again.
        """
        guard = job.context.guard
        if guard is None:
            return {}
        done = _done(part, written)
        _note_compared(guard, job, part, done)
        verdict = Verdict(job, _changed(done))
        losses: dict[str, Loss] = {}
        if verdict.changed:
            await self._judge_accounts(connection, part, guard, applied, verdict)
            losses = await self._judge_run(connection, guard, verdict)
        await self._note_doubts(connection, verdict, done)
        guard.add(losses)
        return losses

    async def _judge_run(
        self, connection: Connection, guard: RunGuard, verdict: Verdict
    ) -> dict[str, Loss]:
        """Losses still to be counted; none of those that were reserved, which count already.

        Raises HeldError, or UnreservedError where other processes work too.
        """
        job, losses = verdict.job, verdict.losses()
        is_reserved = all(job.reserves(account_id, loss) for account_id, loss in losses.items())
        if not is_reserved and job.context.worker_id is not None:
            guard.recorded = await self._run_losses.recorded(connection, job.context, guard)
        suspected = _suspected(guard, losses, is_reserved=is_reserved)
        await self._figures.count_sent(connection, verdict, suspected)
        verdict.hold_lowered(suspected)
        if verdict.holds:
            news = verdict.news()
            guard.hold(news)
            raise HeldError(verdict.holds, news)
        if is_reserved:
            return {}
        if await self._run_losses.has_others(connection, job.context):
            raise UnreservedError(losses)
        return losses

    async def _judge_accounts(
        self,
        connection: Connection,
        part: Part,
        guard: RunGuard,
        applied: Mapping[str, Applied],
        verdict: Verdict,
    ) -> None:
        """Hold accounts beyond their limits."""
        losing = verdict.losing
        await self._figures.count_left(connection, part, verdict, losing)
        await self._lowered.find(connection, verdict, losing)
        exceeding = [account_id for account_id in losing if verdict.exceeds(account_id)]
        still = [account_id for account_id in losing if verdict.is_still_lowered(account_id)]
        await self._figures.count_sent(connection, verdict, [*exceeding, *still])
        verdict.hold_exceeding(exceeding)
        verdict.hold_lowered(still)
        await self._hold_rewritten(connection, part, guard, applied, verdict)

    async def _hold_rewritten(
        self,
        connection: Connection,
        part: Part,
        guard: RunGuard,
        applied: Mapping[str, Applied],
        verdict: Verdict,
    ) -> None:
        many = _many_rewritten(guard, applied, verdict)
        too_many = await self._figures.find_rewritten(connection, guard, applied, verdict, many)
        uncounted = [account_id for account_id in too_many if account_id not in verdict.left]
        await self._figures.count_left(connection, part, verdict, uncounted)
        await self._figures.count_sent(connection, verdict, list(too_many))
        for account_id, stored in too_many.items():
            figures = verdict.figures(account_id)
            verdict.rewritten.add(account_id)
            verdict.holds[account_id] = rewriting(
                many[account_id], stored, guard.limits, figures, verdict.job.context.run_id
            )

    async def _note_doubts(
        self, connection: Connection, verdict: Verdict, done: Mapping[str, Applied]
    ) -> None:
        """Record settled dates lowered or blanked on upstream's word alone."""
        doubts = [
            (account_id, day)
            for account_id, each in sorted(done.items())
            for day in verdict.doubted(account_id, each)
            if day is not None and day < verdict.job.context.moving_from
        ]
        if doubts:
            await connection.execute(
                self._note_doubts_sql, [each[0] for each in doubts], [each[1] for each in doubts]
            )


def _suspected(guard: RunGuard, losses: Mapping[str, Loss], *, is_reserved: bool) -> list[str]:
    # Reserved losses are held only if the run became suspect since.
    return guard.judge({} if is_reserved else losses) or (
        list(losses) if guard.reason is not None else []
    )


def _done(part: Part, written: Written) -> dict[str, Applied]:
    return {
        account_id: written.results[account_id]
        for account_id in part.account_ids
        if account_id in written.results
    }


def _changed(done: Mapping[str, Applied]) -> dict[str, Applied]:
    # A withheld fall of alltime says as much about upstream as a written one.
    return {
        account_id: each
        for account_id, each in done.items()
        if each.rewritten or each.falls_to is not None
    }


def _note_compared(guard: RunGuard, job: ApplyJob, part: Part, done: Mapping[str, Applied]) -> None:
    rows = {account_id: number for account_id, (number, _) in (part.now or {}).items()}
    ours: Sequence[str] = [
        account_id
        for account_id in part.account_ids
        if account_id not in done or not done[account_id].is_left
    ]
    guard.note_compared(
        (job.staged.fetch_id, part.dates),
        {account_id: rows.get(account_id, 0) for account_id in ours},
    )


def _many_rewritten(
    guard: RunGuard, applied: Mapping[str, Applied], verdict: Verdict
) -> dict[str, int]:
    """Accounts with so many rewritten rows that their share must be checked; the rows."""
    many: dict[str, int] = {}
    for account_id, done in verdict.changed.items():
        standing = verdict.standing(account_id)
        if verdict.is_confirmed(account_id) or account_id in verdict.holds:
            continue
        rows = done.rewritten + applied[account_id].rewritten + standing.rewritten
        # A write that only gains is never held for earlier losses, so rows lost by a fault of
        # upstream can return.
        rows += standing.earlier.rows if done.rewritten > done.gained else 0
        if done.rewritten and rows >= guard.limits.rows:
            many[account_id] = rows
    return many
