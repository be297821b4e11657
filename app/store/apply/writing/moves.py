"""Rows stored under another date or shard."""

from app.errors import RowRefused
from app.store.apply.rejects.reasons import REFUSED, WITHHELD
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.rejects.violations import Violations
from app.store.apply.results import Written
from app.store.apply.writing.part_write import PartWrite, WrittenSinceError
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class TradeMoves:
    """Moves rows, keeping copies."""

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
        self._sql = Statements(database.queries("apply/writing/moves", window), catalogue, window)

    async def move(self, write: PartWrite, written: Written) -> None:
        """Move trades to upstream's dates, deleting doubles.

        Raises WrittenSinceError for trades stored elsewhere since the fetch.
        """
        await self._leave_newer(write)
        await self._withhold(write, written)
        try:
            async with write.tolerating():
                await self._move(write, written)
        except RowRefused as error:
            if write.search is None:
                raise
            rejection = await self._violations.read(write.connection, write.job.table, error)
            reason = (
                f"{rejection.reason}; the trade is stored under another date and cannot be moved"
            )
            statement = self._sql.of("reject_moves", write.job.table)
            await write.connection.execute(statement, *write.head, reason)

    async def _leave_newer(self, write: PartWrite) -> None:
        """Other dates may lie outside the slices."""
        newer = await write.connection.fetch(
            self._sql.of("get_written_elsewhere", write.job.table), *write.head, write.horizon
        )
        accounts = frozenset(row["account_id"] for row in newer if row["account_id"] is not None)
        if accounts:
            raise WrittenSinceError(accounts)
        for row in newer:
            await self._rejects.reject(
                write.connection,
                write.job,
                row["ordinals"],
                f"{REFUSED}: the trade was stored under another date since it was read",
            )

    async def _withhold(self, write: PartWrite, written: Written) -> None:
        """Withhold moves away from unsettled dates."""
        statement = self._sql.of("withhold_moves", write.job.table)
        for row in await write.connection.fetch(
            statement, *write.head, write.job.context.moving_from, WITHHELD
        ):
            written.results[row["account_id"] or ""].withheld.update(row["days"])

    async def _move(self, write: PartWrite, written: Written) -> None:
        for row in await write.connection.fetch(
            self._sql.of("move_trades", write.job.table), *write.head, *write.copied
        ):
            done = written.note(row["account_id"], row["days"])
            done.moved += row["rows"] - row["doubles"]
            done.removed += row["doubles"]
            done.lost += row["rows"]
            done.shifted += row["rows"]
            done.shifted_days.update(row["days"])

    async def move_shards(self, write: PartWrite, written: Written) -> None:
        """Move rows to their shards; doubles must be gone."""
        table = write.job.table
        for row in await write.connection.fetch(
            self._sql.of("move_shards", table),
            *write.head,
            *write.copied,
            write.horizon,
            table.distributed_by,
        ):
            written.note(row["account_id"], row["days"]).moved += row["rows"]
