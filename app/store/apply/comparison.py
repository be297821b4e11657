"""Comparing whole slices: every row and column of a proven fetch beside what is stored, before and
after it is written.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from app.domain.accounts.comparison import ComparedTable, Difference, Differs
from app.domain.contract.tables import Endpoint
from app.domain.issues.codes import SAMPLE
from app.domain.sequences import pieces
from app.store.apply.model import Slice
from app.store.apply.rejects import WITHHELD
from app.store.apply.statements import Statements
from app.store.apply.violations import TOO_NARROW
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Purpose
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw_tables import Catalogue
from app.store.staging.staging import StagedFetch

_COUNT = "num_trades"
_MOST_DAYS = 10_000
"""Accounts and dates of which one statement looks for trades that are stored twice."""


class RowComparison:
    """Reads how rows of upstream and stored ones differ; nothing is written."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        """Read the statements; a missing one fails here.

        Rows outside of the window are not compared.
        """
        self._database = database
        self._catalogue = catalogue
        self._sql = Statements(database.queries("comparison", window), catalogue, window)

    def columns(self, staged: StagedFetch) -> int:
        """How many columns of the table upstream's rows are compared in, those of the key
        included.
        """
        table = self._catalogue[staged.endpoint]
        return len(table.key) + len(table.values)

    async def compare(
        self,
        staged: StagedFetch,
        proven: Slice,
        account_ids: Sequence[str],
        *,
        is_written: bool = False,
    ) -> dict[str, ComparedTable]:
        """The slices of these accounts beside the staged fetch that proves them, by account, each
        of them named.

        Once the fetch `is_written`, rows that the table refused to take differ, too; what waits
        until its date is settled does not.
        """
        table, ids = self._catalogue[staged.endpoint], list(account_ids)
        head = staged.fetch_id, ids, None if proven.dates is None else list(proven.dates)
        has_date = table.table.date_column is not None
        is_empty = (
            f"{table.raw.split('.')[0]}.recon_count(s.num_trades) = 0"
            if has_date and not staged.endpoint.is_trades
            else "false"
        )
        differences: defaultdict[str, list[Difference]] = defaultdict(list)
        rows: defaultdict[str, int] = defaultdict(int)
        purpose = Purpose.WRITE_TRADES if staged.endpoint.is_trades else Purpose.WRITE_METRICS
        async with self._database.transaction(
            "repeatable_read", statement_seconds=COMMAND_SECONDS, purpose=purpose
        ) as connection:
            for row in await connection.fetch(
                self._sql.of("count_sent_rows", table), staged.fetch_id, ids
            ):
                rows[row["account_id"]] += row["rows"]
            differing = self._sql.of("get_differing_rows", table, has_unsent=staged.has_unsent)
            for row in await connection.fetch(
                differing, *head, SAMPLE, is_written, WITHHELD, TOO_NARROW
            ):
                differences[row["account_id"]].append(
                    Difference(
                        staged.endpoint,
                        row["day"],
                        Differs.CHANGED,
                        row["rows"],
                        tuple(row["columns"]),
                        counts=_COUNT in row["columns"],
                        refused=row["refused"],
                        samples=tuple(row["samples"]),
                    )
                )
            for row in await connection.fetch(
                self._sql.of("get_lacking_rows", table, is_empty_row=is_empty), *head, SAMPLE
            ):
                differences[row["account_id"]].append(
                    Difference(
                        staged.endpoint,
                        row["day"],
                        Differs.MISSING,
                        row["rows"],
                        counts=not row["is_empty"],
                        samples=tuple({"key": key} for key in row["keys"]),
                    )
                )
            for row in await connection.fetch(
                self._sql.of("get_unsent_rows", table), *head, SAMPLE, table.table.name
            ):
                rows[row["account_id"]] += row["rows"]
                differences[row["account_id"]].append(
                    Difference(
                        staged.endpoint,
                        row["day"],
                        Differs.UNSENT,
                        row["rows"],
                        counts=row["trades"] > 0,
                        samples=tuple({"key": key} for key in row["keys"]),
                    )
                )
        return {
            account_id: ComparedTable(rows[account_id], tuple(differences[account_id]))
            for account_id in ids
        }

    async def doubled_days(
        self, surplus: Sequence[tuple[str, dt.date]]
    ) -> dict[str, frozenset[dt.date]]:
        """All dates of trades that are stored on these accounts' dates and under another date, too,
        by account.
        """
        statement = self._sql.of("get_doubled_days", self._catalogue[Endpoint.CLOSED])
        found: defaultdict[str, set[dt.date]] = defaultdict(set)
        # In pieces: an ingestion that ran twice leaves a surplus on every date of everybody.
        for part in pieces(surplus, _MOST_DAYS):
            async with self._database.transaction(
                statement_seconds=COMMAND_SECONDS, purpose=Purpose.WRITE_TRADES
            ) as connection:
                for row in await connection.fetch(
                    statement, [each[0] for each in part], [each[1] for each in part]
                ):
                    found[row["account_id"]].update(row["days"])
        return {account_id: frozenset(days) for account_id, days in found.items()}
