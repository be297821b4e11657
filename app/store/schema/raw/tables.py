"""A warehouse's raw tables; columns, types and keys may differ from ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint, Table
from app.store.database.queries import quote
from app.store.schema.introspect import CheckFacts, UniqueKey
from app.store.schema.raw.columns import FIGURES, Column

STAGED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""Endpoints fetched and repaired; of open trades only ids are."""


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A raw table, its staging table, and the columns that the API fills.

    Key parts in `nullable` may be NULL. `is_unique`: one row per key. Rows of upstream may share
    `narrow_keys`. `checks` concern the API's columns. `has_guards`: triggers act before a write.
    `origin` are expressions for a row's source. Citus' `distributed_by` is never assigned. `stored`
    are writable columns.
    """

    table: Table
    raw: str
    stage: str
    columns: tuple[Column, ...]
    nullable: frozenset[str]
    is_unique: bool
    narrow_keys: tuple[UniqueKey, ...]
    is_partitioned: bool
    checks: tuple[CheckFacts, ...]
    has_guards: bool
    origin: tuple[tuple[str, str], ...]
    distributed_by: str | None
    stored: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The key columns."""
        return self.table.key

    @property
    def names(self) -> frozenset[str]:
        """Names of `columns`."""
        return frozenset(column.name for column in self.columns)

    @property
    def values(self) -> tuple[Column, ...]:
        """Assignable columns outside the key."""
        return tuple(
            column
            for column in self.columns
            if column.name not in self.table.key and column.name != self.distributed_by
        )

    @property
    def changes_shard(self) -> bool:
        """Whether upstream's row may be in another shard."""
        return self.distributed_by is not None and self.distributed_by not in self.table.key

    @property
    def optional(self) -> frozenset[str]:
        """Key parts that upstream may omit."""
        return self.nullable & {"broker"}

    def same(self, left: str, right: str, columns: Sequence[str] | None = None) -> str:
        """Stored `left` and sent `right` agree in `columns` (None: the key)."""
        return _equal(left, right, self.key if columns is None else columns, self.optional)

    @property
    def place(self) -> str:
        """Columns that tell stored rows `t` of one key apart."""
        if self.is_unique:
            return ""
        # In a distributed table ctid repeats in each shard: the distribution column tells rows
        # apart.
        return (
            f", t.{quote(self.distributed_by)} AS row_shard"
            if self.distributed_by
            else ", t.tableoid AS row_table, t.ctid AS row_place"
        )

    @property
    def place_order(self) -> str:
        """The order of doubled `t`; the first stays."""
        if self.distributed_by is None:
            return "t.tableoid, t.ctid"
        column = quote(self.distributed_by)
        return f"t.{column} IS DISTINCT FROM s.{column}, t.{column}"

    @property
    def same_row(self) -> str:
        """`t` has key and place of `m`."""
        equal = _equal("t", "m", self.key, self.nullable)
        if self.is_unique:
            return equal
        if self.distributed_by is not None:
            return f"{equal} AND t.{quote(self.distributed_by)} = m.row_shard"
        # By place alone: no index serves the key, and NULLs in it match nothing.
        return "t.tableoid = m.row_table AND t.ctid = m.row_place"

    def locked(self, strength: str) -> str:
        """The clause that locks `t`; empty where distributed."""
        return f"FOR {strength} OF t" if self.distributed_by is None else ""


def _equal(left: str, right: str, columns: Sequence[str], nullable: frozenset[str]) -> str:
    # IS NOT DISTINCT FROM only where NULL can be: no index and no hash serves it.
    return " AND ".join(
        f"{left}.{quote(column)} {'IS NOT DISTINCT FROM' if column in nullable else '='}"
        f" {right}.{quote(column)}"
        for column in columns
    )


def staged_columns(table: WarehouseTable) -> dict[str, str]:
    """A staging table's columns and types.

    Those read alone come first: PostgreSQL steps over all columns before.
    """
    wanted = {"account_id": "text", **{column.name: column.sql_type for column in table.columns}}
    first = [
        name
        for name in ("account_id", *table.key, "login", "platform", "broker", *FIGURES)
        if name in wanted
    ]
    return {name: wanted[name] for name in dict.fromkeys((*first, *wanted))}


def analyzed_columns(table: WarehouseTable) -> tuple[str, ...]:
    """Columns whose statistics decide plans."""
    return tuple(dict.fromkeys(("fetch_id", "ordinal", "refused", "account_id", *table.key)))


def is_staged(table: WarehouseTable, types: dict[str, str]) -> bool:
    """Whether a staging table of these types fits."""
    wanted = {column.name: column.sql_type for column in table.columns}
    return types.keys() >= {"account_id", "unsent"} and all(
        types.get(name) == sql_type for name, sql_type in wanted.items()
    )
