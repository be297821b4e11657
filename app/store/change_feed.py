"""The change feed: slices of raw tables as written, in commit order."""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.errors import Gone
from app.store.database.pool import Database
from app.store.database.transaction import Connection


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One written slice; `date` is None for alltime, `run_id` outside a run."""

    account_id: str
    table: str
    date: dt.date | None
    changed_at: dt.datetime
    run_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page; `next` is its cursor, `more`: others follow."""

    changes: tuple[FeedEntry, ...]
    next: int
    more: bool


class ChangeFeed:
    """Records written slices, and reads them in commit order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sql = database.queries("change_feed")
        self._check, self._lock = sql["check_deferred"], sql["lock_feed"]
        self._note, self._get, self._end = (
            sql["note_changes"],
            sql["get_changes"],
            sql["get_feed_end"],
        )

    async def note(
        self,
        connection: Connection,
        run_id: uuid.UUID | None,
        table: str,
        changed: Mapping[str, Collection[dt.date | None]],
        *,
        inserted: Mapping[tuple[str, dt.date | None], int] | None = None,
        is_trial: bool = False,
    ) -> None:
        """Record slices written in the transaction, as its last statement.

        `changed` has dates by account. Raises WriteConflict if others hold up the feed.
        """
        slices = [(account_id, day) for account_id, days in changed.items() for day in days]
        if not slices:
            return
        # Ids are given out before the commit: without the lock a reader could see a later id, move
        # its cursor there, and never see an earlier one that commits after it. The lock is kept
        # until the commit is visible, so ids become visible in their order. It cannot deadlock: it
        # is taken last, its holder inserts rows unknown to others and commits, and deferred
        # constraints and triggers, for which a commit could wait, ran just before. In repeatable
        # read it holds too: the order comes from the sequence and the lock, not from the snapshot.
        await connection.execute(self._check)
        if is_trial:
            # A trial is rolled back, and must not delay others until then.
            return
        await connection.execute(self._lock)
        rows = [(inserted or {}).get(each, 0) for each in slices]
        await connection.execute(
            self._note,
            run_id,
            table,
            [each[0] for each in slices],
            [each[1] for each in slices],
            rows,
        )

    async def since(self, cursor: int, limit: int) -> ChangePage:
        """Changes behind `cursor` (0: all), up to `limit` entries, but each change whole.

        Raises Gone if the cursor lies beyond the feed, as after a restore.
        """
        rows = await self._database.fetch(self._get, cursor, limit)
        if not rows and cursor > (await self._database.fetch_value(self._end) or 0):
            raise Gone(
                f"`since` ({cursor}) lies behind the end of the feed, as after the database was"
                " restored from a backup, or with a cursor of another feed: leave it out, and"
                " begin at the beginning."
            )
        changes = tuple(
            FeedEntry(
                row["account_id"], row["table_name"], row["day"], row["changed_at"], row["run_id"]
            )
            for row in rows
        )
        return (
            ChangePage(changes, rows[-1]["change_id"], rows[-1]["more"])
            if rows
            else ChangePage((), cursor, more=False)
        )
