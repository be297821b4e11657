"""Retries parts after conflicts, and bisects failing accounts."""

import asyncio
from dataclasses import dataclass, replace

from app.errors import (
    DatabaseError,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    StatementTooSlow,
    WriteConflict,
)
from app.store.apply.job import ApplyJob, Part
from app.store.apply.limits.limits import HeldError
from app.store.apply.limits.run_losses import RunLosses
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.results import Applied, Written
from app.store.apply.transaction import WriteTransaction
from app.store.apply.writing.part_write import UnfinishedSearchError, WrittenSinceError
from app.store.database.errors import UNIQUE_VIOLATION
from app.store.database.pool import Database
from app.store.write_pace import WritePace

_TRIES = 4
_STRIKES = 8
"""Failing accounts without a success after which the fetch fails."""
_PAUSE_SECONDS = 0.25
"""Lets the other writer commit."""
_SEARCH_SECONDS = 1.0
"""First limit of a search, which locks rows."""
_MOST_SEARCHES = 60


@dataclass(slots=True)
class _Attempt:
    """A part, its tries, and why they failed; with `search_seconds` rejected rows are searched."""

    job: ApplyJob
    part: Part
    applied: dict[str, Applied]
    patience: int
    conflicts: int = 0
    refusals: int = 0
    searches: int = 0
    search_seconds: float | None = None
    lacked_room: bool = False

    @property
    def only(self) -> Applied:
        return self.applied[self.part.account_ids[0]]


class PartAttempts:
    """Writes parts, handling each error."""

    def __init__(
        self,
        database: Database,
        transaction: WriteTransaction,
        rejects: Rejects,
        run_losses: RunLosses,
        pace: WritePace,
    ) -> None:
        self._database = database
        self._transaction = transaction
        self._rejects = rejects
        self._run_losses = run_losses
        self._pace = pace

    async def apply(
        self, job: ApplyJob, part: Part, applied: dict[str, Applied], patience: int = _TRIES
    ) -> None:
        """Apply a part, halved after `patience` conflicts.

        Single accounts are searched for rejected rows, in bounded tries.
        """
        attempt = _Attempt(job, part, applied, patience)
        while not await self._is_over(attempt):
            pass

    async def _is_over(self, attempt: _Attempt) -> bool:
        try:
            written = await self._transaction.run(
                attempt.job,
                attempt.part,
                attempt.applied,
                search_seconds=attempt.search_seconds,
            )
        except HeldError as held:
            is_over = await self._after_hold(attempt, held)
        except WrittenSinceError as newer:
            is_over = _leave_newer(attempt, newer)
        except WriteConflict:
            is_over = await self._after_conflict(attempt)
        except UnfinishedSearchError as unfinished:
            is_over = await self._after_search(attempt, unfinished)
        except (RowRefused, StatementTooSlow) as error:
            is_over = await self._after_refusal(attempt, error)
        except DatabaseError as error:
            is_over = await self._after_defect(attempt, error)
        else:
            await self._record(attempt, written)
            is_over = True
        return is_over

    async def _record(self, attempt: _Attempt, written: Written) -> None:
        attempt.job.came_through = True
        for account_id, done in written.results.items():
            attempt.applied[account_id].add(done)
        await self._pace.spend(sum(done.written for done in written.results.values()))

    async def _after_hold(self, attempt: _Attempt, held: HeldError) -> bool:
        if held.news:
            async with self._database.connection() as connection:
                await self._run_losses.note(connection, attempt.job.context, held.news)
        for account_id, hold in held.holds.items():
            attempt.applied[account_id].hold = hold
        attempt.part = _without(attempt.part, frozenset(held.holds))
        return not attempt.part.account_ids

    async def _after_conflict(self, attempt: _Attempt) -> bool:
        attempt.conflicts += 1
        if attempt.conflicts < attempt.patience:
            await asyncio.sleep(_PAUSE_SECONDS * attempt.conflicts)
            return False
        # Less patience: a writer that locks rows of many accounts would cost a wait for each.
        if not await self._halve(attempt, 1):
            attempt.only.left_alone = True
        return True

    async def _after_search(self, attempt: _Attempt, unfinished: UnfinishedSearchError) -> bool:
        attempt.searches += 1
        if attempt.searches == _MOST_SEARCHES:
            table = attempt.job.table.table.name
            attempt.only.error = (
                f"{table} rejects too many rows to find all of them, for example: {unfinished}"
            )
            return True
        await self._rejects.mark(attempt.job, unfinished.found)
        attempt.search_seconds = (attempt.search_seconds or _SEARCH_SECONDS) * (
            1 if unfinished.found else 2
        )
        return False

    async def _after_refusal(self, attempt: _Attempt, error: ReconError) -> bool:
        attempt.refusals += 1
        # The duplicate key may be a concurrent insert, which the next try sees.
        is_taken = isinstance(error, RowRefused) and error.sqlstate == UNIQUE_VIOLATION
        if is_taken and attempt.refusals == 1:
            return False
        if await self._halve(attempt, attempt.patience):
            return True
        if isinstance(error, ResourcesExhausted):
            await self._database.require_room()
            # There is room again: retry once before blaming the account.
            if not attempt.lacked_room:
                attempt.lacked_room = True
                return False
        if isinstance(error, StatementTooSlow) or attempt.refusals == _TRIES:
            attempt.only.error = _not_written(attempt.job, error)
            return True
        attempt.search_seconds = _SEARCH_SECONDS
        return False

    async def _after_defect(self, attempt: _Attempt, error: DatabaseError) -> bool:
        """Give up an account with a damaged page, say; raise if every account fails."""
        if await self._halve(attempt, 1):
            return True
        job = attempt.job
        job.defective.add(attempt.part.account_ids[0])
        if not job.came_through and (
            len(job.defective) >= _STRIKES or job.defective >= set(job.proven.account_ids)
        ):
            raise error
        attempt.only.error = _not_written(job, error)
        return True

    async def _halve(self, attempt: _Attempt, patience: int) -> bool:
        """Apply both halves; False for a single account."""
        account_ids = attempt.part.account_ids
        if len(account_ids) == 1:
            return False
        middle = len(account_ids) // 2
        for half in (account_ids[:middle], account_ids[middle:]):
            await self.apply(attempt.job, Part(half), attempt.applied, patience)
        return True


def _leave_newer(attempt: _Attempt, newer: WrittenSinceError) -> bool:
    for account_id in newer.account_ids:
        attempt.applied[account_id].left_alone = True
    attempt.part = _without(attempt.part, newer.account_ids)
    return not attempt.part.account_ids


def _without(part: Part, leaving: frozenset[str]) -> Part:
    return replace(
        part,
        account_ids=tuple(
            account_id for account_id in part.account_ids if account_id not in leaving
        ),
    )


def _not_written(job: ApplyJob, error: ReconError) -> str:
    return f"{job.table.table.name} could not be written: {error}"
