"""Explains PostgreSQL's error of one row."""

from dataclasses import dataclass

from app.errors import RowRefused
from app.store.apply.rejects.reasons import REFUSED, TOO_NARROW
from app.store.database.errors import UNIQUE_VIOLATION
from app.store.database.pool import Database
from app.store.database.transaction import Connection, Record
from app.store.schema.raw.tables import WarehouseTable


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row fails; `beside` names a narrow key."""

    reason: str
    beside: dict[str, object] | None = None


class Violations:
    """Reads errors.

    A key is too narrow only if a unique index of the table's own tree was violated and omits part
    of upstream's key; triggers can raise any code.
    """

    def __init__(self, database: Database) -> None:
        self._get_index = database.queries("apply/rejects/violations")["get_violated_index"]

    async def read(
        self, connection: Connection, table: WarehouseTable, error: RowRefused
    ) -> Rejection:
        """Why the table rejects the row."""
        if error.sqlstate != UNIQUE_VIOLATION:
            return Rejection(f"{REFUSED}: {error}{_by(error)}")
        if error.is_raised or error.relation is None or error.constraint is None:
            return Rejection(f"{REFUSED}: a rule of its owner rejects it: {error}{_by(error)}")
        if table.distributed_by is not None:
            # Errors of a distributed table name its shards.
            return _of_shard(table, error)
        index = await connection.fetch_row(
            self._get_index, table.raw, *error.relation, error.constraint
        )
        if index is None:
            other = ".".join(error.relation)
            return Rejection(
                f"{REFUSED}: writing it also writes into {other}, whose unique key takes one row"
                f" like it: {error}{_by(error)}"
            )
        return _of_index(table, error, index)


def _of_index(table: WarehouseTable, error: RowRefused, index: Record) -> Rejection:
    columns = list(index["columns"])
    if index["is_plain"] and set(table.key) <= set(columns):
        return Rejection(
            f"{REFUSED}: a row with its key exists that this transaction does not see; the next run"
            f" tries again: {error}"
        )
    definition = "" if index["is_plain"] else f"; the index is {index['definition']}"
    return Rejection(
        f"{TOO_NARROW}: {error}{definition}", {"unique_key": error.constraint, "columns": columns}
    )


def _of_shard(table: WarehouseTable, error: RowRefused) -> Rejection:
    name = (error.constraint or "").rpartition("_")[0]
    key = next((each for each in table.narrow_keys if each.name in (name, error.constraint)), None)
    if key is None:
        return Rejection(f"{REFUSED}: {error}{_by(error)}")
    return Rejection(
        f"{TOO_NARROW}: {error}", {"unique_key": key.name, "columns": list(key.columns)}
    )


def _by(error: RowRefused) -> str:
    return f" (in {error.code})" if error.code else ""
