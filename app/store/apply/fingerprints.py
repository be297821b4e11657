"""Fingerprints of slices: taken before a fetch and compared before its write, to detect other
writers.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint
from app.store.database.pool import Database
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection
from app.store.database.window import ALL_DATES, Window
from app.store.schema.raw.catalogue import Catalogue
from app.store.table_sql.statements import Statements

Versions = Mapping[str, tuple[int, int]]
"""Row count and version sum by account, without empty slices."""

_CHANGED = (-1, -1)


@dataclass(frozen=True, slots=True)
class Slice:
    """Accounts and dates (None: all) of a fetch; of trades, first and last date."""

    endpoint: Endpoint
    account_ids: tuple[str, ...]
    dates: tuple[dt.date, ...] | None


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Slices at one time; later transactions have ids from `horizon`."""

    slices: Versions
    horizon: int

    def without(self, account_ids: Iterable[str]) -> "Fingerprints":
        """The same, with slices of these accounts as changed."""
        return Fingerprints({**self.slices, **dict.fromkeys(account_ids, _CHANGED)}, self.horizon)

    def unchanged(self, account_id: str, now: Versions) -> bool:
        """Whether the account's slice is unchanged."""
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
        """Fingerprints, in their own transaction."""
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            # Before the versions, so that writes in between count as later ones.
            horizon = await connection.fetch_value(self._sql["get_horizon"])
            return Fingerprints(
                await self.versions(connection, proven, proven.account_ids), horizon
            )

    async def horizon(self) -> int:
        """All later commits have this transaction id or a higher one."""
        return int(await self._database.fetch_value(self._sql["get_horizon"]))

    async def since(self, proven: Slice, horizon: int) -> Fingerprints:
        """Fingerprints of slices for a read that began at `horizon`; those written since then
        count as changed.
        """
        table = self._catalogue[proven.endpoint]
        values = list(proven.account_ids), None if proven.dates is None else list(proven.dates)
        without_id = (
            self._sql.of("get_newer_slices_without_id", table) if proven.endpoint.is_trades else ""
        )
        statement = self._sql.of("get_newer_slices", table, without_id=without_id)
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            # Versions first: what is written in between is newer.
            slices = await self.versions(connection, proven, proven.account_ids)
            newer = await connection.fetch(statement, *values, horizon)
        return Fingerprints(slices, horizon).without(row["account_id"] for row in newer)

    async def versions(
        self, connection: Connection, proven: Slice, account_ids: Sequence[str]
    ) -> Versions:
        """Versions seen by this transaction."""
        table = self._catalogue[proven.endpoint]
        without_id = (
            self._sql.of("get_fingerprints_without_id", table) if proven.endpoint.is_trades else ""
        )
        statement = self._sql.of("get_fingerprints", table, without_id=without_id)
        rows = await connection.fetch(
            statement, list(account_ids), None if proven.dates is None else list(proven.dates)
        )
        return {row["account_id"]: (row["rows"], row["versions"]) for row in rows}
