"""Bisects to rejected rows."""

from app.errors import RowRefused
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.rejects.violations import Violations
from app.store.apply.results import Written
from app.store.apply.writing.part_write import PartWrite, Search, Write
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class RowSearch:
    """Runs a step whole or halved."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        rejects: Rejects,
        violations: Violations,
        window: Window = ALL_DATES,
    ) -> None:
        self._rejects = rejects
        self._violations = violations
        self._sql = Statements(database.queries("apply/writing/search", window), catalogue, window)

    async def each(self, write: PartWrite, step: Write, written: Written) -> None:
        """Run once, or bisect in a search."""
        if write.search is None:
            written.add(await step(write, None))
            return
        rows = await write.connection.fetch(
            self._sql.of("get_writable", write.job.table), *write.head
        )
        await self._halve(write, write.search, step, [row["ordinal"] for row in rows], written)

    async def _halve(
        self, write: PartWrite, search: Search, step: Write, ordinals: list[int], written: Written
    ) -> None:
        if not ordinals:
            return
        search.go_on()
        try:
            async with write.connection.savepoint():
                attempt = await step(write, ordinals)
        except RowRefused as error:
            if len(ordinals) == 1:
                await self._reject(write, search, ordinals[0], error)
                return
            middle = len(ordinals) // 2
            await self._halve(write, search, step, ordinals[:middle], written)
            await self._halve(write, search, step, ordinals[middle:], written)
        else:
            written.add(attempt)

    async def _reject(
        self, write: PartWrite, search: Search, ordinal: int, error: RowRefused
    ) -> None:
        job = write.job
        rejection = await self._violations.read(write.connection, job.table, error)
        await self._rejects.reject(write.connection, job, [ordinal], rejection.reason)
        search.found.append((ordinal, rejection.reason))
        if rejection.beside is not None:
            job.beside[ordinal] = rejection.beside
