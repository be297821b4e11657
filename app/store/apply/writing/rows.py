"""Overwrites and inserts rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.store.apply.context import WriteContext
from app.store.apply.descents import Descents
from app.store.apply.fingerprints import Slice
from app.store.apply.rejects.reasons import NOT_KEPT, REFUSED
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.results import Written
from app.store.apply.writing.part_write import PartWrite, only
from app.store.database.pool import Database
from app.store.database.transaction import Connection, Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.statements import Statements

_RESISTED = f"{REFUSED}: a trigger keeps the stored row as it is"


@dataclass(frozen=True, slots=True)
class _Insert:
    """Inserts rows or finds missing ones."""

    write: PartWrite
    insert: str
    missing: str
    limit: tuple[list[int], ...]

    async def run(self) -> list[Record]:
        """Insert; returns counts by account and date."""
        write = self.write
        return await write.connection.fetch(self.insert, *write.head, *write.copied, *self.limit)

    async def find_missing(self) -> list[Record]:
        return await self.write.connection.fetch(self.missing, *self.write.head, *self.limit)


class RowWriter:
    """Writes rows, rejecting those that fail to arrive."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        rejects: Rejects,
        descents: Descents,
        window: Window = ALL_DATES,
    ) -> None:
        self._catalogue = catalogue
        self._rejects = rejects
        self._descents = descents
        sql = database.queries("apply/writing/rows", window)
        self._sql = Statements(sql, catalogue, window, further=["only", "is_missing"])

    async def overwrite(self, write: PartWrite, ordinals: list[int] | None) -> Written:
        """Overwrite stored rows that differ."""
        written = Written()
        job = write.job
        if not self._sql.token("assignments", job.table):
            return written
        condition, limit = only(ordinals, 7)
        statement = self._sql.of(
            "overwrite_rows", job.table, has_unsent=job.staged.has_unsent, only=condition
        )
        for row in await write.connection.fetch(
            statement, *write.head, *write.copied, write.horizon, *limit
        ):
            if row["resisting"]:
                await self._rejects.reject(write.connection, job, row["resisting"], _RESISTED)
                continue
            _note_overwritten(write, written, row)
            await self._descents.begin(
                write.connection, job, row["account_id"], row["figure_days"] or ()
            )
        return written

    async def insert(
        self,
        write: PartWrite,
        ordinals: list[int] | None,
        *,
        is_known: bool,
        expected: int | None,
    ) -> Written:
        """Insert missing rows, `expected` ones; `is_known` skips the existence check."""
        insert = self._insert_of(write, ordinals, is_known=is_known)
        if write.job.table.has_guards:
            return await self._insert_guarded(insert)
        if is_known:
            # Only staging is read; its key index is cheaper than sorting wide rows.
            await write.connection.execute(self._sql["avoid_sort"])
        written = Written()
        for row in await insert.run():
            done = written.note_inserted(row["account_id"], row["days"], row["rows"])
            done.grew |= write.reaches_unsettled(row["days"])
            done.empty_days.update(row["empty_days"] or ())
        if expected is None or sum(each.inserted for each in written.results.values()) < expected:
            await self._reject_missing(insert)
        return written

    async def _reject_missing(self, insert: _Insert) -> None:
        lacking = [row["ordinal"] for row in await insert.find_missing()]
        if lacking:
            await self._rejects.reject(insert.write.connection, insert.write.job, lacking, NOT_KEPT)

    def _insert_of(
        self, write: PartWrite, ordinals: list[int] | None, *, is_known: bool
    ) -> _Insert:
        table = write.job.table
        inserted, limit = only(ordinals, 6)
        looked_for, _ = only(ordinals, 4)
        return _Insert(
            write,
            self._sql.of(
                "insert_rows",
                table,
                has_unsent=write.job.staged.has_unsent,
                only=inserted,
                is_missing="true" if is_known else f"NOT {self._sql.token('is_stored', table)}",
            ),
            self._sql.of("get_missing_rows", table, only=looked_for),
            limit,
        )

    async def _insert_guarded(self, insert: _Insert) -> Written:
        """Insert where triggers may drop or redirect rows silently: only a look before and after
        tells which arrived.
        """
        written, write = Written(), insert.write
        missing = await insert.find_missing()
        if not missing:
            return written
        await insert.run()
        dropped = {row["ordinal"] for row in await insert.find_missing()}
        for row in missing:
            if row["ordinal"] not in dropped:
                done = written.note_inserted(row["account_id"], [row["day"]], [1])
                done.grew |= write.reaches_unsettled([row["day"]])
        if dropped:
            await self._rejects.reject(write.connection, write.job, sorted(dropped), NOT_KEPT)
        return written

    async def find_missing(self, write: PartWrite) -> list[Record]:
        """Rows not stored."""
        statement = self._sql.of("get_missing_rows", write.job.table, only="true")
        return await write.connection.fetch(statement, *write.head)

    async def insert_others(
        self,
        connection: Connection,
        staged: StagedFetch,
        proven: Slice,
        context: WriteContext,
        account_ids: Sequence[str],
        ordinals: Sequence[int],
    ) -> Written:
        """Insert missing rows of other accounts."""
        table = self._catalogue[staged.endpoint]
        statement = self._sql.of(
            "insert_rows",
            table,
            has_unsent=staged.has_unsent,
            only=only([], 6)[0],
            is_missing=f"NOT {self._sql.token('is_stored', table)}",
        )
        dates = None if proven.dates is None else list(proven.dates)
        written = Written()
        head = staged.fetch_id, list(account_ids), dates
        copied = context.run_id, table.table.name
        for row in await connection.fetch(statement, *head, *copied, list(ordinals)):
            written.note_inserted(row["account_id"], row["days"], row["rows"])
        return written


def _note_overwritten(write: PartWrite, written: Written, row: Record) -> None:
    done = written.note(row["account_id"], row["days"], row["holder"])
    done.updated += row["rows"]
    done.grew |= write.reaches_unsettled(row["days"])
    done.lost += row["lost"]
    done.lost_days.update(row["lost_days"] or ())
    done.fallen.update(row["fallen_days"] or ())
    done.gained += row["gained"]
    done.blanks |= row["blanks"]
