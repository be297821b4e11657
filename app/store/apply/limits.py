"""Guards inside the writing transaction: what a write takes from accounts is counted by doing it,
and undone where it is too much.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.accounts.counts import Totals
from app.domain.accounts.hold import Hold
from app.domain.accounts.settling import UNKNOWN
from app.domain.contract.tables import Endpoint
from app.domain.holds.account_holds import HoldFigures, Sent, exceeding, lowering, rewriting
from app.domain.holds.lowered import NOTHING_MOVES, MovingTrades, is_lowered
from app.domain.holds.run_guard import Loss, RunCounts, RunGuard
from app.domain.wording.counts import choose, counted
from app.store.apply.model import Applied, Job, Part, Standing, WriteContext, Written
from app.store.apply.statements import Statements
from app.store.database.transaction import Connection, Record

_UNKNOWN = Standing()


class HeldError(Exception):
    """Raised inside the writing transaction to undo it: these accounts may not be written; `news`
    are those not held before.
    """

    def __init__(self, holds: Mapping[str, Hold], news: Mapping[str, Loss]) -> None:
        """Keep why each account is held."""
        super().__init__(f"{counted(len(holds), 'account')} {choose(len(holds), 'is', 'are')} held")
        self.holds = holds
        self.news = news


class UnreservedError(Exception):
    """Raised inside the writing transaction to undo it: other processes work too, and these losses
    are to be reserved among them first.
    """

    def __init__(self, losses: Mapping[str, Loss]) -> None:
        """Keep what is to be reserved."""
        super().__init__(f"losses of {counted(len(losses), 'account')} are not reserved")
        self.losses = losses


@dataclass(slots=True)
class _Verdict:
    """What a transaction changes or withholds, by account: trades that its table still counts, what
    upstream sent, the holds.

    `damage` are the dates on which the table alone had too much: what went there was no loss, as
    the other tables say. Of `rewritten` accounts too many rows would change.
    """

    job: Job
    changed: Mapping[str, Applied]
    left: dict[str, int] = field(default_factory=dict)
    lowered: set[str] = field(default_factory=set)
    damage: dict[str, set[dt.date | None]] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)
    sent: dict[str, Sent] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The name of the table that is written."""
        return self.job.table.table.name

    def standing(self, account_id: str) -> Standing:
        """How the account stands before the write."""
        return self.job.writer.standing.get(account_id, _UNKNOWN)

    def stored(self, account_id: str) -> int:
        """The trades that the table counted of the account when the run began."""
        return self.standing(account_id).totals.counts.get(self.table, 0)

    def figures(self, account_id: str) -> HoldFigures:
        """What a hold of the account tells."""
        done = self.changed[account_id]
        sent = self.sent.get(account_id, Sent(on=self.on))
        return HoldFigures(
            self.table, self.stored(account_id), self.left[account_id], done.lost, done.blanks, sent
        )

    @property
    def on(self) -> str:
        """On which dates upstream was read, as the end of a sentence; empty if on all."""
        dates = self.job.proven.dates
        if dates is None:
            return ""
        if self.job.proven.endpoint.is_trades:
            return f" from {dates[0]} to {dates[-1]}"
        return (
            f" of {dates[0]}" if len(dates) == 1 else f" of the {len(dates)} dates that were read"
        )

    def is_confirmed(self, account_id: str) -> bool:
        """Whether somebody confirmed a write to the account in this run."""
        confirmed = self.standing(account_id).confirmed
        return confirmed is not None and confirmed.trades is not None

    def losses(self) -> dict[str, Loss]:
        """What is lost for the first time, and neither held nor confirmed."""
        return {
            account_id: Loss(self.loses(account_id), account_id in self.lowered)
            for account_id, done in self.changed.items()
            if (done.lost or account_id in self.lowered)
            and account_id not in self.holds
            and not self.standing(account_id).was_held
            and not self.is_confirmed(account_id)
        }

    def loses(self, account_id: str) -> int:
        """How many rows the account loses, without those that the table alone had too much, as
        upstream and the other tables agree.
        """
        done, days = self.changed[account_id], self.damage.get(account_id, set())
        repaired = sum(rows for day, rows in done.fallen.items() if day in days) + (
            done.shifted if done.shifted_days <= days else 0
        )
        return done.lost - repaired

    def doubted(self, account_id: str, done: Applied) -> set[dt.date | None]:
        """The dates on which rows of the account lost something that other tables do not say was
        too much, or came in empty.
        """
        repaired = set() if done.blanks else self.damage.get(account_id, set())
        return done.empty_days | (
            (done.lost_days | done.fallen.keys() | done.shifted_days) - repaired
        )

    def hold_lowered(self, account_ids: Sequence[str]) -> None:
        """Hold accounts that the run as a whole may not write."""
        self.holds |= {
            account_id: lowering(self.figures(account_id), self.job.writer.run_id)
            for account_id in account_ids
        }

    def news(self) -> dict[str, Loss]:
        """The accounts that are held now and were not when the run began."""
        return {
            account_id: Loss(lowers=True, rewrites=account_id in self.rewritten - self.lowered)
            for account_id in self.holds
            if not self.standing(account_id).was_held
        }


class LossLimits:
    """The limits of an account and of a run, checked before a transaction commits."""

    def __init__(self, sql: Statements) -> None:
        """`sql` are the statements of db/queries/changes.sql."""
        self._sql = sql

    async def judge(
        self,
        connection: Connection,
        job: Job,
        part: Part,
        applied: Mapping[str, Applied],
        written: Written,
    ) -> dict[str, Loss]:
        """What the transaction takes from accounts, counted in the run's guard.

        Raises HeldError where that is too much.

        The dates on which it lowers figures are noted, for audits to read them again.
        """
        guard = job.writer.guard
        if guard is None:
            return {}
        done = {
            account_id: written.results[account_id]
            for account_id in part.account_ids
            if account_id in written.results
        }
        rows = {account_id: number for account_id, (number, _) in (part.now or {}).items()}
        ours = [
            account_id
            for account_id in part.account_ids
            if account_id not in done or not _is_left(done[account_id])
        ]
        guard.note_compared(
            (job.staged.fetch_id, part.dates),
            {account_id: rows.get(account_id, 0) for account_id in ours},
        )
        # A fall of alltime that is only put off tells as much of upstream as one that is written.
        verdict = _Verdict(
            job,
            {
                account_id: each
                for account_id, each in done.items()
                if each.rewritten or each.falls_to is not None
            },
        )
        if not verdict.changed:
            await self._note_doubts(connection, verdict, done)
            return {}
        await self._judge_accounts(connection, part, guard, applied, verdict)
        losses = verdict.losses()
        # What is reserved is counted already: it is only held where the run became suspect since.
        is_reserved = all(job.reserves(account_id, loss) for account_id, loss in losses.items())
        if not is_reserved and job.writer.worker_id is not None:
            guard.recorded = await self._recorded(connection, job.writer, guard)
        suspected = guard.judge({} if is_reserved else losses) or (
            list(losses) if guard.reason is not None else []
        )
        await self._count_sent(connection, verdict, suspected)
        verdict.hold_lowered(suspected)
        if verdict.holds:
            news = verdict.news()
            guard.hold(news)
            raise HeldError(verdict.holds, news)
        if not is_reserved and await self._others_work(connection, job.writer):
            raise UnreservedError(losses)
        await self._note_doubts(connection, verdict, done)
        if is_reserved:
            return {}
        guard.add(losses)
        return losses

    async def reserve(self, connection: Connection, job: Job, losses: Mapping[str, Loss]) -> None:
        """Count losses before they are written, one process after the other, in a transaction that
        sees what each has counted.

        Where they are too much nothing is counted: the write finds the run suspect, and holds the
        accounts.
        """
        guard = job.writer.guard
        if guard is None:
            raise ValueError("without a guard nothing is to be reserved")
        await connection.execute(self._sql["lock_losses"], f"{job.writer.run_id}")
        guard.recorded = await self._recorded(connection, job.writer, guard)
        if not guard.judge(losses):
            await self.note(connection, job.writer, losses)
            guard.add(losses)
            job.reserved.update(losses)

    async def release(self, connection: Connection, job: Job) -> None:
        """Take back what was reserved and not written."""
        left = dict(job.reserved)
        job.reserved.clear()
        if job.writer.guard is not None:
            job.writer.guard.take_back(left)
        await connection.execute(
            self._sql["release_losses"],
            job.writer.run_id,
            list(left),
            [loss.rows for loss in left.values()],
        )

    async def _note_doubts(
        self, connection: Connection, verdict: _Verdict, done: Mapping[str, Applied]
    ) -> None:
        """Note the settled dates on which upstream's word alone lowered or emptied what is stored:
        another day it may say otherwise.
        """
        doubts = [
            (account_id, day)
            for account_id, each in sorted(done.items())
            for day in verdict.doubted(account_id, each)
            if day is not None and day < verdict.job.writer.moving_from
        ]
        if doubts:
            await connection.execute(
                self._sql["note_doubts"], [each[0] for each in doubts], [each[1] for each in doubts]
            )

    async def note(
        self, connection: Connection, writer: WriteContext, losses: Mapping[str, Loss]
    ) -> None:
        """Let other processes of the run know of losses."""
        if losses and writer.worker_id is not None:
            each = losses.values()
            values = (
                list(losses),
                [loss.rows for loss in each],
                [loss.lowers for loss in each],
                [loss.rewrites for loss in each],
            )
            await connection.execute(
                self._sql["note_losses"], writer.run_id, writer.worker_id, *values
            )

    async def _judge_accounts(
        self,
        connection: Connection,
        part: Part,
        guard: RunGuard,
        applied: Mapping[str, Applied],
        verdict: _Verdict,
    ) -> None:
        """Find the accounts that upstream lowers, and hold those of which too much would change."""
        losing = [
            account_id
            for account_id, done in verdict.changed.items()
            if done.lost or done.falls_to is not None
        ]
        await self._count_left(connection, part, verdict, losing)
        await self._find_lowered(connection, verdict, losing)
        many, job = {}, verdict.job
        unconfirmed = [account_id for account_id in losing if _exceeds(account_id, verdict)]
        still = [
            account_id
            for account_id in losing
            if not verdict.is_confirmed(account_id)
            and verdict.standing(account_id).was_held
            and (account_id in verdict.lowered or verdict.loses(account_id))
        ]
        await self._count_sent(connection, verdict, [*unconfirmed, *still])
        _hold_unconfirmed(unconfirmed, verdict)
        verdict.hold_lowered(still)
        for account_id, done in verdict.changed.items():
            standing = verdict.standing(account_id)
            if verdict.is_confirmed(account_id) or account_id in verdict.holds:
                continue
            rows = done.rewritten + applied[account_id].rewritten + standing.rewritten
            # What only gains is never held for what the account lost before: so a sick night of
            # upstream repairs itself.
            rows += standing.earlier.rows if done.rewritten > done.gained else 0
            if done.rewritten and rows >= guard.limits.rows:
                many[account_id] = rows
        too_many = await self._find_rewritten(connection, guard, applied, verdict, many)
        await self._count_left(
            connection,
            part,
            verdict,
            [account_id for account_id in too_many if account_id not in verdict.left],
        )
        await self._count_sent(connection, verdict, list(too_many))
        for account_id, stored in too_many.items():
            figures = verdict.figures(account_id)
            verdict.rewritten.add(account_id)
            verdict.holds[account_id] = rewriting(
                many[account_id], stored, guard.limits, figures, job.writer.run_id
            )

    async def _count_sent(
        self, connection: Connection, verdict: _Verdict, account_ids: Sequence[str]
    ) -> None:
        """What upstream sent of accounts that are being held."""
        if account_ids:
            fetch_id = verdict.job.staged.fetch_id
            for row in await connection.fetch(
                self._sql.of("count_sent", verdict.job.table), fetch_id, list(account_ids)
            ):
                verdict.sent[row["account_id"]] = Sent(row["rows"], row["trades"], verdict.on)

    async def _count_left(
        self, connection: Connection, part: Part, verdict: _Verdict, account_ids: Sequence[str]
    ) -> None:
        """What the table counts after the write, which is what a hold shows."""
        job = verdict.job
        if not account_ids:
            return
        for row in await connection.fetch(
            self._sql.of("count_trades", job.table), list(account_ids)
        ):
            account_id, left = row["account_id"], row["trades"]
            falls_to = verdict.changed[account_id].falls_to
            left = left if falls_to is None else min(left, falls_to)
            if part.dates is not None:
                # Of an account in parts the whole fetch tells what will be left.
                outside = (
                    verdict.standing(account_id).totals.closed
                    - job.before.slices.get(account_id, (0, 0))[0]
                )
                left = min(left, max(0, outside) + (job.staged.accounts or {}).get(account_id, 0))
            verdict.left[account_id] = left

    async def _find_lowered(
        self, connection: Connection, verdict: _Verdict, losing: Sequence[str]
    ) -> None:
        """The accounts for which upstream has less than the warehouse says with more than the rows
        that were written.

        Alltime is judged by the other tables, a date of daily by the finer rows of that date, and
        these by daily: what a single table has too much is damage of the warehouse, and no loss.
        """
        job = verdict.job
        verdict.lowered |= {
            account_id for account_id in losing if verdict.changed[account_id].blanks
        }
        if job.proven.endpoint is Endpoint.ALLTIME:
            await self._judge_alltime(connection, verdict, losing)
            return
        is_daily = job.proven.endpoint is Endpoint.DAILY
        days = [
            (account_id, day)
            for account_id, done in (
                (account_id, verdict.changed[account_id]) for account_id in losing
            )
            for day in done.lost_days | done.fallen.keys() | done.shifted_days
        ]
        if not days:
            return
        statement = self._sql.of(
            "judge_lost_days_of_daily" if is_daily else "judge_lost_days_of_finer", job.table
        )
        more = () if is_daily else (verdict.table,)
        accounts, dates = [each[0] for each in days], [each[1] for each in days]
        for row in await connection.fetch(
            statement, accounts, dates, job.writer.moving_from, *more
        ):
            account_id, totals = row["account_id"], verdict.standing(row["account_id"]).totals
            # Alltime, which upstream's counts for daily come down to or stay above, had the
            # correction already.
            is_known = (
                is_daily and totals.has_alltime and verdict.left[account_id] >= totals.alltime
            )
            if (
                row["is_lowered"]
                and row["day"] in verdict.changed[account_id].lost_days
                and not is_known
            ):
                verdict.lowered.add(account_id)
            # A table into which this run brought rows tells what upstream says, and is no witness
            # of ours.
            is_damage = (
                row["is_damage"] or (is_known and row["is_shared"])
                if is_daily
                else row["is_damage"] and _is_ours(row, totals)
            )
            if is_damage:
                verdict.damage.setdefault(account_id, set()).add(row["day"])

    async def _judge_alltime(
        self, connection: Connection, verdict: _Verdict, losing: Sequence[str]
    ) -> None:
        """Tell accounts of which upstream's alltime counts fewer settled trades, whether that was
        written or put off, from damaged rows.
        """
        if not losing:
            return
        writer, known = verdict.job.writer, verdict.job.witness.moving
        rows = await connection.fetch(
            self._sql.of("count_moving_trades", verdict.job.table), list(losing), writer.moving_from
        )
        moving = {
            row["account_id"]: MovingTrades(row["daily"], row["hourly"], row["closed"])
            for row in rows
        }
        for account_id in losing:
            stored, told = (
                moving.get(account_id, NOTHING_MOVES),
                known.get(account_id, UNKNOWN).told,
            )
            if told is None:
                # A fall was allowed since none of it can lie there; one that is put off may lie
                # there whole, until daily is read.
                told = stored.most if verdict.changed[account_id].falls_to is None else 0
            totals, is_bounded = (
                verdict.standing(account_id).totals,
                self._sql.window.first is not None,
            )
            if is_lowered(totals, verdict.left[account_id], stored, told, is_bounded=is_bounded):
                verdict.lowered.add(account_id)
            else:
                verdict.damage[account_id] = {None}

    async def _find_rewritten(
        self,
        connection: Connection,
        guard: RunGuard,
        applied: Mapping[str, Applied],
        verdict: _Verdict,
        many: Mapping[str, int],
    ) -> dict[str, int]:
        """The accounts of which too much would be rewritten, and how many rows each had before the
        first of them was.
        """
        if not many:
            return {}
        found = {}
        for row in await connection.fetch(
            self._sql.of("count_rows", verdict.job.table), list(many)
        ):
            account_id = row["account_id"]
            done, before = verdict.changed[account_id], applied[account_id]
            stored = (
                row["rows"]
                + done.removed
                + before.removed
                - done.inserted
                + verdict.standing(account_id).earlier.removed
            )
            if guard.limits.is_too_much(many[account_id], stored):
                found[account_id] = stored
        return found

    async def _others_work(self, connection: Connection, writer: WriteContext) -> bool:
        if writer.worker_id is None:
            return False
        return bool(
            await connection.fetch_value(
                self._sql["has_other_workers"], writer.worker_id, writer.lease_seconds
            )
        )

    async def _recorded(
        self, connection: Connection, writer: WriteContext, guard: RunGuard
    ) -> RunCounts:
        row = await connection.fetch_row(
            self._sql["get_losses_elsewhere"], writer.run_id, writer.worker_id
        )
        if row is None:
            return guard.recorded
        return replace(
            guard.recorded,
            others_lowered=row["lowered"],
            others_lost=row["lost"],
            others_rewritten=row["rewritten"],
        )


def _is_ours(row: Record, totals: Totals) -> bool:
    """Whether a table counts in all what it counted when the run began, so that no row of it came
    in since.
    """
    return bool(row["life"] == totals.counts[row["name"]])


def _is_left(done: Applied) -> bool:
    return done.claim_lost or done.left_alone


def _exceeds(account_id: str, verdict: _Verdict) -> bool:
    """Whether upstream lost more of an account since somebody confirmed it than was shown then."""
    confirmed, done = verdict.standing(account_id).confirmed, verdict.changed[account_id]
    if confirmed is None or confirmed.trades is None or not done.lost:
        return False
    return verdict.left[account_id] < confirmed.least(verdict.stored(account_id)) or (
        done.blanks and not confirmed.blanks
    )


def _hold_unconfirmed(account_ids: Sequence[str], verdict: _Verdict) -> None:
    """Hold accounts of which upstream has lost more than was shown when somebody confirmed them."""
    for account_id in account_ids:
        confirmed = verdict.standing(account_id).confirmed
        if confirmed is not None:
            verdict.holds[account_id] = exceeding(
                verdict.figures(account_id), confirmed, verdict.job.writer.run_id
            )
