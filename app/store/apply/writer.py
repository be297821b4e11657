"""Writing a part of a fetch into its raw table, inside a transaction that the caller opened and
whose slices it checked.

Trades that are known under another date move, stored rows that upstream does not send are settled,
rows that differ are overwritten, those that lack are inserted. What the table refuses is marked in
staging and stops no other row.
"""

import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from app.domain.accounts.settling import NEVER, UNKNOWN, StoredLevels
from app.domain.contract.tables import Endpoint
from app.domain.wording.counts import counted
from app.errors import RowRefused
from app.store.apply.model import Job, Part, Written
from app.store.apply.rejects import BOTH_SENT, WITHHELD
from app.store.apply.statements import KEY_PARAMETERS, Statements, narrow_lists
from app.store.apply.violations import CHANGED, NOT_KEPT, REFUSED, TOO_NARROW, refusal_of
from app.store.database.transaction import Connection

_COUNT = "num_trades"
_PASSES = 3
"""How often a part is written anew because rows that were to go made room for rows that could not
be held.
"""


class _UndoneError(Exception):
    """Raised inside a savepoint of ours to undo it."""


class WrittenSinceError(Exception):
    """Trades of these accounts were stored under another date since the fetch began: nothing of the
    accounts is written by it.
    """

    def __init__(self, account_ids: frozenset[str]) -> None:
        """Keep whose trades they are."""
        super().__init__(
            f"trades of {counted(len(account_ids), 'account')} were written since the fetch began"
        )
        self.account_ids = account_ids


class UnfinishedSearchError(Exception):
    """The search for rows that the table refuses took too long; `found` are those that were found,
    with what was said of each.
    """

    def __init__(self, found: Sequence[tuple[int, str]]) -> None:
        """Keep what was found: the write is undone, and can be done without these rows."""
        super().__init__(found[0][1] if found else "none was found yet")
        self.found = tuple(found)


@dataclass(slots=True)
class _Search:
    """A write in which rows may be refused: until when it looks for them, and those that it
    found.
    """

    until: float
    found: list[tuple[int, str]] = field(default_factory=list)

    def go_on(self) -> None:
        """Raise UnfinishedSearchError when the time is up."""
        if time.monotonic() > self.until:
            raise UnfinishedSearchError(self.found)


@dataclass(frozen=True, slots=True)
class _Met:
    """How the rows of a fetch meet stored ones.

    `missing` is how many meet none, `met` how many meet a row in its place, `of_theirs` how many
    one of the accounts that are written, `elsewhere` how many one under another date, and
    `differing` are the ordinals of those that differ from the row that they meet.
    """

    missing: int
    met: int
    of_theirs: int
    elsewhere: int
    differing: list[int]

    @property
    def all_in_place(self) -> bool:
        """Whether each of them is known to be stored where it belongs; one that is met elsewhere
        may be so or not.
        """
        return not self.missing and not self.elsewhere

    @property
    def none_in_place(self) -> bool:
        """Whether none of them is stored where it belongs."""
        return not self.met

    @property
    def most_differ(self) -> bool:
        """Whether naming those that differ costs more than it saves."""
        return 2 * len(self.differing) > self.met + self.missing


@dataclass(frozen=True, slots=True)
class _WriteState:
    """One transaction's share of a fetch; without `search` a refused row undoes it all."""

    connection: Connection
    job: Job
    part: Part
    horizon: int
    search: _Search | None

    @property
    def head(self) -> tuple[object, ...]:
        """The parameters that all statements begin with: the fetch, the accounts, the dates."""
        return self.job.staged.fetch_id, list(self.part.account_ids), self.job.dates(self.part)

    @property
    def is_empty(self) -> bool:
        """Whether no row is stored that one of the fetch could meet; trades may also be stored
        under accounts that were not asked for.
        """
        return not self.job.proven.endpoint.is_trades and not self.part.stored

    def reaches(self, days: Iterable[dt.date | None]) -> bool:
        """Whether any of the dates still moves."""
        return any(day is not None and day >= self.job.writer.moving_from for day in days)

    @property
    def moves(self) -> bool:
        """Whether any of its dates may still move."""
        dates = self.job.dates(self.part)
        return dates is None or max(dates) >= self.job.writer.moving_from

    @property
    def must_verify(self) -> bool:
        """Whether it must be seen that rows stand as they were written: where the table may have
        its own way, or upstream be blamed.
        """
        job = self.job
        return (
            job.table.has_guards or job.witness.is_trial or job.proven.endpoint is Endpoint.ALLTIME
        )

    @property
    def record(self) -> tuple[object, ...]:
        """The parameters of copies that are kept: the run, and the table's name."""
        return self.job.writer.run_id, self.job.table.table.name


_Write = Callable[[_WriteState, list[int] | None], Awaitable[Written]]


class SliceWriter:
    """The statements that change raw rows."""

    def __init__(self, sql: Statements) -> None:
        """`sql` are the statements of db/queries/changes.sql."""
        self._sql = sql

    async def write(
        self,
        connection: Connection,
        job: Job,
        part: Part,
        horizon: int,
        search_seconds: float | None,
    ) -> Written:
        """Write a part; rows that were removed on dates where rows of upstream could not be held
        are put back, by doing it anew without.

        `horizon` is from before the fetch. Raises RowRefused for the first row that the table
        refuses; with `search_seconds` such rows are searched for and marked, and
        UnfinishedSearchError is raised when that takes longer.
        """
        search = None if search_seconds is None else _Search(time.monotonic() + search_seconds)
        work = _WriteState(connection, job, part, horizon, search)
        if search is not None:
            # A constraint that waits for the commit would be found where no row can be blamed any
            # more.
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        kept: set[tuple[str, dt.date | None]] = set()
        for attempt in range(_PASSES):
            if attempt == _PASSES - 1:
                kept |= {(account_id, None) for account_id in part.account_ids}
            with contextlib.suppress(_UndoneError):
                # Where nothing is stored nothing is removed, and there is nothing to undo.
                async with contextlib.nullcontext() if work.is_empty else connection.savepoint():
                    written = await self._write_once(work, kept)
                    lost = written.removed & await self._unheld(work) if written.removed else set()
                    if lost:
                        kept |= lost
                        raise _UndoneError
                return written
        raise AssertionError("the last pass removes nothing")

    async def _unheld(self, work: _WriteState) -> set[tuple[str, dt.date | None]]:
        statement = self._sql.of("get_unheld_days", work.job.table)
        rows = await work.connection.fetch(
            statement, work.job.staged.fetch_id, list(work.part.account_ids), BOTH_SENT
        )
        return {(row["account_id"], row["day"]) for row in rows}

    async def _write_once(
        self, work: _WriteState, kept: set[tuple[str, dt.date | None]]
    ) -> Written:
        written = Written()
        await self._withhold_counts(work, written)
        met = await self._compare(work)
        if work.job.proven.endpoint.is_trades and (met is None or met.elsewhere):
            await self._leave_newer(work)
            await self._withhold_moves(work, written)
            await self._move(work, written)
            met = await self._compare(work)
        if not work.is_empty:
            # Before anything is inserted: a row that goes may hold a key that a row of upstream
            # needs. Rows that were moved may have come into the slices since they were counted.
            if met is None or written.results or met.of_theirs < work.part.stored:
                await self._take_out(work, kept, written)
            if work.job.table.changes_shard:
                await self._move_shards(work, written)
            if met is None or met.most_differ:
                await self._each(work, self._overwrite, written)
            elif met.differing:
                written.add(await self._overwrite(work, met.differing))
        # After the overwriting, which may free a place, and before the inserting.
        narrow = await self._refuse_too_narrow(work)
        if met is None or not met.all_in_place:
            # Where it is known that no row of the fetch is stored, nobody looks.
            is_known = work.is_empty or (met is not None and met.none_in_place)
            expected = await self._count_missing(work, met, narrow)
            await self._each(
                work, partial(self._insert, is_known=is_known, expected=expected), written
            )
        if work.must_verify or any(done.grew for done in written.results.values()):
            await self._verify(work, written)
        return written

    async def _count_missing(self, work: _WriteState, met: _Met | None, narrow: int) -> int | None:
        """How many rows an insert is to bring in, of which `narrow` were refused since the look;
        None where only a look tells.
        """
        if (
            work.search is not None
            or not work.job.table.is_unique
            or work.job.table.distributed_by is not None
        ):
            return None
        if work.is_empty:
            return int(
                await work.connection.fetch_value(
                    self._sql.of("count_writable", work.job.table), *work.head
                )
            )
        return None if met is None or met.elsewhere else met.missing - narrow

    async def _verify(self, work: _WriteState, written: Written) -> None:
        """Refuse rows that do not stand now as they were written, which is no word of upstream's,
        and name columns that differ otherwise.

        A trigger may be of any sort, and made while the run is under way; other writers do not show
        in the transaction.
        """
        await work.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        missing = await work.connection.fetch(
            self._sql.of("get_missing_rows", work.job.table, only="true"), *work.head
        )
        if missing:
            await self._refuse(work, [row["ordinal"] for row in missing], NOT_KEPT)
            for row in missing:
                written.note_dropped(row["account_id"], row["day"])
        for row in await work.connection.fetch(self._of("get_changed_rows", work), *work.head):
            names = ", ".join(row["columns"])
            if row["figures"]:
                await self._refuse(work, row["ordinals"], f"{CHANGED}: {names}")
            else:
                marks = [f"{name} (changed by the table)" for name in row["columns"]]
                await work.connection.execute(
                    self._sql.of("note_changed_values", work.job.table),
                    work.job.staged.fetch_id,
                    row["ordinals"],
                    marks,
                )

    async def _compare(self, work: _WriteState) -> _Met | None:
        """How the rows of the fetch meet what is stored, by one look: what follows is done only
        where there is something to do.

        None where that cannot be told, or is not worth it: nothing is stored, rows may be stored
        twice, or rows that are refused are searched for.
        """
        if not work.job.staged.rows:
            return _Met(missing=0, met=0, of_theirs=0, elsewhere=0, differing=[])
        if work.is_empty or work.search is not None or not work.job.table.is_unique:
            return None
        theirs = frozenset(work.part.account_ids)
        keys = await self._natural_keys(work) if work.job.proven.endpoint.is_trades else ()
        told = await work.connection.fetch(self._of("compare_rows", work), *work.head, *keys)
        met, elsewhere = sum(row["met"] for row in told), sum(row["elsewhere"] for row in told)
        missing = sum(row["missing"] for row in told)
        if work.job.table.distributed_by is not None:
            # At least: one that is met in two places counts twice. Where any is met elsewhere the
            # insert looks for itself.
            writable = await work.connection.fetch_value(
                self._sql.of("count_writable", work.job.table), *work.head
            )
            missing = max(0, writable - met - elsewhere)
        of_theirs = sum(row["met"] for row in told if row["account_id"] in theirs)
        return _Met(
            missing,
            met,
            of_theirs,
            elsewhere,
            [ordinal for row in told for ordinal in row["differing"] or ()],
        )

    def _of(self, name: str, work: _WriteState, **more: str) -> str:
        """A statement that compares or writes the values of the fetch's rows."""
        return self._sql.of(name, work.job.table, has_unsent=work.job.staged.has_unsent, **more)

    async def _natural_keys(self, work: _WriteState) -> tuple[list[str], ...]:
        """The values that each part of the trades' natural keys has."""
        rows = await work.connection.fetch(
            self._sql.of("get_natural_keys", work.job.table), *work.head
        )
        return tuple(sorted({row[part] for row in rows} - {None}) for part in KEY_PARAMETERS)

    async def _withhold_counts(self, work: _WriteState, written: Written) -> None:
        """Leave stored rows as they are whose counts would fall by what may lie in dates that still
        move.
        """
        if work.is_empty or work.job.proven.endpoint.is_trades:
            return
        if work.job.table.table.date_column is None:
            await self._withhold_alltime(work, written)
        elif work.moves:
            statement = self._sql.of("withhold_falling_rows", work.job.table)
            for row in await work.connection.fetch(
                statement, *work.head, work.job.writer.moving_from, WITHHELD
            ):
                written.results[row["account_id"]].withheld.update(row["days"])

    async def _withhold_alltime(self, work: _WriteState, written: Written) -> None:
        if work.job.writer.moving_from == NEVER:
            return
        falling = await work.connection.fetch(
            self._sql.of("get_falling_alltime", work.job.table), *work.head
        )
        if not falling:
            return
        accounts = [row["account_id"] for row in falling]
        between = work.job.writer.moving_from, work.job.writer.moving_until
        levels = {
            row["account_id"]: StoredLevels(
                row["daily"], row["moving"], row["moving_daily"], row["moving_finer"]
            )
            for row in await work.connection.fetch(
                self._sql.of("get_stored_levels", work.job.table), accounts, *between
            )
        }
        moving = work.job.witness.moving
        withheld = [
            row
            for row in falling
            if not moving.get(row["account_id"], UNKNOWN).allow_fall(
                row["trades"], levels.get(row["account_id"], StoredLevels())
            )
        ]
        await self._refuse(work, [row["ordinal"] for row in withheld], WITHHELD)
        for row in withheld:
            done = written.results[row["account_id"]]
            done.withheld.add(None)
            done.falls_to = row["trades"]

    async def _withhold_moves(self, work: _WriteState, written: Written) -> None:
        """Leave trades where they are that would go from a date that still moves to another one."""
        statement = self._sql.of("withhold_moves", work.job.table)
        for row in await work.connection.fetch(
            statement, *work.head, work.job.writer.moving_from, WITHHELD
        ):
            written.results[row["account_id"] or ""].withheld.update(row["days"])

    async def _leave_newer(self, work: _WriteState) -> None:
        """Leave trades alone that are stored under another date since the fetch began;
        WrittenSinceError names their accounts.

        Their slices do not show it: the other date may lie outside of them.
        """
        newer = await work.connection.fetch(
            self._sql.of("get_written_elsewhere", work.job.table), *work.head, work.horizon
        )
        accounts = frozenset(row["account_id"] for row in newer if row["account_id"] is not None)
        if accounts:
            raise WrittenSinceError(accounts)
        for row in newer:
            await self._refuse(
                work,
                row["ordinals"],
                f"{REFUSED}: the trade was stored under another date since it was read",
            )

    async def _move(self, work: _WriteState, written: Written) -> None:
        try:
            async with _tolerated(work):
                for row in await work.connection.fetch(
                    self._sql.of("move_trades", work.job.table), *work.head, *work.record
                ):
                    done = written.note(row["account_id"], row["days"])
                    done.moved += row["rows"] - row["doubles"]
                    done.removed += row["doubles"]
                    done.lost += row["rows"]
                    done.shifted += row["rows"]
                    done.shifted_days.update(row["days"])
        except RowRefused as error:
            if work.search is None:
                raise
            refusal = await refusal_of(work.connection, self._sql, work.job.table, error)
            reason = f"{refusal.reason}; the trade is stored under another date and cannot be moved"
            await work.connection.execute(
                self._sql.of("refuse_moves", work.job.table), *work.head, reason
            )

    async def _move_shards(self, work: _WriteState, written: Written) -> None:
        """After doubled rows are gone: at most one row of each key is left to be moved."""
        statement = self._sql.of("move_shards", work.job.table)
        for row in await work.connection.fetch(
            statement, *work.head, *work.record, work.horizon, work.job.table.distributed_by
        ):
            written.note(row["account_id"], row["days"]).moved += row["rows"]

    async def _take_out(
        self, work: _WriteState, kept: set[tuple[str, dt.date | None]], written: Written
    ) -> None:
        """Doubled rows and rows that upstream does not send; where one may not go, all stay, and
        that is told.
        """
        attempt = Written()
        try:
            async with _tolerated(work):
                if not work.job.table.is_unique:
                    statement = self._sql.of("remove_doubled_rows", work.job.table)
                    for row in await work.connection.fetch(
                        statement,
                        *work.head,
                        *work.record,
                        work.horizon,
                        work.job.writer.moving_from,
                    ):
                        if row["goes"]:
                            attempt.note(row["account_id"], row["days"]).removed += row["rows"]
                        else:
                            attempt.results[row["account_id"]].withheld.update(row["days"])
                await self._settle_stale(work, kept, attempt)
        except RowRefused as error:
            if work.search is None:
                raise
            attempt = Written()
            await self._settle_stale(
                work, {(account_id, None) for account_id in work.part.account_ids}, attempt
            )
            for account_id in work.part.account_ids:
                attempt.results[account_id].refused.add(
                    work.job.table.table.name, f"lets no row go: {error}", ()
                )
        written.add(attempt)

    async def _refuse_too_narrow(self, work: _WriteState) -> int:
        """Refuse rows that another unique key of the table does not let in; their number."""
        refused = 0
        for key in work.job.table.narrow_keys:
            statement = self._sql.of(
                "refuse_too_narrow", work.job.table, has_unsent=False, **narrow_lists(key)
            )
            for row in await work.connection.fetch(
                statement, *work.head, TOO_NARROW, BOTH_SENT, key.name
            ):
                work.job.beside[row["ordinal"]] = {
                    "unique_key": key.name,
                    "columns": list(key.columns),
                    "held_by": {"key": row["other_key"], "account_id": row["other_account"]},
                }
                refused += 1
        return refused

    async def _each(self, work: _WriteState, write: _Write, written: Written) -> None:
        """Write the rows of the fetch, at once or searching for those that are refused."""
        if work.search is None:
            written.add(await write(work, None))
            return
        listed = await work.connection.fetch(
            self._sql.of("get_writable", work.job.table), *work.head
        )
        await self._search(work, work.search, write, [row["ordinal"] for row in listed], written)

    async def _search(
        self,
        work: _WriteState,
        search: _Search,
        write: _Write,
        ordinals: list[int],
        written: Written,
    ) -> None:
        """Write rows in halves, each in a savepoint, until a row that is refused stands alone; it
        is marked, the others are written.
        """
        if not ordinals:
            return
        search.go_on()
        try:
            async with work.connection.savepoint():
                attempt = await write(work, ordinals)
        except RowRefused as error:
            if len(ordinals) == 1:
                refusal = await refusal_of(work.connection, self._sql, work.job.table, error)
                await self._refuse(work, ordinals, refusal.reason)
                search.found.append((ordinals[0], refusal.reason))
                if refusal.beside is not None:
                    work.job.beside[ordinals[0]] = refusal.beside
                return
            middle = len(ordinals) // 2
            await self._search(work, search, write, ordinals[:middle], written)
            await self._search(work, search, write, ordinals[middle:], written)
        else:
            written.add(attempt)

    async def _refuse(self, work: _WriteState, ordinals: Sequence[int], reason: str) -> None:
        statement = self._sql.of("refuse_rows", work.job.table)
        await work.connection.execute(statement, work.job.staged.fetch_id, list(ordinals), reason)

    async def _overwrite(self, work: _WriteState, ordinals: list[int] | None) -> Written:
        written = Written()
        if not self._sql.lists(work.job.table)["assignments"]:
            return written
        only, limit = _only(ordinals, 7)
        statement = self._of("overwrite_rows", work, only=only)
        for row in await work.connection.fetch(
            statement, *work.head, *work.record, work.horizon, *limit
        ):
            if row["resisting"]:
                await self._refuse(
                    work, row["resisting"], f"{REFUSED}: a trigger keeps the stored row as it is"
                )
                continue
            done = written.note(row["account_id"], row["days"], row["holder"])
            done.updated += row["rows"]
            done.grew |= work.reaches(row["days"])
            done.lost += row["lost"]
            done.lost_days.update(row["lost_days"] or ())
            done.fallen.update(row["fallen_days"] or ())
            done.gained += row["gained"]
            done.blanks |= row["blanks"]
            await self._begin_descents(work, row["account_id"], row["figure_days"] or ())
        return written

    async def _insert(
        self, work: _WriteState, ordinals: list[int] | None, *, is_known: bool, expected: int | None
    ) -> Written:
        """Bring in the rows that are not stored, `expected` of them (None: unknown); those that do
        not come in are refused.
        """
        written = Written()
        only, limit = _only(ordinals, 6)
        is_missing = "true" if is_known else f"NOT {self._sql.lists(work.job.table)['is_stored']}"
        statement = self._of("insert_rows", work, only=only, is_missing=is_missing)
        only_of_look, limit_of_look = _only(ordinals, 4)
        look = self._sql.of("get_missing_rows", work.job.table, only=only_of_look)
        if not work.job.table.has_guards:
            if is_known:
                # Staging alone is read: its index on the key gives the order, where PostgreSQL
                # would sort the wide rows.
                await work.connection.execute("SELECT set_config('enable_sort', 'off', true)")
            for row in await work.connection.fetch(statement, *work.head, *work.record, *limit):
                done = written.note_inserted(row["account_id"], row["days"], row["rows"])
                done.grew |= work.reaches(row["days"])
                done.empty_days.update(row["empty_days"] or ())
            if (
                expected is None
                or sum(done.inserted for done in written.results.values()) < expected
            ):
                lacking = [
                    row["ordinal"]
                    for row in await work.connection.fetch(look, *work.head, *limit_of_look)
                ]
                if lacking:
                    await self._refuse(work, lacking, NOT_KEPT)
            return written
        # A trigger may drop a row without a word, or put it into another table of the same
        # inheritance: only a look tells.
        missing = await work.connection.fetch(look, *work.head, *limit_of_look)
        if missing:
            await work.connection.fetch(statement, *work.head, *work.record, *limit)
            dropped = {
                row["ordinal"]
                for row in await work.connection.fetch(look, *work.head, *limit_of_look)
            }
            for row in missing:
                if row["ordinal"] not in dropped:
                    done = written.note_inserted(row["account_id"], [row["day"]], [1])
                    done.grew |= work.reaches([row["day"]])
            if dropped:
                await self._refuse(work, sorted(dropped), NOT_KEPT)
        return written

    async def _begin_descents(
        self, work: _WriteState, account_id: str, days: Sequence[dt.date]
    ) -> None:
        """In the transaction that changes the daily rows, so that no crash forgets what is still to
        be read below them.
        """
        if (
            work.job.proven.endpoint is Endpoint.DAILY
            and account_id in work.job.witness.descending
            and days
        ):
            await work.connection.execute(
                self._sql["begin_descents"], [account_id] * len(days), list(days)
            )

    async def _settle_stale(
        self, work: _WriteState, kept: set[tuple[str, dt.date | None]], written: Written
    ) -> None:
        read = {
            account_id: work.job.witness.daily_read.get(account_id, frozenset())
            for account_id in work.part.account_ids
        }
        witnessed = [
            (account_id, day)
            for account_id, days in read.items()
            for day in ([None] if days is None else days)
        ]
        statement = self._sql.of("settle_stale_rows", work.job.table)
        moving_from = work.job.writer.moving_from
        for row in await work.connection.fetch(
            statement,
            *work.head,
            *work.record,
            *_pairs(witnessed),
            *_pairs(kept),
            BOTH_SENT,
            moving_from,
        ):
            if row["goes"]:
                done = written.note(row["account_id"], [row["day"]])
                done.removed += row["rows"]
                done.lost += row["rows"]
                done.fallen[row["day"]] += row["rows"]
                written.removed.add((row["account_id"], row["day"]))
            elif row["day"] is not None and row["day"] >= moving_from:
                written.results[row["account_id"]].withheld.add(row["day"])
            else:
                written.results[row["account_id"]].kept[row["day"]] = row["trades"] or 0


@contextlib.asynccontextmanager
async def _tolerated(work: _WriteState) -> AsyncIterator[None]:
    """Around what may be refused as a whole: undone by itself where the write goes on without
    it.
    """
    if work.search is None:
        yield
        return
    async with work.connection.savepoint():
        yield


def _only(ordinals: list[int] | None, number: int) -> tuple[str, tuple[list[int], ...]]:
    """The condition that limits a statement to some rows of staging, and its parameter, numbered
    `number`; none without `ordinals`.
    """
    return (
        ("true", ()) if ordinals is None else (f"s.ordinal = ANY(${number}::bigint[])", (ordinals,))
    )


def _pairs(days: Iterable[tuple[str, dt.date | None]]) -> tuple[list[str], list[dt.date | None]]:
    """Accounts and dates as two arrays of equal length, the way SQL takes them."""
    ordered = list(days)
    return [account_id for account_id, _ in ordered], [day for _, day in ordered]
