"""Rereads written rows, which triggers may alter."""

from app.store.apply.rejects.reasons import CHANGED, NOT_KEPT
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.results import Written
from app.store.apply.writing.part_write import PartWrite
from app.store.apply.writing.rows import RowWriter
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class Verification:
    """Finds missing or changed rows."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        rejects: Rejects,
        rows: RowWriter,
        window: Window = ALL_DATES,
    ) -> None:
        self._rejects = rejects
        self._rows = rows
        sql = database.queries("apply/writing/verification", window)
        self._sql = Statements(sql, catalogue, window)

    async def verify(self, write: PartWrite, written: Written) -> None:
        """Reject rows missing or with changed figures; name other changes."""
        await write.check_constraints()
        missing = await self._rows.find_missing(write)
        if missing:
            ordinals = [row["ordinal"] for row in missing]
            await self._rejects.reject(write.connection, write.job, ordinals, NOT_KEPT)
            for row in missing:
                written.note_dropped(row["account_id"], row["day"])
        await self._name_changed(write)

    async def _name_changed(self, write: PartWrite) -> None:
        job, connection = write.job, write.connection
        changed = self._sql.of("get_changed_rows", job.table, has_unsent=job.staged.has_unsent)
        for row in await connection.fetch(changed, *write.head):
            if row["figures"]:
                reason = f"{CHANGED}: {', '.join(row['columns'])}"
                await self._rejects.reject(connection, job, row["ordinals"], reason)
            else:
                await connection.execute(
                    self._sql.of("note_changed_values", job.table),
                    job.staged.fetch_id,
                    row["ordinals"],
                    [f"{name} (changed by the table)" for name in row["columns"]],
                )
