"""Fingerprints of slices: taken before a fetch, compared before its write.

A slice whose fingerprint changed in between has another writer, and is left alone.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements

Versions = Mapping[str, tuple[int, int]]
"""Rows of slices and the sum of their versions, by account; one without rows is not there."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What a fetch speaks for: accounts on dates (None: all); of trades the first and last date."""

    endpoint: Endpoint
    account_ids: tuple[str, ...]
    dates: tuple[dt.date, ...] | None


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Slices as they were at some time; later writes have the transaction id `horizon` or a higher
    one.
    """

    slices: Versions
    horizon: int

    def unchanged(self, account_id: str, now: Versions) -> bool:
        """Whether the account's slice is the same now."""
        return self.slices.get(account_id) == now.get(account_id)


class FingerprintReader:
    """Takes fingerprints."""

    def __init__(
        self, database: Database, catalogue: Catalogue, window: Window = ALL_DATES
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        sql = database.queries("apply/fingerprints", window)
        self._sql = Statements(sql, catalogue, window, further=["without_id"])

    async def take(self, proven: Slice) -> Fingerprints:
        """The fingerprints of slices, in a transaction of their own."""
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            # Before the versions: what is written in between counts as written since.
            horizon = await connection.fetch_value(self._sql["get_horizon"])
            return Fingerprints(
                await self.versions(connection, proven, proven.account_ids), horizon
            )

    async def versions(
        self, connection: Connection, proven: Slice, account_ids: Sequence[str]
    ) -> Versions:
        """The versions of slices as a transaction sees them."""
        table = self._catalogue[proven.endpoint]
        without_id = (
            self._sql.of("get_fingerprints_without_id", table) if proven.endpoint.is_trades else ""
        )
        statement = self._sql.of("get_fingerprints", table, without_id=without_id)
        rows = await connection.fetch(
            statement, list(account_ids), None if proven.dates is None else list(proven.dates)
        )
        return {row["account_id"]: (row["rows"], row["versions"]) for row in rows}
