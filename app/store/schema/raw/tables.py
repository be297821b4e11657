"""The raw tables as they stand in this warehouse: which columns the API fills here, and how each
value gets in.

A warehouse that trade-recon did not make may have fewer columns, other types and other keys;
everything that is written or compared goes through what is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint, Table
from app.store.database.queries import quote
from app.store.schema.introspect import CheckFacts, UniqueKey
from app.store.schema.raw.columns import FIGURES, Column

STAGED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""The endpoints that are fetched and healed; open trades are snapshots, in which only ids are
mended.
"""


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A raw table, its staging table, and the columns that both have and the API fills.

    `nullable` are the parts of our key that may be NULL here; `is_unique` tells whether the table
    itself keeps two rows of one key apart; `narrow_keys` are its unique keys that two rows of
    upstream may share; `checks` what a row must meet, as far as the columns that the API fills
    tell; `has_guards` whether triggers have their say before a row is written; `origin` the
    expressions for the columns that tell where a row came from; `distributed_by` the column by
    which Citus spreads the rows over servers (None: it does not), which no statement may assign;
    `stored` all columns that can be written, whoever fills them.
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
        """The columns that are no part of the key and may be assigned."""
        return tuple(
            column
            for column in self.columns
            if column.name not in self.table.key and column.name != self.distributed_by
        )

    @property
    def changes_shard(self) -> bool:
        """Whether a row of the API may belong to another shard than the stored row of its key."""
        return self.distributed_by is not None and self.distributed_by not in self.table.key

    @property
    def optional(self) -> frozenset[str]:
        """Parts of the key that upstream may leave out: only the broker, where the table takes NULL
        for it.
        """
        return self.nullable & {"broker"}

    def same(self, left: str, right: str, columns: Sequence[str] | None = None) -> str:
        """The condition that a row of the API `right` and a stored one `left` agree in `columns`
        (None: the key).
        """
        return _equal(left, right, self.key if columns is None else columns, self.optional)

    @property
    def place(self) -> str:
        """What else tells a stored row `t` apart, as columns behind its key: nothing where its key
        is unique.
        """
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
        """An order in which doubled rows `t` of a row `s` of the API stand, the one first that
        should stay.
        """
        if self.distributed_by is None:
            return "t.tableoid, t.ctid"
        column = quote(self.distributed_by)
        return f"t.{column} IS DISTINCT FROM s.{column}, t.{column}"

    @property
    def same_row(self) -> str:
        """The condition that `t` is the stored row of which `m` has key and place."""
        equal = _equal("t", "m", self.key, self.nullable)
        if self.is_unique:
            return equal
        if self.distributed_by is not None:
            return f"{equal} AND t.{quote(self.distributed_by)} = m.row_shard"
        # By its place alone, where no index knows the key: conditions on columns that may be NULL
        # would be none.
        return "t.tableoid = m.row_table AND t.ctid = m.row_place"

    def locked(self, strength: str) -> str:
        """The clause that locks the stored rows `t`; none where they lie on several servers, which
        lock no rows for a join.
        """
        return f"FOR {strength} OF t" if self.distributed_by is None else ""


def _equal(left: str, right: str, columns: Sequence[str], nullable: frozenset[str]) -> str:
    # IS NOT DISTINCT FROM only where NULL can be: no index and no hash serves it.
    return " AND ".join(
        f"{left}.{quote(column)} {'IS NOT DISTINCT FROM' if column in nullable else '='}"
        f" {right}.{quote(column)}"
        for column in columns
    )


def staged_columns(table: WarehouseTable) -> dict[str, str]:
    """The columns that a staging table needs, with their types: those that the API fills, and the
    account id.

    First those that are looked at by themselves: PostgreSQL steps over all columns before the last
    one that it wants of a row.
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
    """Whether a staging table with columns of these types holds what the table's rows are made
    of.
    """
    wanted = {column.name: column.sql_type for column in table.columns}
    return types.keys() >= {"account_id", "unsent"} and all(
        types.get(name) == sql_type for name, sql_type in wanted.items()
    )
