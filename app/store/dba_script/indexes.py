"""Which indexes trade-recon's queries need, which of them this warehouse lacks, and the statements
that build those.

A partitioned table gets its index the way that keeps ingestion going: an index on the parent alone,
one for each partition built concurrently, and each attached to its parent's; the parent's becomes
valid with the last. Pure: no I/O.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.contract.tables import TABLES
from app.store.database.sql_text import (
    block,
    comment,
    fitted,
    identifier,
    listed,
    literal,
    qualified,
    regclass,
)

LOCK_SECONDS = 3
"""The longest that a statement may stand in the queue for a lock, since everybody else then stands
behind it.
"""
_BUILD_WAIT = "1h"
_UNIT = frozenset({"platform", "broker", "login", "position", "ticket", "trade_date"})


@dataclass(frozen=True, slots=True)
class IndexedTable:
    """A table or a partition as the catalogue has it; `kind` is PostgreSQL's letter: r plain, p
    partitioned, f foreign.
    """

    oid: int
    parent: int | None
    schema: str
    name: str
    kind: str
    owner: str
    has_row_security: bool
    columns: Sequence[str]

    @property
    def qualified(self) -> str:
        """Its quoted name."""
        return qualified(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Index:
    """An index as the catalogue has it.

    `columns` begin with `key_length` key columns, `method` is its access method, `parent` the index
    it is attached to.
    """

    oid: int
    table: int
    schema: str
    name: str
    parent: int | None
    is_valid: bool
    is_unique: bool
    method: str
    is_plain: bool
    columns: Sequence[str]
    key_length: int
    condition: str | None

    @property
    def key(self) -> tuple[str, ...]:
        """The key columns."""
        return tuple(self.columns[: self.key_length])


@dataclass(frozen=True, slots=True)
class Need:
    """An index that queries need: `purpose` names them.

    An index whose first columns are the first `enough` ones of `key` does the job; where `by_unit`,
    in any order, and so does a unique index that finds a trade by less. One that needs a BRIN index
    (`is_brin`) is served by a btree too.
    """

    table: str
    job: str
    purpose: str
    key: tuple[str, ...]
    include: tuple[str, ...] = ()
    condition: str | None = None
    enough: int = 0
    by_unit: bool = False
    is_brin: bool = False

    def is_served_by(self, index: Index) -> bool:
        """Whether the index does the job already, as it is or better."""
        if (
            not index.is_valid
            or not index.is_plain
            or index.condition not in (None, self._condition)
        ):
            return False
        if index.method not in ("btree", self._method):
            return False
        count = self.enough or len(self.key)
        leads = set(index.key[:count]) == set(self.key[:count])
        if self.by_unit:
            return leads or _finds_a_trade(index)
        return leads and index.key[0] == self.key[0]

    def is_built_as(self, index: Index, columns: Collection[str]) -> bool:
        """Whether it is the very index that would be built on a table with `columns`, whole or not:
        only such a one can be attached.
        """
        return (
            index.is_plain
            and index.method == self._method
            and not index.is_unique
            and index.key == self.key
            and tuple(index.columns) == (*self.key, *self.included(columns))
            and index.condition == self._condition
        )

    def included(self, columns: Collection[str]) -> tuple[str, ...]:
        """The columns that only ride along, as far as the table has them."""
        return tuple(column for column in self.include if column in columns)

    def definition(self, columns: Collection[str]) -> str:
        """What stands behind the table's name in CREATE INDEX."""
        if self.is_brin:
            return (
                f"USING brin ({listed(self.key)}) WITH (pages_per_range = 32, autosummarize = on)"
            )
        included = self.included(columns)
        riders = f" INCLUDE ({listed(included)})" if included else ""
        return f"({listed(self.key)}){riders}" + (
            f" WHERE {self.condition}" if self.condition else ""
        )

    @property
    def _method(self) -> str:
        return "brin" if self.is_brin else "btree"

    @property
    def _condition(self) -> str | None:
        return f"({self.condition})" if self.condition else None


def _finds_a_trade(index: Index) -> bool:
    """Its unique key is part of what makes a trade, and the position comes before the date: a move
    asks for any other date.
    """
    before_date = (
        index.key[: index.key.index("trade_date")] if "trade_date" in index.key else index.key
    )
    return (
        index.is_unique
        and index.condition is None
        and set(index.key) <= _UNIT
        and "position" in before_date
    )


def _trade_needs(table: str) -> Iterator[Need]:
    # Only the columns as they are stored reach an index: platform and broker are compared as text,
    # so login must come first.
    key = ("login", "platform", "broker")
    yield Need(
        table,
        "account_day",
        "detection (the day matrix), identity (find_foreign_ids, repair_foreign_ids), changes"
        " (get_fingerprints)",
        ("account_id", "trade_date"),
        include=key,
    )
    yield Need(
        table,
        "without_account",
        "identity (find_null_ids, repair_null_ids), changes (get_fingerprints_without_id)",
        (*key, "trade_date"),
        condition="account_id IS NULL",
    )
    yield Need(
        table,
        "unit",
        "changes (move_trades, overwrite_rows, insert_rows), identity (repair_null_ids): a trade by"
        " what makes it one",
        ("login", "position", "ticket"),
        by_unit=True,
    )


NEEDS = (
    Need(
        "raw_metrics_alltime",
        "account",
        "detection (v_recon_stats), changes, audit (find_drift)",
        ("account_id",),
    ),
    Need(
        "raw_metrics_daily",
        "account_day",
        "detection (the day matrix), identity (refresh_identity), changes",
        ("account_id", "date"),
        include=("num_trades", "login", "platform", "broker"),
    ),
    Need(
        "raw_metrics_hourly",
        "account_hour",
        "detection (the day matrix), changes",
        ("account_id", "date", "hour"),
        include=("num_trades", "login"),
        enough=2,
    ),
    *_trade_needs("raw_trades_closed"),
    *_trade_needs("raw_trades_open"),
    *(
        Need(
            each.name,
            "ingested",
            "runs of only what changed (get_touched_accounts)",
            ("ingestion_timestamp",),
            is_brin=True,
        )
        for each in TABLES.values()
    ),
)
"""Every index that the queries of db/queries lean on. A fresh install's tables have them all."""


class Warehouse:
    """The tables with their partitions, their indexes, and the names that are taken."""

    def __init__(
        self,
        tables: Collection[IndexedTable],
        indexes: Collection[Index],
        names: Collection[tuple[str, str]],
    ) -> None:
        """`names` are those of all relations in the tables' schemas, each behind its schema."""
        self._tables = tables
        self._indexes = indexes
        self._taken = set(names)

    @property
    def roots(self) -> Mapping[str, IndexedTable]:
        """The tables that are no partition, by name."""
        return {table.name: table for table in self._tables if table.parent is None}

    @property
    def owners(self) -> frozenset[str]:
        """Who owns tables or partitions."""
        return frozenset(table.owner for table in self._tables)

    def children(self, table: IndexedTable) -> list[IndexedTable]:
        """The direct partitions."""
        return [each for each in self._tables if each.parent == table.oid]

    def leaves(self, table: IndexedTable) -> Iterator[IndexedTable]:
        """The tables below, or the table itself, that hold rows here."""
        if table.kind == "r":
            yield table
        for child in self.children(table):
            yield from self.leaves(child)

    def indexes(self, table: IndexedTable) -> list[Index]:
        """The indexes of one table alone."""
        return [index for index in self._indexes if index.table == table.oid]

    def serves(self, need: Need, table: IndexedTable) -> bool:
        """Whether the job is done: by an index of the table itself, or by some index of each of its
        partitions.
        """
        if any(need.is_served_by(index) for index in self.indexes(table)):
            return True
        leaves = [] if table.kind == "r" else list(self.leaves(table))
        return bool(leaves) and all(
            any(need.is_served_by(index) for index in self.indexes(leaf)) for leaf in leaves
        )

    def new_name(self, table: IndexedTable, need: Need) -> str:
        """A name for a new index, the same each time: only what an interrupted build left under it
        does not count as taken.
        """
        left = {
            i.name
            for i in self.indexes(table)
            if need.is_built_as(i, table.columns) and not i.is_valid and i.parent is None
        }
        number = 1
        while True:
            name = fitted(table.name, need.job if number == 1 else f"{need.job}_{number}")
            if (table.schema, name) not in self._taken or name in left:
                self._taken.add((table.schema, name))
                return name
            number += 1


@dataclass(frozen=True, slots=True)
class _Build:
    table: IndexedTable
    name: str


@dataclass(frozen=True, slots=True)
class _Attachment:
    parent: tuple[str, str]
    child: tuple[str, str]
    table: IndexedTable


@dataclass(slots=True)
class _Plan:
    """What one need still takes: indexes of parents, of tables with rows, attachments, and what can
    only be said or repaired.
    """

    parents: list[_Build] = field(default_factory=list)
    builds: list[_Build] = field(default_factory=list)
    attachments: list[_Attachment] = field(default_factory=list)
    broken: list[Index] = field(default_factory=list)
    foreign: list[IndexedTable] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.parents or self.builds or self.attachments or self.broken)


@dataclass(frozen=True, slots=True)
class IndexAdvice:
    """Statements for one index, and the table whose statistics are worth renewing afterwards."""

    table: IndexedTable
    statements: Sequence[str]


def advise_indexes(warehouse: Warehouse, needs: Sequence[Need] = NEEDS) -> Iterator[IndexAdvice]:
    """What each need takes that this warehouse does not serve; nothing for tables that are not
    there.
    """
    for need in needs:
        root = warehouse.roots.get(need.table)
        if root is None or not set(need.key) <= set(root.columns):
            continue
        begun = root.kind == "p" and any(
            need.is_built_as(index, root.columns) for index in warehouse.indexes(root)
        )
        if warehouse.serves(need, root) and not begun:
            continue
        plan = _Plan()
        _walk(warehouse, need, root, None, plan)
        if not plan.is_empty:
            yield IndexAdvice(root, list(_statements(need, root, plan)))


def _walk(
    warehouse: Warehouse,
    need: Need,
    table: IndexedTable,
    above: tuple[tuple[str, str], int | None] | None,
    plan: _Plan,
) -> None:
    """Plan the table and all below it; `above` is the parent's index: its name, and its oid if it
    is there.
    """
    if table.kind not in ("r", "p"):
        plan.foreign.append(table)
        return
    same = [index for index in warehouse.indexes(table) if need.is_built_as(index, table.columns)]
    attached = next(
        (
            index
            for index in same
            if above is not None and index.parent is not None and index.parent == above[1]
        ),
        None,
    )
    free = next(
        (index for index in same if index.parent is None and (index.is_valid or table.kind == "p")),
        None,
    )
    index = attached or free
    if index is None:
        name = warehouse.new_name(table, need)
        (plan.parents if table.kind == "p" else plan.builds).append(_Build(table, name))
    else:
        name = index.name
        if table.kind == "r" and not index.is_valid:
            plan.broken.append(index)
    if above is not None and attached is None:
        plan.attachments.append(_Attachment(above[0], (table.schema, name), table))
    for child in warehouse.children(table):
        _walk(warehouse, need, child, ((table.schema, name), index.oid if index else None), plan)


def _statements(need: Need, root: IndexedTable, plan: _Plan) -> Iterator[str]:
    yield comment(f"{root.name} ({', '.join(need.key)}), for {need.purpose}.")
    for table in plan.foreign:
        yield comment(
            f"{table.qualified} is a foreign table: its rows lie elsewhere, and so would their"
            " index."
        )
    # The lock on a parent keeps writers out, for as long as the catalogue's entry takes: hence the
    # short lock_timeout.
    for build in plan.parents:
        yield (
            f"CREATE INDEX IF NOT EXISTS {identifier(build.name)} ON ONLY {build.table.qualified}"
            f" {need.definition(build.table.columns)};"
        )
    for build in plan.builds:
        yield _drop_leftover(build)
    if plan.builds or plan.broken:
        yield comment(
            "A concurrent build keeps nobody waiting, but waits itself for older transactions: up"
            f" to {_BUILD_WAIT}."
        )
        yield f"SET lock_timeout = '{_BUILD_WAIT}';"
        for index in plan.broken:
            yield f"REINDEX INDEX CONCURRENTLY {qualified(index.schema, index.name)};"
        for build in plan.builds:
            definition = need.definition(build.table.columns)
            yield (
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {identifier(build.name)} ON"
                f" {build.table.qualified} {definition};"
            )
        yield f"SET lock_timeout = '{LOCK_SECONDS}s';"
    for attachment in plan.attachments:
        yield _attach(attachment)
    for build in (*plan.parents, *plan.builds):
        if build.table is root:
            yield (
                f"COMMENT ON INDEX {qualified(root.schema, build.name)} IS"
                f" {literal(f'trade-recon: {need.purpose}')};"
            )


def _drop_leftover(build: _Build) -> str:
    """A concurrent build that was interrupted leaves an index that is never used and must go before
    the next try.
    """
    schema, name = build.table.schema, build.name
    return block(
        "IF EXISTS (",
        "    SELECT FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_namespace AS n"
        " ON n.oid = c.relnamespace",
        f"    WHERE n.nspname = {literal(schema)} AND c.relname = {literal(name)} AND NOT"
        " indisvalid",
        ") THEN",
        f"    DROP INDEX {qualified(schema, name)};",
        "END IF;",
    )


def _attach(attachment: _Attachment) -> str:
    parent, child, table = attachment.parent, attachment.child, attachment.table
    statement = f"ALTER INDEX {qualified(*parent)} ATTACH PARTITION {qualified(*child)};"
    already = (
        "EXISTS (SELECT FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid WHERE inhparent ="
        f" {regclass(*parent)} AND indrelid = {regclass(table.schema, table.name)})"
    )
    if table.kind == "p":
        return block(f"IF NOT {already} THEN", f"    {statement}", "END IF;")
    # Attached before it is whole, an index could neither be dropped any more nor ever make its
    # parent valid.
    return block(
        f"IF NOT (SELECT indisvalid FROM pg_index WHERE indexrelid = {regclass(*child)}) THEN",
        "    RAISE EXCEPTION 'An index is not whole yet: run this script again.';",
        f"ELSIF NOT {already} THEN",
        f"    {statement}",
        "END IF;",
    )
