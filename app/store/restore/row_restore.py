"""Restores single copies, where a set is impossible or rejected."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias, assert_never

from app.domain.runs.orders import Way
from app.errors import DatabaseError, ReconError, RowRefused, StatementTooSlow, WriteConflict
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database
from app.store.database.queries import fill, for_schema
from app.store.database.transaction import LOCK_SECONDS, Connection, Record
from app.store.pins import Pins
from app.store.restore.columns import ColumnReader
from app.store.restore.conditions import CopyConditions, part
from app.store.restore.copies import RemovedRow, Restored, refusal, removed_row, told_of
from app.store.restore.copy_locks import CopyLocks
from app.store.restore.rules import (
    TRIES,
    Place,
    Refused,
    changed_slices,
    decide,
    deleted,
    explained,
    just_so,
    restored_already,
    stored_again,
    written_back,
)
from app.store.restore.shape import Shape
from app.store.schema.introspect import distribution

Scope: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]
"""A transaction, or a savepoint of a trial."""


class RowRestore:
    """Writes the row of one copy."""

    def __init__(
        self,
        database: Database,
        feed: ChangeFeed,
        pins: Pins,
        conditions: CopyConditions,
        locks: CopyLocks,
    ) -> None:
        self._schema = database.schema
        self._feed = feed
        self._pins = pins
        self._conditions = conditions
        self._locks = locks
        self._columns = ColumnReader(database)
        self._sql = database.queries("restore/row_restore")
        self._name_changed = part(self._sql["name_changed_columns"])

    async def whole(self, connection: Connection, copy: RemovedRow) -> RemovedRow | None:
        """The copy with its whole row; None if deleted."""
        row = await connection.fetch_row(self._sql["get_removed_rows"], [copy.removed_id])
        return None if row is None else removed_row(row)

    async def restore(
        self, copy: RemovedRow, scope: Scope, way: Way, lock_seconds: float
    ) -> Restored:
        """Restore the copy, waiting at most `lock_seconds` per lock."""
        why: ReconError
        for _ in range(TRIES):
            try:
                return await self._transact(copy, scope, way, lock_seconds)
            except WriteConflict as error:
                why = error
            except (RowRefused, StatementTooSlow, DatabaseError) as error:
                why = error
                break
        return refusal(copy, explained(why))

    async def _transact(
        self, copy: RemovedRow, scope: Scope, way: Way, lock_seconds: float
    ) -> Restored:
        async with scope() as connection:
            await connection.limit_locks(lock_seconds)
            restored_at = await self._locks.lock(connection, [copy.removed_id])
            whole = await self.whole(connection, copy)
            if copy.removed_id not in restored_at or whole is None:
                return deleted(copy)
            if (at := restored_at[copy.removed_id]) is not None:
                return restored_already(copy, at)
            shard = (await distribution(connection, self._schema)).get(copy.table)
            raw = for_schema(f"prop_trading_model.{copy.table}", self._schema)
            shape = Shape(whole, await self._columns.of(connection, raw), raw, shard)
            return await self._write(connection, shape, way)

    async def _write(self, connection: Connection, shape: Shape, way: Way) -> Restored:
        copy = shape.copy
        if shape.lacking:
            return refusal(
                copy, f"the copy lacks {', '.join(shape.lacking)}, which the table's key has now"
            )
        present = await self._present(connection, shape)
        # Ingestion must not wait for our locks while we wait for one.
        await connection.limit_locks(LOCK_SECONDS)
        deed = decide(copy, present)
        match deed:
            case Refused():
                return refusal(copy, deed.why)
            case "nothing":
                return just_so(copy)
            case "insert":
                said = stored_again(copy, present)
                row = await connection.fetch_row(
                    self._with_changed("insert_again", shape), copy.removed_id, shape.inserted
                )
            case Record():
                kept, row = await self._write_back(connection, shape, deed)
                said = written_back(copy, deed, kept)
            case _:
                assert_never(deed)
        if row is None:
            raise RowRefused(
                "a trigger of the table prevents the write", sqlstate="", constraint=None
            )
        places = [row, deed] if isinstance(deed, Record) else [row]
        changed = changed_slices(copy, *(Place(each["account_id"], each["day"]) for each in places))
        await self._locks.mark(connection, [copy.removed_id])
        if way.pins:
            await self._pins.pin(connection, copy.table, [copy.removed_id], way.reason)
        await self._feed.note(connection, None, copy.table, changed, is_trial=way.is_trial)
        return told_of(copy, said + shape.remarks(row["changed"]), changed=changed, is_written=True)

    async def _present(self, connection: Connection, shape: Shape) -> list[Record]:
        sql = fill(
            self._sql["lock_present_rows"],
            **shape.tokens,
            is_foreign=self._conditions.foreign(shape.shard),
            stood_there=self._conditions.stood_there(shape.shard),
            beside_as=self._conditions.beside_as(shape),
        )
        return await connection.fetch(sql, shape.copy.removed_id, shape.unwritten)

    async def _write_back(
        self, connection: Connection, shape: Shape, deed: Record
    ) -> tuple[int, Record | None]:
        """Overwrite the stored row after copying it; returns that copy's id and the row."""
        place, removed_id = (deed["row_table"], deed["row_place"]), shape.copy.removed_id
        in_shard = () if shape.shard is None else (deed["row_shard"],)
        keep = fill(self._sql["keep_present_row"], **shape.tokens)
        kept = int(await connection.fetch_value(keep, *place, removed_id, *in_shard))
        if shape.shard is not None:
            place = (deed["day"], deed["row_shard"])
        sql = self._with_changed("write_back", shape)
        row = await connection.fetch_row(sql, removed_id, shape.updated, *place)
        if row is None and shape.shard is not None:
            raise WriteConflict("another writer changed the row in the meantime")
        return kept, row

    def _with_changed(self, name: str, shape: Shape) -> str:
        return fill(self._sql[name], **shape.tokens, changed=self._name_changed)
