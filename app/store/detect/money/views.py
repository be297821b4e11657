"""Amounts of detection as domain values."""

import datetime as dt
from collections.abc import Collection, Sequence

from app.domain.accounts.money import BY_DATE, Figure, Money, MoneyDay, Side, relations_of
from app.store.database.transaction import Record

_DATED = (Side.DAILY, Side.HOURLY, Side.CLOSED)


def dates_of(row: Record) -> int:
    """Disagreeing dates, 1 if only totals disagree."""
    broken = row["broken_relations"] or ()
    dates = len(row["money_days"] or ()) if _is_dated(broken) else 0
    return max(dates, int(any(not relation.has_dates for relation in relations_of(broken))))


def money_of(row: Record, used: frozenset[str]) -> Money | None:
    """Disagreements in `used` relations, or None."""
    if not dates_of(row):
        return None
    found = row["broken_relations"]
    days = tuple(_day(each) for each in sorted(row["money_days"] or ())) if _is_dated(found) else ()
    relations = relations_of(sorted(used))
    totals = {relation for relation in relations_of(found) if not relation.has_dates}
    broken = tuple(
        relation
        for relation in relations
        if relation in totals or any(day.breaks(relation) for day in days)
    )
    sums = [value or 0.0 for value in row["money_totals"]]
    return Money(
        frozenset(relations),
        broken,
        days,
        {figure: _sides(part, Side) for figure, part in zip(Figure, _halves(sums), strict=True)},
    )


def _is_dated(broken: Collection[str]) -> bool:
    """Whether dates are looked at: only where a relation that holds by date fails in total."""
    return BY_DATE in broken or any(relation.has_dates for relation in relations_of(broken))


def _day(values: Sequence[float]) -> MoneyDay:
    number, *amounts = values
    sides = len(_DATED)
    profit, lots, rows = (amounts[start : start + sides] for start in range(0, 3 * sides, sides))
    return MoneyDay(
        dt.date.fromordinal(int(number)),
        {Figure.PROFIT: _sides(profit, _DATED), Figure.LOTS: _sides(lots, _DATED)},
        {side: int(count) for side, count in zip(_DATED, rows, strict=True)},
    )


def _sides(values: Sequence[float], sides: Sequence[Side] | type[Side]) -> dict[Side, float]:
    return dict(zip(sides, values, strict=True))


def _halves(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]
