"""Stages, proves, names and drops rows of fetches."""

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
from app.store.staging.names.shared_ids import SharedIds
from app.store.staging.names.unnamed import UnnamedRows
from app.store.staging.pages import PageOpener
from app.store.staging.staged_fetch import ANALYZED_ROWS, StagedFetch
from app.store.staging.staging_sql import SUMMED, schema_of


class StagedRows:
    """The staging tables."""

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
        """A new fetch of this worker; earlier rows than `first_day` are only counted."""
        staged = StagedFetch(FetchId(uuid.uuid4()), endpoint, first_day=first_day)
        table = self._catalogue[endpoint].table.name
        try:
            await self._database.execute(
                self._sql["register_fetch"], staged.fetch_id, self._worker_id, table
            )
            if not endpoint.is_trades:
                staged.shared_ids = await self._shared_ids.known()
        except BaseException:
            # It may be registered, and others do not drop fetches of a live worker.
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
        """See `PageOpener.add`."""
        await self._pages.add(staged, rows, logins, ids)

    async def distinct_keys(self, staged: StagedFetch, behind: int = 0) -> int:
        """See `DistinctKeys.count`."""
        return await self._distinct_keys.count(staged, behind)

    async def name_rows(
        self, staged: StagedFetch, account_ids: Sequence[str], *, by_id: bool
    ) -> None:
        """Assign rows without id to accounts, before their keys are used."""
        if staged.has_unnamed:
            await self._unnamed.name(staged.endpoint, staged.fetch_id, account_ids, by_id=by_id)

    async def part_shared_ids(self, staged: StagedFetch) -> None:
        """Treat rows under shared ids as unnamed."""
        await self._shared_ids.part(staged)

    async def holds_any(self, staged: StagedFetch, asked: Sequence[str], *, by_login: bool) -> bool:
        """Whether a row is of one of these, or unreadable; true if `asked` is empty."""
        if not asked:
            return True
        table = self._catalogue[staged.endpoint]
        statement = fill(
            self._sql["holds_any"], stage=table.stage, id="login" if by_login else "account_id"
        )
        if await self._database.fetch_value(statement, staged.fetch_id, list(asked)):
            return True
        # Rows of a key that several accounts hold are an answer too, though ambiguous.
        return (
            staged.has_unnamed
            and not by_login
            and await self._unnamed.hold_key_of(staged.endpoint, staged.fetch_id, asked)
        )

    async def seal(self, staged: StagedFetch) -> None:
        """Prepare a proven fetch for applying: refresh statistics, drop rows before `first_day`."""
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
            # The first row must exist: its absence shows a crash that emptied staging.
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
        """Drop rows of a restarted fetch, except `but` proven ones."""
        statement = self._delete_from(self._catalogue[staged.endpoint].stage)
        await self._database.execute(statement, staged.fetch_id, but)
        staged.rows, staged.has_unsent, staged.accounts = but, staged.has_unsent and but > 0, None
        staged.has_unnamed = staged.has_unnamed and but > 0

    async def forget(self, staged: StagedFetch) -> None:
        """Drop a fetch; failures are retried by `purge_dead`."""
        fetch = (staged.fetch_id, self._catalogue[staged.endpoint].table.name)
        self._left.add(fetch)
        await self._drop(*fetch)
        self._left.discard(fetch)

    async def purge_dead(self, lease_seconds: float) -> int:
        """Drop fetches of dead workers and our undropped ones; returns their number."""
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
            # Registration first, which staging a page locks: pages in progress are dropped too, and
            # later ones are not staged.
            await connection.execute(self._sql["forget_fetch"], fetch_id)
            await connection.execute(self._delete_from(stage), fetch_id, 0)

    def _delete_from(self, stage: str) -> str:
        return fill(self._sql["delete_rows"], stage=stage)


def _sums(table: WarehouseTable) -> dict[str, str]:
    is_trades = table.table.endpoint.is_trades
    known = () if is_trades else table.names
    return {
        "count": "1" if is_trades else f"{schema_of(table)}.recon_count(num_trades)",
        **{name: f"{name}::numeric" if name in known else "NULL::numeric" for name in SUMMED},
    }
