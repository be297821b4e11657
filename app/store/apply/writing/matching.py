"""Matches staged with stored rows, to skip needless steps."""

from dataclasses import dataclass

from app.store.apply.writing.part_write import PartWrite
from app.store.database.pool import Database
from app.store.database.transaction import Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.slices import KEY_PARAMETERS
from app.store.table_sql.statements import Statements


@dataclass(frozen=True, slots=True)
class Matches:
    """How many staged rows meet no stored row (`missing`), one in their place (`met`), one of the
    written accounts (`of_theirs`), or one under another date (`elsewhere`).

    `differing` are the ordinals of rows that differ from the stored one in their place.
    """

    missing: int
    met: int
    of_theirs: int
    elsewhere: int
    differing: list[int]

    @property
    def all_in_place(self) -> bool:
        """Whether all are certainly in place."""
        return not self.missing and not self.elsewhere

    @property
    def none_in_place(self) -> bool:
        """Whether no row is in place."""
        return not self.met

    @property
    def most_differ(self) -> bool:
        """Whether so many differ that naming them by ordinal would cost more than it saves."""
        return 2 * len(self.differing) > self.met + self.missing


class RowMatcher:
    """Compares staged with stored rows."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        sql = database.queries("apply/writing/matching", window)
        self._sql = Statements(sql, catalogue, window)

    async def match(self, write: PartWrite) -> Matches | None:
        """Match rows; None if doubled rows or a search forbid it, or nothing is stored."""
        job = write.job
        if not job.staged.rows:
            return Matches(missing=0, met=0, of_theirs=0, elsewhere=0, differing=[])
        if write.is_empty or write.search is not None or not job.table.is_unique:
            return None
        keys = await self._natural_keys(write) if write.is_of_trades else ()
        statement = self._sql.of("match_rows", job.table, has_unsent=job.staged.has_unsent)
        rows = await write.connection.fetch(statement, *write.head, *keys)
        theirs = frozenset(write.part.account_ids)
        return Matches(
            await self._missing(write, rows),
            sum(row["met"] for row in rows),
            sum(row["met"] for row in rows if row["account_id"] in theirs),
            sum(row["elsewhere"] for row in rows),
            [ordinal for row in rows for ordinal in row["differing"] or ()],
        )

    async def _missing(self, write: PartWrite, rows: list[Record]) -> int:
        if write.job.table.distributed_by is None:
            return int(sum(row["missing"] for row in rows))
        # A lower bound: a row met in two places counts twice. With any elsewhere the insert checks
        # for itself.
        found = sum(row["met"] + row["elsewhere"] for row in rows)
        return max(0, await self._count_writable(write) - int(found))

    async def count_missing(
        self, write: PartWrite, matches: Matches | None, narrow: int
    ) -> int | None:
        """Rows to insert without `narrow` rejects; None if unknown."""
        table = write.job.table
        if write.search is not None or not table.is_unique or table.distributed_by is not None:
            return None
        if write.is_empty:
            return await self._count_writable(write)
        return None if matches is None or matches.elsewhere else matches.missing - narrow

    async def _count_writable(self, write: PartWrite) -> int:
        statement = self._sql.of("count_writable", write.job.table)
        return int(await write.connection.fetch_value(statement, *write.head))

    async def _natural_keys(self, write: PartWrite) -> tuple[list[str], ...]:
        """Values of each key part."""
        rows = await write.connection.fetch(
            self._sql.of("get_natural_keys", write.job.table), *write.head
        )
        return tuple(sorted({row[part] for row in rows} - {None}) for part in KEY_PARAMETERS)
