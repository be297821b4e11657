"""Staging: pages of a fetch on their way into the warehouse, opened by PostgreSQL, kept until the
fetch is proven.

A page's rows go to PostgreSQL as one JSON parameter and are opened there, which keeps every digit
and costs Python nothing but the page's length. A page that PostgreSQL cannot open as a whole is
opened in halves; a row that cannot be read at all is staged as refused, so that it counts for
completeness and is named.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from app.domain.accounts.counts import CountedDay
from app.domain.contract.rows import RepairedRow, fields_of, flattened, is_count
from app.domain.contract.spelling import AskedIds, respelled
from app.domain.contract.tables import METRICS, Endpoint
from app.domain.ids import FetchId, WorkerId
from app.errors import DatabaseUnavailable, IncompleteFetch, RowRefused
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.session import COMMAND_SECONDS
from app.store.database.transaction import Connection
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.tables import STAGED, WarehouseTable, analyzed_columns
from app.store.staging.known_ids import KnownIds
from app.store.staging.known_logins import KnownLogins
from app.store.staging.staging_sql import (
    NATURAL_KEY,
    SUMMED,
    open_statement,
    refuse_statement,
    schema_of,
)
from app.store.staging.unnamed import UnnamedRows
from app.store.table_sql.unsent import UnsentColumns

ANALYZED_ROWS = 500
"""From so many rows on a fetch's statistics are worth their time."""
_FOR_PAGES = """
SELECT set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('synchronous_commit', 'off', true),
       set_config('jit', 'off', true)
"""
"""For the transaction of a page: the plan of a statement on hundreds of columns is kept, for it is
always the same; and nobody waits for the disk, since staging does not outlive a crash anyway.
"""
_ACCOUNT = "accountId"
_NULL = msgspec.Raw(b"null")
_EMPTY = frozenset({b"null", b""})
REPLACED = "characters replaced"
"""What is said of a text that is stored but for characters that it cannot hold."""


@dataclass(slots=True)
class StagedFetch:
    """A fetch in staging: its id, its table, how many rows it has, and whether any of them was sent
    without a column of the table.

    `has_unnamed` says that rows of metrics came without an account id; `shared_ids` are ids that
    count as none. `is_distinct` says that all rows were found to have whole keys, no two of them
    the same, and none was refused; then `days` are the dates that they have. `accounts` tells how
    many there are of each account; None: nobody has counted them.

    Once the fetch is proven no row of before `first_day` is kept: `before` tells what those
    counted, by account and date.
    """

    fetch_id: FetchId
    endpoint: Endpoint
    rows: int = 0
    has_unsent: bool = False
    has_unnamed: bool = False
    is_distinct: bool = False
    accounts: Mapping[str, int] | None = None
    days: frozenset[dt.date] = frozenset()
    shared_ids: frozenset[str] = frozenset()
    first_day: dt.date | None = None
    before: Mapping[str, Mapping[dt.date, CountedDay]] = field(default_factory=dict)


class _Row(NamedTuple):
    """A row of the API, and the columns of its table that it was sent without (None: it has
    all).
    """

    text: bytes
    unsent: bytes | None


class Staging:
    """Opens pages into the staging tables and forgets them again."""

    def __init__(self, database: Database, catalogue: Catalogue, worker_id: WorkerId) -> None:
        """Compose the statements for each table."""
        self._database = database
        self._worker_id = worker_id
        self._catalogue = catalogue
        self._left: set[tuple[FetchId, str]] = set()
        sql = database.queries("staging")
        self._register = sql["register_fetch"]
        self._forget = sql["forget_fetch"]
        self._purge = sql["purge_dead_fetches"]
        self._holds_any = sql["holds_any"]
        self._leave_out_rows, self._renumber_first = sql["leave_out_rows"], sql["renumber_first"]
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
        self._unsent = {endpoint: UnsentColumns(catalogue[endpoint]) for endpoint in STAGED}
        self._refuse = {endpoint: refuse_statement(catalogue[endpoint]) for endpoint in STAGED}
        self._unnamed = UnnamedRows(database, catalogue)
        self._shared_ids = sql["get_shared_ids"]
        self._part_shared = {
            endpoint: fill(
                sql["part_shared_ids"],
                stage=catalogue[endpoint].stage,
                key=", ".join(map(quote, catalogue[endpoint].key)),
            )
            for endpoint in METRICS
        }
        self._known_ids, self._known_logins = KnownIds(database), KnownLogins(database)

    async def begin(
        self,
        endpoint: Endpoint,
        asked: Sequence[str] = (),
        *,
        by_login: bool = False,
        account_ids: Sequence[str] = (),
        first_day: dt.date | None = None,
    ) -> "StageSink":
        """A new fetch of the logins (trades, or metrics `by_login` of `account_ids`) or accounts
        that are asked for, if any.

        Its rows from `first_day` on (None: all) are ours to apply or forget.
        """
        staged = StagedFetch(FetchId(uuid.uuid4()), endpoint, first_day=first_day)
        table = self._catalogue[endpoint].table.name
        try:
            await self._database.execute(self._register, staged.fetch_id, self._worker_id, table)
            if not endpoint.is_trades:
                staged.shared_ids = frozenset(
                    row["account_id"] for row in await self._database.fetch(self._shared_ids)
                )
        except BaseException:
            # It may be registered all the same, to a worker that lives and never hears of it:
            # nobody else would drop it.
            self._left.add((staged.fetch_id, table))
            raise
        return StageSink(self, staged, asked, account_ids, by_login=by_login or endpoint.is_trades)

    async def add(
        self,
        staged: StagedFetch,
        rows: Sequence[bytes],
        logins: Sequence[str] = (),
        ids: AskedIds | None = None,
    ) -> None:
        """Stage raw JSON objects after those that are there; they may each have other fields.

        `logins`, or the account `ids`, are those that were asked for.

        IncompleteFetch: a login that was sent as a number may stand for several.
        """
        table, columns = self._catalogue[staged.endpoint], self._unsent[staged.endpoint]
        natural = {
            column.api_name
            for column in table.columns
            if column.name in NATURAL_KEY and column.name not in table.key
        }
        counts = {
            column.api_name: column.largest_count for column in table.columns if column.is_count
        }
        names_account = "account_id" in table.key
        opened: list[_Row] = []
        last_keys: tuple[str, ...] | None = None
        unsent: bytes | None = None
        spelled = [respelled(flattened(row), staged.shared_ids) for row in rows]
        if ids is not None and names_account:
            spelled = await self._known_ids.restored(spelled, ids)
        for row in await self._known_logins.restored(spelled, logins):
            if row is None:
                raise IncompleteFetch(
                    "The API sends logins as numbers, and one may stand for several that differ in"
                    " leading zeros."
                )
            fields = fields_of(row)
            if names_account and bytes(fields.get(_ACCOUNT, _NULL)).strip(b'" ') in _EMPTY:
                staged.has_unnamed = True
            # A natural key that is left empty or cannot be read is no new one: the account keeps
            # the one that is stored.
            untold = [
                name for name in natural if bytes(fields.get(name, _NULL)).strip(b'" ') in _EMPTY
            ]
            # What is no count leaves the stored one.
            untold += [
                name
                for name, largest in counts.items()
                if name in fields and not is_count(bytes(fields[name]), largest)
            ]
            if isinstance(row, RepairedRow):
                untold += (natural & (row.nulled | row.replaced)) | (counts.keys() & row.nulled)
            keys = tuple(name for name in fields if name not in untold) if untold else tuple(fields)
            if keys != last_keys:
                last_keys, unsent = keys, columns.of(keys)
            opened.append(_Row(row, unsent))
        if not opened:
            return
        staged.has_unsent |= any(row.unsent for row in opened)
        try:
            await self._insert(self._open[staged.endpoint], staged, opened)
        except RowRefused:
            await self._add_carefully(staged, opened)

    async def _insert(self, statement: str, staged: StagedFetch, rows: Sequence[_Row]) -> None:
        """Stage rows in the order given, with the names of fields that were repaired before."""
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
        """What is to be noted of rows that were repaired, by their place in staging: only of fields
        that the table has a column for.
        """
        table = self._catalogue[staged.endpoint]
        return [
            mark.at(staged.rows + number)
            for number, row in enumerate(rows, start=1)
            if isinstance(row.text, RepairedRow) and (mark := _mark_of(table, row.text))
        ]

    async def _refuse_unread(self, staged: StagedFetch, text: str, reason: str) -> None:
        """Stage a row that PostgreSQL cannot open at all."""
        async with self._adding(staged, 1) as connection:
            refused = await connection.execute(
                self._refuse[staged.endpoint], staged.fetch_id, staged.rows, text, reason
            )
            _require_registered(refused, 1)

    @asynccontextmanager
    async def _adding(self, staged: StagedFetch, rows: int) -> AsyncIterator[Connection]:
        """A transaction that stages so many rows."""
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            await connection.execute(_FOR_PAGES)
            yield connection
        staged.rows += rows
        staged.is_distinct = False
        staged.accounts = None

    async def _add_carefully(self, staged: StagedFetch, rows: Sequence[_Row]) -> None:
        """Open rows with the forgiving reader of numbers, in halves, until a row that cannot be
        read stands alone.
        """
        try:
            await self._insert(self._open_carefully[staged.endpoint], staged, rows)
        except RowRefused as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._add_carefully(staged, rows[:middle])
                await self._add_carefully(staged, rows[middle:])
                return
            # A zero byte is the one thing that PostgreSQL's json can hold and its text cannot.
            text = rows[0].text.decode("utf-8", "replace").replace("\\u0000", "\\ufffd")
            reason = f"cannot be read: {error}"
            await self._refuse_unread(staged, text, reason)

    async def distinct_keys(self, staged: StagedFetch, behind: int = 0) -> int:
        """Distinct keys among the rows staged `behind` so many; of rows without a readable key,
        those that differ in any character.
        """
        table = self._catalogue[staged.endpoint]
        whole = " AND ".join(
            f"{quote(column)} IS NOT NULL" for column in table.key if column not in table.optional
        )
        if not behind and await self._tally(staged, table, whole):
            return staged.rows
        # An account id that stands for two natural keys sends two rows under one key of ours: they
        # are distinct rows all the same.
        natural = [
            column
            for column in ("login", "platform", "broker")
            if column not in table.key and column in table.names
        ]
        key = ", ".join(quote(column) for column in (*table.key, *natural))
        return int(
            await self._database.fetch_value(
                # One that came twice hides one that is missing, with a key or without; a refused
                # row is kept as it was sent.
                f"SELECT count(DISTINCT ({key})) FILTER (WHERE {whole}) + count(DISTINCT"
                f" source::text) FILTER (WHERE NOT ({whole})) FROM {table.stage} WHERE fetch_id ="
                " $1 AND ordinal > $2",
                staged.fetch_id,
                behind,
            )
        )

    async def _tally(self, staged: StagedFetch, table: WarehouseTable, whole: str) -> bool:
        """Whether no two rows share a key and nothing is wrong with any: one look, from which the
        dates and accounts are kept.
        """
        groups = {
            "account_id": "account_id" in table.key,
            "day": table.table.date_column is not None,
        }
        columns = [
            f"{quote(column)} AS day" if column == table.table.date_column else quote(column)
            for column in table.key
        ]
        sets = [name for name, is_there in groups.items() if is_there]
        rows = await self._database.fetch(
            f"SELECT {', '.join(sets)}, count(*) AS keys FROM (SELECT DISTINCT {', '.join(columns)}"
            f" FROM {table.stage} WHERE fetch_id = $1 AND refused IS NULL AND {whole}) AS keys"
            f" GROUP BY GROUPING SETS ({', '.join(f'({name})' for name in sets)})",
            staged.fetch_id,
        )
        # Each of the sets has all keys once.
        staged.is_distinct = sum(row["keys"] for row in rows) == staged.rows * len(sets)
        if staged.is_distinct and groups["account_id"]:
            staged.accounts = {
                row["account_id"]: row["keys"] for row in rows if row["account_id"] is not None
            }
        staged.days = (
            frozenset(row["day"] for row in rows if row["day"] is not None)
            if groups["day"]
            else frozenset()
        )
        return staged.is_distinct

    async def name_rows(
        self, staged: StagedFetch, account_ids: Sequence[str], *, by_id: bool
    ) -> None:
        """Give rows that came without an account id to the accounts that they belong to, before
        anything is told by their keys.
        """
        if staged.has_unnamed:
            await self._unnamed.name(staged.endpoint, staged.fetch_id, account_ids, by_id=by_id)

    async def part_shared_ids(self, staged: StagedFetch) -> None:
        """Take metrics rows under an id that several natural keys have at once for rows without
        one.
        """
        if await self._database.execute(self._part_shared[staged.endpoint], staged.fetch_id):
            staged.has_unnamed = True

    async def holds_any(self, staged: StagedFetch, asked: Sequence[str], *, by_login: bool) -> bool:
        """Whether a staged row is of one of these logins or accounts, or may be since it cannot be
        read; true if none is named.
        """
        if not asked:
            return True
        table = self._catalogue[staged.endpoint]
        statement = fill(
            self._holds_any, stage=table.stage, id="login" if by_login else "account_id"
        )
        if await self._database.fetch_value(statement, staged.fetch_id, list(asked)):
            return True
        # Rows of a key that several accounts hold are the answer, though nobody can tell whose they
        # are.
        return (
            staged.has_unnamed
            and not by_login
            and await self._unnamed.hold_key_of(staged.endpoint, staged.fetch_id, asked)
        )

    async def seal(self, staged: StagedFetch) -> None:
        """Make a proven fetch ready to be applied: PostgreSQL learns how many rows it has, or it
        would plan for one.

        Rows of before the first day that is compared are only counted, and have served to prove the
        fetch.
        """
        if staged.first_day is not None and staged.rows:
            await self._leave_out(staged, staged.first_day)
        if staged.rows >= ANALYZED_ROWS:
            table = self._catalogue[staged.endpoint]
            await self._database.execute(
                f"ANALYZE {table.stage}"
                f" ({', '.join(quote(column) for column in analyzed_columns(table))})"
            )

    async def _leave_out(self, staged: StagedFetch, first_day: dt.date) -> None:
        table = self._catalogue[staged.endpoint]
        day = table.table.date_column
        if day is None:
            return
        known = () if staged.endpoint.is_trades else table.names
        figures = {
            name: f"{name}::numeric" if name in known else "NULL::numeric" for name in SUMMED
        }
        count = (
            f"{schema_of(table)}.recon_count(num_trades)" if not staged.endpoint.is_trades else "1"
        )
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            statement = fill(
                self._leave_out_rows, stage=table.stage, day=quote(day), count=count, **figures
            )
            gone = await connection.fetch(statement, staged.fetch_id, first_day)
            if not gone:
                return
            # The first row is looked for before a fetch is applied: a crash of PostgreSQL would
            # take it.
            await connection.execute(fill(self._renumber_first, stage=table.stage), staged.fetch_id)
        before: dict[str, dict[dt.date, CountedDay]] = defaultdict(dict)
        for row in gone:
            before[row["account_id"] or ""][row["day"]] = CountedDay(
                row["trades"], row["net_profit"], row["total_lots"]
            )
        before.pop("", None)
        staged.before = before
        staged.rows -= sum(row["rows"] for row in gone)
        staged.accounts = None
        staged.days = frozenset(each for each in staged.days if each >= first_day)

    async def clear(self, staged: StagedFetch, but: int = 0) -> None:
        """Drop the rows of a fetch that starts anew, `but` the first ones that are proven; the
        fetch stays registered.
        """
        statement = (
            f"DELETE FROM {self._catalogue[staged.endpoint].stage} WHERE fetch_id = $1 AND ordinal"
            " > $2"
        )
        await self._database.execute(statement, staged.fetch_id, but)
        staged.rows, staged.has_unsent, staged.accounts = but, staged.has_unsent and but > 0, None
        staged.has_unnamed = staged.has_unnamed and but > 0

    async def forget(self, staged: StagedFetch) -> None:
        """Drop a fetch and its rows; what cannot be dropped now is dropped with what the dead
        left.
        """
        fetch = (staged.fetch_id, self._catalogue[staged.endpoint].table.name)
        self._left.add(fetch)
        await self._drop(*fetch)
        self._left.discard(fetch)

    async def purge_dead(self, lease_seconds: float) -> int:
        """Drop what workers left that are gone, and what this one could not drop before; the number
        of their fetches.
        """
        ours = sorted(self._left)
        dead = [
            *ours,
            *(
                (row["fetch_id"], row["table_name"])
                for row in await self._database.fetch(self._purge, lease_seconds)
            ),
        ]
        for fetch_id, table_name in dead:
            await self._drop(fetch_id, table_name)
        self._left.difference_update(ours)
        return len(dead)

    async def _drop(self, fetch_id: FetchId, table_name: str) -> None:
        stage = next(
            self._catalogue[endpoint].stage
            for endpoint in STAGED
            if self._catalogue[endpoint].table.name == table_name
        )
        async with self._database.transaction(statement_seconds=COMMAND_SECONDS) as connection:
            # First the registration, which whoever stages a page holds: a page that is still on its
            # way is dropped with the others, and one that comes later is not staged.
            await connection.execute(self._forget, fetch_id)
            await connection.execute(f"DELETE FROM {stage} WHERE fetch_id = $1", fetch_id)


class StageSink:
    """Where the API client puts the rows of one fetch."""

    def __init__(
        self,
        staging: Staging,
        staged: StagedFetch,
        asked: Sequence[str],
        account_ids: Sequence[str],
        *,
        by_login: bool,
    ) -> None:
        """Bind a fetch to its staging."""
        self._staging = staging
        self._asked = asked
        self._account_ids = account_ids
        self._by_login = by_login
        self._ids = None if by_login else AskedIds(account_ids or asked)
        self._proven_rows, self._proven_keys = 0, 0
        self.staged = staged

    async def reset(self) -> None:
        """The fetch, or the part of it that is read now, starts anew: forget its rows."""
        if self.staged.rows > self._proven_rows:
            await self._staging.clear(self.staged, self._proven_rows)

    async def end_part(self) -> bool:
        """A part of the fetch is proven, and another one begins; whether it brought none of the
        keys of earlier parts.
        """
        earlier, self._proven_rows = self._proven_rows, self.staged.rows
        if self.staged.rows == earlier:
            return True
        keys = await self._staging.distinct_keys(self.staged)
        alone = await self._staging.distinct_keys(self.staged, behind=earlier)
        earlier_keys, self._proven_keys = self._proven_keys, keys
        return keys == earlier_keys + alone

    async def add(self, rows: Sequence[bytes]) -> None:
        """Stage the next rows."""
        await self._staging.add(self.staged, rows, self._asked if self._by_login else (), self._ids)

    async def distinct_keys(self) -> int:
        """Distinct keys among the rows added to the part of the fetch that is read now."""
        return await self._staging.distinct_keys(self.staged, behind=self._proven_rows)

    async def is_of_asked(self) -> bool:
        """Whether there is a row of anyone who was asked for."""
        by_id = bool(self._asked) and not self._by_login
        if self._by_login and not self.staged.endpoint.is_trades:
            await self._staging.part_shared_ids(self.staged)
        await self._staging.name_rows(
            self.staged, self._asked if by_id else self._account_ids, by_id=by_id
        )
        return await self._staging.holds_any(self.staged, self._asked, by_login=self._by_login)

    async def seal(self) -> None:
        """The fetch is proven: make it ready to be applied."""
        await self._staging.seal(self.staged)

    async def forget(self) -> None:
        """Drop the fetch."""
        await self._staging.forget(self.staged)


def _require_registered(staged: int, rows: int) -> None:
    """Raise DatabaseUnavailable for a fetch that counts as dead: nobody would ever drop its
    rows.
    """
    if staged != rows:
        raise DatabaseUnavailable(
            "This process was away for longer than its lease: what it had fetched was dropped, and"
            " is fetched again."
        )


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a repaired row says of its columns: `columns` as they are named to people, and why the
    row cannot be held, if it cannot.
    """

    columns: list[str]
    reason: str | None
    source: bytes

    def at(self, ordinal: int) -> Mapping[str, object]:
        """The mark of the row with this place, as the statement takes it."""
        return {
            "ordinal": ordinal,
            "columns": self.columns,
            "reason": self.reason,
            "source": msgspec.Raw(self.source),
        }


def _mark_of(table: WarehouseTable, row: RepairedRow) -> _Mark | None:
    """The mark of a row, None if no column of the table is concerned; whether a replaced text is a
    number or a date is judged later.
    """
    nulled = [column.unheld for column in table.columns if column.api_name in row.nulled]
    replaced = [
        column.name
        for column in table.columns
        if column.api_name in row.replaced and column.is_free_text
    ]
    if not nulled and not replaced:
        return None
    # Another key than the one that was sent would be another row.
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
