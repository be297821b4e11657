"""Applying a part until it is written or given up: conflicts are tried again, and of accounts that
fail together each half is tried until the one to blame stands alone.
"""

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
"""So many accounts of a fetch that meet an error of PostgreSQL's while none comes through: it is
not the accounts' fault."""
_PAUSE_SECONDS = 0.25
"""Between tries nothing is held: the other writer gets time to commit."""
_SEARCH_SECONDS = 1.0
"""How long rows may be locked while the refused one among them is searched."""
_MOST_SEARCHES = 60


@dataclass(slots=True)
class _Attempt:
    """A part, how often it was tried, and why in vain; with `search_seconds` the next try looks for
    rows that are refused.
    """

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
        """The result of the part's only account."""
        return self.applied[self.part.account_ids[0]]


class PartAttempts:
    """Runs the writing transaction of a part, and decides on each error what comes next."""

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
        """Apply a part; `patience` is how often a conflict with another writer is met before the
        part is halved.

        Only an account by itself is searched for rows that are refused, and never for long while
        its rows are locked: what was found is marked, and the search goes on in the next try.
        """
        attempt = _Attempt(job, part, applied, patience)
        while not await self._is_over(attempt):
            pass

    async def _is_over(self, attempt: _Attempt) -> bool:
        """Try once; whether nothing is left to try."""
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
        # With less patience: a writer that holds rows of many accounts would cost a wait for each
        # of them.
        if not await self._halve(attempt, 1):
            attempt.only.left_alone = True
        return True

    async def _after_search(self, attempt: _Attempt, unfinished: UnfinishedSearchError) -> bool:
        attempt.searches += 1
        if attempt.searches == _MOST_SEARCHES:
            table = attempt.job.table.table.name
            attempt.only.error = (
                f"{table} refuses too many rows to tell all of them, such as one: {unfinished}"
            )
            return True
        await self._rejects.mark(attempt.job, unfinished.found)
        attempt.search_seconds = (attempt.search_seconds or _SEARCH_SECONDS) * (
            1 if unfinished.found else 2
        )
        return False

    async def _after_refusal(self, attempt: _Attempt, error: ReconError) -> bool:
        attempt.refusals += 1
        # A key that is taken may be a concurrent insert, which the next try sees.
        is_taken = isinstance(error, RowRefused) and error.sqlstate == UNIQUE_VIOLATION
        if is_taken and attempt.refusals == 1:
            return False
        if await self._halve(attempt, attempt.patience):
            return True
        if isinstance(error, ResourcesExhausted):
            await self._database.require_room()
            # There is room: what lacked it is tried once more before it is blamed.
            if not attempt.lacked_room:
                attempt.lacked_room = True
                return False
        if isinstance(error, StatementTooSlow) or attempt.refusals == _TRIES:
            attempt.only.error = _not_written(attempt.job, error)
            return True
        attempt.search_seconds = _SEARCH_SECONDS
        return False

    async def _after_defect(self, attempt: _Attempt, error: DatabaseError) -> bool:
        """Leave out the account whose rows PostgreSQL cannot work on (a damaged page, say); raise
        `error` where it is every account's.
        """
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
        """Apply a part of several accounts in halves; whether there were several."""
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
