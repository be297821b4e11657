"""Rows that trade-recon removed, moved or overwrote: the copies that were kept, and bringing rows back from them.

Every write into a raw table keeps the row as it stood before in `recon_removed_rows`. A row is brought back in one short
transaction under the rules of `_decide`. No claim is needed for that: a run that reads the slice meanwhile sees another
writer's row and looks again, and a later run may change the row once more, if upstream says so.
"""

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, assert_never

import msgspec

from app.domain.contract import TABLES, Table
from app.domain.copies import Reason, Wanted
from app.errors import DatabaseError, NotFound, ReconError, RowRefused, StatementTooSlow, WriteConflict
from app.store.feed import ChangeFeed
from app.store.pool import LOCK_SECONDS, Connection, Database, Record
from app.store.queries import fill, for_schema, quote
from app.store.survey import distribution
from app.store.violations import UNIQUE_VIOLATION

_TRIES = 3
_STATEMENT_SECONDS = 30.0
_LISTED = 10
"""Ids or dates that a sentence names at most."""
_CHECK_VIOLATION = "23514"
_TABLES: Mapping[str, Table] = {table.name: table for table in TABLES.values()}


@dataclass(frozen=True, slots=True)
class RemovedRow:
    """A copy: the row as JSON text with every digit, when and why it was kept, and when the row was brought back (None: never)."""

    removed_id: int
    removed_at: dt.datetime
    table: str
    account_id: str | None
    date: dt.date | None
    reason: Reason
    run_id: uuid.UUID | None
    restored_at: dt.datetime | None
    row: str

    @property
    def values(self) -> Mapping[str, str | None]:
        """The row's values as text by column: a string without its quotes, anything else as JSON writes it, None for null."""
        return {column: _text(bytes(value)) for column, value in msgspec.json.decode(self.row, type=dict[str, msgspec.Raw]).items()}

    @property
    def key(self) -> str:
        """The row's key in the order of the table's columns, without the date."""
        table, values = _TABLES.get(self.table), self.values
        return "/".join(values.get(column) or "-" for column in table.key if column != table.date_column) if table else "-"

    @property
    def name(self) -> str:
        """The row in a sentence."""
        dated = self.table in _TABLES and _TABLES[self.table].date_column is not None
        return f"{self.table} {self.key}" + (f" of {self.date}" if dated else "")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of one copy; `is_there`: the row stands in the warehouse as in the copy, now or already before.

    `changed` are the slices of `table` in which rows were written, by account.
    """

    removed_id: int
    is_there: bool
    sentence: str
    table: str = ""
    changed: Mapping[str, set[dt.date | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a raw table; `is_numbered`: its value is given once, when the row is inserted."""

    name: str
    is_generated: bool
    is_numbered: bool


@dataclass(frozen=True, slots=True)
class _Refused:
    """Nothing is to be changed, and why."""

    why: str


_Deed = Literal["insert", "nothing"] | Record | _Refused
"""What is to be done: a row of `lock_present_rows` gets the copy's values."""


class RemovedRows:
    """Lists the copies, and brings rows back."""

    def __init__(self, database: Database, feed: ChangeFeed) -> None:
        """Read the statements."""
        self._database = database
        self._feed = feed
        self._sql = database.queries("removed")

    async def page(self, wanted: Wanted, limit: int, before: int | None = None) -> list[RemovedRow]:
        """Copies, newest first, at most `limit`; `before`: only those that are older than this id."""
        rows = await self._database.fetch(
            self._sql["list_removed_rows"], wanted.account_id, wanted.table, wanted.run_id, wanted.reason, before, limit
        )
        return [_removed_row(row) for row in rows]

    async def waiting_of_run(self, run_id: uuid.UUID) -> list[int]:
        """The copies that a run made and that were not restored yet, newest first; NotFound if it made none and is not known either."""
        rows = await self._database.fetch(self._sql["get_ids_of_run"], run_id)
        if not rows and not await self._database.fetch_value(self._sql["is_run"], run_id):
            raise NotFound(f"No row is kept that a run {run_id} removed, moved or overwrote. Nothing was restored.")
        return [row["removed_id"] for row in rows if row["is_waiting"]]

    async def inserted_by_run(self, run_id: uuid.UUID) -> int | None:
        """How many rows a run inserted, of which no copy is kept; None where the run is not known any more."""
        inserted = await self._database.fetch_value(self._sql["count_inserted"], run_id)
        return None if inserted is None else int(inserted)

    async def restore(self, removed_ids: Sequence[int]) -> AsyncIterator[Restored]:
        """Bring rows back, newest copy first, so that several copies of one row end at the oldest; what came of each, as it happens.

        Each in a transaction of its own: one that is refused stops no other. Raises NotFound for ids that no copy has, before
        anything is changed, and DatabaseUnavailable if PostgreSQL goes away: what was told until then stays restored.
        """
        unknown = [row["removed_id"] for row in await self._database.fetch(self._sql["get_unknown_ids"], list(removed_ids))]
        if unknown:
            raise NotFound(f"No row is kept under {_listed([str(each) for each in unknown])}. Nothing was restored.")
        for removed_id in sorted(set(removed_ids), reverse=True):
            yield await self._restore(removed_id)

    async def _restore(self, removed_id: int) -> Restored:
        found = await self._database.fetch_row(self._sql["get_removed_row"], removed_id)
        if found is None:
            return Restored(removed_id, is_there=False, sentence="was not restored: somebody deleted the copy meanwhile.")
        copy = _removed_row(found)
        why: ReconError
        for _ in range(_TRIES):
            try:
                return await self._transact(copy)
            except WriteConflict as error:
                why = error
            except (RowRefused, StatementTooSlow, DatabaseError) as error:
                why = error
                break
        return _refusal(copy, _explained(why))

    async def _transact(self, copy: RemovedRow) -> Restored:
        async with self._database.transaction(statement_seconds=_STATEMENT_SECONDS, idle_seconds=_STATEMENT_SECONDS) as connection:
            await connection.execute(self._sql["lock_restoring"])
            locked = await connection.fetch_row(self._sql["lock_copy"], copy.removed_id)
            if locked is None:
                return _refusal(copy, "somebody deleted the copy meanwhile")
            if locked["restored_at"] is not None:
                return _refusal(copy, f"it was restored already, at {locked['restored_at']:%Y-%m-%d %H:%M:%S %Z}")
            if copy.table not in _TABLES:
                return _refusal(copy, "trade-recon knows no table of this name")
            shard = (await distribution(connection, self._database.schema)).get(copy.table)
            return await self._write(connection, _Restore(copy, await self._columns(connection, copy.table), self._raw(copy.table), shard))

    async def _write(self, connection: Connection, restore: "_Restore") -> Restored:
        copy, tokens = restore.copy, restore.tokens
        if restore.lacking:
            return _refusal(copy, f"the copy lacks {', '.join(restore.lacking)}, which the table's key has now")
        stamped = self._part("is_stamped_anew")
        # The version of a row on another server is none of our transaction ids.
        foreign = (
            fill(self._part("is_foreign"), stamped=stamped, same=self._part("copies_of_account")) if restore.shard is None else stamped
        )
        sql = fill(self._sql["lock_present_rows"], **tokens, is_foreign=foreign)
        present = await connection.fetch(sql, copy.removed_id, restore.unwritten)
        # From here on we hold rows that ingestion may want: it must not wait for us while we wait for someone else.
        await connection.limit_locks(LOCK_SECONDS)
        deed = _decide(copy.reason, present)
        match deed:
            case _Refused():
                return _refusal(copy, deed.why)
            case "nothing":
                return Restored(copy.removed_id, is_there=True, sentence=f"{copy.name} is stored just so already; nothing was changed.")
            case "insert":
                said = f"{copy.name} is stored again."
                row = await connection.fetch_row(self._with_changed("insert_again", tokens), copy.removed_id, restore.inserted)
            case Record():
                place = (deed["row_table"], deed["row_place"])
                in_shard = () if restore.shard is None else (deed["row_shard"],)
                kept = await connection.fetch_value(fill(self._sql["keep_present_row"], **tokens), *place, copy.removed_id, *in_shard)
                back = "has its old values again" if deed["has_key"] else f"is back from {deed['day']} with its old values"
                said = f"{copy.name} {back}; what it held until now is kept as {kept}."
                if restore.shard is not None:
                    place = (deed["day"], deed["row_shard"])
                row = await connection.fetch_row(self._with_changed("write_back", tokens), copy.removed_id, restore.updated, *place)
                if row is None and restore.shard is not None:
                    raise WriteConflict("the row was written by someone else meanwhile")
            case _:
                assert_never(deed)
        if row is None:
            raise RowRefused("a trigger of the table lets it not be written", sqlstate="", constraint=None)
        await connection.execute(self._sql["mark_restored"], copy.removed_id)
        changed = _changed_slices(copy, row, deed if isinstance(deed, Record) else None)
        await self._feed.note(connection, None, copy.table, changed)
        return Restored(copy.removed_id, is_there=True, sentence=said + restore.remarks(row["changed"]), table=copy.table, changed=changed)

    def _with_changed(self, name: str, tokens: Mapping[str, str]) -> str:
        return fill(self._sql[name], **tokens, changed=self._part("name_changed_columns"))

    def _part(self, name: str) -> str:
        """A part of a statement, without the line that says what it is."""
        return self._sql[name].partition("\n")[2]

    def _raw(self, table: str) -> str:
        return for_schema(f"prop_trading_model.{table}", self._database.schema)

    async def _columns(self, connection: Connection, table: str) -> list[_Column]:
        rows = await connection.fetch(self._sql["get_columns"], self._raw(table))
        return [_Column(row["name"], row["is_generated"], row["is_numbered"]) for row in rows]


class _Restore:
    """One copy against the columns that its table has now."""

    def __init__(self, copy: RemovedRow, columns: Sequence[_Column], raw: str, shard: str | None) -> None:
        self.copy = copy
        self.shard = shard
        self._table = _TABLES[copy.table]
        self._raw = raw
        values = copy.values
        self._nulls = frozenset(column for column, value in values.items() if value is None)
        held = [column for column in columns if column.name in values and not column.is_generated]
        self.inserted = [column.name for column in held]
        # The column by which a table is distributed is never assigned.
        self.updated = [column.name for column in held if not column.is_numbered and column.name != shard]
        self.unwritten = sorted({*values, *(column.name for column in columns)} - set(self.updated))
        self.lacking = [column for column in self._table.key if column not in values]
        self._lost = sorted(values.keys() - {column.name for column in columns})

    @property
    def tokens(self) -> dict[str, str]:
        """The parts of the statements that depend on the table and on the copy."""
        date = self._table.date_column
        # Trades that differ in nothing but the date are one trade; of metrics, each date is a row of its own.
        unit = [column for column in self._table.key if not (self._table.endpoint.is_trades and column == date)]
        return {
            "raw": self._raw,
            "day_of_t": f"t.{quote(date)}" if date else "NULL::date",
            "day_of_w": f"w.{quote(date)}" if date else "NULL::date",
            "has_key": self._same([column for column in self._table.key if column not in unit]) or "true",
            "same_unit": self._same(unit),
            "columns": ", ".join(quote(column) for column in self.inserted),
            "r_columns": ", ".join(f"r.{quote(column)}" for column in self.inserted),
            "assignments": ", ".join(f"{quote(column)} = r.{quote(column)}" for column in self.updated),
            "locked": "FOR UPDATE OF t",
            "same_place": "t.tableoid = $3::oid AND t.ctid = $4::tid",
            "shard_of_t": "NULL::text",
            "shard_of_r": "NULL::text",
            "in_shard": "true",
            **self._shard_tokens(date, self._same(unit)),
        }

    def _shard_tokens(self, date: str | None, same_unit: str) -> dict[str, str]:
        """Those that differ where the table is distributed: a place names a row of each shard there, and nothing can be written by it."""
        if self.shard is None:
            return {}
        same_day = f"t.{quote(date)} = $3::date" if date else "$3::date IS NULL"
        return {
            "locked": "",
            "same_place": f"{same_unit} AND {same_day} AND t.{quote(self.shard)}::text = $4",
            "shard_of_t": f"t.{quote(self.shard)}::text",
            "shard_of_r": f"r.{quote(self.shard)}::text",
            "in_shard": f"t.{quote(self.shard)}::text = $4",
        }

    def remarks(self, changed: Sequence[str]) -> str:
        """What is to be said of columns that could not be brought back as they were."""
        lost = f" The table no longer has {', '.join(self._lost)}: left out." if self._lost else ""
        return lost + (f" The table now holds {', '.join(changed)} in another form than the copy." if changed else "")

    def _same(self, columns: Sequence[str]) -> str:
        """The condition that a stored row `t` and the copy `r` agree, NULL with NULL: written so that an index serves it."""
        return " AND ".join(
            f"t.{quote(column)} IS NULL" if column in self._nulls else f"t.{quote(column)} = r.{quote(column)}" for column in columns
        )


def _decide(reason: Reason, present: Sequence[Record]) -> _Deed:
    """What is right for a copy, given the rows that stand for it now: of its key, and of the same trade on other dates."""
    here = [row for row in present if row["has_key"]]
    elsewhere = [row for row in present if not row["has_key"]]
    if here:
        return _decide_here(reason, here)
    return _decide_elsewhere(reason, elsewhere) if elsewhere else "insert"


def _decide_here(reason: Reason, here: Sequence[Record]) -> _Deed:
    if here[0]["is_elsewhere"]:
        return _Refused(
            f"its row stands under {here[0]['row_shard']} now, by which the table is distributed, and cannot go back from there"
        )
    if len(here) == 1 and here[0]["is_equal"]:
        return "nothing"
    if reason is not Reason.OVERWRITTEN:
        return _Refused("another row has its key now, and stays as it is")
    if len(here) > 1:
        return _Refused(f"{len(here)} rows have its key now, and nothing tells which of them it was")
    return _unless_foreign(here[0])


def _decide_elsewhere(reason: Reason, elsewhere: Sequence[Record]) -> _Deed:
    dates = _listed(list(dict.fromkeys(str(row["day"]) for row in elsewhere)))
    if reason is not Reason.MOVED:
        return _Refused(f"the same trade stands under {dates} now and would be stored twice; restore the copies of its moves first")
    if len(elsewhere) > 1:
        return _Refused(f"the same trade is stored {len(elsewhere)} times under other dates ({dates}), and nothing tells which it became")
    return _unless_foreign(elsewhere[0])


def _unless_foreign(row: Record) -> _Deed:
    """The row, unless somebody else wrote it since the copy was kept: what that says is newer than the copy."""
    if row["is_foreign"]:
        return _Refused("somebody wrote the row after trade-recon did, and what it holds now stays as it is")
    return row


def _changed_slices(copy: RemovedRow, row: Record, before: Record | None) -> dict[str, set[dt.date | None]]:
    """The slices that changed, as the feed takes them: those of the row as it is now and as it was before."""
    changed: dict[str, set[dt.date | None]] = {}
    for each in (row, before) if before is not None else (row,):
        # A trade without an account id belongs to the account for which the copy was kept.
        account_id = each["account_id"] or copy.account_id
        if account_id is not None:
            changed.setdefault(account_id, set()).add(each["day"])
    return changed


def _removed_row(row: Record) -> RemovedRow:
    return RemovedRow(
        row["removed_id"],
        row["removed_at"],
        row["table_name"],
        row["account_id"],
        row["date"],
        Reason(row["reason"]),
        row["run_id"],
        row["restored_at"],
        row["row_text"],
    )


def _refusal(copy: RemovedRow, why: str) -> Restored:
    return Restored(copy.removed_id, is_there=False, sentence=f"{copy.name} was not restored: {why}.")


def _explained(error: ReconError) -> str:
    """Why PostgreSQL did not take the row, as the end of a sentence."""
    if isinstance(error, RowRefused) and error.sqlstate == UNIQUE_VIOLATION and error.relation and not error.is_raised:
        return f"another row has its place in the unique key {error.constraint} of {error.relation[1]} now, and stays as it is"
    if isinstance(error, RowRefused) and error.sqlstate == _CHECK_VIOLATION and error.constraint is None:
        return "no partition of the table takes its date; let the table's owner make one, and restore it again"
    # Its first line alone: PostgreSQL quotes whole rows below it.
    said = str(error).partition("\n")[0].removesuffix(".")
    return f"others were writing it each of {_TRIES} times; restore it again ({said})" if isinstance(error, WriteConflict) else said


def _text(value: bytes) -> str | None:
    if value == b"null":
        return None
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
