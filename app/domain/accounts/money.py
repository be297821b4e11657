"""Money: sums of net profit and lots that are equal between two tables, and the accounts for which
they are not.

Two tables whose counts agree describe the same trades, so at most firms their amounts agree, too;
at others fees or deposits stand in one of them alone. Which of these relations hold is therefore
learned from the warehouse, and only such are used.
"""

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from app.errors import ConfigurationError

LEAST_SHARE = 0.95
"""The part of the accounts for which a relation must hold so that the others are in error."""


class Side(StrEnum):
    """A table whose amounts are summed."""

    ALLTIME = "alltime"
    DAILY = "daily"
    HOURLY = "hourly"
    CLOSED = "closed"


class Figure(StrEnum):
    """An amount that the tables share; closed trades call it otherwise."""

    PROFIT = "net_profit"
    LOTS = "total_lots"


UNITS: Mapping[Figure, float] = {Figure.PROFIT: 0.02, Figure.LOTS: 0.002}
"""What the root of the number of summed rows is multiplied with for the largest difference that
rounding explains.

The errors of so many amounts, each rounded to a cent (lots: to a thousandth), add up to 0.29 of
that times the root, as a standard deviation: seven times as much is never reached.
"""
RELATIVE = 1e-9
"""The part of an amount by which sums of floating-point numbers may differ; those of single
precision by more.
"""
RELATIVE_OF_REAL = 1e-5


@dataclass(frozen=True, slots=True)
class Relation:
    """That the sums of one figure are equal in two tables: in total, and on each date where both
    have dates.
    """

    left: Side
    right: Side
    figure: Figure

    @property
    def name(self) -> str:
        """As settings, the report and evidence name it, such as daily_hourly_net_profit."""
        return f"{self.left}_{self.right}_{self.figure}"

    @property
    def has_dates(self) -> bool:
        """Whether it also holds date by date."""
        return self.left is not Side.ALLTIME


RELATIONS = tuple(
    Relation(left, right, figure)
    for figure in Figure
    for left, right in combinations(Side, 2)
    if Side.DAILY in (left, right) or left is Side.ALLTIME
)
"""Every relation: alltime with each other table, and daily with hourly and closed trades."""
BY_NAME: Mapping[str, Relation] = {relation.name: relation for relation in RELATIONS}
BY_DATE = "daily_hourly_by_date"
"""That daily and hourly agree on each date, in both figures, which totals alone do not tell:
learned and named like a relation.
"""


@dataclass(frozen=True, slots=True)
class MoneyMode:
    """Which relations are used: those that were learned (`relations` None), or just these; none: no
    amount is read.
    """

    relations: frozenset[str] | None = None

    @classmethod
    def read(cls, text: str) -> "MoneyMode":
        """Read `auto`, `off` or names of relations, separated by commas.

        Raises ConfigurationError.
        """
        words = [word.strip().lower() for word in text.split(",") if word.strip()]
        if words in ([], ["auto"]):
            return AUTO
        if words == ["off"]:
            return OFF
        unknown = sorted(set(words) - BY_NAME.keys() - {BY_DATE})
        if unknown:
            raise ConfigurationError(
                f"{', '.join(unknown)} is no relation such as {RELATIONS[0].name}; auto and off"
                " stand alone"
            )
        return cls(frozenset(words))

    @property
    def is_off(self) -> bool:
        """Whether no amount is compared."""
        return self.relations is not None and not self.relations

    def is_used(self, relation: str, accounts: int, holding: int) -> bool:
        """Whether accounts for which a relation does not hold are in error, where it holds for
        `holding` of `accounts`.
        """
        if self.relations is not None:
            return relation in self.relations
        return accounts > 0 and holding >= LEAST_SHARE * accounts


AUTO, OFF = MoneyMode(), MoneyMode(frozenset())


def tolerance(figure: Figure, rows: int, largest: float) -> float:
    """The largest difference of two sums of so many rows together that rounding explains."""
    return UNITS[figure] * math.sqrt(rows) + RELATIVE * largest


@dataclass(frozen=True, slots=True)
class MoneyDay:
    """The amounts that each table sums up on a date on which they differ, and the rows that it has
    there.
    """

    date: dt.date
    amounts: Mapping[Figure, Mapping[Side, float]]
    rows: Mapping[Side, int]

    def are_equal(self, figure: Figure, left: Side, right: Side) -> bool:
        """Whether two tables agree but for rounding."""
        first, second = self.amounts[figure][left], self.amounts[figure][right]
        return abs(first - second) <= tolerance(
            figure, self.rows[left] + self.rows[right], max(abs(first), abs(second))
        )

    def breaks(self, relation: Relation) -> bool:
        """Whether a relation that holds by date does not hold here."""
        return relation.has_dates and not self.are_equal(
            relation.figure, relation.left, relation.right
        )


@dataclass(frozen=True, slots=True)
class Money:
    """How amounts disagree where counts agree: relations in `used`, those `broken`, the dates of
    these, and each table's totals.
    """

    used: frozenset[Relation]
    broken: tuple[Relation, ...]
    days: tuple[MoneyDay, ...]
    totals: Mapping[Figure, Mapping[Side, float]]

    @property
    def sides(self) -> frozenset[Side]:
        """The tables that stand in broken relations."""
        return frozenset(
            side for relation in self.broken for side in (relation.left, relation.right)
        )

    @property
    def broken_totals(self) -> tuple[Relation, ...]:
        """The broken relations with alltime."""
        return tuple(relation for relation in self.broken if not relation.has_dates)

    def involved(self, day: MoneyDay) -> frozenset[Side]:
        """All tables that can be wrong on a date."""
        return frozenset(
            side
            for relation in self.broken
            if day.breaks(relation)
            for side in (relation.left, relation.right)
        )

    def suspects(self, day: MoneyDay) -> frozenset[Side]:
        """The table that stands alone on a date against two that agree; all that are involved where
        there is no such, or more than one.
        """
        involved = self.involved(day)
        votes = {side for figure in Figure for side in self._alone(day, figure)}
        return frozenset(votes) if len(votes) == 1 and votes <= involved else involved

    def _alone(self, day: MoneyDay, figure: Figure) -> Iterator[Side]:
        if not all(
            Relation(Side.DAILY, side, figure) in self.used for side in (Side.HOURLY, Side.CLOSED)
        ):
            return
        equal = {
            pair: day.are_equal(figure, *pair)
            for pair in (
                (Side.DAILY, Side.HOURLY),
                (Side.DAILY, Side.CLOSED),
                (Side.HOURLY, Side.CLOSED),
            )
        }
        if list(equal.values()).count(True) == 1:
            agreeing = next(pair for pair, is_equal in equal.items() if is_equal)
            yield next(
                side for side in (Side.DAILY, Side.HOURLY, Side.CLOSED) if side not in agreeing
            )

    @property
    def signature(self) -> tuple[object, ...]:
        """What is seen, to tell whether anything changed: rounded, since sums of floating-point
        numbers depend on the order of rows.
        """
        days = [(day.date.isoformat(), _rounded(day.amounts)) for day in self.days]
        return sorted(relation.name for relation in self.broken), days, _rounded(self.totals)


def _rounded(
    amounts: Mapping[Figure, Mapping[Side, float]],
) -> list[tuple[str, list[tuple[str, float]]]]:
    return [
        (figure.value, [(side.value, shown(amount)) for side, amount in sides.items()])
        for figure, sides in amounts.items()
    ]


def shown(amount: float) -> float:
    """An amount as it is shown, without the noise of floating-point sums."""
    return round(amount, 6) + 0.0


def relations_of(names: Iterable[str]) -> tuple[Relation, ...]:
    """The relations of these names, in their order; names of none are left out."""
    return tuple(BY_NAME[name] for name in names if name in BY_NAME)
