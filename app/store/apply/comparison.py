"""Compares every row and column of a fetch with stored slices."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.accounts.comparison import ComparedTable, Difference, Differs
from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.domain.issues.codes import SAMPLE
from app.domain.sequences import pieces
from app.store.apply.fingerprints import Slice
from app.store.apply.rejects.reasons import TOO_NARROW, WITHHELD
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection, Purpose, Record
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.staging.staged_fetch import StagedFetch
from app.store.table_sql.statements import Statements
from app.store.table_sql.table import COUNT

_Head = tuple[object, ...]
"""Fetch, accounts, dates."""
_MOST_DAYS = 10_000
"""Accounts and dates per statement."""


@dataclass(slots=True)
class _Found:
    rows: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    differences: defaultdict[str, list[Difference]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def note(self, endpoint: Endpoint, row: Record, differs: Differs, *, counts: bool) -> None:
        """Record rows of one side only."""
        self.differences[row["account_id"]].append(
            Difference(
                endpoint,
                row["day"],
                differs,
                row["rows"],
                counts=counts,
                samples=tuple({"key": key} for key in row["keys"]),
            )
        )

    def note_changed(self, endpoint: Endpoint, row: Record) -> None:
        """Record rows that both sides have."""
        self.differences[row["account_id"]].append(
            Difference(
                endpoint,
                row["day"],
                Differs.CHANGED,
                row["rows"],
                tuple(row["columns"]),
                counts=COUNT in row["columns"],
                refused=row["refused"],
                samples=tuple(row["samples"]),
            )
        )

    def of(self, account_ids: Sequence[AccountId]) -> dict[AccountId, ComparedTable]:
        """Results of these accounts."""
        return {
            account_id: ComparedTable(self.rows[account_id], tuple(self.differences[account_id]))
            for account_id in account_ids
        }


class RowComparison:
    """Finds differing rows inside the window."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._sql = Statements(database.queries("apply/comparison", window), catalogue, window)

    def columns(self, staged: StagedFetch) -> int:
        """Number of compared columns, with the key."""
        table = self._catalogue[staged.endpoint]
        return len(table.key) + len(table.values)

    async def compare(
        self,
        staged: StagedFetch,
        proven: Slice,
        account_ids: Sequence[AccountId],
        *,
        is_written: bool = False,
    ) -> dict[AccountId, ComparedTable]:
        """Compare accounts with a proven staged fetch.

        Once it `is_written`, rejected rows differ, withheld ones do not.
        """
        ids: list[str] = list(account_ids)
        head = staged.fetch_id, ids, None if proven.dates is None else list(proven.dates)
        found = _Found()
        purpose = Purpose.WRITE_TRADES if staged.endpoint.is_trades else Purpose.WRITE_METRICS
        async with self._database.transaction(
            "repeatable_read", statement_seconds=COMMAND_SECONDS, purpose=purpose
        ) as connection:
            await self._count_sent(connection, staged, ids, found)
            await self._find_changed(connection, staged, head, found, is_written=is_written)
            await self._find_missing(connection, staged, head, found)
            await self._find_unsent(connection, staged, head, found)
        return found.of(account_ids)

    async def _count_sent(
        self, connection: Connection, staged: StagedFetch, ids: list[str], found: _Found
    ) -> None:
        statement = self._sql.of("count_sent_rows", self._catalogue[staged.endpoint])
        for row in await connection.fetch(statement, staged.fetch_id, ids):
            found.rows[row["account_id"]] += row["rows"]

    async def _find_changed(
        self,
        connection: Connection,
        staged: StagedFetch,
        head: _Head,
        found: _Found,
        *,
        is_written: bool,
    ) -> None:
        table = self._catalogue[staged.endpoint]
        statement = self._sql.of("get_differing_rows", table, has_unsent=staged.has_unsent)
        for row in await connection.fetch(
            statement, *head, SAMPLE, is_written, WITHHELD, TOO_NARROW
        ):
            found.note_changed(staged.endpoint, row)

    async def _find_missing(
        self, connection: Connection, staged: StagedFetch, head: _Head, found: _Found
    ) -> None:
        statement = self._sql.of("get_lacking_rows", self._catalogue[staged.endpoint])
        for row in await connection.fetch(statement, *head, SAMPLE):
            found.note(staged.endpoint, row, Differs.MISSING, counts=not row["is_empty"])

    async def _find_unsent(
        self, connection: Connection, staged: StagedFetch, head: _Head, found: _Found
    ) -> None:
        table = self._catalogue[staged.endpoint]
        for row in await connection.fetch(
            self._sql.of("get_unsent_rows", table), *head, SAMPLE, table.table.name
        ):
            found.rows[row["account_id"]] += row["rows"]
            found.note(staged.endpoint, row, Differs.UNSENT, counts=row["trades"] > 0)

    async def doubled_days(
        self, surplus: Sequence[tuple[str, dt.date]]
    ) -> dict[str, frozenset[dt.date]]:
        """Dates by account of trades stored on `surplus` dates and elsewhere."""
        statement = self._sql.of("get_doubled_days", self._catalogue[Endpoint.CLOSED])
        found: defaultdict[str, set[dt.date]] = defaultdict(set)
        # In pieces: an ingestion run twice leaves a surplus on every date of all accounts.
        for part in pieces(surplus, _MOST_DAYS):
            async with self._database.transaction(
                statement_seconds=COMMAND_SECONDS, purpose=Purpose.WRITE_TRADES
            ) as connection:
                for row in await connection.fetch(
                    statement, [each[0] for each in part], [each[1] for each in part]
                ):
                    found[row["account_id"]].update(row["days"])
        return {account_id: frozenset(days) for account_id, days in found.items()}
