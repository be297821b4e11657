"""Money: sums of net profit and lots that are equal in two tables, as learned from the warehouse.

Fees or deposits may stand in one alone.
"""

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from app.domain.wording.counts import choose, counted
from app.errors import ConfigurationError

LEAST_SHARE = 0.95
"""Accounts that teach a relation."""
LEAST_KEPT = 0.5
"""The share that keeps a learned one."""


class Side(StrEnum):
    """A table with amounts."""

    ALLTIME = "alltime"
    DAILY = "daily"
    HOURLY = "hourly"
    CLOSED = "closed"


class Figure(StrEnum):
    """An amount; closed trades name it otherwise."""

    PROFIT = "net_profit"
    LOTS = "total_lots"


UNITS: Mapping[Figure, float] = {Figure.PROFIT: 0.02, Figure.LOTS: 0.002}
"""Rounding explains this times the root of the summed rows, seven standard deviations."""
RELATIVE = 1e-9
"""The relative error of floating-point sums."""
RELATIVE_OF_REAL = 1e-5


@dataclass(frozen=True, slots=True)
class Relation:
    """Equal sums in two tables."""

    left: Side
    right: Side
    figure: Figure

    @property
    def name(self) -> str:
        """Such as daily_hourly_net_profit."""
        return f"{self.left}_{self.right}_{self.figure}"

    @property
    def has_dates(self) -> bool:
        """Whether it also holds by date."""
        return self.left is not Side.ALLTIME


RELATIONS = tuple(
    Relation(left, right, figure)
    for figure in Figure
    for left, right in combinations(Side, 2)
    if Side.DAILY in (left, right) or left is Side.ALLTIME
)
BY_NAME: Mapping[str, Relation] = {relation.name: relation for relation in RELATIONS}
BY_DATE = "daily_hourly_by_date"
"""Daily and hourly agree by date."""


@dataclass(frozen=True, slots=True)
class MoneyMode:
    """Relations to compare; None: learned ones."""

    relations: frozenset[str] | None = None

    @classmethod
    def read(cls, text: str) -> "MoneyMode":
        """Parse `auto`, `off` or names with commas; ConfigurationError."""
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

    def is_used(
        self, relation: str, accounts: int, holding: int, *, is_learned: bool = False
    ) -> bool:
        """Whether a relation of `holding` in `accounts` is used."""
        if self.relations is not None:
            return relation in self.relations
        if is_learned:
            return holding >= LEAST_KEPT * accounts
        return accounts > 0 and holding >= LEAST_SHARE * accounts


AUTO, OFF = MoneyMode(), MoneyMode(frozenset())


@dataclass(frozen=True, slots=True)
class Known:
    """Whether a relation is used, and why."""

    is_used: bool = False
    reason: str = ""

    @property
    def is_learned(self) -> bool:
        """Whether accounts taught it, not a setting."""
        return self.is_used and self.reason != NAMED

    @property
    def is_dropped(self) -> bool:
        """Whether most accounts broke it since."""
        return not self.is_used and self.reason.startswith(_DROPPED)

    @classmethod
    def judge(
        cls, mode: MoneyMode, relation: str, accounts: int, holding: int, before: "Known"
    ) -> "Known":
        """Judge a relation of `holding` in `accounts`."""
        is_used = mode.is_used(relation, accounts, holding, is_learned=before.is_learned)
        if mode.relations is not None:
            return cls(is_used, NAMED if is_used else _NOT_NAMED)
        told = f"holds for {holding} of {accounts} accounts"
        if is_used:
            is_broken = holding < LEAST_SHARE * accounts
            return cls(is_used, f"{told}; it was learned before" if is_broken else told)
        if before.is_learned or before.is_dropped:
            return cls(
                is_used,
                f"{_DROPPED}, and now {told}, which is less than {LEAST_KEPT:.0%}: if rows are"
                " wrong, name it in RECON_MONEY and run again",
            )
        if not accounts:
            return cls(is_used, _UNKNOWN)
        return cls(is_used, f"{told}, which is less than {LEAST_SHARE:.0%}")


NAMED, _NOT_NAMED = "named by RECON_MONEY", "not named by RECON_MONEY"
_DROPPED = "it was learned before"
_UNKNOWN = (
    "no account had an amount in both tables when they were last learned: the next run or"
    " inspection learns again"
)


def dropped_sentence(names: Sequence[str]) -> str:
    """A sentence of relations no longer compared; empty if none."""
    if not names:
        return ""
    return (
        f" Amounts were not compared in {counted(len(names), 'relation')} that held before, since"
        f" fewer than half of the accounts keep {choose(len(names), 'it', 'them')}"
        f" ({', '.join(names)}): if rows are wrong, name {choose(len(names), 'it', 'them')} in"
        " RECON_MONEY and run again."
    )


def tolerance(figure: Figure, rows: int, largest: float) -> float:
    """The largest difference that rounding explains."""
    return UNITS[figure] * math.sqrt(rows) + RELATIVE * largest


@dataclass(frozen=True, slots=True)
class MoneyDay:
    """A date's amounts and rows."""

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
        """Whether the relation is broken."""
        return relation.has_dates and not self.are_equal(
            relation.figure, relation.left, relation.right
        )


@dataclass(frozen=True, slots=True)
class Money:
    """Amounts that disagree where counts agree."""

    used: frozenset[Relation]
    broken: tuple[Relation, ...]
    days: tuple[MoneyDay, ...]
    totals: Mapping[Figure, Mapping[Side, float]]

    @property
    def sides(self) -> frozenset[Side]:
        """Tables in broken relations."""
        return frozenset(
            side for relation in self.broken for side in (relation.left, relation.right)
        )

    @property
    def broken_totals(self) -> tuple[Relation, ...]:
        """The broken relations with alltime."""
        return tuple(relation for relation in self.broken if not relation.has_dates)

    def involved(self, day: MoneyDay) -> frozenset[Side]:
        """Tables possibly wrong on a date."""
        return frozenset(
            side
            for relation in self.broken
            if day.breaks(relation)
            for side in (relation.left, relation.right)
        )

    def suspects(self, day: MoneyDay) -> frozenset[Side]:
        """The table that two others contradict, else all involved."""
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
        """A digest, rounded as sums vary."""
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
    """An amount without floating-point noise."""
    return round(amount, 6) + 0.0


def relations_of(names: Iterable[str]) -> tuple[Relation, ...]:
    """Relations by name; unknown names are ignored."""
    return tuple(BY_NAME[name] for name in names if name in BY_NAME)
