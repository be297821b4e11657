"""Amounts in SQL: sums, compared within a tolerance.

Non-numbers and extremes count as none and sums are floating-point, so that no value fails a sweep.
Distributed tables would need functions on every server; none is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.accounts.money import (
    RELATIONS,
    RELATIVE,
    RELATIVE_OF_REAL,
    UNITS,
    Figure,
    Relation,
    Side,
)
from app.domain.contract.tables import Endpoint
from app.store.database.queries import quote
from app.store.schema.raw.catalogue import Catalogue
from app.store.schema.raw.columns import Column, Kind
from app.store.schema.raw.tables import WarehouseTable

ENDPOINTS = {
    Side.ALLTIME: Endpoint.ALLTIME,
    Side.DAILY: Endpoint.DAILY,
    Side.HOURLY: Endpoint.HOURLY,
    Side.CLOSED: Endpoint.CLOSED,
}
_COLUMNS = {Side.CLOSED: {Figure.PROFIT: "profit", Figure.LOTS: "lots"}}
_LARGEST = "1e15"
"""Beyond any real amount, yet safe to sum and multiply."""
_REALS = ("double precision", "real")
_WHOLES = ("smallint", "integer", "bigint")
DATE_WEIGHT = "(1024 + (hashint8extended(({date}::date - date '2000-01-01')::bigint, 7) & 1023))"
"""Weight of a date, 1024 to 2047."""
SHORT_NAMES = {Figure.PROFIT: "profit", Figure.LOTS: "lots"}
NONE, NULL = "0::double precision", "NULL::numeric"
MARKED = (Side.DAILY, Side.HOURLY)


def amount(total: str) -> str:
    """A sum clamped to a comparable number."""
    is_number = f"{total} BETWEEN -{_LARGEST} AND {_LARGEST}"
    return (
        f"CASE WHEN {is_number} THEN ({total})::double precision WHEN {total} IS NULL THEN 0 ELSE"
        f" {_LARGEST} END"
    )


@dataclass(frozen=True, slots=True)
class MoneyColumns:
    """Amount expressions by table and figure."""

    values: Mapping[tuple[Side, Figure], str]
    reals: frozenset[tuple[Side, Figure]]

    @classmethod
    def of(cls, catalogue: Catalogue) -> "MoneyColumns":
        """The amounts that a catalogue's tables have."""
        found = {
            (side, figure): column
            for side, endpoint in ENDPOINTS.items()
            for figure in Figure
            if (
                column := _column(
                    catalogue[endpoint], _COLUMNS.get(side, {}).get(figure, figure.value)
                )
            )
            is not None
        }
        schema = catalogue[Endpoint.ALLTIME].raw.split(".")[0]
        values = {place: _value(column, schema) for place, column in found.items()}
        return cls(
            values, frozenset(place for place, column in found.items() if column.sql_type == "real")
        )

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Relations with both figures present."""
        return tuple(
            each
            for each in RELATIONS
            if {(each.left, each.figure), (each.right, each.figure)} <= self.values.keys()
        )

    def sums(self, side: Side, date: str | None = None) -> str:
        """Columns with a table's sums, and a mark by `date`."""
        sums = [
            f"{amount(f'sum({self.value(side, figure)})')} AS {short}"
            for figure, short in SHORT_NAMES.items()
        ]
        mark = NONE
        if date is not None and self.has_mark:
            # One mark for both figures, as it costs as much as all sums.
            both = " + ".join(f"coalesce({self.value(side, figure)}, 0)" for figure in Figure)
            mark = amount(f"sum(({both}) * {DATE_WEIGHT.format(date=date)}) / 1024")
        return "".join(f", {each}" for each in (*sums, f"{mark} AS money_mark"))

    def value(self, side: Side, figure: Figure) -> str:
        """A row's figure, or NULL."""
        return self.values.get((side, figure), NULL)

    def is_broken(self, relation: Relation) -> str:
        """Condition: account `s` breaks the relation in total."""
        left, right = (
            f"s.{side}_{SHORT_NAMES[relation.figure]}" for side in (relation.left, relation.right)
        )
        tolerance = self._tolerance(relation, "s")
        if not relation.has_dates:
            # An account without rows on compared dates has an amount of 0 there.
            right = f"CASE WHEN s.has_{relation.right} THEN {right} ELSE 0 END"
            return f"s.has_{relation.left} AND {_differ(left, right, tolerance)}"
        return (
            f"s.has_{relation.left} AND s.has_{relation.right} AND"
            f" {_differ(left, right, tolerance)}"
        )

    @property
    def has_mark(self) -> bool:
        """Whether marks reveal differences by date."""
        return {(side, figure) for side in MARKED for figure in Figure} <= self.values.keys()

    @property
    def is_mark_broken(self) -> str:
        """Condition: daily and hourly marks of `s` differ."""
        # A mark adds amounts of both figures, weighted by up to 2.
        most = " + ".join(
            f"2 * ({self._tolerance(Relation(*MARKED, figure), 's')})" for figure in Figure
        )
        return (
            "s.has_daily AND s.has_hourly AND"
            f" {_differ('s.daily_money_mark', 's.hourly_money_mark', most)}"
        )

    def breaks(self, relation: Relation) -> str:
        """Condition: a date of `days` breaks the relation."""
        left, right = (
            f"days.{side}_{SHORT_NAMES[relation.figure]}"
            for side in (relation.left, relation.right)
        )
        # Equality first, which is cheaper than the tolerance.
        return f"{left} <> {right} AND {_differ(left, right, self._tolerance(relation, 'days'))}"

    def speaks(self, relation: Relation) -> str:
        """Condition: `s` has equal counts and an amount."""
        left, right = (
            f"s.{side}_{SHORT_NAMES[relation.figure]}" for side in (relation.left, relation.right)
        )
        counted = f"s.{relation.left} = s.{relation.right} AND s.{relation.right} > 0"
        if relation.has_dates:
            counted += f" AND s.{relation.left}_mark = s.{relation.right}_mark"
        there = f"s.has_{relation.left} AND s.has_{relation.right} AND {counted}"
        return f"{there} AND {left} - {right} IS NOT NULL AND ({left} <> 0 OR {right} <> 0)"

    def _tolerance(self, relation: Relation, alias: str) -> str:
        left, right = (
            f"{alias}.{side}_{SHORT_NAMES[relation.figure]}"
            for side in (relation.left, relation.right)
        )
        is_real = {(relation.left, relation.figure), (relation.right, relation.figure)} & self.reals
        rows = f"{alias}.{relation.left}_rows + {alias}.{relation.right}_rows"
        relative = RELATIVE_OF_REAL if is_real else RELATIVE
        return (
            f"{UNITS[relation.figure]} * sqrt({rows}) + {relative} * greatest(abs({left}),"
            f" abs({right}))"
        )


NO_COLUMNS = MoneyColumns({}, frozenset())


def _differ(left: str, right: str, tolerance: str) -> str:
    return f"abs({left} - {right}) > {tolerance}"


def _column(table: WarehouseTable, name: str) -> Column | None:
    column = next((each for each in table.columns if each.name == name), None)
    return (
        column
        if column is not None and column.kind in (Kind.NUMBER, Kind.TEXT) and column.labels is None
        else None
    )


def _value(column: Column, schema: str) -> str:
    name = quote(column.name)
    if column.kind is Kind.TEXT:
        # Text may hold figures beyond safe summands.
        figure = f"{schema}.recon_figure({name}::text)"
        return f"CASE WHEN {figure} BETWEEN -{_LARGEST} AND {_LARGEST} THEN {figure} END"
    if column.sql_type in _REALS:
        # Floating-point sums raise an error on overflow.
        return (
            f"CASE WHEN {name} BETWEEN -{_LARGEST} AND {_LARGEST} THEN {name}::double precision END"
        )
    if column.sql_type in _WHOLES:
        return f"{name}::numeric"
    return (
        name
        if column.largest is not None
        else f"CASE WHEN {name} BETWEEN -{_LARGEST} AND {_LARGEST} THEN {name} END"
    )
