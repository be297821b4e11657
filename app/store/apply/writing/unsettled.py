"""Falling counts that unsettled dates may explain."""

from collections.abc import Sequence

from app.domain.accounts.settling import NEVER, UNKNOWN, StoredLevels
from app.store.apply.rejects.reasons import WITHHELD
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.results import Written
from app.store.apply.writing.part_write import PartWrite
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class UnsettledDates:
    """Withholds rows that lower counts."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        rejects: Rejects,
        window: Window = ALL_DATES,
    ) -> None:
        self._rejects = rejects
        sql = database.queries("apply/writing/unsettled", window)
        self._sql = Statements(sql, catalogue, window)

    async def withhold(self, write: PartWrite, written: Written) -> None:
        """Mark falling rows."""
        if write.is_empty or write.is_of_trades:
            return
        if write.job.table.table.date_column is None:
            await self._withhold_alltime(write, written)
        elif write.is_unsettled:
            statement = self._sql.of("withhold_falling_rows", write.job.table)
            for row in await write.connection.fetch(
                statement, *write.head, write.job.context.moving_from, WITHHELD
            ):
                written.results[row["account_id"]].withheld.update(row["days"])

    async def _withhold_alltime(self, write: PartWrite, written: Written) -> None:
        if write.job.context.moving_from == NEVER:
            return
        falling = await write.connection.fetch(
            self._sql.of("get_falling_alltime", write.job.table), *write.head
        )
        if not falling:
            return
        levels = await self._levels(write, [row["account_id"] for row in falling])
        moving = write.job.evidence.moving
        withheld = [
            row
            for row in falling
            if not moving.get(row["account_id"], UNKNOWN).allow_fall(
                row["trades"], levels.get(row["account_id"], StoredLevels())
            )
        ]
        ordinals = [row["ordinal"] for row in withheld]
        await self._rejects.reject(write.connection, write.job, ordinals, WITHHELD)
        for row in withheld:
            done = written.results[row["account_id"]]
            done.withheld.add(None)
            done.falls_to = row["trades"]

    async def _levels(
        self, write: PartWrite, account_ids: Sequence[str]
    ) -> dict[str, StoredLevels]:
        context = write.job.context
        rows = await write.connection.fetch(
            self._sql.of("get_stored_levels", write.job.table),
            list(account_ids),
            context.moving_from,
            context.moving_until,
        )
        return {
            row["account_id"]: StoredLevels(
                row["daily"], row["moving"], row["moving_daily"], row["moving_finer"]
            )
            for row in rows
        }
