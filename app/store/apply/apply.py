"""Apply: make slices of the warehouse equal to a proven fetch, in short transactions that check the
claim first.

Each transaction works on some accounts of one fetch, or on some dates of an account that has too
many rows for one: it locks their claims, leaves what someone else changed since the fetch began,
moves trades that are known under another date, settles stored rows that upstream does not send,
overwrites rows that differ and inserts those that lack. Repeatable read makes a concurrent write of
the same rows an error instead of a lost update: the part is then looked at again.
"""

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.contract.tables import Endpoint
from app.domain.holds.run_guard import Loss
from app.domain.wording.counts import choose, counted
from app.errors import (
    DatabaseError,
    DatabaseUnavailable,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    StatementTooSlow,
    WriteConflict,
)
from app.store.apply.limits import HeldError, LossLimits, UnreservedError
from app.store.apply.model import (
    Applied,
    Fingerprints,
    Job,
    Looks,
    Part,
    RemovalEvidence,
    Slice,
    WriteContext,
    Written,
)
from app.store.apply.rejects import Rejects
from app.store.apply.statements import Statements
from app.store.apply.writer import SliceWriter, UnfinishedSearchError, WrittenSinceError
from app.store.change_feed import ChangeFeed
from app.store.claims.fence import Fence
from app.store.database.errors import UNIQUE_VIOLATION
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import CLAIM_LOCK_SECONDS, LOCK_SECONDS, Connection, Purpose
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw_tables import Catalogue
from app.store.staging.staging import ANALYZED_ROWS, StagedFetch
from app.store.write_pace import WritePace

_MOST_ACCOUNTS = 1000
"""Accounts that one transaction works on at most: what is noted of each would keep whatever else
waits.
"""
_TRIES = 4
_STRIKES = 8
"""When so many accounts of a fetch meet an error of PostgreSQL's and none came through, it is not
the accounts' fault.
"""
_PAUSE_SECONDS = 0.25
"""Between the tries nothing is held: whoever is in the way gets time to commit."""
_SEARCH_SECONDS = 1.0
"""How long rows may be locked while the one among them is searched that is refused."""
_MOST_SEARCHES = 60


@dataclass(slots=True)
class _Tries:
    """How often the same part was tried, and why in vain; with `search_seconds` the next try looks
    for rows that are refused.
    """

    patience: int
    conflicts: int = 0
    refusals: int = 0
    searches: int = 0
    search_seconds: float | None = None
    lacked_room: bool = False


class Applier:
    """The writing side of the warehouse."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        feed: ChangeFeed,
        pace: WritePace,
        window: Window = ALL_DATES,
    ) -> None:
        """Read the statements; a missing one fails here.

        Rows outside of the window are neither compared nor touched.
        """
        self._database = database
        self._catalogue = catalogue
        self._feed = feed
        self._pace = pace
        self.window = window
        self._sql = Statements(database.queries("changes", window), catalogue, window)
        self._fence = Fence(database)
        self._writer = SliceWriter(self._sql)
        self._refusals = Rejects(database, catalogue, self._sql)
        self._guarding = LossLimits(self._sql)

    async def fingerprints(self, proven: Slice) -> Fingerprints:
        """How the slices look now, by account: taken before the fetch, compared before the
        write.
        """
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            # Before the look: what is written in between counts as written since.
            horizon = await connection.fetch_value(self._sql["get_horizon"])
            return Fingerprints(await self._look(connection, proven, proven.account_ids), horizon)

    async def _look(
        self, connection: Connection, proven: Slice, account_ids: Sequence[str]
    ) -> Looks:
        table = self._catalogue[proven.endpoint]
        without_id = (
            self._sql.of("get_fingerprints_without_id", table) if proven.endpoint.is_trades else ""
        )
        statement = self._sql.of("get_fingerprints", table, without_id=without_id)
        rows = await connection.fetch(
            statement, list(account_ids), None if proven.dates is None else list(proven.dates)
        )
        return {row["account_id"]: (row["rows"], row["versions"]) for row in rows}

    async def resolve_trades(
        self, staged: StagedFetch, logins: Mapping[str, Sequence[str]]
    ) -> dict[str, str]:
        """Find the account of each staged trade; those that fit none or several stay without.

        `logins` are those of the accounts that the fetch is for. An account whose login sends
        trades with a natural key that no account has is named with a sentence: its trades may be
        among them.
        """
        table = self._catalogue[staged.endpoint]
        given = await self._database.fetch(
            self._sql.of("resolve_staged_trades", table), staged.fetch_id, seconds=COMMAND_SECONDS
        )
        # Whoever asks again is only told of those that changed.
        staged.accounts = (
            {row["account_id"]: row["rows"] for row in given}
            if staged.accounts is None
            else await self._count(staged)
        )
        if staged.rows >= ANALYZED_ROWS:
            # As it was sealed no trade had an account, and PostgreSQL would expect none of any.
            await self._database.execute(f"ANALYZE {table.stage} (account_id)")
        pairs = [(account_id, login) for account_id, held in logins.items() for login in held]
        rows = await self._database.fetch(
            self._sql.of("get_strangers", table),
            staged.fetch_id,
            [pair[0] for pair in pairs],
            [pair[1] for pair in pairs],
        )
        return {
            row["account_id"]: (
                f"{counted(row['rows'], 'trade')} under its login"
                f" {choose(row['rows'], 'has', 'have')} a natural key that no account has, such as"
                f" {row['natural_key']}"
            )
            for row in rows
        }

    async def find_pinned(self, staged: StagedFetch) -> None:
        """Set rows of upstream apart that meet pinned ones: those are not compared, and nothing of
        them is written.
        """
        await self._refusals.find_pinned(staged, self._catalogue[staged.endpoint])

    async def note_losses(self, writer: WriteContext, losses: Mapping[str, Loss]) -> None:
        """Let other processes of the run know of accounts that are held."""
        if losses:
            async with self._database.connection() as connection:
                await self._guarding.note(connection, writer, losses)

    async def end_descents(self, days: Sequence[tuple[str, dt.date]]) -> None:
        """The finer tables of these accounts and dates were read: nothing waits to be looked at
        there.
        """
        if days:
            await self._database.execute(
                self._sql["end_descents"], [day[0] for day in days], [day[1] for day in days]
            )

    async def apply(
        self,
        staged: StagedFetch,
        proven: Slice,
        before: Fingerprints,
        writer: WriteContext,
        witness: RemovalEvidence | None = None,
        *,
        applied: defaultdict[str, Applied] | None = None,
    ) -> dict[str, Applied]:
        """Make the slices equal to the staged fetch; what was done, by account.

        An account whose slice someone else changed is left alone; one whose claim is lost is not
        written; one that cannot be written in its time carries the error. None of them stops the
        others. Under the empty id stands what belongs to no account that can be told. Raises
        DatabaseUnavailable if PostgreSQL goes away: what was committed is whole, and told by
        `applied`, if that is given.
        """
        applied = defaultdict(Applied) if applied is None else applied
        job = Job(
            staged,
            self._catalogue[staged.endpoint],
            proven,
            before,
            writer,
            witness or RemovalEvidence(),
        )
        await self._refusals.find_doubled(job)
        await self._refusals.find_pinned(job.staged, job.table)
        await self._refusals.find_partitions(job, await self._refusals.find_unfit(job))
        for part in await self._parts(job, applied):
            if len(part.account_ids) > 1 or not applied[part.account_ids[0]].hold:
                await self._apply_part(job, part, applied)
        await self._refusals.record(job, applied)
        if job.proven.endpoint is Endpoint.DAILY:
            moving = writer.moving_from, writer.moving_until
            for row in await self._database.fetch(
                self._sql.of("get_moving_figures", job.table), staged.fetch_id, *moving
            ):
                applied[row["account_id"]].told[row["day"]] = row["trades"]
        return dict(applied)

    async def _count(self, staged: StagedFetch) -> dict[str, int]:
        statement = self._sql.of("count_staged", self._catalogue[staged.endpoint])
        return {
            row["account_id"]: row["rows"]
            for row in await self._database.fetch(statement, staged.fetch_id)
        }

    async def _parts(self, job: Job, applied: dict[str, Applied]) -> list[Part]:
        most = self._pace.chunk()
        sizes = (
            await self._count(job.staged) if job.staged.accounts is None else job.staged.accounts
        )
        for account_id in {*sizes, *job.staged.before}:
            applied[account_id].sent = True
        parts: list[Part] = []
        together: list[str] = []
        filled = 0
        for account_id in sorted(job.proven.account_ids):
            if job.writer.holds(account_id):
                continue
            size = sizes.get(account_id, 0)
            if job.proven.endpoint.is_trades and size > most:
                parts += await self._parts_of(job, account_id, most, applied)
                continue
            if together and (filled + size > most or len(together) == _MOST_ACCOUNTS):
                parts.append(Part(tuple(together)))
                together, filled = [], 0
            together.append(account_id)
            filled += size
        return [*parts, Part(tuple(together))] if together else parts

    async def _parts_of(
        self, job: Job, account_id: str, most: int, applied: dict[str, Applied]
    ) -> list[Part]:
        """The dates of one account in stretches that together leave none out; one date is never
        split.
        """
        if job.proven.dates is None:
            raise ValueError("trades are proven from a date to a date")
        first, last = job.proven.dates[0], job.proven.dates[-1]
        statement = self._sql.of("count_staged_days", job.table)
        stretches: list[tuple[dt.date, dt.date]] = []
        filled = 0
        for row in await self._database.fetch(statement, job.staged.fetch_id, account_id):
            if filled and filled + row["rows"] > most and row["day"] <= last:
                stretches.append((first, row["day"] - dt.timedelta(days=1)))
                first, filled = row["day"], 0
            filled += row["rows"]
        whole = replace(job.proven, account_ids=(account_id,))
        parts = [
            Part((account_id,), dates, await self.fingerprints(replace(whole, dates=dates)))
            for dates in (*stretches, (first, last))
        ]
        # After those of its parts: who wrote since the fetch began is seen here, who writes from
        # now on by the part.
        if not job.before.unchanged(account_id, (await self.fingerprints(whole)).slices):
            applied[account_id].left_alone = True
            return []
        return parts

    async def _apply_part(
        self, job: Job, part: Part, applied: dict[str, Applied], patience: int = _TRIES
    ) -> None:
        """Apply a part; accounts that fail together, or are in someone's way, are tried in halves
        until the culprit stands alone.

        `patience` is how often a conflict with another writer is met before that. Only an account
        by itself is searched for the row that is refused, and never for long while its rows are
        locked: what was found is noted, and the search goes on anew.
        """
        tries = _Tries(patience)
        is_over = False
        while not is_over:
            try:
                written = await self._transact(
                    job, part, applied, search_seconds=tries.search_seconds
                )
            except (HeldError, WrittenSinceError) as left:
                if isinstance(left, HeldError):
                    await self.note_losses(job.writer, left.news)
                part = _without(part, left, applied)
                is_over = not part.account_ids
            except WriteConflict:
                is_over = await self._after_conflict(job, part, applied, tries)
            except UnfinishedSearchError as unfinished:
                is_over = await self._after_search(job, part, applied, tries, unfinished)
            except (RowRefused, StatementTooSlow) as error:
                is_over = await self._after_refusal(job, part, applied, tries, error)
            except DatabaseError as error:
                await self._after_defect(job, part, applied, error)
                is_over = True
            else:
                job.came_through = True
                for account_id, done in written.results.items():
                    applied[account_id].add(done)
                await self._pace.spend(sum(done.written for done in written.results.values()))
                is_over = True

    async def _after_conflict(
        self, job: Job, part: Part, applied: dict[str, Applied], tries: "_Tries"
    ) -> bool:
        tries.conflicts += 1
        if tries.conflicts < tries.patience:
            await asyncio.sleep(_PAUSE_SECONDS * tries.conflicts)
            return False
        # With less patience: whoever holds rows of many accounts would cost a wait for each of
        # them.
        if not await self._halve(job, part, applied, 1):
            applied[part.account_ids[0]].left_alone = True
        return True

    async def _after_search(
        self,
        job: Job,
        part: Part,
        applied: dict[str, Applied],
        tries: "_Tries",
        unfinished: UnfinishedSearchError,
    ) -> bool:
        tries.searches += 1
        if tries.searches == _MOST_SEARCHES:
            table = job.table.table.name
            applied[
                part.account_ids[0]
            ].error = (
                f"{table} refuses too many rows to tell all of them, such as one: {unfinished}"
            )
            return True
        await self._refusals.mark(job, unfinished.found)
        tries.search_seconds = (tries.search_seconds or _SEARCH_SECONDS) * (
            1 if unfinished.found else 2
        )
        return False

    async def _after_refusal(
        self, job: Job, part: Part, applied: dict[str, Applied], tries: "_Tries", error: ReconError
    ) -> bool:
        tries.refusals += 1
        # A key that is taken may be a concurrent insert, which the next look sees.
        if (
            isinstance(error, RowRefused)
            and error.sqlstate == UNIQUE_VIOLATION
            and tries.refusals == 1
        ):
            return False
        if await self._halve(job, part, applied, tries.patience):
            return True
        if isinstance(error, ResourcesExhausted):
            await self._database.require_room()
            # There is room: what lacked it is tried once more before it is blamed.
            if not tries.lacked_room:
                tries.lacked_room = True
                return False
        if isinstance(error, StatementTooSlow) or tries.refusals == _TRIES:
            applied[
                part.account_ids[0]
            ].error = f"{job.table.table.name} could not be written: {error}"
            return True
        tries.search_seconds = _SEARCH_SECONDS
        return False

    async def _after_defect(
        self, job: Job, part: Part, applied: dict[str, Applied], error: DatabaseError
    ) -> None:
        """Leave out the account whose rows PostgreSQL cannot work on (a damaged page, say); raise
        `error` where it is every account's.
        """
        if await self._halve(job, part, applied, 1):
            return
        account_id = part.account_ids[0]
        job.defective.add(account_id)
        if not job.came_through and (
            len(job.defective) >= _STRIKES or job.defective >= set(job.proven.account_ids)
        ):
            raise error
        applied[account_id].error = f"{job.table.table.name} could not be written: {error}"

    async def _halve(
        self, job: Job, part: Part, applied: dict[str, Applied], patience: int
    ) -> bool:
        """Apply a part of several accounts in halves; whether there were several."""
        if len(part.account_ids) == 1:
            return False
        middle = len(part.account_ids) // 2
        await self._apply_part(job, Part(part.account_ids[:middle]), applied, patience)
        await self._apply_part(job, Part(part.account_ids[middle:]), applied, patience)
        return True

    async def _transact(
        self, job: Job, part: Part, applied: Mapping[str, Applied], *, search_seconds: float | None
    ) -> Written:
        losses: dict[str, Loss] = {}
        try:
            while True:
                try:
                    written = await self._write(
                        job, part, applied, losses, search_seconds=search_seconds
                    )
                except UnreservedError as unreserved:
                    await self._release(job)
                    async with self._database.transaction() as connection:
                        await self._guarding.reserve(connection, job, unreserved.losses)
                else:
                    job.reserved.clear()
                    return written
        except BaseException:
            if job.writer.guard is not None:
                job.writer.guard.take_back(losses)
            # Without PostgreSQL others count what was reserved for longer, which errs on the safe
            # side.
            with contextlib.suppress(ReconError):
                await self._release(job)
            raise

    async def _release(self, job: Job) -> None:
        """Take back what was reserved and was not written."""
        if job.reserved:
            async with self._database.transaction() as connection:
                await self._guarding.release(connection, job)

    async def _write(
        self,
        job: Job,
        part: Part,
        applied: Mapping[str, Applied],
        losses: dict[str, Loss],
        *,
        search_seconds: float | None,
    ) -> Written:
        """One transaction; `losses` receives what the guard has counted of it."""
        account_ids = part.account_ids
        seconds = (
            job.writer.account_seconds
            if len(account_ids) == 1
            else min(COMMAND_SECONDS, job.writer.account_seconds * len(account_ids))
        )
        before = job.before if part.before is None else part.before
        written = Written()
        async with self._database.transaction(
            "repeatable_read",
            statement_seconds=seconds,
            idle_seconds=job.writer.lease_seconds / 2,
            # Whoever wants rows that we hold must not wait for us while we wait for someone else:
            # not for the rows of trade_recon either.
            lock_seconds=CLAIM_LOCK_SECONDS,
            purpose=(
                Purpose.WRITE_TRADES if job.proven.endpoint.is_trades else Purpose.WRITE_METRICS
            ),
        ) as connection:
            ours = await self._fence.lock_claims(
                connection, account_ids, job.writer.claim_id, job.writer.lease_seconds
            )
            await connection.limit_locks(LOCK_SECONDS)
            if job.staged.rows and not await connection.fetch_value(
                self._sql.of("holds_first", job.table), job.staged.fetch_id
            ):
                # Staging is not logged: a crash of PostgreSQL empties it, and an empty fetch would
                # read as rows that are gone. Whatever such a crash takes of a fetch, it takes the
                # first row.
                raise DatabaseUnavailable(
                    "The fetched rows were lost in a restart of PostgreSQL; they are fetched again."
                )
            now = await self._look(
                connection, replace(job.proven, dates=part.dates or job.proven.dates), list(ours)
            )
            untouched = {
                account_id: None for account_id in ours if before.unchanged(account_id, now)
            }
            for account_id in account_ids:
                written.results[account_id].claim_lost = account_id not in ours
                written.results[account_id].left_alone = (
                    account_id in ours and account_id not in untouched
                )
            if untouched:
                ours_now = replace(part, account_ids=tuple(untouched), now=now)
                written.add(
                    await self._writer.write(
                        connection, job, ours_now, before.horizon, search_seconds
                    )
                )
            losses.update(
                await self._guarding.judge(
                    connection, job, replace(part, now=now), applied, written
                )
            )
            await self._guarding.note(connection, job.writer, losses)
            await self._feed.note(
                connection,
                job.writer.run_id,
                job.table.table.name,
                written.changed,
                inserted=written.inserted,
            )
        return written


def _without(
    part: Part, left: HeldError | WrittenSinceError, applied: Mapping[str, Applied]
) -> Part:
    """The part without the accounts of which nothing may be written, and why that is."""
    if isinstance(left, HeldError):
        for account_id, hold in left.holds.items():
            applied[account_id].hold = hold
    else:
        for account_id in left.account_ids:
            applied[account_id].left_alone = True
    leaving = left.holds.keys() if isinstance(left, HeldError) else left.account_ids
    return replace(
        part,
        account_ids=tuple(
            account_id for account_id in part.account_ids if account_id not in leaving
        ),
    )
