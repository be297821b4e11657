"""Restores copies of different rows of a table with common statements."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Table
from app.errors import RowRefused, WriteConflict
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.transaction import LOCK_SECONDS, Connection, Record
from app.store.restore.conditions import CopyConditions, part
from app.store.restore.copies import (
    NAMED_TABLES,
    RemovedRow,
    Restored,
    removed_row,
    told_of,
)
from app.store.restore.copy_locks import CopyLocks
from app.store.restore.rules import (
    Deeds,
    Place,
    changed_slices,
    deleted,
    restored_already,
    stored_again,
    written_back,
)
from app.store.restore.shape import Shape


@dataclass(frozen=True, slots=True)
class SetCopy:
    """A copy with key and account only; equal `columns` mean equal sets."""

    copy: RemovedRow
    columns: str


@dataclass(frozen=True, slots=True)
class _Written:
    """A written row; `changed` columns differ from the copy."""

    removed_id: int
    place: Place
    changed: Sequence[str]


class SetRestore:
    """Each statement writes all rows or raises, for the caller to roll back."""

    def __init__(self, database: Database, conditions: CopyConditions, locks: CopyLocks) -> None:
        self._sql = database.queries("restore/sets")
        self._conditions = conditions
        self._locks = locks
        self._name_changed = part(self._sql["name_changed_columns_of_set"])

    async def copies(self, connection: Connection, ids: Sequence[int]) -> list[SetCopy]:
        """Copies with keys only, newest first."""
        named = " ".join(
            f"WHEN '{table.name}' THEN jsonb_build_object({_named(table)})"
            for table in NAMED_TABLES.values()
        )
        tokens = {
            "named": f"CASE c.table_name {named} ELSE '{{}}'::jsonb END",
            "plain_copies": self._conditions.plain_copies("$1"),
        }
        rows = await connection.fetch(fill(self._sql["get_copies_of_set"], **tokens), list(ids))
        # Rows that one statement wrote have equal columns: read one copy of each.
        first = {(row["table_name"], row["written"]): row["removed_id"] for row in rows}
        read = await connection.fetch(self._sql["get_columns_of_copies"], list(first.values()))
        columns = {row["removed_id"]: row["columns"] for row in read}
        return [
            SetCopy(
                removed_row(row),
                columns.get(first[row["table_name"], row["written"]], row["written"]),
            )
            for row in rows
        ]

    async def stores_as_copied(self, connection: Connection, raw: str, ids: Sequence[int]) -> bool:
        """Whether written rows need no comparison."""
        return bool(await connection.fetch_value(self._sql["stores_as_copied"], raw, list(ids)))

    async def write(
        self, connection: Connection, copies: Sequence[RemovedRow], shape: Shape, *, as_copied: bool
    ) -> list[Restored]:
        """Restore copies of different rows and one shape.

        Raises RowRefused or WriteConflict unless all are written.
        """
        tokens = shape.tokens
        told, waiting = await self._lock(connection, copies)
        present = await self._present(connection, tokens, shape, waiting)
        # Ingestion must not wait for our locks while we wait for one.
        await connection.limit_locks(LOCK_SECONDS)
        deeds = Deeds()
        for copy in waiting:
            if (refused := deeds.add(copy, present[copy.removed_id])) is not None:
                told[copy.removed_id] = refused
        kept = await self._keep(connection, tokens, deeds.taken) if deeds.taken else {}
        by_id = {copy.removed_id: copy for copy in waiting}
        for done in await self._write_rows(connection, tokens, shape, deeds, as_copied=as_copied):
            copy, before = by_id[done.removed_id], deeds.taken.get(done.removed_id)
            said = (
                stored_again(copy, present[copy.removed_id])
                if before is None
                else written_back(copy, before, kept[copy.removed_id])
            )
            told[copy.removed_id] = told_of(
                copy,
                said + shape.remarks(done.changed),
                changed=_changed(copy, done, before),
                is_written=True,
            )
        await self._locks.mark(connection, deeds.ids)
        return [told[copy.removed_id] for copy in copies]

    async def _present(
        self,
        connection: Connection,
        tokens: Mapping[str, str],
        shape: Shape,
        copies: Sequence[RemovedRow],
    ) -> dict[int, list[Record]]:
        statement = fill(
            self._sql["lock_present_rows_of_set"],
            **tokens,
            plain_copies=self._conditions.plain_copies("$1"),
            is_foreign=self._conditions.foreign(None),
            stood_there=self._conditions.stood_there(None),
            beside_as=self._conditions.beside_as(shape),
        )
        present: dict[int, list[Record]] = defaultdict(list)
        ids = [copy.removed_id for copy in copies]
        for row in await connection.fetch(statement, ids, shape.unwritten):
            present[row["removed_id"]].append(row)
        return present

    async def _write_rows(
        self,
        connection: Connection,
        tokens: Mapping[str, str],
        shape: Shape,
        deeds: Deeds,
        *,
        as_copied: bool,
    ) -> list[_Written]:
        rows: list[_Written] = []
        if deeds.taken:
            rows += await self._write_back(
                connection, tokens, shape, deeds.taken, as_copied=as_copied
            )
        places = {copy.removed_id: _place_of(copy) for copy in deeds.lacking} if as_copied else {}
        if deeds.lacking and as_copied and None not in places.values():
            rows += await self._insert_as_copied(
                connection, tokens, {each: place for each, place in places.items() if place}
            )
        elif deeds.lacking:
            ids = [copy.removed_id for copy in deeds.lacking]
            rows += await self._insert(connection, tokens, shape, ids)
        return rows

    async def _lock(
        self, connection: Connection, copies: Sequence[RemovedRow]
    ) -> tuple[dict[int, Restored], list[RemovedRow]]:
        """Results of unusable copies, and usable ones."""
        restored_at = await self._locks.lock(connection, [copy.removed_id for copy in copies])
        told: dict[int, Restored] = {}
        for copy in copies:
            at = restored_at.get(copy.removed_id)
            if copy.removed_id not in restored_at:
                told[copy.removed_id] = deleted(copy)
            elif at is not None:
                told[copy.removed_id] = restored_already(copy, at)
        return told, [copy for copy in copies if copy.removed_id not in told]

    async def _keep(
        self, connection: Connection, tokens: Mapping[str, str], taken: Mapping[int, Record]
    ) -> dict[int, int]:
        """Copy rows to overwrite; returns new copies by old.

        Ids follow the rows' order.
        """
        rows = await connection.fetch(
            fill(self._sql["keep_present_rows"], **_undated(tokens, taken.values())),
            *_places(taken),
        )
        if len(rows) != len(taken):
            raise WriteConflict("another writer changed the rows in the meantime")
        return dict(zip(sorted(taken), sorted(row["removed_id"] for row in rows), strict=True))

    async def _write_back(
        self,
        connection: Connection,
        tokens: Mapping[str, str],
        shape: Shape,
        taken: Mapping[int, Record],
        *,
        as_copied: bool,
    ) -> list[_Written]:
        if as_copied:
            statement = fill(
                self._sql["write_back_rows_as_copied"], **_undated(tokens, taken.values())
            )
            return _whole(await connection.fetch(statement, *_places(taken)), taken)
        sql = fill(
            self._sql["write_back_rows"],
            **_undated(tokens, taken.values()),
            plain_copies=self._conditions.plain_copies("$2"),
            changed=self._name_changed,
        )
        return _whole(await connection.fetch(sql, shape.updated, *_places(taken)), taken)

    async def _insert(
        self, connection: Connection, tokens: Mapping[str, str], shape: Shape, ids: Sequence[int]
    ) -> list[_Written]:
        sql = fill(
            self._sql["insert_rows_again"],
            **tokens,
            plain_copies=self._conditions.plain_copies("$1"),
            changed=self._name_changed,
        )
        return _whole(await connection.fetch(sql, list(ids), shape.inserted), ids)

    async def _insert_as_copied(
        self, connection: Connection, tokens: Mapping[str, str], places: Mapping[int, Place]
    ) -> list[_Written]:
        written = await connection.execute(
            fill(self._sql["insert_rows_as_copied"], **tokens), list(places)
        )
        if written != len(places):
            raise RowRefused(
                "a trigger of the table prevents the write", sqlstate="", constraint=None
            )
        return [_Written(removed_id, place, ()) for removed_id, place in places.items()]


def _changed(
    copy: RemovedRow, done: _Written, before: Record | None
) -> dict[str, set[dt.date | None]]:
    places = () if before is None else (Place(before["account_id"], before["day"]),)
    return changed_slices(copy, done.place, *places)


def _place_of(copy: RemovedRow) -> Place | None:
    """Where the row belongs; None for dates beyond Python's."""
    column = NAMED_TABLES[copy.table].date_column
    text = copy.values.get(column) if column else None
    try:
        return Place(
            copy.values.get("account_id"), None if text is None else dt.date.fromisoformat(text)
        )
    except ValueError:
        return None


def _named(table: Table) -> str:
    return ", ".join(
        f"'{column}', c.row_data ->> '{column}'"
        for column in dict.fromkeys((*table.key, "account_id"))
    )


def _places(taken: Mapping[int, Record]) -> tuple[list[object], ...]:
    """Copies, tables, ctids and dates of their stored rows, as arrays."""
    rows = [(removed_id, taken[removed_id]) for removed_id in sorted(taken)]
    return (
        [removed_id for removed_id, _ in rows],
        [row["row_table"] for _, row in rows],
        [row["row_place"] for _, row in rows],
        [row["day"] for _, row in rows],
    )


def _undated(tokens: Mapping[str, str], rows: Iterable[Record]) -> Mapping[str, str]:
    """Drop the date condition if a row has none."""
    return {**tokens, "same_day_p": "true"} if any(row["day"] is None for row in rows) else tokens


def _whole(rows: Sequence[Record], wanted: Iterable[int]) -> list[_Written]:
    """Raise RowRefused unless each copy has one row: triggers may interfere."""
    if sorted(row["removed_id"] for row in rows) != sorted(wanted):
        raise RowRefused("a trigger of the table prevents the write", sqlstate="", constraint=None)
    return [
        _Written(row["removed_id"], Place(row["account_id"], row["day"]), row["changed"])
        for row in rows
    ]
