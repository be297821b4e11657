"""Rows received for accounts not asked for, without trades and thus missed by counts.

Only empty places are filled. Claimed accounts are left to the next audit.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, RunId
from app.errors import DatabaseError, RowRefused, StatementTooSlow, WriteConflict
from app.store.apply.context import WriteContext
from app.store.apply.descents import Descents
from app.store.apply.fingerprints import Slice
from app.store.apply.rejects.rejects import Rejects
from app.store.apply.results import Written
from app.store.apply.writing.rows import RowWriter
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import LOCK_SECONDS, Connection, Purpose
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.statements import Statements
from app.store.write_pace import WritePace

_MOST_ACCOUNTS = 1000
"""Locked per transaction."""
_METRICS = (Endpoint.DAILY, Endpoint.HOURLY)


@dataclass(frozen=True, slots=True)
class _Lacking:
    """Missing rows of one account."""

    account_id: str
    ordinals: Sequence[int]
    days: Sequence[dt.date]


class OtherRows:
    """Stores rows of accounts not asked for."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        feed: ChangeFeed,
        pace: WritePace,
        window: Window = ALL_DATES,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._feed = feed
        self._pace = pace
        self._sql = Statements(database.queries("apply/received_rows", window), catalogue, window)
        rejects = Rejects(database, catalogue, window)
        self._rows = RowWriter(database, catalogue, rejects, Descents(database), window)

    async def bring_in(
        self,
        staged: StagedFetch,
        proven: Slice,
        writer: WriteContext,
        asked: Sequence[str],
        among: Sequence[str] | None = None,
        waiting_in: RunId | None = None,
    ) -> dict[AccountId, int]:
        """Store missing rows of accounts not `asked` nor `waiting_in` a run; counts by account.

        The fetch must be applied before, to reject misfits. `among` limits the accounts. Failures
        are left to the next audit.
        """
        if staged.endpoint not in _METRICS or not staged.rows:
            return {}
        lacking = await self._lacking(staged, asked, among, waiting_in)
        inserted, left = await self._store(staged, proven, writer, lacking)
        await self._note(left, writer)
        return inserted

    async def _store(
        self, staged: StagedFetch, proven: Slice, writer: WriteContext, lacking: Sequence[_Lacking]
    ) -> tuple[dict[AccountId, int], list[_Lacking]]:
        """Store rows, bisecting failures; returns counts by account, and what is left."""
        inserted: dict[AccountId, int] = {}
        left: list[_Lacking] = []
        parts = list(_parts(lacking, self._pace.chunk()))
        while parts:
            part = parts.pop()
            try:
                written = await self._insert(staged, proven, writer, part)
            except (RowRefused, WriteConflict, StatementTooSlow, DatabaseError):
                middle = len(part) // 2
                if middle:
                    parts += [part[:middle], part[middle:]]
                else:
                    left += part
                continue
            inserted |= {
                AccountId(account_id): done.inserted for account_id, done in written.results.items()
            }
            left += [each for each in part if each.account_id not in written.results]
            await self._pace.spend(sum(done.inserted for done in written.results.values()))
        return inserted, left

    async def _lacking(
        self,
        staged: StagedFetch,
        asked: Sequence[str],
        among: Sequence[str] | None,
        waiting_in: RunId | None,
    ) -> list[_Lacking]:
        rows = await self._database.fetch(
            self._sql.of("get_lacking_others", self._catalogue[staged.endpoint]),
            staged.fetch_id,
            list(asked),
            None if among is None else list(among),
            waiting_in,
            seconds=COMMAND_SECONDS,
        )
        return [_Lacking(**row) for row in rows]

    async def _insert(
        self, staged: StagedFetch, proven: Slice, writer: WriteContext, part: Sequence[_Lacking]
    ) -> Written:
        """Store rows of accounts that no other claim holds, in one transaction."""
        name = self._catalogue[staged.endpoint].table.name
        written = Written()
        async with self._database.transaction(
            statement_seconds=COMMAND_SECONDS,
            idle_seconds=writer.lease_seconds / 2,
            lock_seconds=LOCK_SECONDS,
            purpose=Purpose.WRITE_METRICS,
        ) as connection:
            free = await self._lock_free(connection, writer, part)
            ordinals = [
                ordinal for each in part if each.account_id in free for ordinal in each.ordinals
            ]
            if ordinals:
                written = await self._rows.insert_others(
                    connection, staged, proven, writer, sorted(free), ordinals
                )
            await self._feed.note(
                connection, writer.run_id, name, written.changed, inserted=written.inserted
            )
        return written

    async def _lock_free(
        self, connection: Connection, writer: WriteContext, part: Sequence[_Lacking]
    ) -> set[str]:
        held = writer.claim_id, writer.lease_seconds, writer.worker_id
        locked = await connection.fetch(
            self._sql["lock_free_accounts"], [each.account_id for each in part], *held
        )
        return {row["account_id"] for row in locked}

    async def _note(self, left: Sequence[_Lacking], writer: WriteContext) -> None:
        days: dict[str, set[dt.date]] = defaultdict(set)
        for each in left:
            days[each.account_id].update(each.days)
        pairs = [
            (account_id, day) for account_id, dates in sorted(days.items()) for day in sorted(dates)
        ]
        if pairs:
            await self._database.execute(
                self._sql["note_others"],
                [account_id for account_id, _ in pairs],
                [day for _, day in pairs],
                writer.moving_from,
            )


def _parts(lacking: Sequence[_Lacking], most_rows: int) -> Iterator[list[_Lacking]]:
    part: list[_Lacking] = []
    rows = 0
    for each in lacking:
        if part and (len(part) == _MOST_ACCOUNTS or rows + len(each.ordinals) > most_rows):
            yield part
            part, rows = [], 0
        part.append(each)
        rows += len(each.ordinals)
    if part:
        yield part
