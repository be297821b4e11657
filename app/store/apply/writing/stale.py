"""Stored rows that upstream lacks, and doubled rows."""

import datetime as dt

from app.errors import RowRefused
from app.store.apply.rejects.reasons import BOTH_SENT
from app.store.apply.results import Written
from app.store.apply.writing.part_write import Days, PartWrite, arrays
from app.store.database.pool import Database
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements


class StaleRows:
    """Deletes rows, keeping copies."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._sql = Statements(database.queries("apply/writing/stale", window), catalogue, window)

    async def delete(self, write: PartWrite, protected: Days, written: Written) -> None:
        """Delete doubled and stale rows off `protected` dates; if any is refused, all stay, and it
        is reported.
        """
        attempt = Written()
        try:
            async with write.tolerating():
                if not write.job.table.is_unique:
                    await self._delete_doubled(write, attempt)
                await self._delete_stale(write, protected, attempt)
        except RowRefused as error:
            if write.search is None:
                raise
            attempt = Written()
            account_ids = write.part.account_ids
            await self._delete_stale(write, [(each, None) for each in account_ids], attempt)
            for account_id in account_ids:
                attempt.results[account_id].refused.add(
                    write.job.table.table.name, f"lets no row go: {error}", ()
                )
        written.add(attempt)

    async def _delete_doubled(self, write: PartWrite, written: Written) -> None:
        for row in await write.connection.fetch(
            self._sql.of("delete_doubled_rows", write.job.table),
            *write.head,
            *write.copied,
            write.horizon,
            write.job.context.moving_from,
        ):
            if row["goes"]:
                written.note(row["account_id"], row["days"]).removed += row["rows"]
            else:
                written.results[row["account_id"]].withheld.update(row["days"])

    async def _delete_stale(self, write: PartWrite, protected: Days, written: Written) -> None:
        moving_from = write.job.context.moving_from
        for row in await write.connection.fetch(
            self._sql.of("delete_stale_rows", write.job.table),
            *write.head,
            *write.copied,
            *arrays(_daily_read(write)),
            *arrays(protected),
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

    async def rejected_days(self, write: PartWrite) -> set[tuple[str, dt.date | None]]:
        """Accounts and dates with rejected rows."""
        rows = await write.connection.fetch(
            self._sql.of("get_rejected_days", write.job.table),
            write.job.staged.fetch_id,
            list(write.part.account_ids),
            BOTH_SENT,
        )
        return {(row["account_id"], row["day"]) for row in rows}


def _daily_read(write: PartWrite) -> list[tuple[str, dt.date | None]]:
    read = write.job.evidence.daily_read
    found: list[tuple[str, dt.date | None]] = []
    for account_id in write.part.account_ids:
        days = read.get(account_id, frozenset())
        found += [(account_id, None)] if days is None else [(account_id, day) for day in days]
    return found
