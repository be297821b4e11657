"""Reads of a run that all of its batches, in all processes, share.

Invariants:
1. One live worker reads a date; a dead one's read begins again.
2. A proven fetch belongs to the run: housekeeping drops it when the run ends, not with its worker.
3. A batch copies the rows of its accounts, or learns that they are gone.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint
from app.domain.ids import RunId, WorkerId
from app.domain.planning.planned_request import SharedRead
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import WarehouseTable
from app.store.staging.staged_fetch import StagedFetch

_ROW_BYTES = 1_500
"""A staged row as expected before any is there."""
_COPIED = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


@dataclass(frozen=True, slots=True)
class ProvenRead:
    """A proven read: rows written by transactions from `horizon` on are newer."""

    fetch_id: uuid.UUID
    rows: int
    horizon: int
    has_unsent: bool


@dataclass(frozen=True, slots=True)
class DroppedRead:
    """A read that its accounts are asked for by id instead."""

    reason: str


class SharedReadStore:
    """Keeps what runs read once."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        worker_id: WorkerId,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._worker = worker_id, lease_seconds
        self._sql = database.queries("staging/shared_reads")

    def can_share(self) -> bool:
        """Whether staging is on this server: others know no common horizon."""
        return all(self._catalogue[endpoint].distributed_by is None for endpoint in _COPIED)

    async def plan(
        self, connection: Connection, run_id: RunId, reads: Sequence[SharedRead]
    ) -> None:
        """Plan a run's reads in a transaction; known ones stay as they are."""
        for read in reads:
            await connection.execute(
                self._sql["plan_read"],
                *self._key(run_id, read),
                list(read.gaps),
                read.most_rows,
                read.rows,
            )

    async def of(self, run_id: RunId) -> set[SharedRead]:
        """A run's reads that were not dropped."""
        endpoints = {self._catalogue[endpoint].table.name: endpoint for endpoint in _COPIED}
        rows = await self._database.fetch(self._sql["get_reads"], run_id)
        return {
            SharedRead(
                endpoints[row["table_name"]],
                tuple(row["days"]),
                row["most_rows"],
                row["expected_rows"],
                tuple(row["gaps"]),
            )
            for row in rows
        }

    async def get(self, run_id: RunId, read: SharedRead) -> ProvenRead | DroppedRead | None:
        """What came of a read; None: nothing yet."""
        row = await self._database.fetch_row(self._sql["get_read"], *self._key(run_id, read))
        if row is None or row["state"] == "dropped":
            return DroppedRead("" if row is None else row["reason"])
        if row["state"] == "planned":
            return None
        return ProvenRead(row["fetch_id"], row["rows"], row["horizon"], row["has_unsent"])

    async def take(self, run_id: RunId, read: SharedRead, most_bytes: int) -> bool:
        """Whether this worker is to read it; one without room in staging is dropped."""
        worker, lease = self._worker
        state = await self._database.fetch_value(
            self._sql["take_read"],
            *self._key(run_id, read),
            worker,
            lease,
            _ROW_BYTES,
            most_bytes,
        )
        return bool(state == "planned")

    async def give_back(self, run_id: RunId, read: SharedRead) -> None:
        """Let any worker read it."""
        await self._database.execute(
            self._sql["give_read_back"], *self._key(run_id, read), self._worker[0]
        )

    async def drop(self, run_id: RunId, read: SharedRead, reason: str) -> None:
        """Have its accounts asked for by id."""
        await self._database.execute(self._sql["drop_read"], *self._key(run_id, read), reason)

    async def bytes_of(self, read: SharedRead, staged: StagedFetch) -> int | None:
        """Bytes of a staged fetch; None if a row names no account, or no login for trades."""
        table = self._catalogue[read.endpoint]
        statement = fill(self._sql["measure_fetch"], stage=table.stage, owner=_owner(table))
        size = await self._database.fetch_value(statement, staged.fetch_id, seconds=COMMAND_SECONDS)
        return None if size is None else int(size)

    async def keep(
        self, run_id: RunId, read: SharedRead, staged: StagedFetch, horizon: int, size: int
    ) -> bool:
        """Hand a proven fetch of `size` bytes over to the run; False if another worker read it
        meanwhile.
        """
        kept = await self._database.execute(
            self._sql["keep_read"],
            *self._key(run_id, read),
            self._worker[0],
            staged.fetch_id,
            staged.rows,
            size,
            horizon,
            staged.has_unsent,
        )
        return bool(kept)

    async def copy(
        self, read: SharedRead, proven: ProvenRead, owners: Sequence[str], into: StagedFetch
    ) -> bool:
        """Copy the rows of accounts, or of logins for trades; False if they are gone."""
        table = self._catalogue[read.endpoint]
        owner = _owner(table)
        are_of_days, dates = ("true", ()) if owner == "account_id" else _between(table, read)
        types = {column.name: column.sql_type for column in table.columns}
        statement = fill(
            self._sql["copy_rows"],
            stage=table.stage,
            owner=quote(owner),
            owner_type="text" if owner == "account_id" else types[owner],
            are_of_days=are_of_days,
            columns=", ".join(quote(column.name) for column in table.columns),
        )
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            if not await self._is_there(connection, table, proven):
                return False
            copied = await connection.fetch(
                statement, into.fetch_id, proven.fetch_id, list(owners), *dates
            )
        into.rows = sum(row["rows"] for row in copied)
        # Trades have no account yet.
        into.accounts = (
            None if read.endpoint.is_trades else {row["account_id"]: row["rows"] for row in copied}
        )
        into.has_unsent = proven.has_unsent
        return True

    async def _is_there(
        self, connection: Connection, table: WarehouseTable, proven: ProvenRead
    ) -> bool:
        # A crash of PostgreSQL empties staging.
        statement = fill(self._sql["lock_fetch"], stage=table.stage)
        return bool(await connection.fetch_value(statement, proven.fetch_id, proven.rows))

    def _name(self, read: SharedRead) -> str:
        return self._catalogue[read.endpoint].table.name

    def _key(self, run_id: RunId, read: SharedRead) -> tuple[RunId, str, list[dt.date]]:
        return run_id, self._name(read), list(read.days)


def _owner(table: WarehouseTable) -> str:
    return "login" if table.table.endpoint.is_trades else "account_id"


def _between(table: WarehouseTable, read: SharedRead) -> tuple[str, tuple[dt.date, ...]]:
    return f"{quote(str(table.table.date_column))} BETWEEN $4::date AND $5::date", read.dates
