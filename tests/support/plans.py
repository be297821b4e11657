"""How PostgreSQL carries out the statements of the service: read from EXPLAIN, at the place where
each of them is sent.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from app.store.database.queries import list_files, load_queries
from app.store.database.transaction import Connection
from tests.conftest import SCHEMA

if TYPE_CHECKING:
    import asyncpg

_LARGE = 1000
"""From so many rows on a table is not to be read whole; below, that is the best plan."""
_PLANNED = re.compile(
    r"\s*(--[^\n]*\n\s*)*(WITH|SELECT|INSERT|UPDATE|DELETE|CREATE TEMP TABLE \w+ ON COMMIT DROP"
    r" AS)\s",
    re.IGNORECASE,
)
_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
_METHODS = ("fetch", "fetch_row", "fetch_value", "execute")

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Relations:
    """The tables and indexes of a database: partitions and their indexes by those that they belong
    to.
    """

    table_of: Mapping[str, str]
    index_of: Mapping[str, str]
    table_of_index: Mapping[str, str]
    rows: Mapping[str, float]

    @classmethod
    async def read(cls, connection: "asyncpg.Connection[asyncpg.Record]") -> "Relations":
        """As the statistics of the last ANALYZE tell them."""
        found = await connection.fetch(
            "SELECT c.relname AS name, c.relkind::text IN ('i', 'I') AS is_index, c.reltuples AS"
            " rows, coalesce(p.relname, c.relname) AS parent, t.relname AS table FROM pg_class AS c"
            " LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS p ON p.oid ="
            " i.inhparent LEFT JOIN pg_index AS x ON x.indexrelid = c.oid LEFT JOIN pg_class AS t"
            " ON t.oid = x.indrelid WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r',"
            " 'p', 'i', 'I', 'm')",
            SCHEMA,
        )
        tables = {row["name"]: row["parent"] for row in found if not row["is_index"]}
        return cls(
            tables,
            {row["name"]: row["parent"] for row in found if row["is_index"]},
            {row["name"]: tables[row["table"]] for row in found if row["is_index"]},
            {row["name"]: row["rows"] for row in found if not row["is_index"]},
        )


@dataclass(frozen=True, slots=True)
class Scan:
    """One place in a plan that reads a table: how, by which index and condition, and how many rows
    it looked at, those it dropped too.
    """

    kind: str
    table: str
    partition: str
    index: str | None
    condition: str | None
    rows: float
    loops: float
    is_large: bool

    @property
    def is_whole(self) -> bool:
        """Whether it reads a large table from end to end: nothing limits what is looked at."""
        return self.is_large and self.condition is None

    def __str__(self) -> str:
        return (
            f"{self.kind} on {self.partition} by {self.index or 'nothing'}"
            f" ({self.condition or 'no condition'}), {self.rows:.0f} rows"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What PostgreSQL did for a statement; `name` as db/queries has it, empty for one that is
    composed elsewhere.
    """

    root: Node
    name: str = ""
    statement: str = ""
    relations: Relations = field(default_factory=lambda: Relations({}, {}, {}, {}))

    @property
    def nodes(self) -> Iterator[Node]:
        """All nodes, in no order."""
        below = [self.root]
        while below:
            node = below.pop()
            yield node
            below.extend(node.get("Plans", ()))

    @property
    def buffers(self) -> int:
        """Pages that were looked at, wherever they came from."""
        return pages(self.root)

    def reading(self, index: str) -> Node:
        """The one place that reads this index."""
        (node,) = (node for node in self.nodes if node.get("Index Name") == index)
        return node

    @property
    def scans(self) -> list[Scan]:
        """All places that read a table of the schema, one for each partition."""
        return [scan for node in self.nodes for scan in self._scans_of(node)]

    def scans_of(self, table: str) -> list[Scan]:
        """The places that read a table or its partitions."""
        return [scan for scan in self.scans if scan.table == table]

    def ways(self, table: str) -> set[tuple[str, str | None]]:
        """How a table is read where it is large: kinds of scan and indexes, those of partitions by
        the names of their parents'.
        """
        return {(scan.kind, scan.index) for scan in self.scans_of(table) if scan.is_large}

    def indexes(self, table: str) -> set[str | None]:
        """The indexes by which a table is read where it is large; None for one that is read without
        any.
        """
        return {index for _, index in self.ways(table)}

    def partitions(self, table: str) -> set[str]:
        """The partitions that are read where they are large, but those that turned out to be not
        needed.
        """
        return {scan.partition for scan in self.scans_of(table) if scan.is_large and scan.loops}

    @property
    def whole_reads(self) -> list[Scan]:
        """Large tables that are read from end to end."""
        return [scan for scan in self.scans if scan.is_whole]

    def rows(self, *tables: str) -> float:
        """Rows of tables (none named: of all) that were looked at."""
        return sum(scan.rows for scan in self.scans if not tables or scan.table in tables)

    def _scans_of(self, node: Node) -> Iterator[Scan]:
        kind, relation = str(node["Node Type"]), str(node.get("Relation Name"))
        if not kind.endswith("Scan") or relation not in self.relations.table_of:
            return
        # A bitmap is made by indexes below: what limits it is said there.
        lookups = list(_bitmap_lookups(node)) if kind == "Bitmap Heap Scan" else [node]
        for lookup in lookups:
            index = lookup.get("Index Name")
            yield Scan(
                kind,
                self.relations.table_of[relation],
                relation,
                None if index is None else self.relations.index_of.get(index, index),
                lookup.get("Index Cond") or node.get("TID Cond"),
                _looked_at(node) / len(lookups),
                node.get("Actual Loops", 1),
                self.relations.rows[relation] >= _LARGE,
            )


def pages(node: Node) -> int:
    """Pages that a node and what is below it looked at."""
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _bitmap_lookups(node: Node) -> Iterator[Node]:
    for below in node.get("Plans", ()):
        if below["Node Type"] == "Bitmap Index Scan":
            yield below
        elif below["Node Type"] in ("BitmapOr", "BitmapAnd"):
            yield from _bitmap_lookups(below)


def _looked_at(node: Node) -> float:
    each = sum(
        node.get(what, 0)
        for what in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    )
    return float(each * node.get("Actual Loops", 1))


@cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    """What a statement of db/queries looks like once its tokens are filled, by its name."""
    statements = {}
    for file in list_files():
        for name, sql in load_queries(file, SCHEMA).items():
            pieces = re.split(r"\{\{\w+\}\}", sql)
            statements[f"{file}.{name}"] = re.compile(".*?".join(map(re.escape, pieces)), re.DOTALL)
    return statements


@cache
def name_of(statement: str) -> str:
    """The name of a statement in db/queries, with its file's; empty for one that is composed
    elsewhere.
    """
    fitting = [
        (len(pattern.pattern), name)
        for name, pattern in _patterns().items()
        if pattern.fullmatch(statement)
    ]
    return max(fitting, default=(0, ""))[1]


@dataclass(slots=True)
class Recorder:
    """Has each statement of the service explained right before it runs: in its transaction, with
    its settings and parameters.

    What EXPLAIN ANALYZE does is undone, so that the statement finds everything as it would without;
    so is what `before` does ahead of it. With `is_generic` the plan is the one for whatever
    parameters, which PostgreSQL may take from the sixth execution of a prepared statement on, and
    does for most of those that are given a batch as an array: it expects ten entries of any.
    """

    relations: Relations
    is_generic: bool = False
    before: tuple[str, ...] = ()
    plans: list[Plan] = field(default_factory=list)

    def named(self, name: str) -> list[Plan]:
        """The plans of one statement, in the order in which it ran."""
        return [plan for plan in self.plans if plan.name == name]

    def one(self, name: str) -> Plan:
        """The plan of a statement that ran once."""
        (plan,) = self.named(name)
        return plan

    @contextmanager
    def recording(self) -> Iterator["Recorder"]:
        """Within it all statements of the service are explained."""
        with pytest.MonkeyPatch.context() as patch:
            for method in _METHODS:
                patch.setattr(Connection, method, self._explained(getattr(Connection, method)))
            yield self

    def _explained(
        self, method: Callable[..., Awaitable[object]]
    ) -> Callable[..., Awaitable[object]]:
        async def explained(
            connection: Connection, sql: str, *arguments: object, seconds: float | None = None
        ) -> object:
            if _PLANNED.match(sql):
                raw = connection._connection
                transaction = raw.transaction()
                await transaction.start()
                try:
                    for statement in self.before:
                        await raw.execute(statement)
                    told = await self._told(raw, sql, arguments)
                finally:
                    await transaction.rollback()
                self.plans.append(
                    Plan(json.loads(told)[0]["Plan"], name_of(sql), sql, self.relations)
                )
            return await method(connection, sql, *arguments, seconds=seconds)

        return explained

    async def _told(self, connection: Any, sql: str, arguments: Sequence[object]) -> str:  # noqa: ANN401 - of the pool or not
        # Where the service keeps PostgreSQL from plans for whatever parameters, there are none.
        if (
            self.is_generic
            and await connection.fetchval("SHOW plan_cache_mode") != "force_custom_plan"
        ):
            return await self._generic(connection, sql, arguments)
        return str(await connection.fetchval(f"{_EXPLAIN} {sql}", *arguments))

    async def _generic(self, connection: Any, sql: str, arguments: Sequence[object]) -> str:  # noqa: ANN401 - of the pool or not
        if not arguments:
            return str(await connection.fetchval(f"{_EXPLAIN} {sql}"))
        statement = await connection.prepare(sql)
        types = [parameter.name for parameter in statement.get_parameters()]
        literals = ", ".join(
            f"quote_nullable(${number}::{name}::text)" for number, name in enumerate(types, 1)
        )
        values = await connection.fetchrow(f"SELECT {literals}", *arguments)
        await connection.execute("SELECT set_config('plan_cache_mode', 'force_generic_plan', true)")
        await connection.execute(f"PREPARE explained ({', '.join(types)}) AS {sql}")
        try:
            return str(
                await connection.fetchval(f"{_EXPLAIN} EXECUTE explained ({', '.join(values)})")
            )
        finally:
            await connection.execute("DEALLOCATE explained")
