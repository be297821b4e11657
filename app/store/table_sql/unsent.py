"""Columns a row was sent without, as bits: they keep stored values, where a null overwrites."""

from collections.abc import Iterable

from app.store.schema.raw.tables import WarehouseTable


class UnsentColumns:
    """Columns that rows are sent without."""

    def __init__(self, table: WarehouseTable) -> None:
        assigned = {column.name for column in table.values}
        self._bits = {
            column.api_name: 1 << number
            for number, column in enumerate(table.columns)
            if column.name in assigned
        }
        self._all = sum(self._bits.values())
        self._bytes = len(table.columns) // 8 + 1

    def of(self, fields: Iterable[str]) -> bytes | None:
        """Bits of the columns missing from these API fields; None: none."""
        unsent = self._all
        for name in fields:
            unsent &= ~self._bits.get(name, 0)
        return unsent.to_bytes(self._bytes, "little") if unsent else None


def is_unsent(table: WarehouseTable, column: str, prefix: str = "s.") -> str:
    """`column` was not sent; NULL if all were."""
    number = next(number for number, each in enumerate(table.columns) if each.name == column)
    return f"get_bit({prefix}unsent, {number}) = 1"


def is_sent(table: WarehouseTable, columns: Iterable[str], prefix: str = "s.") -> str:
    """All `columns` were sent."""
    return (
        " AND ".join(f"({is_unsent(table, column, prefix)}) IS NOT TRUE" for column in columns)
        or "true"
    )
