"""Columns that a row of the API was sent without: what is stored in them stays, where a null that
was sent overwrites it.

A staged row keeps them as bits in its column `unsent`, so that rows with any set of fields are
compared and written by one statement.
"""

from collections.abc import Iterable

from app.store.schema.raw.tables import WarehouseTable


class UnsentColumns:
    """Finds the columns of a table that rows are sent without."""

    def __init__(self, table: WarehouseTable) -> None:
        """Number the columns that a row may be sent without: all but those of its key, without
        which it is none.
        """
        assigned = {column.name for column in table.values}
        self._bits = {
            column.api_name: 1 << number
            for number, column in enumerate(table.columns)
            if column.name in assigned
        }
        self._all = sum(self._bits.values())
        self._bytes = len(table.columns) // 8 + 1

    def of(self, fields: Iterable[str]) -> bytes | None:
        """The columns that a row with these fields of the API is sent without, as `is_unsent` reads
        them; None: it has all of them.
        """
        unsent = self._all
        for name in fields:
            unsent &= ~self._bits.get(name, 0)
        return unsent.to_bytes(self._bytes, "little") if unsent else None


def is_unsent(table: WarehouseTable, column: str, prefix: str = "s.") -> str:
    """The condition that a staged row was sent without a column; NULL for a row that was sent with
    all of them.
    """
    number = next(number for number, each in enumerate(table.columns) if each.name == column)
    return f"get_bit({prefix}unsent, {number}) = 1"


def is_sent(table: WarehouseTable, columns: Iterable[str], prefix: str = "s.") -> str:
    """The condition that a staged row was sent with all of these columns."""
    return (
        " AND ".join(f"({is_unsent(table, column, prefix)}) IS NOT TRUE" for column in columns)
        or "true"
    )
