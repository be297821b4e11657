"""What a stored row loses to a staged one; a NULL side is no change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from app.store.database.queries import quote
from app.store.schema.raw.columns import FIGURES, Column, Kind
from app.store.table_sql.table import COUNT

_WORTH = (*FIGURES, "profit", "lots")
"""Columns whose loss makes upstream suspect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSql:
    """What an overwrite takes from a stored row."""

    blanks: str
    """A figure becomes NULL or zero while the row keeps trades."""
    loses: str
    """A value becomes NULL, or the count falls."""
    falls: str
    """Only the count falls."""
    gains: str
    """The count rises, or a figure is filled."""

    @classmethod
    def of(cls, columns: Sequence[Column], value_of: Callable[[Column], str]) -> Self:
        """`value_of` gives the written values."""
        pairs = {column: (f"t.{quote(column.name)}", value_of(column)) for column in columns}
        figures = [pairs[column] for column in columns if column.name in _WORTH]
        others = [pairs[column] for column in columns if column.name not in _WORTH]
        counts = [pairs[column] for column in columns if _is_count(column)]
        emptied = [_becomes_null(old, new) for old, new in figures] + [
            f"{old} <> 0 AND {new} = 0"
            for old, new in (pairs[column] for column in columns if _is_amount(column))
        ]
        lowered = [f"{new} < {old}" for old, new in counts]
        # A date without trades has no figures: its count reports that loss.
        spent = [f"{old} > 0 AND {new} = 0" for old, new in counts]
        lost = [*emptied, *(_becomes_null(old, new) for old, new in others)]
        raised = [f"{new} > {old}" for old, new in counts]
        filled = [_becomes_null(new, old) for old, new in figures]
        return cls(
            blanks=f"{_any(emptied)} AND NOT {_any(spent)}",
            loses=_any([*lost, *lowered]),
            falls=f"{_any(lowered)} AND NOT {_any(lost)}",
            gains=_any([*raised, *filled]),
        )


def is_empty(columns: Sequence[Column]) -> str:
    """A written row has trades but no money."""
    amounts = [f"coalesce({quote(each.name)} = 0, true)" for each in columns if _is_amount(each)]
    counts = [f"coalesce({quote(each.name)} <> 0, true)" for each in columns if _is_count(each)]
    return " AND ".join([*amounts, *counts]) if amounts else "false"


def _is_amount(column: Column) -> bool:
    return column.name in _WORTH and column.kind is Kind.NUMBER and column.name != COUNT


def _is_count(column: Column) -> bool:
    return column.name == COUNT and column.kind is Kind.NUMBER


def _becomes_null(old: str, new: str) -> str:
    return f"{old} IS NOT NULL AND {new} IS NULL"


def _any(conditions: Sequence[str]) -> str:
    return f"coalesce({' OR '.join(conditions)}, false)" if conditions else "false"
