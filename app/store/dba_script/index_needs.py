"""Indexes that queries need, and a warehouse's."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import TABLES
from app.store.database.sql_text import (
    fitted,
    listed,
    qualified,
)

_UNIT = frozenset({"platform", "broker", "login", "position", "ticket", "trade_date"})


@dataclass(frozen=True, slots=True)
class IndexedTable:
    """A table or partition; `kind` is r plain, p partitioned, f foreign."""

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
    """An index; key columns lead `columns`, `parent` is the partitioned one."""

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
    """An index that queries (`purpose`) need.

    The first `enough` columns of `key` lead; `by_unit`: in any order, or a narrower unique index. A
    btree also serves for BRIN.
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
        """Whether the index suffices."""
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
        """Whether it is exactly the index to build."""
        return (
            index.is_plain
            and index.method == self._method
            and not index.is_unique
            and index.key == self.key
            and tuple(index.columns) == (*self.key, *self.included(columns))
            and index.condition == self._condition
        )

    def included(self, columns: Collection[str]) -> tuple[str, ...]:
        """INCLUDE columns that the table has."""
        return tuple(column for column in self.include if column in columns)

    def definition(self, columns: Collection[str]) -> str:
        """CREATE INDEX after the table's name."""
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
    """Whether it identifies a trade, position before date."""
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
    # Platform and broker are compared as text, which no index on them serves: login must lead.
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
"""All indexes that db/queries rely on; a fresh install has them."""


class Warehouse:
    """A warehouse's tables, indexes and names."""

    def __init__(
        self,
        tables: Collection[IndexedTable],
        indexes: Collection[Index],
        names: Collection[tuple[str, str]],
    ) -> None:
        self._tables = tables
        self._indexes = indexes
        self._taken = set(names)

    @property
    def roots(self) -> Mapping[str, IndexedTable]:
        """Tables that are no partition, by name."""
        return {table.name: table for table in self._tables if table.parent is None}

    @property
    def owners(self) -> frozenset[str]:
        """Owners of tables and partitions."""
        return frozenset(table.owner for table in self._tables)

    def children(self, table: IndexedTable) -> list[IndexedTable]:
        """Direct partitions."""
        return [each for each in self._tables if each.parent == table.oid]

    def leaves(self, table: IndexedTable) -> Iterator[IndexedTable]:
        """Local tables with rows: below, or the table itself."""
        if table.kind == "r":
            yield table
        for child in self.children(table):
            yield from self.leaves(child)

    def indexes(self, table: IndexedTable) -> list[Index]:
        """Indexes of one table alone."""
        return [index for index in self._indexes if index.table == table.oid]

    def serves(self, need: Need, table: IndexedTable) -> bool:
        """Whether the table's, or each partition's, index suffices."""
        if any(need.is_served_by(index) for index in self.indexes(table)):
            return True
        leaves = [] if table.kind == "r" else list(self.leaves(table))
        return bool(leaves) and all(
            any(need.is_served_by(index) for index in self.indexes(leaf)) for leaf in leaves
        )

    def new_name(self, table: IndexedTable, need: Need) -> str:
        """A stable name, reused after an interrupted build."""
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
