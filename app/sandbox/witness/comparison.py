"""Compares every row with upstream, independent of the service."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from app.domain.contract.tables import Endpoint
from app.sandbox.witness.identity import Columns, Holders, held_key, known_as
from app.sandbox.witness.raw_sql import name_list, quoted, recordset
from app.sandbox.witness.raw_tables import RawTable, read_table
from app.sandbox.world.trades import Row, Value

_CHUNK_ROWS = 1000


class DifferenceKind(StrEnum):
    """How a row differs."""

    MISSING = "missing"
    """Only upstream has it."""
    SURPLUS = "surplus"
    """Only the warehouse has it."""
    DIFFERING = "differing"
    """Its values differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A differing row and its possible accounts."""

    table: str
    kind: DifferenceKind
    account_ids: tuple[str, ...]
    key: str
    columns: tuple[str, ...] = ()
    day: dt.date | None = None


@dataclass(frozen=True, slots=True)
class TableComparison:
    """A raw table against upstream."""

    table: str
    upstream_rows: int
    warehouse_rows: int
    missing: int
    surplus: int
    differing: int
    account_ids: frozenset[str]
    sample: tuple[Difference, ...]

    @property
    def differences(self) -> int:
        """Differing rows."""
        return self.missing + self.surplus + self.differing


@dataclass(frozen=True, slots=True)
class Comparison:
    """The warehouse against upstream."""

    tables: Mapping[Endpoint, TableComparison]

    @property
    def differences(self) -> int:
        """Differing rows of all tables."""
        return sum(table.differences for table in self.tables.values())

    @property
    def is_equal(self) -> bool:
        """Whether no row differs."""
        return self.differences == 0

    @property
    def account_ids(self) -> frozenset[str]:
        """All accounts with a difference."""
        return frozenset[str]().union(*(table.account_ids for table in self.tables.values()))

    @property
    def sample(self) -> tuple[Difference, ...]:
        """Some of the differences."""
        return tuple(difference for table in self.tables.values() for difference in table.sample)


async def compare(
    upstream: Mapping[Endpoint, Sequence[Row]],
    connection: "asyncpg.Connection[asyncpg.Record]",
    schema: str,
    *,
    sample: int = 20,
) -> Comparison:
    """Compare every row of the raw tables with `upstream` rows, as this warehouse's columns hold
    them.

    Columns that it lacks or generates are skipped; a trade's account counts where metrics name one.
    """
    tables = {
        endpoint: await read_table(connection, schema, endpoint)
        for endpoint in Endpoint
        if endpoint in upstream
    }
    rows = {
        endpoint: [table.reader.read(row) for row in upstream[endpoint]]
        for endpoint, table in tables.items()
    }
    for endpoint, sent in rows.items():
        if not endpoint.is_trades:
            for row in sent:
                row["account_id"] = known_as(row)
    holders = Holders(rows.get(Endpoint.ALLTIME, ()), rows.get(Endpoint.DAILY, ()))
    for endpoint, sent in rows.items():
        if endpoint.is_trades:
            for row in sent:
                row["account_id"] = holders.owner(held_key(row), _day(row))
    # One snapshot for all tables, while ingestion may write.
    async with connection.transaction(isolation="repeatable_read"):
        return Comparison(
            {
                endpoint: await _Judge(connection, table, holders, sample).judge(rows[endpoint])
                for endpoint, table in tables.items()
            }
        )


class _Judge:
    def __init__(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        raw: RawTable,
        holders: Holders,
        sample: int,
    ) -> None:
        self._connection = connection
        self._raw = raw
        self._table = raw.table
        self._holders = holders
        self._sample = sample
        self._upstream = f"pg_temp.{quoted(f'witness_{raw.table.name}')}"

    async def judge(self, rows: Sequence[Mapping[str, Value]]) -> TableComparison:
        columns = self._raw.api_columns
        await self._load(rows, columns)
        differing = [
            Difference(
                self._table.name,
                DifferenceKind(found["kind"]),
                self._accounts(found),
                found["key"],
                tuple(found["columns"]),
                found["day"],
            )
            for found in await self._connection.fetch(self._statement(columns))
        ]
        counts = {
            kind: sum(1 for difference in differing if difference.kind is kind)
            for kind in DifferenceKind
        }
        return TableComparison(
            table=self._table.name,
            upstream_rows=len(rows),
            warehouse_rows=int(
                await self._connection.fetchval(f"SELECT count(*) FROM {self._raw.target}")  # noqa: S608 (a quoted name of our own)
            ),
            missing=counts[DifferenceKind.MISSING],
            surplus=counts[DifferenceKind.SURPLUS],
            differing=counts[DifferenceKind.DIFFERING],
            account_ids=frozenset(
                account_id for difference in differing for account_id in difference.account_ids
            ),
            sample=tuple(differing[: self._sample]),
        )

    async def _load(self, rows: Sequence[Mapping[str, Value]], columns: Sequence[str]) -> None:
        """Load rows into a temporary table: the raw table's types, texts of any length."""
        opened = ", ".join(f"{quoted(column)} {self._raw.types[column]}" for column in columns)
        temporary = quoted(f"witness_{self._table.name}")
        await self._connection.execute(
            f"CREATE TEMPORARY TABLE {temporary} ({opened}) ON COMMIT DROP"
        )
        insert = (
            f"INSERT INTO {temporary} SELECT * FROM json_to_recordset($1::json) AS r ({opened})"  # noqa: S608 (quoted names of our own)
        )
        for start in range(0, len(rows), _CHUNK_ROWS):
            await self._connection.execute(insert, recordset(rows[start : start + _CHUNK_ROWS]))
        await self._connection.execute(f"ANALYZE {temporary}")

    def _statement(self, columns: Sequence[str]) -> str:
        """Keys are text with '' for NULL; `copy` numbers doubles, which are surplus."""
        key = self._table.key
        text_key = ", ".join(
            f"coalesce({quoted(column)}::text, '') AS {quoted(f'key_{column}')}" for column in key
        )
        copies = f"row_number() OVER (PARTITION BY {name_list(key)}) AS copy"
        matched = " AND ".join(
            f"u.{quoted(f'key_{column}')} = w.{quoted(f'key_{column}')}" for column in key
        )
        names = [column for column in columns if column not in key]
        unequal = {
            column: f"u.{quoted(column)} IS DISTINCT FROM w.{quoted(column)}" for column in names
        }
        if self._table.endpoint.is_trades:
            # Without a certain owner upstream there is nothing to hold the warehouse's id against.
            unequal["account_id"] = (
                "u.account_id IS NOT NULL AND u.account_id IS DISTINCT FROM w.account_id"
            )
        cases = ", ".join(
            f"CASE WHEN {test} THEN {_literal(column)} END" for column, test in unequal.items()
        )
        day = (
            f"coalesce(u.{quoted(self._table.date_column)}, w.{quoted(self._table.date_column)})"
            if self._table.date_column
            else "NULL::date"
        )
        shown = ", ".join(
            f"coalesce(u.{quoted(f'key_{column}')}, w.{quoted(f'key_{column}')})" for column in key
        )
        return f"""
            WITH u AS (SELECT *, {text_key}, {copies} FROM {self._upstream}),
                 w AS (SELECT *, {text_key}, {copies} FROM {self._raw.target})
            SELECT CASE WHEN w.copy IS NULL THEN 'missing' WHEN u.copy IS NULL THEN 'surplus'
              ELSE 'differing' END AS kind,
                   concat_ws(' ', {shown}) AS key,
                   array[u.account_id, w.account_id]::text[] AS holders, {day} AS day,
                   coalesce(u.login, w.login)::text AS login, coalesce(u.platform, w.platform)::text
                     AS platform,
                   coalesce(u.broker, w.broker)::text AS broker,
                   CASE WHEN u.copy IS NULL OR w.copy IS NULL THEN '{{}}'
                     ELSE array_remove(array[{cases}]::text[], NULL) END AS columns
            FROM u FULL JOIN w ON {matched} AND u.copy = w.copy
            WHERE u.copy IS NULL OR w.copy IS NULL OR {" OR ".join(unequal.values())}
            ORDER BY 1, 2
        """  # noqa: S608 (quoted names of our own)

    def _accounts(self, found: asyncpg.Record) -> tuple[str, ...]:
        """Possible accounts of a row: those it names, else by its natural key."""
        named = {account_id for account_id in found["holders"] if account_id}
        if not named and found["day"] is not None:
            named = set(self._holders.candidates(held_key(dict(found)), found["day"]))
        return tuple(sorted(named))


def _day(row: Columns) -> dt.date:
    return dt.date.fromisoformat(str(row["trade_date"]))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
