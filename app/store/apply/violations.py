"""What a unique violation says of a row: whether a key of the raw table is too narrow for it, or
something else raised that code.
"""

from dataclasses import dataclass

from app.errors import RowRefused
from app.store.apply.statements import Statements
from app.store.database.errors import UNIQUE_VIOLATION
from app.store.database.transaction import Connection
from app.store.schema.raw_tables import WarehouseTable

REFUSED = "refused by the table"
"""How the reason begins where a constraint or a trigger takes no row like it."""
NOT_KEPT = (
    f"{REFUSED}: the row was written and is not stored: a trigger or rule of the table's owner"
    " drops it"
)
CHANGED = (
    f"{REFUSED}: the row is stored with other figures than were written: a trigger or rule of the"
    " table's owner changes them"
)
TOO_NARROW = "key too narrow"
"""How the reason begins where a unique key takes one of two rows."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row cannot be held, as a sentence; `beside` are the unique key that is too narrow for
    it, and its columns.
    """

    reason: str
    beside: dict[str, object] | None = None


async def refusal_of(
    connection: Connection, sql: Statements, table: WarehouseTable, error: RowRefused
) -> Refusal:
    """Read the error that one row met.

    A key is too narrow only if a unique index of the raw table, of its partitions or of its
    children found the violation, and does not hold the whole key by which upstream tells rows
    apart. The code of the error alone says nothing: a trigger may raise it, or write into another
    table.
    """
    if error.sqlstate != UNIQUE_VIOLATION:
        return Refusal(f"{REFUSED}: {error}{_by(error)}")
    if error.is_raised or error.relation is None or error.constraint is None:
        return Refusal(f"{REFUSED}: the table's owner does not take it: {error}{_by(error)}")
    if table.distributed_by is not None:
        # The servers of a distributed table name their shards.
        return _of_shard(table, error)
    index = await connection.fetch_row(
        sql.of("get_violated_index", table), table.raw, *error.relation, error.constraint
    )
    if index is None:
        other = ".".join(error.relation)
        return Refusal(
            f"{REFUSED}: writing it also writes into {other}, whose unique key takes one row like"
            f" it: {error}{_by(error)}"
        )
    columns = list(index["columns"])
    if index["is_plain"] and set(table.key) <= set(columns):
        return Refusal(
            f"{REFUSED}: a row with its key is there that this transaction does not see; the next"
            f" run looks again: {error}"
        )
    definition = "" if index["is_plain"] else f"; the index is {index['definition']}"
    return Refusal(
        f"{TOO_NARROW}: {error}{definition}", {"unique_key": error.constraint, "columns": columns}
    )


def _of_shard(table: WarehouseTable, error: RowRefused) -> Refusal:
    name = (error.constraint or "").rpartition("_")[0]
    key = next((each for each in table.narrow_keys if each.name in (name, error.constraint)), None)
    if key is None:
        return Refusal(f"{REFUSED}: {error}{_by(error)}")
    return Refusal(f"{TOO_NARROW}: {error}", {"unique_key": key.name, "columns": list(key.columns)})


def _by(error: RowRefused) -> str:
    return f" (in {error.code})" if error.code else ""
