"""Writes a part inside the caller's transaction."""

import contextlib
import datetime as dt
import time
from functools import partial

from app.store.apply.descents import Descents
from app.store.apply.job import ApplyJob, Part
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.rejects.violations import Violations
from app.store.apply.results import Written
from app.store.apply.writing.matching import Matches, RowMatcher
from app.store.apply.writing.moves import TradeMoves
from app.store.apply.writing.narrow_keys import NarrowKeys
from app.store.apply.writing.part_write import PartWrite, Search
from app.store.apply.writing.rows import RowWriter
from app.store.apply.writing.search import RowSearch
from app.store.apply.writing.stale import StaleRows
from app.store.apply.writing.unsettled import UnsettledDates
from app.store.apply.writing.verification import Verification
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue

_PASSES = 3
"""Deletions are undone if replacements fail."""


class _UndoneError(Exception):
    """Rolls back a savepoint."""


class SliceWriter:
    """The writing steps in order."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        rejects: Rejects,
        descents: Descents,
        window: Window = ALL_DATES,
    ) -> None:
        violations = Violations(database)
        self._matcher = RowMatcher(database, catalogue, window)
        self._unsettled = UnsettledDates(database, catalogue, rejects, window)
        self._moves = TradeMoves(database, catalogue, rejects, violations, window)
        self._stale = StaleRows(database, catalogue, window)
        self._rows = RowWriter(database, catalogue, rejects, descents, window)
        self._verification = Verification(database, catalogue, rejects, self._rows, window)
        self._narrow_keys = NarrowKeys(database, catalogue, window)
        self._search = RowSearch(database, catalogue, rejects, violations, window)

    async def write(
        self,
        connection: Connection,
        job: ApplyJob,
        part: Part,
        horizon: int,
        search_seconds: float | None,
    ) -> Written:
        """Write a part; another pass undoes deletions on dates with rejected rows.

        Raises RowRefused, or while searching UnfinishedSearchError.
        """
        search = None if search_seconds is None else Search(time.monotonic() + search_seconds)
        write = PartWrite(connection, job, part, horizon, search)
        if search is not None:
            await write.check_constraints()
        protected: set[tuple[str, dt.date | None]] = set()
        for attempt in range(_PASSES):
            if attempt == _PASSES - 1:
                protected |= {(account_id, None) for account_id in part.account_ids}
            with contextlib.suppress(_UndoneError):
                return await self._pass(write, protected)
        raise AssertionError("the last pass deletes nothing")

    async def _pass(self, write: PartWrite, protected: set[tuple[str, dt.date | None]]) -> Written:
        """Write once; _UndoneError extends `protected`."""
        # Without stored rows nothing is deleted that would have to be undone.
        savepoint = contextlib.nullcontext() if write.is_empty else write.connection.savepoint()
        async with savepoint:
            written = await self._write_once(write, protected)
            if written.removed:
                lost = written.removed & await self._stale.rejected_days(write)
                if lost:
                    protected |= lost
                    raise _UndoneError
        return written

    async def _write_once(
        self, write: PartWrite, protected: set[tuple[str, dt.date | None]]
    ) -> Written:
        written = Written()
        await self._unsettled.withhold(write, written)
        matches = await self._matcher.match(write)
        if write.is_of_trades and (matches is None or matches.elsewhere):
            await self._moves.move(write, written)
            matches = await self._matcher.match(write)
        if not write.is_empty:
            await self._change_stored(write, matches, protected, written)
        await self._insert_missing(write, matches, written)
        if write.must_verify or any(done.grew for done in written.results.values()):
            await self._verification.verify(write, written)
        return written

    async def _change_stored(
        self,
        write: PartWrite,
        matches: Matches | None,
        protected: set[tuple[str, dt.date | None]],
        written: Written,
    ) -> None:
        # Delete before inserting, to free keys; moves may have added rows since the count.
        if matches is None or written.results or matches.of_theirs < write.part.stored:
            await self._stale.delete(write, protected, written)
        if write.job.table.changes_shard:
            await self._moves.move_shards(write, written)
        if matches is None or matches.most_differ:
            await self._search.each(write, self._rows.overwrite, written)
        elif matches.differing:
            written.add(await self._rows.overwrite(write, matches.differing))

    async def _insert_missing(
        self, write: PartWrite, matches: Matches | None, written: Written
    ) -> None:
        # After overwriting, which may free a key, and before inserting.
        narrow = await self._narrow_keys.reject(write)
        if matches is not None and matches.all_in_place:
            return
        # Skip the existence check where no row of the fetch is stored.
        is_known = write.is_empty or (matches is not None and matches.none_in_place)
        expected = await self._matcher.count_missing(write, matches, narrow)
        insert = partial(self._rows.insert, is_known=is_known, expected=expected)
        await self._search.each(write, insert, written)
