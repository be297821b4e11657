"""The raw tables as they stand: which columns the API fills here.

A warehouse that trade-recon did not make may have fewer columns, other types and other keys; all
writes and comparisons go through what is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint, Table
from app.store.database.queries import quote
from app.store.schema.introspect import CheckFacts, UniqueKey
from app.store.schema.raw.columns import FIGURES, Column

STAGED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""Endpoints that are fetched and repaired; of open trades ids alone are."""


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A raw table, its staging table, and the columns that the API fills.

    `nullable` are key parts that may be NULL; `is_unique`: the table keeps rows of one key apart;
    `narrow_keys` are unique keys that two rows of upstream may share; `checks` what rows must meet,
    as far as the API's columns tell; `has_guards`: triggers act before a row is written; `origin`
    expressions for where a row came from; `distributed_by` the column by which Citus spreads it
    (None: not), which no statement may assign; `stored` all columns that can be written.
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
        """The names of the columns that the API fills."""
        return frozenset(column.name for column in self.columns)

    @property
    def values(self) -> tuple[Column, ...]:
        """Columns outside of the key that may be assigned."""
        return tuple(
            column
            for column in self.columns
            if column.name not in self.table.key and column.name != self.distributed_by
        )

    @property
    def changes_shard(self) -> bool:
        """Whether upstream's row may belong to another shard than the stored one."""
        return self.distributed_by is not None and self.distributed_by not in self.table.key

    @property
    def optional(self) -> frozenset[str]:
        """Key parts that upstream may leave out: the broker, if it may be NULL."""
        return self.nullable & {"broker"}

    def same(self, left: str, right: str, columns: Sequence[str] | None = None) -> str:
        """The condition that stored `left` and sent `right` agree in `columns` (None: the key)."""
        return _equal(left, right, self.key if columns is None else columns, self.optional)

    @property
    def place(self) -> str:
        """Columns that tell stored rows `t` of one key apart, behind the key."""
        if self.is_unique:
            return ""
        # Of a distributed table ctid names a row in each of its shards: there the shard's column
        # ends the key.
        return (
            f", t.{quote(self.distributed_by)} AS row_shard"
            if self.distributed_by
            else ", t.tableoid AS row_table, t.ctid AS row_place"
        )

    @property
    def place_order(self) -> str:
        """The order of doubled rows `t` of a sent row `s`, the one to keep first."""
        if self.distributed_by is None:
            return "t.tableoid, t.ctid"
        column = quote(self.distributed_by)
        return f"t.{column} IS DISTINCT FROM s.{column}, t.{column}"

    @property
    def same_row(self) -> str:
        """The condition that `t` is the stored row with key and place of `m`."""
        equal = _equal("t", "m", self.key, self.nullable)
        if self.is_unique:
            return equal
        if self.distributed_by is not None:
            return f"{equal} AND t.{quote(self.distributed_by)} = m.row_shard"
        # By its place alone, where no index knows the key: conditions on columns that may be NULL
        # would be none.
        return "t.tableoid = m.row_table AND t.ctid = m.row_place"

    def locked(self, strength: str) -> str:
        """The clause that locks stored rows `t`; none on distributed tables."""
        return f"FOR {strength} OF t" if self.distributed_by is None else ""


def _equal(left: str, right: str, columns: Sequence[str], nullable: frozenset[str]) -> str:
    # IS NOT DISTINCT FROM only where NULL can be: no index and no hash serves it.
    return " AND ".join(
        f"{left}.{quote(column)} {'IS NOT DISTINCT FROM' if column in nullable else '='}"
        f" {right}.{quote(column)}"
        for column in columns
    )


def staged_columns(table: WarehouseTable) -> dict[str, str]:
    """The columns of a staging table with their types, those read alone first.

    PostgreSQL steps over all columns before the last one wanted.
    """
    wanted = {"account_id": "text", **{column.name: column.sql_type for column in table.columns}}
    first = [
        name
        for name in ("account_id", *table.key, "login", "platform", "broker", *FIGURES)
        if name in wanted
    ]
    return {name: wanted[name] for name in dict.fromkeys((*first, *wanted))}


def analyzed_columns(table: WarehouseTable) -> tuple[str, ...]:
    """The columns of a staging table whose statistics decide on plans."""
    return tuple(dict.fromkeys(("fetch_id", "ordinal", "refused", "account_id", *table.key)))


def is_staged(table: WarehouseTable, types: dict[str, str]) -> bool:
    """Whether a staging table with these types fits the table."""
    wanted = {column.name: column.sql_type for column in table.columns}
    return types.keys() >= {"account_id", "unsent"} and all(
        types.get(name) == sql_type for name, sql_type in wanted.items()
    )
