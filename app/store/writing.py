"""Writing a part of a fetch into its raw table, inside a transaction that the caller opened and whose slices it checked.

Trades that are known under another date move, stored rows that upstream does not send are settled, rows that differ are
overwritten, those that lack are inserted. What the table refuses is marked in staging and stops no other row.
"""

import contextlib
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from app.domain.contract import Endpoint
from app.errors import RowRefused
from app.store.catalogue import Catalogue, WarehouseTable
from app.store.column_lists import column_lists, narrow_lists
from app.store.pool import Connection
from app.store.queries import fill
from app.store.refusals import BOTH_SENT, TOO_NARROW, UNIQUE_VIOLATION
from app.store.slices import Job, Part, Written

_PASSES = 3
"""How often a part is written anew because rows that were to go made room for rows that could not be held."""


class _UndoneError(Exception):
    """Raised inside a savepoint of ours to undo it."""


class SliceWriter:
    """The statements that change raw rows."""

    def __init__(self, sql: Mapping[str, str], catalogue: Catalogue) -> None:
        """`sql` are the statements of db/queries/changes.sql."""
        self._sql = sql
        self._catalogue = catalogue

    async def write(self, connection: Connection, job: Job, part: Part, *, careful: bool) -> Written:
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

    async def _unheld(self, connection: Connection, job: Job, part: Part) -> set[tuple[str, dt.date | None]]:
        statement = fill(self._sql["get_unheld_days"], **column_lists(job.table))
        rows = await connection.fetch(statement, job.staged.fetch_id, list(part.account_ids), BOTH_SENT)
        return {(row["account_id"], row["day"]) for row in rows}

    async def _write_once(
        self, connection: Connection, job: Job, part: Part, kept: set[tuple[str, dt.date | None]], *, careful: bool
    ) -> Written:
        written = Written()
        head = (job.staged.fetch_id, list(part.account_ids), job.dates(part))
        record = (job.writer.run_id, job.table.table.name)
        tokens = column_lists(job.table)
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

    async def _refuse_too_narrow(self, connection: Connection, job: Job, head: tuple[object, ...]) -> None:
        for key in job.table.narrow_keys:
            statement = fill(self._sql["refuse_too_narrow"], **column_lists(job.table), **narrow_lists(key))
            for row in await connection.fetch(statement, *head, TOO_NARROW, BOTH_SENT, key.name):
                job.beside[row["ordinal"]] = {
                    "unique_key": key.name,
                    "columns": list(key.columns),
                    "held_by": {"key": row["other_key"], "account_id": row["other_account"]},
                }

    async def _write_rows(
        self, connection: Connection, job: Job, part: Part, shape: tuple[int, frozenset[str]], ordinals: list[int] | None
    ) -> Written:
        written = Written()
        number, columns = shape
        tokens = column_lists(job.table, columns)
        head = (job.staged.fetch_id, list(part.account_ids), job.dates(part))
        if tokens["t_values"]:
            statement = fill(self._sql["overwrite_rows"], **tokens)
            for row in await connection.fetch(statement, *head, job.writer.run_id, job.table.table.name, number, ordinals):
                written.note(row["account_id"], row["days"], row["holder"]).updated += row["rows"]
                await self._begin_descents(connection, job, row["account_id"], row["figure_days"] or ())
        for row in await connection.fetch(fill(self._sql["insert_rows"], **tokens), *head, number, ordinals):
            written.note(row["account_id"], row["days"]).inserted += row["rows"]
        return written

    async def _begin_descents(self, connection: Connection, job: Job, account_id: str, days: Sequence[dt.date]) -> None:
        """In the transaction that changes the daily rows, so that no crash forgets what is still to be read below them."""
        if job.proven.endpoint is Endpoint.DAILY and account_id in job.witness.descending and days:
            await connection.execute(self._sql["begin_descents"], [account_id] * len(days), list(days))

    async def _write_carefully(
        self,
        connection: Connection,
        job: Job,
        part: Part,
        shape: tuple[int, frozenset[str]],
        ordinals: list[int],
        written: Written,
    ) -> None:
        """Write rows in halves, each in a savepoint, until a row that is refused stands alone; it is marked, the others are written."""
        if not ordinals:
            return
        try:
            async with connection.savepoint():
                attempt = await self._write_rows(connection, job, part, shape, ordinals)
        except RowRefused as error:
            if len(ordinals) == 1:
                kind = TOO_NARROW if error.sqlstate == UNIQUE_VIOLATION else "refused by the table"
                statement = fill(self._sql["refuse_row"], stage=job.table.stage)
                await connection.execute(statement, job.staged.fetch_id, ordinals[0], f"{kind}: {error}")
                return
            middle = len(ordinals) // 2
            await self._write_carefully(connection, job, part, shape, ordinals[:middle], written)
            await self._write_carefully(connection, job, part, shape, ordinals[middle:], written)
        else:
            written.add(attempt)

    async def _settle_stale(
        self, connection: Connection, job: Job, part: Part, kept: set[tuple[str, dt.date | None]], written: Written
    ) -> None:
        tokens = {**column_lists(job.table), "daily": _one_a_day(self._catalogue[Endpoint.DAILY])}
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
            BOTH_SENT,
        )
        for row in rows:
            if row["goes"]:
                written.note(row["account_id"], [row["day"]]).removed += row["rows"]
                written.removed.add((row["account_id"], row["day"]))
            else:
                written.results[row["account_id"]].kept[row["day"]] = row["trades"] or 0


def _pairs(days: Iterable[tuple[str, dt.date | None]]) -> tuple[list[str], list[dt.date | None]]:
    """Accounts and dates as two arrays of equal length, the way SQL takes them."""
    ordered = list(days)
    return [account_id for account_id, _ in ordered], [day for _, day in ordered]


def _one_a_day(daily: WarehouseTable) -> str:
    """The daily table, with one row a day even where it has no unique key that sees to it."""
    return (
        daily.raw if daily.is_unique else f"(SELECT DISTINCT ON (account_id, date) * FROM {daily.raw} WHERE account_id = ANY($2::text[]))"
    )
