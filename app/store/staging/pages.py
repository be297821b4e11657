"""Parses JSON pages into staging within PostgreSQL, which keeps every digit.

Rejected pages are bisected; unreadable rows are staged as rejected, to be counted and reported.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from app.domain.contract.rows import RepairedRow, fields_of, flattened, is_count
from app.domain.contract.spelling import AskedIds, respelled
from app.errors import DatabaseUnavailable, IncompleteFetch, RowRefused
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import STAGED, WarehouseTable
from app.store.staging.names.known_ids import KnownIds
from app.store.staging.names.known_logins import KnownLogins
from app.store.staging.staged_fetch import StagedFetch
from app.store.staging.staging_sql import NATURAL_KEY, open_statement, refuse_statement
from app.store.table_sql.unsent import UnsentColumns

_ACCOUNT = "accountId"
_NULL = msgspec.Raw(b"null")
_EMPTY = frozenset({b"null", b""})
REPLACED = "characters replaced"
"""Note on text with replaced characters."""


class _Row(NamedTuple):
    """A row, and its unsent columns (None: has all)."""

    text: bytes
    unsent: bytes | None


class PageOpener:
    """Parses pages into staging tables."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue
        sql = database.queries("staging/pages")
        self._set_up = sql["set_up_pages"]
        self._mark_repaired = {
            endpoint: fill(sql["mark_repaired"], stage=catalogue[endpoint].stage)
            for endpoint in STAGED
        }
        self._open = {
            endpoint: open_statement(catalogue[endpoint], carefully=False) for endpoint in STAGED
        }
        self._open_carefully = {
            endpoint: open_statement(catalogue[endpoint], carefully=True) for endpoint in STAGED
        }
        self._refuse = {endpoint: refuse_statement(catalogue[endpoint]) for endpoint in STAGED}
        self._fields = {endpoint: _SentFields(catalogue[endpoint]) for endpoint in STAGED}
        self._known_ids, self._known_logins = KnownIds(database), KnownLogins(database)

    async def add(
        self,
        staged: StagedFetch,
        rows: Sequence[bytes],
        logins: Sequence[str] = (),
        ids: AskedIds | None = None,
    ) -> None:
        """Append JSON objects, with differing fields.

        `logins` or `ids` were asked for. Raises IncompleteFetch for ambiguous numeric logins.
        """
        fields = self._fields[staged.endpoint]
        spelled = [respelled(flattened(row), staged.shared_ids) for row in rows]
        if ids is not None and fields.names_account:
            spelled = await self._known_ids.restored(spelled, ids)
        opened = [
            fields.opened(staged, row) for row in await self._known_logins.restored(spelled, logins)
        ]
        if not opened:
            return
        staged.has_unsent |= any(row.unsent for row in opened)
        try:
            await self._insert(self._open[staged.endpoint], staged, opened)
        except RowRefused:
            await self._add_carefully(staged, opened)

    async def _insert(self, statement: str, staged: StagedFetch, rows: Sequence[_Row]) -> None:
        """Stage rows in order, marking repaired fields."""
        marks = self._marks(staged, rows)
        unsent = [row.unsent for row in rows] if any(row.unsent for row in rows) else None
        async with self._adding(staged, len(rows)) as connection:
            staged_now = await connection.execute(
                statement, staged.fetch_id, staged.rows, _array(rows), unsent
            )
            _require_registered(staged_now, len(rows))
            if marks:
                await connection.execute(
                    self._mark_repaired[staged.endpoint],
                    staged.fetch_id,
                    msgspec.json.encode(marks).decode(),
                )

    def _marks(self, staged: StagedFetch, rows: Sequence[_Row]) -> list[Mapping[str, object]]:
        """Marks of repaired rows, for fields with columns."""
        table = self._catalogue[staged.endpoint]
        return [
            mark.at(staged.rows + number)
            for number, row in enumerate(rows, start=1)
            if isinstance(row.text, RepairedRow) and (mark := _mark_of(table, row.text))
        ]

    async def _refuse_unread(self, staged: StagedFetch, text: str, reason: str) -> None:
        async with self._adding(staged, 1) as connection:
            refused = await connection.execute(
                self._refuse[staged.endpoint], staged.fetch_id, staged.rows, text, reason
            )
            _require_registered(refused, 1)

    @asynccontextmanager
    async def _adding(self, staged: StagedFetch, rows: int) -> AsyncIterator[Connection]:
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            await connection.execute(self._set_up)
            yield connection
        staged.rows += rows
        staged.is_distinct = False
        staged.accounts = None

    async def _add_carefully(self, staged: StagedFetch, rows: Sequence[_Row]) -> None:
        """Parse with forgiving readers, bisecting to unreadable rows."""
        try:
            await self._insert(self._open_carefully[staged.endpoint], staged, rows)
        except RowRefused as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._add_carefully(staged, rows[:middle])
                await self._add_carefully(staged, rows[middle:])
                return
            # Only a zero byte is valid in PostgreSQL's json but not in its text.
            text = rows[0].text.decode("utf-8", "replace").replace("\\u0000", "\\ufffd")
            reason = f"cannot be read: {error}"
            await self._refuse_unread(staged, text, reason)


class _SentFields:
    """Fields of sent rows, and which are empty."""

    def __init__(self, table: WarehouseTable) -> None:
        self.names_account = "account_id" in table.key
        self._columns = UnsentColumns(table)
        self._natural = {
            column.api_name
            for column in table.columns
            if column.name in NATURAL_KEY and column.name not in table.key
        }
        self._counts = {
            column.api_name: column.largest_count for column in table.columns if column.is_count
        }
        self._last: tuple[tuple[str, ...], bytes | None] | None = None

    def opened(self, staged: StagedFetch, row: bytes | None) -> _Row:
        """The row with its unsent columns; raises IncompleteFetch for an ambiguous login."""
        if row is None:
            raise IncompleteFetch(
                "The API sends logins as numbers, and one may stand for several that differ in"
                " leading zeros."
            )
        fields = fields_of(row)
        if self.names_account and _is_empty(fields, _ACCOUNT):
            staged.has_unnamed = True
        untold = self._untold(row, fields)
        keys = tuple(name for name in fields if name not in untold) if untold else tuple(fields)
        if self._last is None or keys != self._last[0]:
            self._last = keys, self._columns.of(keys)
        return _Row(row, self._last[1])

    def _untold(self, row: bytes, fields: Mapping[str, msgspec.Raw]) -> list[str]:
        # An empty or unreadable natural key leaves the stored one.
        untold = [name for name in self._natural if _is_empty(fields, name)]
        # An invalid count leaves the stored one.
        untold += [
            name
            for name, largest in self._counts.items()
            if name in fields and not is_count(bytes(fields[name]), largest)
        ]
        if isinstance(row, RepairedRow):
            untold += (self._natural & (row.nulled | row.replaced)) | (
                self._counts.keys() & row.nulled
            )
        return untold


def _is_empty(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    return bytes(fields.get(name, _NULL)).strip(b'" ') in _EMPTY


def _require_registered(staged: int, rows: int) -> None:
    """Raise DatabaseUnavailable for an unregistered fetch, whose rows would never be dropped."""
    if staged != rows:
        raise DatabaseUnavailable(
            "This process sent no heartbeat within its lease: its fetched rows were dropped, and"
            " are fetched again."
        )


@dataclass(frozen=True, slots=True)
class _Mark:
    """Repaired columns of a row, and why it cannot be stored, if so."""

    columns: list[str]
    reason: str | None
    source: bytes

    def at(self, ordinal: int) -> Mapping[str, object]:
        """As JSON, for this ordinal."""
        return {
            "ordinal": ordinal,
            "columns": self.columns,
            "reason": self.reason,
            "source": msgspec.Raw(self.source),
        }


def _mark_of(table: WarehouseTable, row: RepairedRow) -> _Mark | None:
    """The mark of a repaired row; None if no column of the table is concerned.

    Numbers and dates are judged later.
    """
    nulled = [column.unheld for column in table.columns if column.api_name in row.nulled]
    replaced = [
        column.name
        for column in table.columns
        if column.api_name in row.replaced and column.is_free_text
    ]
    if not nulled and not replaced:
        return None
    # A changed key would be another row.
    reasons = [
        f"key part {name} holds characters that no text can hold"
        for name in replaced
        if name in table.key
    ]
    return _Mark(
        [*nulled, *(f"{name} ({REPLACED})" for name in replaced)], "; ".join(reasons) or None, row
    )


def _array(rows: Sequence[_Row]) -> str:
    return b"".join((b"[", b",".join(row.text for row in rows), b"]")).decode("utf-8", "replace")
