"""Restores rows from the copies in recon_removed_rows.

Short transactions follow `decide`, by sets of different rows, then singly after a rejection.
Without a claim: runs reading the slice see another writer and reread it, and later runs may change
the row again.
"""

import contextlib
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app.domain.copies import Wanted
from app.domain.runs.orders import Way
from app.errors import (
    DatabaseError,
    NotFound,
    RowRefused,
    StatementTooSlow,
    WriteConflict,
)
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database
from app.store.database.queries import fill, for_schema
from app.store.database.transaction import Connection
from app.store.pins import Pins, unit_of
from app.store.restore.columns import ColumnReader, RestoredColumn
from app.store.restore.conditions import CopyConditions
from app.store.restore.copies import (
    NAMED_TABLES,
    RemovedRow,
    Restored,
    listed,
    refusal,
    removed_row,
)
from app.store.restore.copy_locks import CopyLocks
from app.store.restore.row_restore import RowRestore, Scope
from app.store.restore.sets import SetCopy, SetRestore
from app.store.restore.shape import Shape
from app.store.schema.introspect import distribution

_STATEMENT_SECONDS = 30.0
_SET = 5_000
"""Limits the rows locked by a transaction."""


class _UndoneError(Exception):
    """Rolls back a trial."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A raw table as it is now."""

    columns: Sequence[RestoredColumn]
    shard: str | None
    as_copied: bool


class RemovedRows:
    """Lists and restores copies."""

    def __init__(self, database: Database, feed: ChangeFeed) -> None:
        self._database = database
        self._feed = feed
        self._sql = database.queries("restore/restore")
        self._pins = Pins(database)
        self._columns = ColumnReader(database)
        conditions, locks = CopyConditions(database), CopyLocks(database)
        self._sets = SetRestore(database, conditions, locks)
        self._rows = RowRestore(database, feed, self._pins, conditions, locks)

    async def page(self, wanted: Wanted, limit: int, before: int | None = None) -> list[RemovedRow]:
        """Up to `limit` copies, newest first, older than `before`."""
        rows = await self._database.fetch(
            self._sql["list_removed_rows"],
            wanted.account_id,
            wanted.table,
            wanted.run_id,
            wanted.reason,
            before,
            limit,
        )
        return [removed_row(row) for row in rows]

    async def waiting_of_run(self, run_id: uuid.UUID) -> list[int]:
        """Unrestored copies of a run, newest first; NotFound for unknown runs."""
        rows = await self._database.fetch(self._sql["get_ids_of_run"], run_id)
        if not rows and not await self._database.fetch_value(self._sql["is_run"], run_id):
            raise NotFound(
                f"No row is kept that a run {run_id} removed, moved or overwrote. Nothing was"
                " restored."
            )
        return [row["removed_id"] for row in rows if row["is_waiting"]]

    async def inserted_by_run(self, run_id: uuid.UUID) -> int | None:
        """Rows inserted, which have no copies; None for unknown runs."""
        inserted = await self._database.fetch_value(self._sql["count_inserted"], run_id)
        return None if inserted is None else int(inserted)

    async def restore(
        self, removed_ids: Sequence[int], way: Way | None = None
    ) -> AsyncIterator[Restored]:
        """Restore rows, newest copy first so that repeated changes end at the oldest; yields
        results.

        A trial (`way`) rolls back, yielding copies of one row together. Raises NotFound before any
        change, or DatabaseUnavailable, after which yielded results stand.
        """
        await self._require_known(removed_ids)
        way = way or Way()
        ids = sorted(set(removed_ids), reverse=True)
        if way.is_trial:
            for block in await self._units(ids):
                for restored in await self._try_out(block, way):
                    yield restored
            return
        for start in range(0, len(ids), _SET):
            block = ids[start : start + _SET]
            async for restored in self._restore_block(block, self._transaction, way):
                yield restored

    async def _require_known(self, removed_ids: Sequence[int]) -> None:
        unknown = [
            row["removed_id"]
            for row in await self._database.fetch(self._sql["get_unknown_ids"], list(removed_ids))
        ]
        if unknown:
            raise NotFound(
                f"No row is kept under {listed([str(each) for each in unknown])}. Nothing was"
                " restored."
            )

    async def _try_out(self, block: Sequence[int], way: Way) -> list[Restored]:
        told: list[Restored] = []
        with contextlib.suppress(_UndoneError):
            async with self._transaction() as connection:
                told = [
                    each
                    async for each in self._restore_block(
                        block, lambda: _savepoint(connection), way
                    )
                ]
                raise _UndoneError
        return told

    def _transaction(self) -> AbstractAsyncContextManager[Connection]:
        return self._database.transaction(
            statement_seconds=_STATEMENT_SECONDS, idle_seconds=_STATEMENT_SECONDS
        )

    async def _units(self, ids: Sequence[int]) -> list[list[int]]:
        """Copies of one row stay together: newer ones decide older ones."""
        sql = "\nUNION ALL\n".join(
            fill(
                self._sql["get_units"],
                table=f"'{table.name}'",
                key=", ".join(f"c.row_data ->> '{column}'" for column in unit_of(table)),
            )
            for table in NAMED_TABLES.values()
        )
        units = {
            row["removed_id"]: row["unit"] for row in await self._database.fetch(sql, list(ids))
        }
        together: dict[object, list[int]] = defaultdict(list)
        for removed_id in ids:
            together[units.get(removed_id, removed_id)].append(removed_id)
        blocks: list[list[int]] = [[]]
        for of_unit in together.values():
            if blocks[-1] and len(blocks[-1]) + len(of_unit) > _SET:
                blocks.append([])
            blocks[-1] += of_unit
        return [sorted(block, reverse=True) for block in blocks]

    async def _restore_block(
        self, ids: Sequence[int], scope: Scope, way: Way
    ) -> AsyncIterator[Restored]:
        """Copies of one row follow in turn, newest first."""
        async with scope() as connection:
            copies = await self._sets.copies(connection, ids)
            targets = await self._targets(connection, copies)
        for removed_id in sorted(
            set(ids) - {each.copy.removed_id for each in copies}, reverse=True
        ):
            yield Restored(
                removed_id,
                is_there=False,
                sentence="was not restored: the copy was deleted in the meantime.",
            )
        for each in copies:
            if each.copy.table not in targets:
                yield refusal(each.copy, "trade-recon knows no table of this name")
        for together in _in_turns([each for each in copies if each.copy.table in targets]):
            async with scope() as connection:
                whole = await self._rows.whole(connection, together[0])
            if whole is None:
                # The copy was deleted since; the others' columns are only known from themselves.
                for copy in together:
                    yield await self._rows.restore(copy, scope, way, _STATEMENT_SECONDS / 3)
                continue
            target = targets[whole.table]
            shape = Shape(whole, target.columns, self._raw(whole.table), target.shard)
            async for restored in self._restore_set(
                together, shape, scope, way, as_copied=target.as_copied
            ):
                yield restored

    async def _targets(
        self, connection: Connection, copies: Sequence[SetCopy]
    ) -> dict[str, _Target]:
        shards = await distribution(connection, self._database.schema)
        of_table: dict[str, list[int]] = defaultdict(list)
        for each in copies:
            if each.copy.table in NAMED_TABLES:
                of_table[each.copy.table].append(each.copy.removed_id)
        return {
            table: _Target(
                await self._columns.of(connection, self._raw(table)),
                shards.get(table),
                await self._sets.stores_as_copied(connection, self._raw(table), ids),
            )
            for table, ids in of_table.items()
        }

    async def _restore_set(
        self, copies: Sequence[RemovedRow], shape: Shape, scope: Scope, way: Way, *, as_copied: bool
    ) -> AsyncIterator[Restored]:
        """Restore a set, bisecting on rejection."""
        if len(copies) > 1 and shape.shard is None and not shape.lacking:
            try:
                async with scope() as connection:
                    await connection.limit_locks(_STATEMENT_SECONDS / 3)
                    together = await self._sets.write(
                        connection, copies, shape, as_copied=as_copied
                    )
                    if way.pins:
                        await self._pins.pin(
                            connection,
                            copies[0].table,
                            [each.removed_id for each in together if each.is_written],
                            way.reason,
                        )
                    await self._feed.note(
                        connection, None, copies[0].table, _merged(together), is_trial=way.is_trial
                    )
            except (RowRefused, StatementTooSlow, DatabaseError, WriteConflict):
                middle = len(copies) // 2
                for half in (copies[:middle], copies[middle:]):
                    async for restored in self._restore_set(
                        half, shape, scope, way, as_copied=as_copied
                    ):
                        yield restored
            else:
                for restored in together:
                    yield restored
            return
        for copy in copies:
            yield await self._rows.restore(copy, scope, way, _STATEMENT_SECONDS / 3)

    def _raw(self, table: str) -> str:
        return for_schema(f"prop_trading_model.{table}", self._database.schema)


@contextlib.asynccontextmanager
async def _savepoint(connection: Connection) -> AsyncIterator[Connection]:
    async with connection.savepoint():
        yield connection


def _in_turns(copies: Sequence[SetCopy]) -> list[list[RemovedRow]]:
    """Sets of different rows with equal columns, in turn."""
    sets: dict[tuple[int, str, tuple[bool, ...], str], list[RemovedRow]] = defaultdict(list)
    earlier: dict[tuple[object, ...], int] = defaultdict(int)
    units = {name: unit_of(table) for name, table in NAMED_TABLES.items()}
    for copy, columns in ((each.copy, each.columns) for each in copies):
        part = copy.values.get
        unit = (copy.table, *[part(column) for column in units[copy.table]])
        turn = earlier[unit]
        earlier[unit] = turn + 1
        nulls = tuple([part(column) is None for column in NAMED_TABLES[copy.table].key])
        sets[turn, copy.table, nulls, columns].append(copy)
    return [together for _, together in sorted(sets.items(), key=lambda item: item[0][0])]


def _merged(together: Sequence[Restored]) -> Mapping[str, set[dt.date | None]]:
    merged: dict[str, set[dt.date | None]] = defaultdict(set)
    for restored in together:
        for account_id, days in restored.changed.items():
            merged[account_id] |= days
    return merged
