"""Apply: make slices of the warehouse equal to a proven fetch, in short transactions that check the claim first.

Each transaction works on some accounts of one fetch, or on some dates of an account that has too many rows for one: it
locks their claims, leaves what someone else changed since the fetch began, moves trades that are known under another date,
settles stored rows that upstream does not send, overwrites rows that differ and inserts those that lack. Repeatable read
makes a concurrent write of the same rows an error instead of a lost update: the part is then looked at again.
"""

import contextlib
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.contract import Endpoint
from app.errors import DatabaseUnavailable, ReconError, RowRefused, StatementTooSlow, WriteConflict
from app.store.catalogue import FIGURES, Catalogue, WarehouseTable, names
from app.store.feed import ChangeFeed
from app.store.pace import WritePace
from app.store.pool import COMMAND_SECONDS, LOCK_SECONDS, Connection, Database
from app.store.queries import fill, quote
from app.store.staging import StagedFetch
from app.store.survey import UniqueKey
from app.telemetry import get_logger

_TRIES = 4
_PASSES = 3
"""How often a part is written anew because rows that were to go made room for rows that could not be held."""
_PARTITION_SECONDS = 15.0
_UNIQUE_VIOLATION = "23505"
_QUOTE = '"'
_TOO_NARROW = "key too narrow"
_BOTH_SENT = f"{_TOO_NARROW}: upstream sends"
"""Upstream sends both rows of which the table can hold one: no stored row stands for the other."""
_DOUBLED = f"{_BOTH_SENT} several rows with this key"
_NO_PARTITION = "no partition"
_log = get_logger(__name__)

Fingerprints = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Slice:
    """The slices that a fetch proves: these accounts on these dates; None: all dates; for trades: first and last date."""

    endpoint: Endpoint
    account_ids: tuple[str, ...]
    dates: tuple[dt.date, ...] | None


@dataclass(slots=True)
class Applied:
    """What one fetch did to one account; `kept` are trades of stored rows that upstream does not send, by date."""

    inserted: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    set_aside: int = 0
    values_nulled: int = 0
    kept: dict[dt.date | None, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    too_narrow: list[dict[str, object]] = field(default_factory=list)
    left_alone: bool = False
    claim_lost: bool = False
    error: str | None = None

    def add(self, other: "Applied") -> None:
        """What another part of the same account came to."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.moved += other.moved
        self.removed += other.removed
        self.kept.update(other.kept)
        self.left_alone |= other.left_alone
        self.claim_lost |= other.claim_lost
        self.error = self.error or other.error

    @property
    def written(self) -> int:
        """Rows of the raw table that were touched."""
        return self.inserted + self.updated + self.moved + self.removed


@dataclass(frozen=True, slots=True)
class Writer:
    """On whose behalf rows are written: the run, the claim that must still hold, and the seconds that one account may take."""

    run_id: uuid.UUID | None
    claim_id: uuid.UUID
    account_seconds: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Witness:
    """What else of this run matters to a write.

    `daily_read` are the dates of each account on which daily was read, which alone allow a removal (None: all dates);
    `descending` the accounts whose finer tables must be read wherever a daily row's figures change.
    """

    daily_read: Mapping[str, frozenset[dt.date] | None] = field(default_factory=dict)
    descending: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Job:
    """One fetch on its way in: what is written, for whom, and how its slices looked before the fetch.

    `beside` tells of refused rows, by ordinal, which row has their place.
    """

    staged: StagedFetch
    table: WarehouseTable
    proven: Slice
    before: dict[str, tuple[int, int]]
    writer: Writer
    witness: Witness
    beside: dict[int, dict[str, object]] = field(default_factory=dict)

    def dates(self, part: "_Part") -> list[dt.date] | None:
        """The dates that the statements of a part are about."""
        dates = part.dates or self.proven.dates
        return None if dates is None else list(dates)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one transaction works on: accounts on all proven dates, or one account from a first to a last date."""

    account_ids: tuple[str, ...]
    dates: tuple[dt.date, dt.date] | None = None


@dataclass(slots=True)
class _Written:
    """What one transaction did: by account, and which slices it changed."""

    results: dict[str, Applied] = field(default_factory=lambda: defaultdict(Applied))
    changed: dict[str, set[dt.date | None]] = field(default_factory=lambda: defaultdict(set))
    removed: set[tuple[str, dt.date | None]] = field(default_factory=set)

    def note(self, account_id: str | None, days: Sequence[dt.date | None], holder: str | None = None) -> Applied:
        """The account's result, its changed slices noted; `holder` is the account under which the rows stood before."""
        for owner in (account_id, holder):
            if owner is not None:
                self.changed[owner].update(days)
        return self.results[account_id or ""]

    def add(self, other: "_Written") -> None:
        """Something more that the same transaction did."""
        for account_id, done in other.results.items():
            self.results[account_id].add(done)
        for account_id, days in other.changed.items():
            self.changed[account_id] |= days
        self.removed |= other.removed


class _UndoneError(Exception):
    """Raised inside a savepoint of ours to undo it."""


class Changes:
    """The writing side of the warehouse."""

    def __init__(self, database: Database, catalogue: Catalogue, feed: ChangeFeed, pace: WritePace) -> None:
        """Read the statements; a missing one fails here."""
        self._database = database
        self._catalogue = catalogue
        self._feed = feed
        self._pace = pace
        self._sql = database.queries("changes")

    async def fingerprints(self, proven: Slice) -> Fingerprints:
        """How the slices look now, by account: taken before the fetch, compared before the write."""
        async with self._database.connection() as connection:
            return await self._fingerprints(connection, proven, proven.account_ids)

    async def _fingerprints(self, connection: Connection, proven: Slice, account_ids: Sequence[str]) -> Fingerprints:
        table = self._catalogue[proven.endpoint]
        tokens = {"raw": table.raw, "in_slice_second": _in_slice(table, "t", 2)}
        without_id = fill(self._sql["get_fingerprints_without_id"], **tokens) if proven.endpoint.is_trades else ""
        statement = fill(self._sql["get_fingerprints"], **tokens, without_id=without_id)
        rows = await connection.fetch(statement, list(account_ids), None if proven.dates is None else list(proven.dates))
        return {row["account_id"]: (row["rows"], row["versions"]) for row in rows}

    async def resolve_trades(self, staged: StagedFetch, logins: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Find the account of each staged trade; those that fit none or several stay without.

        `logins` are those of the accounts that the fetch is for. An account whose login sends trades with a natural key
        that no account has is named with a sentence: its trades may be among them.
        """
        stage = self._catalogue[staged.endpoint].stage
        await self._database.execute(fill(self._sql["resolve_staged_trades"], stage=stage), staged.fetch_id, seconds=COMMAND_SECONDS)
        pairs = [(account_id, login) for account_id, held in logins.items() for login in held]
        rows = await self._database.fetch(
            fill(self._sql["get_strangers"], stage=stage), staged.fetch_id, [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        )
        return {
            row["account_id"]: f"{row['rows']} trades under its login have a natural key that no account has, such as {row['natural_key']}"
            for row in rows
        }

    async def end_descents(self, days: Sequence[tuple[str, dt.date]]) -> None:
        """The finer tables of these accounts and dates were read: nothing waits to be looked at there."""
        if days:
            await self._database.execute(self._sql["end_descents"], [day[0] for day in days], [day[1] for day in days])

    async def apply(
        self, staged: StagedFetch, proven: Slice, before: Fingerprints, writer: Writer, witness: Witness | None = None
    ) -> dict[str, Applied]:
        """Make the slices equal to the staged fetch; what was done, by account.

        An account whose slice someone else changed is left alone; one whose claim is lost is not written; one that
        cannot be written in its time carries the error. None of them stops the others. Under the empty id stands what
        belongs to no account that can be told.
        Raises DatabaseUnavailable if PostgreSQL goes away: what was committed is whole.
        """
        job = _Job(staged, self._catalogue[staged.endpoint], proven, dict(before), writer, witness or Witness())
        await self._database.execute(fill(self._sql["refuse_doubled_rows"], **_tokens(job.table)), staged.fetch_id, _DOUBLED)
        await self._find_partitions(job)
        applied: dict[str, Applied] = defaultdict(Applied)
        for part in await self._parts(job):
            await self._apply_part(job, part, applied)
        await self._record_refused(job, applied)
        return dict(applied)

    async def _find_partitions(self, job: _Job) -> None:
        """Make the partitions that the rows need, where we may; rows that have none are refused with what would make it."""
        table = job.table
        if not table.is_partitioned:
            return
        staged = await self._database.fetch(fill(self._sql["get_staged_days"], **_tokens(table)), job.staged.fetch_id)
        missing = await self._database.fetch_value(
            self._sql["get_days_without_partition"], table.table.name, [row["day"] for row in staged]
        )
        if missing:
            try:
                async with self._database.transaction(statement_seconds=_PARTITION_SECONDS) as connection:
                    await connection.execute(self._sql["create_partitions"], table.table.name, missing)
            except WriteConflict as error:
                _log.warning("The table is locked; its partitions are made next time.", action="partitions.locked", reason=str(error))
            missing = await self._database.fetch_value(self._sql["get_days_without_partition"], table.table.name, missing)
        by_month: dict[dt.date, list[dt.date]] = defaultdict(list)
        for day in missing:
            by_month[day.replace(day=1)].append(day)
        for month, days in by_month.items():
            await self._database.execute(
                fill(self._sql["refuse_days"], **_tokens(table)), job.staged.fetch_id, days, _partition_wanted(table, month, days)
            )

    async def _parts(self, job: _Job) -> list[_Part]:
        most = self._pace.chunk()
        rows = await self._database.fetch(fill(self._sql["count_staged"], stage=job.table.stage), job.staged.fetch_id)
        sizes = {row["account_id"]: row["rows"] for row in rows}
        parts: list[_Part] = []
        together: list[str] = []
        filled = 0
        for account_id in sorted(job.proven.account_ids):
            size = sizes.get(account_id, 0)
            if job.proven.endpoint.is_trades and size > most:
                parts += await self._parts_of(job, account_id, most)
                continue
            if together and filled + size > most:
                parts.append(_Part(tuple(together)))
                together, filled = [], 0
            together.append(account_id)
            filled += size
        return [*parts, _Part(tuple(together))] if together else parts

    async def _parts_of(self, job: _Job, account_id: str, most: int) -> list[_Part]:
        """The dates of one account in stretches that together leave none out; one date is never split."""
        if job.proven.dates is None:
            raise ValueError("trades are proven from a date to a date")
        first, last = job.proven.dates[0], job.proven.dates[-1]
        statement = fill(self._sql["count_staged_days"], **_tokens(job.table))
        parts: list[_Part] = []
        filled = 0
        for row in await self._database.fetch(statement, job.staged.fetch_id, account_id):
            if filled and filled + row["rows"] > most and row["day"] <= last:
                parts.append(_Part((account_id,), (first, row["day"] - dt.timedelta(days=1))))
                first, filled = row["day"], 0
            filled += row["rows"]
        return [*parts, _Part((account_id,), (first, last))]

    async def _apply_part(self, job: _Job, part: _Part, applied: dict[str, Applied]) -> None:
        """Apply a part; accounts that fail together are tried in halves until the culprit stands alone."""
        careful = False
        results: Mapping[str, Applied] = {account_id: Applied(left_alone=True) for account_id in part.account_ids}
        for attempt in range(1, _TRIES + 1):
            try:
                results = (await self._transact(job, part, careful=careful)).results
            except WriteConflict:
                continue
            except (RowRefused, StatementTooSlow) as error:
                if isinstance(error, StatementTooSlow) or attempt == _TRIES:
                    await self._halve(job, part, applied, error)
                    return
                # A key that is taken may be a concurrent insert, which the next look sees; anything else needs the search.
                careful = error.sqlstate != _UNIQUE_VIOLATION or attempt > 1
            else:
                break
        for account_id, done in results.items():
            applied[account_id].add(done)
        await self._pace.spend(sum(done.written for done in results.values()))

    async def _halve(self, job: _Job, part: _Part, applied: dict[str, Applied], error: ReconError) -> None:
        if len(part.account_ids) == 1:
            applied[part.account_ids[0]].error = f"{job.table.table.name} could not be written: {error}"
            return
        middle = len(part.account_ids) // 2
        await self._apply_part(job, _Part(part.account_ids[:middle]), applied)
        await self._apply_part(job, _Part(part.account_ids[middle:]), applied)

    async def _transact(self, job: _Job, part: _Part, *, careful: bool) -> _Written:
        account_ids = part.account_ids
        seconds = (
            job.writer.account_seconds if len(account_ids) == 1 else min(COMMAND_SECONDS, job.writer.account_seconds * len(account_ids))
        )
        written = _Written()
        fresh: Fingerprints = {}
        async with self._database.transaction(
            "repeatable_read", statement_seconds=seconds, idle_seconds=job.writer.lease_seconds / 2
        ) as connection:
            locked = await connection.fetch(self._sql["lock_claims"], list(account_ids), job.writer.claim_id)
            # From here on we hold rows that ingestion may want: it must not wait for us while we wait for someone else.
            await connection.limit_locks(min(LOCK_SECONDS, seconds / 3))
            staged = await connection.fetch_value(f"SELECT count(*) FROM {job.table.stage} WHERE fetch_id = $1", job.staged.fetch_id)
            if staged != job.staged.rows:
                # Staging is not logged: a crash of PostgreSQL empties it, and an empty fetch would read as rows that are gone.
                raise DatabaseUnavailable("The fetched rows were lost in a restart of PostgreSQL; they are fetched again.")
            ours = [row["account_id"] for row in locked]
            now = await self._fingerprints(connection, job.proven, ours)
            untouched = [account_id for account_id in ours if now.get(account_id) == job.before.get(account_id)]
            for account_id in account_ids:
                written.results[account_id].claim_lost = account_id not in ours
                written.results[account_id].left_alone = account_id in ours and account_id not in untouched
            if untouched:
                written.add(await self._write(connection, job, _Part(tuple(untouched), part.dates), careful=careful))
            if part.dates is not None:
                # The account's next part must tell our own rows from someone else's.
                fresh = await self._fingerprints(connection, job.proven, untouched)
            await self._feed.note(connection, job.writer.run_id, job.table.table.name, written.changed)
        job.before.update(fresh)
        return written

    async def _write(self, connection: Connection, job: _Job, part: _Part, *, careful: bool) -> _Written:
        """Write a part; rows that were removed on dates where rows of upstream could not be held are put back, by doing it anew without."""
        if careful:
            # A constraint that waits for the commit would be found where no row can be blamed any more.
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        kept: set[tuple[str, dt.date | None]] = set()
        for attempt in range(_PASSES):
            if attempt == _PASSES - 1:
                kept |= {(account_id, None) for account_id in part.account_ids}
            with contextlib.suppress(_UndoneError):
                async with connection.savepoint():
                    written = await self._write_once(connection, job, part, kept, careful=careful)
                    lost = written.removed & await self._unheld(connection, job, part) if written.removed else set()
                    if lost:
                        kept |= lost
                        raise _UndoneError
                return written
        raise AssertionError("the last pass removes nothing")

    async def _unheld(self, connection: Connection, job: _Job, part: _Part) -> set[tuple[str, dt.date | None]]:
        statement = fill(self._sql["get_unheld_days"], **_tokens(job.table))
        rows = await connection.fetch(statement, job.staged.fetch_id, list(part.account_ids), _BOTH_SENT)
        return {(row["account_id"], row["day"]) for row in rows}

    async def _write_once(
        self, connection: Connection, job: _Job, part: _Part, kept: set[tuple[str, dt.date | None]], *, careful: bool
    ) -> _Written:
        written = _Written()
        head = (job.staged.fetch_id, list(part.account_ids), job.dates(part))
        record = (job.writer.run_id, job.table.table.name)
        tokens = _tokens(job.table)
        if job.proven.endpoint.is_trades:
            for row in await connection.fetch(fill(self._sql["move_trades"], **tokens), *head, *record):
                written.note(row["account_id"], row["days"]).moved += row["rows"]
        if not job.table.is_unique:
            for row in await connection.fetch(fill(self._sql["remove_doubled_rows"], **tokens), *head, *record):
                written.note(row["account_id"], row["days"]).removed += row["rows"]
        # Before anything is inserted: a row that goes may hold a key that a row of upstream needs.
        await self._settle_stale(connection, job, part, kept, written)
        await self._refuse_too_narrow(connection, job, head)
        for shape, columns in enumerate(job.staged.shapes):
            if careful:
                listed = await connection.fetch(fill(self._sql["get_writable"], **tokens), *head, shape)
                await self._write_carefully(connection, job, part, (shape, columns), [row["ordinal"] for row in listed], written)
            else:
                written.add(await self._write_rows(connection, job, part, (shape, columns), None))
        return written

    async def _refuse_too_narrow(self, connection: Connection, job: _Job, head: tuple[object, ...]) -> None:
        for key in job.table.narrow_keys:
            statement = fill(self._sql["refuse_too_narrow"], **_tokens(job.table), **_narrow_tokens(key))
            for row in await connection.fetch(statement, *head, _TOO_NARROW, _BOTH_SENT, key.name):
                job.beside[row["ordinal"]] = {
                    "unique_key": key.name,
                    "columns": list(key.columns),
                    "held_by": {"key": row["other_key"], "account_id": row["other_account"]},
                }

    async def _write_rows(
        self, connection: Connection, job: _Job, part: _Part, shape: tuple[int, frozenset[str]], ordinals: list[int] | None
    ) -> _Written:
        written = _Written()
        number, columns = shape
        tokens = _tokens(job.table, columns)
        head = (job.staged.fetch_id, list(part.account_ids), job.dates(part))
        if tokens["t_values"]:
            statement = fill(self._sql["overwrite_rows"], **tokens)
            for row in await connection.fetch(statement, *head, job.writer.run_id, job.table.table.name, number, ordinals):
                written.note(row["account_id"], row["days"], row["holder"]).updated += row["rows"]
                await self._begin_descents(connection, job, row["account_id"], row["figure_days"] or ())
        for row in await connection.fetch(fill(self._sql["insert_rows"], **tokens), *head, number, ordinals):
            written.note(row["account_id"], row["days"]).inserted += row["rows"]
        return written

    async def _begin_descents(self, connection: Connection, job: _Job, account_id: str, days: Sequence[dt.date]) -> None:
        """In the transaction that changes the daily rows, so that no crash forgets what is still to be read below them."""
        if job.proven.endpoint is Endpoint.DAILY and account_id in job.witness.descending and days:
            await connection.execute(self._sql["begin_descents"], [account_id] * len(days), list(days))

    async def _write_carefully(
        self,
        connection: Connection,
        job: _Job,
        part: _Part,
        shape: tuple[int, frozenset[str]],
        ordinals: list[int],
        written: _Written,
    ) -> None:
        """Write rows in halves, each in a savepoint, until a row that is refused stands alone; it is marked, the others are written."""
        if not ordinals:
            return
        try:
            async with connection.savepoint():
                attempt = await self._write_rows(connection, job, part, shape, ordinals)
        except RowRefused as error:
            if len(ordinals) == 1:
                kind = _TOO_NARROW if error.sqlstate == _UNIQUE_VIOLATION else "refused by the table"
                statement = fill(self._sql["refuse_row"], stage=job.table.stage)
                await connection.execute(statement, job.staged.fetch_id, ordinals[0], f"{kind}: {error}")
                return
            middle = len(ordinals) // 2
            await self._write_carefully(connection, job, part, shape, ordinals[:middle], written)
            await self._write_carefully(connection, job, part, shape, ordinals[middle:], written)
        else:
            written.add(attempt)

    async def _settle_stale(
        self, connection: Connection, job: _Job, part: _Part, kept: set[tuple[str, dt.date | None]], written: _Written
    ) -> None:
        tokens = {**_tokens(job.table), "daily": _one_a_day(self._catalogue[Endpoint.DAILY])}
        read = {account_id: job.witness.daily_read.get(account_id, frozenset()) for account_id in part.account_ids}
        witnessed = [(account_id, day) for account_id, days in read.items() for day in ([None] if days is None else days)]
        rows = await connection.fetch(
            fill(self._sql["settle_stale_rows"], **tokens),
            job.staged.fetch_id,
            list(part.account_ids),
            job.dates(part),
            job.writer.run_id,
            job.table.table.name,
            *_pairs(witnessed),
            *_pairs(kept),
            _BOTH_SENT,
        )
        for row in rows:
            if row["goes"]:
                written.note(row["account_id"], [row["day"]]).removed += row["rows"]
                written.removed.add((row["account_id"], row["day"]))
            else:
                written.results[row["account_id"]].kept[row["day"]] = row["trades"] or 0

    async def _record_refused(self, job: _Job, applied: dict[str, Applied]) -> None:
        tokens, table, asked = _tokens(job.table), job.table.table.name, list(job.proven.account_ids)
        rows = await self._database.fetch(fill(self._sql["get_refused"], **tokens), job.staged.fetch_id, asked)
        if not rows:
            return
        statement = fill(self._sql["set_aside_rows"], **tokens)
        await self._database.execute(statement, job.staged.fetch_id, asked, table, job.writer.run_id, _NO_PARTITION)
        for row in rows:
            reason, keys = row["refused"], row["keys"]
            for account_id in [owner for owner in row["owners"] if owner in job.proven.account_ids] or [""]:
                done = applied[account_id]
                done.values_nulled += row["nulled"]
                if reason is None:
                    continue
                if not reason.startswith(_NO_PARTITION):
                    done.set_aside += row["rows"]
                if reason.startswith(_TOO_NARROW):
                    done.too_narrow += [
                        {"table": table, "key": key, "reason": reason, **job.beside.get(ordinal, {})}
                        for ordinal, key in zip(row["ordinals"], keys, strict=True)
                    ]
                else:
                    others = f" and {len(keys) - 1} other rows" if len(keys) > 1 else ""
                    done.refused.append(f"{table} {keys[0]}{others}: {reason}")


def _pairs(days: Iterable[tuple[str, dt.date | None]]) -> tuple[list[str], list[dt.date | None]]:
    """Accounts and dates as two arrays of equal length, the way SQL takes them."""
    ordered = list(days)
    return [account_id for account_id, _ in ordered], [day for _, day in ordered]


def _one_a_day(daily: WarehouseTable) -> str:
    """The daily table, with one row a day even where it has no unique key that sees to it."""
    return (
        daily.raw if daily.is_unique else f"(SELECT DISTINCT ON (account_id, date) * FROM {daily.raw} WHERE account_id = ANY($2::text[]))"
    )


def _partition_wanted(table: WarehouseTable, month: dt.date, days: Sequence[dt.date]) -> str:
    """Which partition is missing, and how to make it."""
    following = (month + dt.timedelta(days=31)).replace(day=1)
    needed = " to ".join(str(day) for day in sorted({days[0], days[-1]}))
    partition = f"{table.raw.split('.')[0]}.{quote(f'{table.table.name}_{month:%Y_%m}')}"
    return (
        f"{_NO_PARTITION} of {table.table.name} takes {needed}, and trade-recon could not"
        f" make one; let the owner run: CREATE TABLE {partition} PARTITION OF {table.raw} FOR VALUES FROM ('{month}') TO ('{following}')"
    )


def _narrow_tokens(key: UniqueKey) -> dict[str, str]:
    """The column lists of a unique key that is narrower than upstream's."""
    equal = "IS NOT DISTINCT FROM" if key.nulls_are_equal else "="
    columns = [quote(column) for column in key.columns]
    return {
        "narrow": ", ".join(columns),
        "s_narrow": ", ".join(f"s.{column}" for column in columns if column != '"account_id"') or "NULL",
        "narrow_filled": "true" if key.nulls_are_equal else " AND ".join(f"s.{column} IS NOT NULL" for column in columns),
        "same_narrow": " AND ".join(f"t.{column} {equal} r.{column}" for column in columns),
    }


def _in_slice(table: WarehouseTable, alias: str, number: int) -> str:
    """The condition that a row lies in the slices whose dates are parameter `number`."""
    parameter = f"${number}::date[]"
    column = table.table.date_column
    if column is None:
        return f"{parameter} IS NULL"
    if table.table.endpoint.is_trades:
        return f"{alias}.{quote(column)} BETWEEN ({parameter})[1] AND ({parameter})[2]"
    return f"({parameter} IS NULL OR {alias}.{quote(column)} = ANY({parameter}))"


def _tokens(table: WarehouseTable, shape: frozenset[str] | None = None) -> dict[str, str]:
    """The column lists of a table for the statements; `shape` limits the values to the columns that were sent."""
    date = table.table.date_column
    key = table.key
    trades = table.table.endpoint.is_trades
    sent = tuple(column for column in table.values if shape is None or column.name in shape)
    unit = tuple(column for column in key if column != date)
    figures = tuple(column for column in sent if column.name in FIGURES)
    # A trade's account id comes from its natural key: where that fits none or several, the stored id stays.
    t_values = [f"t.{quote(column.name)}" for column in sent] + (["t.account_id"] if trades else [])
    s_values = [f"s.{quote(column.name)}" for column in sent] + (["coalesce(s.account_id, t.account_id)"] if trades else [])
    news = [quote(f"n_{left.removeprefix('t.').strip(_QUOTE)}") for left in t_values]
    assignments = [f"{left.removeprefix('t.')} = m.{new}" for left, new in zip(t_values, news, strict=True)]
    columns = [quote(name) for name in key] + [quote(column.name) for column in sent] + (["account_id"] if trades else [])
    s_columns = [f"s.{name}" for name in columns]
    assignments += [f"{quote(name)} = {value}" for name, value in table.origin]
    columns += [quote(name) for name, _ in table.origin]
    s_columns += [value for _, value in table.origin]
    held = "s.account_id = ANY($2::text[])"
    if trades:
        held = (
            f"({held} OR s.account_id IS NULL AND (s.login::text, s.platform::text, coalesce(s.broker::text, '')) IN"
            f" (SELECT login, platform, broker FROM {table.raw.split('.')[0]}.recon_identity WHERE account_id = ANY($2::text[])))"
        )

    day = quote(date) if date else "NULL::date"
    return {
        "raw": table.raw,
        "stage": table.stage,
        "date": day,
        "plain_date": day,
        "plain_day": day,
        "day_of_t": f"t.{day}" if date else day,
        "day_of_m": f"m.{day}" if date else day,
        "t_key": ", ".join(f"t.{quote(column)}" for column in key),
        "s_key": ", ".join(f"s.{quote(column)}" for column in key),
        "plain_key": ", ".join(quote(column) for column in key),
        "place": table.place,
        "same_row": table.same_row,
        "same_doubled": table.same("s", "d"),
        "same_key_s": table.same("t", "s"),
        "same_unit": table.same("t", "s", unit),
        "also_key": table.same("also", "t"),
        "there_key": table.same("there", "s"),
        "held": f"{held} AND {_in_slice(table, 's', 3)}",
        "in_slice": _in_slice(table, "t", 3),
        "t_values": ", ".join(t_values),
        "s_values": ", ".join(s_values),
        "new_values": ", ".join(f"{right} AS {new}" for right, new in zip(s_values, news, strict=True)),
        "assignments": ", ".join(assignments),
        "columns": ", ".join(columns),
        "s_columns": ", ".join(s_columns),
        "figures_differ": f"({names(figures, 't.')}) IS DISTINCT FROM ({names(figures, 's.')})" if figures else "false",
        "sent_trades": "count(*)" if trades else "coalesce(sum(num_trades), 0)",
        "row_trades": "1" if trades else "coalesce(t.num_trades, 0)",
        # A daily row that upstream lacks is a date that upstream lacks: only finer tables ever lose rows.
        "removable": "true" if table.table.endpoint in (Endpoint.HOURLY, Endpoint.CLOSED) else "false",
        "key_text": "concat_ws('|', " + ", ".join(f"s.{quote(column)}" for column in key) + ")",
        "t_key_text": "concat_ws('|', " + ", ".join(f"t.{quote(column)}" for column in key) + ")",
    }
