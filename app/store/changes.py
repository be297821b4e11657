"""Apply: make slices of the warehouse equal to a proven fetch, in short transactions that check the claim first.

Each transaction works on some accounts of one fetch: it locks their claims, leaves what someone else changed since the
fetch began, moves trades that are known under another date, overwrites rows that differ, inserts those that lack, and
settles stored rows that upstream does not send. Repeatable read makes a concurrent write of the same rows an error
instead of a lost update: the chunk is then looked at again.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.contract import Endpoint
from app.errors import DatabaseUnavailable, ReconError, RowRefused, StatementTooSlow, WriteConflict
from app.store.catalogue import FIGURES, Catalogue, WarehouseTable, names
from app.store.pool import COMMAND_SECONDS, Connection, Database
from app.store.queries import fill, quote
from app.store.staging import StagedFetch

CHUNK_ROWS = 20_000
"""Staged rows that one transaction brings in at most; one account is never split."""
_TRIES = 4
_UNIQUE_VIOLATION = "23505"
_QUOTE = '"'
_TOO_NARROW = "key too narrow"

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
    """One fetch on its way in: what is written, for whom, and how its slices looked before the fetch."""

    staged: StagedFetch
    table: WarehouseTable
    proven: Slice
    before: Fingerprints
    writer: Writer
    witness: Witness

    @property
    def dates(self) -> list[dt.date] | None:
        return None if self.proven.dates is None else list(self.proven.dates)


class Changes:
    """The writing side of the warehouse."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        """Read the statements; a missing one fails here."""
        self._database = database
        self._catalogue = catalogue
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
        job = _Job(staged, self._catalogue[staged.endpoint], proven, before, writer, witness or Witness())
        await self._refuse_doubled(job)
        await self._create_partitions(job)
        applied: dict[str, Applied] = defaultdict(Applied)
        for chunk in await self._chunks(job):
            await self._apply_chunk(job, chunk, applied)
        await self._record_refused(job, applied)
        return dict(applied)

    async def _refuse_doubled(self, job: _Job) -> None:
        for row in await self._database.fetch(fill(self._sql["get_doubled_keys"], **_tokens(job.table)), job.staged.fetch_id):
            reason = f"{_TOO_NARROW}: upstream sends several rows with this key"
            await self._database.execute(fill(self._sql["refuse_row"], stage=job.table.stage), job.staged.fetch_id, row["ordinal"], reason)

    async def _create_partitions(self, job: _Job) -> None:
        if job.table.table.date_column is None:
            return
        tokens = {"stage": job.table.stage, "date": quote(job.table.table.date_column)}
        months = await self._database.fetch(fill(self._sql["get_staged_months"], **tokens), job.staged.fetch_id)
        if months:
            await self._database.execute(self._sql["create_partitions"], job.table.table.name, [row["month"] for row in months])

    async def _chunks(self, job: _Job) -> list[list[str]]:
        rows = await self._database.fetch(fill(self._sql["count_staged"], stage=job.table.stage), job.staged.fetch_id)
        sizes = {row["account_id"]: row["rows"] for row in rows}
        chunks: list[list[str]] = [[]]
        filled = 0
        for account_id in sorted(job.proven.account_ids):
            size = sizes.get(account_id, 0)
            if chunks[-1] and filled + size > CHUNK_ROWS:
                chunks.append([])
                filled = 0
            chunks[-1].append(account_id)
            filled += size
        return chunks

    async def _apply_chunk(self, job: _Job, account_ids: Sequence[str], applied: dict[str, Applied]) -> None:
        """Apply some accounts; who fails together is tried in halves until the culprit stands alone."""
        careful = False
        results: dict[str, Applied] = {account_id: Applied(left_alone=True) for account_id in account_ids}
        for attempt in range(1, _TRIES + 1):
            written: dict[str, Applied] = defaultdict(Applied)
            try:
                await self._transact(job, account_ids, written, careful=careful)
            except WriteConflict:
                continue
            except (RowRefused, StatementTooSlow) as error:
                if isinstance(error, StatementTooSlow) or attempt == _TRIES:
                    await self._halve(job, account_ids, applied, error)
                    return
                # A key that is taken may be a concurrent insert, which the next look sees; anything else needs the search.
                careful = error.sqlstate != _UNIQUE_VIOLATION or attempt > 1
            else:
                results = written
                break
        applied.update(results)

    async def _halve(self, job: _Job, account_ids: Sequence[str], applied: dict[str, Applied], error: ReconError) -> None:
        if len(account_ids) == 1:
            applied[account_ids[0]].error = f"{job.table.table.name} could not be written: {error}"
            return
        middle = len(account_ids) // 2
        await self._apply_chunk(job, account_ids[:middle], applied)
        await self._apply_chunk(job, account_ids[middle:], applied)

    async def _transact(self, job: _Job, account_ids: Sequence[str], results: dict[str, Applied], *, careful: bool) -> None:
        seconds = (
            job.writer.account_seconds if len(account_ids) == 1 else min(COMMAND_SECONDS, job.writer.account_seconds * len(account_ids))
        )
        async with self._database.transaction(
            "repeatable_read", statement_seconds=seconds, idle_seconds=job.writer.lease_seconds / 2
        ) as connection:
            locked = await connection.fetch(self._sql["lock_claims"], list(account_ids), job.writer.claim_id)
            staged = await connection.fetch_value(f"SELECT count(*) FROM {job.table.stage} WHERE fetch_id = $1", job.staged.fetch_id)
            if staged != job.staged.rows:
                # Staging is not logged: a crash of PostgreSQL empties it, and an empty fetch would read as rows that are gone.
                raise DatabaseUnavailable("The fetched rows were lost in a restart of PostgreSQL; they are fetched again.")
            ours = [row["account_id"] for row in locked]
            now = await self._fingerprints(connection, job.proven, ours)
            untouched = [account_id for account_id in ours if now.get(account_id) == job.before.get(account_id)]
            for account_id in account_ids:
                results[account_id].claim_lost = account_id not in ours
                results[account_id].left_alone = account_id in ours and account_id not in untouched
            if untouched:
                await self._write(connection, job, untouched, results, careful=careful)

    async def _write(
        self, connection: Connection, job: _Job, account_ids: list[str], results: dict[str, Applied], *, careful: bool
    ) -> None:
        if job.proven.endpoint.is_trades:
            statement = fill(self._sql["move_trades"], **_tokens(job.table))
            arguments = (job.staged.fetch_id, account_ids, job.dates, job.writer.run_id, job.table.table.name)
            for row in await connection.fetch(statement, *arguments):
                results[row["account_id"]].moved += row["rows"]
        for shape, columns in enumerate(job.staged.shapes):
            if careful:
                listed = await connection.fetch(
                    fill(self._sql["get_writable"], **_tokens(job.table)), job.staged.fetch_id, account_ids, job.dates, shape
                )
                await self._write_carefully(connection, job, account_ids, (shape, columns), [row["ordinal"] for row in listed], results)
            else:
                await self._write_rows(connection, job, account_ids, (shape, columns), None, results)
        await self._settle_stale(connection, job, account_ids, results)

    async def _write_rows(
        self,
        connection: Connection,
        job: _Job,
        account_ids: list[str],
        shape: tuple[int, frozenset[str]],
        ordinals: list[int] | None,
        results: dict[str, Applied],
    ) -> None:
        number, columns = shape
        tokens = _tokens(job.table, columns)
        head = (job.staged.fetch_id, account_ids, job.dates)
        if tokens["t_values"]:
            statement = fill(self._sql["overwrite_rows"], **tokens)
            for row in await connection.fetch(statement, *head, job.writer.run_id, job.table.table.name, number, ordinals):
                results[row["account_id"]].updated += row["rows"]
                await self._begin_descents(connection, job, row["account_id"], row["days"] or ())
        for row in await connection.fetch(fill(self._sql["insert_rows"], **tokens), *head, number, ordinals):
            results[row["account_id"]].inserted += row["rows"]

    async def _begin_descents(self, connection: Connection, job: _Job, account_id: str, days: Sequence[dt.date]) -> None:
        """In the transaction that changes the daily rows, so that no crash forgets what is still to be read below them."""
        if job.proven.endpoint is Endpoint.DAILY and account_id in job.witness.descending and days:
            await connection.execute(self._sql["begin_descents"], [account_id] * len(days), list(days))

    async def _write_carefully(
        self,
        connection: Connection,
        job: _Job,
        account_ids: list[str],
        shape: tuple[int, frozenset[str]],
        ordinals: list[int],
        results: dict[str, Applied],
    ) -> None:
        """Write rows in halves, each in a savepoint, until a row that is refused stands alone; it is marked, the others are written."""
        if not ordinals:
            return
        attempt: dict[str, Applied] = defaultdict(Applied)
        try:
            async with connection.savepoint():
                await self._write_rows(connection, job, account_ids, shape, ordinals, attempt)
        except RowRefused as error:
            if len(ordinals) == 1:
                kind = _TOO_NARROW if error.sqlstate == _UNIQUE_VIOLATION else "refused by the table"
                statement = fill(self._sql["refuse_row"], stage=job.table.stage)
                await connection.execute(statement, job.staged.fetch_id, ordinals[0], f"{kind}: {error}")
                return
            middle = len(ordinals) // 2
            await self._write_carefully(connection, job, account_ids, shape, ordinals[:middle], results)
            await self._write_carefully(connection, job, account_ids, shape, ordinals[middle:], results)
            return
        for account_id, done in attempt.items():
            results[account_id].updated += done.updated
            results[account_id].inserted += done.inserted

    async def _settle_stale(self, connection: Connection, job: _Job, account_ids: list[str], results: dict[str, Applied]) -> None:
        tokens = {**_tokens(job.table), "daily": self._catalogue[Endpoint.DAILY].raw}
        read = {account_id: job.witness.daily_read.get(account_id, frozenset()) for account_id in account_ids}
        witnessed = [(account_id, day) for account_id, days in read.items() for day in ([None] if days is None else days)]
        arguments = (job.staged.fetch_id, account_ids, job.dates, job.writer.run_id, job.table.table.name)
        days = ([account_id for account_id, _ in witnessed], [day for _, day in witnessed])
        for row in await connection.fetch(fill(self._sql["settle_stale_rows"], **tokens), *arguments, *days):
            if row["goes"]:
                results[row["account_id"]].removed += row["rows"]
            else:
                results[row["account_id"]].kept[row["day"]] = row["trades"] or 0

    async def _record_refused(self, job: _Job, applied: dict[str, Applied]) -> None:
        statement = fill(self._sql["get_refused"], **_tokens(job.table))
        table = job.table.table.name
        for row in await self._database.fetch(statement, job.staged.fetch_id, list(job.proven.account_ids)):
            owners = [account_id for account_id in row["owners"] if account_id in job.proven.account_ids]
            reason = row["refused"] or f"stored with NULL, since the value cannot be held: {', '.join(row['nulled'])}"
            if owners or row["refused"]:
                key = row["row_key"] or f"row {row['ordinal']} of fetch {job.staged.fetch_id}"
                owner = owners[0] if owners else None
                await self._database.execute(self._sql["set_aside"], table, key, owner, reason, row["source"], job.writer.run_id)
            for account_id in owners or [""]:
                done = applied[account_id]
                done.values_nulled += len(row["nulled"] or ())
                if row["refused"] is None:
                    continue
                done.set_aside += 1
                if reason.startswith(_TOO_NARROW):
                    done.too_narrow.append({"table": table, "key": row["row_key"], "reason": reason})
                else:
                    done.refused.append(f"{table} {row['row_key']}: {reason}")


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
    if table.has_origin:
        origin = {"ingestion_timestamp": "now() AT TIME ZONE 'UTC'", "source_api_endpoint": f"'{table.table.endpoint.path}'"}
        assignments += [f"{name} = {value}" for name, value in origin.items()]
        columns += list(origin)
        s_columns += list(origin.values())
    held = "s.account_id = ANY($2::text[])"
    if trades:
        held = (
            f"({held} OR s.account_id IS NULL AND (s.login, s.platform::text, coalesce(s.broker::text, '')) IN"
            f" (SELECT login, platform, broker FROM {table.raw.split('.')[0]}.recon_identity WHERE account_id = ANY($2::text[])))"
        )

    def same(left: str, right: str, columns: Sequence[str]) -> str:
        return " AND ".join(f"{left}.{quote(column)} = {right}.{quote(column)}" for column in columns)

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
        "same_key": same("t", "m", key),
        "same_key_s": same("t", "s", key),
        "same_unit": same("t", "s", unit),
        "also_key": same("also", "t", key),
        "there_key": same("there", "s", key),
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
    }
