"""The rows of fetches in the staging tables: added, proven, named, and dropped again."""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence

from app.domain.accounts.counts import CountedDay
from app.domain.contract.spelling import AskedIds
from app.domain.contract.tables import Endpoint
from app.domain.ids import FetchId, WorkerId
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import STAGED, WarehouseTable, analyzed_columns
from app.store.staging.distinct_keys import DistinctKeys
from app.store.staging.pages import PageOpener
from app.store.staging.shared_ids import SharedIds
from app.store.staging.staged_fetch import ANALYZED_ROWS, StagedFetch
from app.store.staging.staging_sql import SUMMED, schema_of
from app.store.staging.unnamed import UnnamedRows


class StagedRows:
    """Works on the staging tables."""

    def __init__(self, database: Database, catalogue: Catalogue, worker_id: WorkerId) -> None:
        self._database = database
        self._worker_id = worker_id
        self._catalogue = catalogue
        self._left: set[tuple[FetchId, str]] = set()
        self._sql = database.queries("staging/staged_rows")
        self._pages = PageOpener(database, catalogue)
        self._distinct_keys = DistinctKeys(database, catalogue)
        self._shared_ids = SharedIds(database, catalogue)
        self._unnamed = UnnamedRows(database, catalogue)

    async def register(self, endpoint: Endpoint, first_day: dt.date | None) -> StagedFetch:
        """A new fetch, whose rows from `first_day` on (None: all) are ours to apply or forget."""
        staged = StagedFetch(FetchId(uuid.uuid4()), endpoint, first_day=first_day)
        table = self._catalogue[endpoint].table.name
        try:
            await self._database.execute(
                self._sql["register_fetch"], staged.fetch_id, self._worker_id, table
            )
            if not endpoint.is_trades:
                staged.shared_ids = await self._shared_ids.known()
        except BaseException:
            # It may be registered all the same, to a worker that lives and never hears of it: no
            # other would drop it.
            self._left.add((staged.fetch_id, table))
            raise
        return staged

    async def add(
        self,
        staged: StagedFetch,
        rows: Sequence[bytes],
        logins: Sequence[str] = (),
        ids: AskedIds | None = None,
    ) -> None:
        """Stage raw JSON objects; see `PageOpener.add`."""
        await self._pages.add(staged, rows, logins, ids)

    async def distinct_keys(self, staged: StagedFetch, behind: int = 0) -> int:
        """Distinct keys among the rows staged `behind` so many; see `DistinctKeys.count`."""
        return await self._distinct_keys.count(staged, behind)

    async def name_rows(
        self, staged: StagedFetch, account_ids: Sequence[str], *, by_id: bool
    ) -> None:
        """Give rows that came without an account id to the accounts that they belong to, before
        anything is told by their keys.
        """
        if staged.has_unnamed:
            await self._unnamed.name(staged.endpoint, staged.fetch_id, account_ids, by_id=by_id)

    async def part_shared_ids(self, staged: StagedFetch) -> None:
        """Take metrics rows under an id that several natural keys have for rows without one."""
        await self._shared_ids.part(staged)

    async def holds_any(self, staged: StagedFetch, asked: Sequence[str], *, by_login: bool) -> bool:
        """Whether a staged row is of one of these logins or accounts, or may be since it cannot be
        read; true if none is named.
        """
        if not asked:
            return True
        table = self._catalogue[staged.endpoint]
        statement = fill(
            self._sql["holds_any"], stage=table.stage, id="login" if by_login else "account_id"
        )
        if await self._database.fetch_value(statement, staged.fetch_id, list(asked)):
            return True
        # Rows of a key that several accounts hold are the answer, though nobody can tell whose they
        # are.
        return (
            staged.has_unnamed
            and not by_login
            and await self._unnamed.hold_key_of(staged.endpoint, staged.fetch_id, asked)
        )

    async def seal(self, staged: StagedFetch) -> None:
        """Make a proven fetch ready to be applied: PostgreSQL learns how many rows it has, or it
        would plan for one.

        Rows of before the first day that is compared are only counted, and have served to prove the
        fetch.
        """
        if staged.first_day is not None and staged.rows:
            await self._leave_out(staged, staged.first_day)
        if staged.rows >= ANALYZED_ROWS:
            table = self._catalogue[staged.endpoint]
            await self._database.execute(
                f"ANALYZE {table.stage}"
                f" ({', '.join(quote(column) for column in analyzed_columns(table))})"
            )

    async def _leave_out(self, staged: StagedFetch, first_day: dt.date) -> None:
        table = self._catalogue[staged.endpoint]
        day = table.table.date_column
        if day is None:
            return
        statement = fill(
            self._sql["leave_out_rows"], stage=table.stage, day=quote(day), **_sums(table)
        )
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            gone = await connection.fetch(statement, staged.fetch_id, first_day)
            if not gone:
                return
            # The first row is looked for before a fetch is applied: a crash of PostgreSQL would
            # take it.
            await connection.execute(
                fill(self._sql["renumber_first"], stage=table.stage), staged.fetch_id
            )
        before: dict[str, dict[dt.date, CountedDay]] = defaultdict(dict)
        for row in gone:
            if row["account_id"]:
                before[row["account_id"]][row["day"]] = CountedDay(
                    row["trades"], row["net_profit"], row["total_lots"]
                )
        staged.before = before
        staged.rows -= sum(row["rows"] for row in gone)
        staged.accounts = None
        staged.days = frozenset(each for each in staged.days if each >= first_day)

    async def clear(self, staged: StagedFetch, but: int = 0) -> None:
        """Drop the rows of a fetch that starts anew, `but` the first ones that are proven; the
        fetch stays registered.
        """
        statement = self._delete_from(self._catalogue[staged.endpoint].stage)
        await self._database.execute(statement, staged.fetch_id, but)
        staged.rows, staged.has_unsent, staged.accounts = but, staged.has_unsent and but > 0, None
        staged.has_unnamed = staged.has_unnamed and but > 0

    async def forget(self, staged: StagedFetch) -> None:
        """Drop a fetch and its rows; what cannot be dropped now is dropped with what the dead
        left.
        """
        fetch = (staged.fetch_id, self._catalogue[staged.endpoint].table.name)
        self._left.add(fetch)
        await self._drop(*fetch)
        self._left.discard(fetch)

    async def purge_dead(self, lease_seconds: float) -> int:
        """Drop what workers left that are gone, and what this one could not drop before; the number
        of their fetches.
        """
        ours = sorted(self._left)
        dead = [
            *ours,
            *(
                (row["fetch_id"], row["table_name"])
                for row in await self._database.fetch(self._sql["get_dead_fetches"], lease_seconds)
            ),
        ]
        for fetch_id, table_name in dead:
            await self._drop(fetch_id, table_name)
        self._left.difference_update(ours)
        return len(dead)

    async def _drop(self, fetch_id: FetchId, table_name: str) -> None:
        stage = next(
            self._catalogue[endpoint].stage
            for endpoint in STAGED
            if self._catalogue[endpoint].table.name == table_name
        )
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            # First the registration, which each page that is staged locks: a page that is still on
            # its way is dropped with the others, and one that comes later is not staged.
            await connection.execute(self._sql["forget_fetch"], fetch_id)
            await connection.execute(self._delete_from(stage), fetch_id, 0)

    def _delete_from(self, stage: str) -> str:
        return fill(self._sql["delete_rows"], stage=stage)


def _sums(table: WarehouseTable) -> dict[str, str]:
    """What staged rows count, as expressions."""
    is_trades = table.table.endpoint.is_trades
    known = () if is_trades else table.names
    return {
        "count": "1" if is_trades else f"{schema_of(table)}.recon_count(num_trades)",
        **{name: f"{name}::numeric" if name in known else "NULL::numeric" for name in SUMMED},
    }
