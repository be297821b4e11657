"""Money in SQL: how each raw table's amounts are summed, and the conditions under which the sums of
two tables differ.

An amount that is no number, or beyond any account's, counts as none; a sum is a floating-point
number, so that nothing that a column can hold makes a statement over all accounts fail. Functions
of ours are left out on purpose: a distributed table would need them on each of its servers.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from app.domain.accounts.money import (
    BY_DATE,
    BY_NAME,
    RELATIONS,
    RELATIVE,
    RELATIVE_OF_REAL,
    UNITS,
    Figure,
    MoneyMode,
    Relation,
    Side,
)
from app.domain.contract.tables import TABLES, Endpoint
from app.store.database.pool import Database
from app.store.database.queries import fill, quote
from app.store.database.window import Window
from app.store.schema.raw_tables import Catalogue, Column, Kind, WarehouseTable
from app.telemetry import get_logger

_log = get_logger(__name__)

_ENDPOINTS = {
    Side.ALLTIME: Endpoint.ALLTIME,
    Side.DAILY: Endpoint.DAILY,
    Side.HOURLY: Endpoint.HOURLY,
    Side.CLOSED: Endpoint.CLOSED,
}
_COLUMNS = {Side.CLOSED: {Figure.PROFIT: "profit", Figure.LOTS: "lots"}}
_LARGEST = "1e15"
"""No account has more: sums of such amounts and their products stay far from the limits of the
type.
"""
_REALS = ("double precision", "real")
_COVERED = {
    Side.DAILY: (
        ("account_id", "date", "num_trades", "login", "platform", "broker"),
        ("net_profit", "total_lots"),
    ),
    Side.HOURLY: (("account_id", "date", "num_trades", "login"), ("net_profit", "total_lots")),
    Side.CLOSED: (("account_id", "trade_date", "login", "platform", "broker"), ("profit", "lots")),
}
"""The columns that an index must hold so that the counts of a table are read from it alone, and
those of its amounts.
"""
_LARGE_TABLE = 2**30
"""Bytes from which on it matters whether all rows are read or an index alone."""
_WHOLES = ("smallint", "integer", "bigint")
_WEIGHT = "(1024 + (hashint8extended(({date}::date - date '2000-01-01')::bigint, 7) & 1023))"
"""A number from 1024 to 2047 that stands for a date."""
_DATED = (Side.DAILY, Side.HOURLY, Side.CLOSED)
_SHORT = {Figure.PROFIT: "profit", Figure.LOTS: "lots"}
NONE, NULL = "0::double precision", "NULL::numeric"
_MARKED = (Side.DAILY, Side.HOURLY)


def amount(total: str) -> str:
    """A sum as a number that can be compared: 0 for none, and the largest amount for what is no
    number or beyond it.
    """
    is_number = f"{total} BETWEEN -{_LARGEST} AND {_LARGEST}"
    return (
        f"CASE WHEN {is_number} THEN ({total})::double precision WHEN {total} IS NULL THEN 0 ELSE"
        f" {_LARGEST} END"
    )


@dataclass(frozen=True, slots=True)
class MoneyColumns:
    """The amounts of this warehouse's raw tables, as expressions by table and figure; what a table
    does not hold as numbers is left out.
    """

    values: Mapping[tuple[Side, Figure], str]
    reals: frozenset[tuple[Side, Figure]]

    @classmethod
    def of(cls, catalogue: Catalogue) -> "MoneyColumns":
        """As the catalogue has the tables."""
        found = {
            (side, figure): column
            for side, endpoint in _ENDPOINTS.items()
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
        """The relations of which both tables hold the figure."""
        return tuple(
            each
            for each in RELATIONS
            if {(each.left, each.figure), (each.right, each.figure)} <= self.values.keys()
        )

    def sums(self, side: Side, date: str | None = None) -> str:
        """The sums of a table's figures, as the end of a list of columns; with `date`, its column,
        also their common mark by date.
        """
        sums = [
            f"{amount(f'sum({self.value(side, figure)})')} AS {short}"
            for figure, short in _SHORT.items()
        ]
        mark = NONE
        if date is not None and self.has_mark:
            # One for both figures, since it costs as much as all sums.
            both = " + ".join(f"coalesce({self.value(side, figure)}, 0)" for figure in Figure)
            mark = amount(f"sum(({both}) * {_WEIGHT.format(date=date)}) / 1024")
        return "".join(f", {each}" for each in (*sums, f"{mark} AS money_mark"))

    def value(self, side: Side, figure: Figure) -> str:
        """A figure of a row; NULL where the table does not hold it."""
        return self.values.get((side, figure), NULL)

    def is_broken(self, relation: Relation) -> str:
        """The condition that a relation does not hold in total for an account `s`, which has the
        sums and rows of each table.
        """
        left, right = (
            f"s.{side}_{_SHORT[relation.figure]}" for side in (relation.left, relation.right)
        )
        tolerance = self._tolerance(relation, "s")
        if not relation.has_dates:
            # An account that rests has no row of any date that is compared: where all count nothing
            # there, nothing is its amount.
            right = f"CASE WHEN s.has_{relation.right} THEN {right} ELSE 0 END"
            return f"s.has_{relation.left} AND {_differ(left, right, tolerance)}"
        return (
            f"s.has_{relation.left} AND s.has_{relation.right} AND"
            f" {_differ(left, right, tolerance)}"
        )

    @property
    def has_mark(self) -> bool:
        """Whether amounts that differ on dates alone are told: daily and hourly hold both
        figures.
        """
        return {(side, figure) for side in _MARKED for figure in Figure} <= self.values.keys()

    @property
    def is_mark_broken(self) -> str:
        """The condition that daily and hourly differ on some date for an account `s`, whatever
        their totals.
        """
        # A mark is a sum of amounts of up to twice the size, of both figures.
        most = " + ".join(
            f"2 * ({self._tolerance(Relation(*_MARKED, figure), 's')})" for figure in Figure
        )
        return (
            "s.has_daily AND s.has_hourly AND"
            f" {_differ('s.daily_money_mark', 's.hourly_money_mark', most)}"
        )

    def breaks(self, relation: Relation) -> str:
        """The condition that a relation does not hold on a date, which has the sums of each table,
        and its rows.
        """
        left, right = (
            f"days.{side}_{_SHORT[relation.figure]}" for side in (relation.left, relation.right)
        )
        # What is equal needs no tolerance, which costs more.
        return f"{left} <> {right} AND {_differ(left, right, self._tolerance(relation, 'days'))}"

    def speaks(self, relation: Relation) -> str:
        """The condition that an account `s` tells whether a relation holds: both tables count the
        same, and one has an amount.
        """
        left, right = (
            f"s.{side}_{_SHORT[relation.figure]}" for side in (relation.left, relation.right)
        )
        counted = f"s.{relation.left} = s.{relation.right} AND s.{relation.right} > 0"
        if relation.has_dates:
            counted += f" AND s.{relation.left}_mark = s.{relation.right}_mark"
        there = f"s.has_{relation.left} AND s.has_{relation.right} AND {counted}"
        return f"{there} AND {left} - {right} IS NOT NULL AND ({left} <> 0 OR {right} <> 0)"

    def _tolerance(self, relation: Relation, alias: str) -> str:
        left, right = (
            f"{alias}.{side}_{_SHORT[relation.figure]}" for side in (relation.left, relation.right)
        )
        is_real = {(relation.left, relation.figure), (relation.right, relation.figure)} & self.reals
        rows = f"{alias}.{relation.left}_rows + {alias}.{relation.right}_rows"
        relative = RELATIVE_OF_REAL if is_real else RELATIVE
        return (
            f"{UNITS[relation.figure]} * sqrt({rows}) + {relative} * greatest(abs({left}),"
            f" abs({right}))"
        )


@dataclass(frozen=True, slots=True)
class MoneyTerms:
    """Which relations are used (`mode`), and the amounts that this warehouse's tables hold; none of
    them where nothing is compared.
    """

    mode: MoneyMode
    columns: MoneyColumns

    @classmethod
    def of(cls, mode: MoneyMode, catalogue: Catalogue) -> "MoneyTerms":
        """For a warehouse."""
        return cls(mode, NO_COLUMNS if mode.is_off else MoneyColumns.of(catalogue))

    @classmethod
    async def read(cls, mode: MoneyMode, catalogue: Catalogue, database: Database) -> "MoneyTerms":
        """The same; of tables whose amounts cost much they are read only where somebody named
        relations.
        """
        terms = cls.of(mode, catalogue)
        if mode.relations is not None:
            return terms
        tables = {TABLES[_ENDPOINTS[side]].name: side for side in _COVERED}
        rows = await database.fetch(
            database.queries("money")["get_costly_tables"],
            list(tables),
            [",".join(counts) for counts, _ in _COVERED.values()],
            [",".join(amounts) for _, amounts in _COVERED.values()],
            _LARGE_TABLE,
        )
        costly = {tables[row["table_name"]] for row in rows}
        if costly:
            _log.warning(
                "Amounts of large tables are not compared, since no index holds them beside the"
                " counts, so that all rows would be read: build the indexes of"
                " docs/explanation/scale.md and start again, or name relations in RECON_MONEY.",
                action="money.costly",
                tables=sorted(row["table_name"] for row in rows),
            )
        left = {
            place: value for place, value in terms.columns.values.items() if place[0] not in costly
        }
        return cls(mode, MoneyColumns(left, terms.columns.reals))


class MoneyStatements:
    """The statements about amounts, filled for a warehouse's columns and the dates of a window."""

    def __init__(self, sql: Mapping[str, str], columns: MoneyColumns, window: Window) -> None:
        """`sql` are the statements of db/queries/money.sql by name, kept to the window."""
        self._sql = sql
        self._columns = columns
        self.keep, self.count_suspects, self.get = (
            sql["keep_relations"],
            sql["count_suspects"],
            sql["get_relations"],
        )
        self._less = {
            f"less_{short}": _less_history(figure, window) for figure, short in _SHORT.items()
        }

    @property
    def swept(self) -> dict[str, str]:
        """The tokens of the sweep: each table's sums and marks by account, and what an account has
        before the history.
        """
        columns = self._columns
        return {
            "alltime_amounts": ", ".join(
                f"{amount(columns.value(Side.ALLTIME, figure))} AS {short}"
                for figure, short in _SHORT.items()
            ),
            "daily_amounts": columns.sums(Side.DAILY, "date"),
            "hourly_amounts": columns.sums(Side.HOURLY, "date"),
            "closed_amounts": columns.sums(Side.CLOSED),
        }

    @property
    def learn(self) -> str:
        """The statement that counts for how many accounts each relation holds; empty where there is
        none.
        """
        columns = self._columns
        told = {
            each.name: (columns.speaks(each), columns.is_broken(each)) for each in columns.relations
        }
        if columns.has_mark:
            told[BY_DATE] = (
                any_of(columns.speaks(Relation(*_MARKED, figure)) for figure in Figure),
                columns.is_mark_broken,
            )
        counts = [
            f"count(*) FILTER (WHERE {speaks}) AS accounts_{number},"
            f" count(*) FILTER (WHERE ({speaks}) AND NOT ({broken})) AS holding_{number}"
            for number, (speaks, broken) in enumerate(told.values())
        ]
        rows = [
            f"('{name}', accounts_{number}, holding_{number})" for number, name in enumerate(told)
        ]
        return (
            fill(self._sql["learn_relations"], counts=", ".join(counts), relations=", ".join(rows))
            if told
            else ""
        )

    def suspects(self, used: Collection[str]) -> str:
        """The statement that finds accounts whose amounts disagree in relations that are used."""
        relations = [BY_NAME[name] for name in used if name in BY_NAME]
        totals = any_of(self._columns.is_broken(each) for each in relations if not each.has_dates)
        dates = [self._columns.is_broken(each) for each in relations if each.has_dates]
        dates += [self._columns.is_mark_broken] if BY_DATE in used else []
        # A sum that is not known is no reason.
        return fill(
            self._sql["create_swept_suspects"],
            totals=f"coalesce({totals}, false)",
            dates=f"coalesce({any_of(dates)}, false)",
        )

    def dated(self, used: Collection[str], accounts: str) -> str:
        """The statement that counts the dates on which they do, reading those of `accounts`, a
        condition.
        """
        return fill(
            self._sql["create_swept_money"], days=self.days(accounts), breaks=self._breaks(used)
        )

    def days(self, accounts: str) -> str:
        """The day matrix with amounts of `accounts`, a condition."""
        values = {
            f"{side}_{short}": self._columns.value(side, figure)
            for side in _DATED
            for figure, short in _SHORT.items()
        }
        return fill(self._sql["days_with_money"], accounts=accounts, **values)

    def look(self, used: Collection[str]) -> dict[str, str]:
        """The tokens of a look at accounts of which amounts are compared."""
        conditions = {
            name: self._columns.is_broken(BY_NAME[name]) for name in used if name in BY_NAME
        }
        conditions |= {BY_DATE: self._columns.is_mark_broken} if BY_DATE in used else {}
        broken = ", ".join(
            f"CASE WHEN {condition} THEN '{name}' END" for name, condition in conditions.items()
        )
        columns = [f"{side}_{short}" for short in _SHORT.values() for side in _DATED]
        totals = ", ".join(f"s.{side}_{short}" for short in _SHORT.values() for side in Side)
        summed = ", ".join(
            f"{amount(f'm.{column}')} AS {column}"
            for column in (*columns, *(f"{side}_money_mark" for side in _MARKED))
        )
        return {
            "alltime_amounts": f", count(*) AS alltime_rows{self._columns.sums(Side.ALLTIME)}",
            "money_sums": fill(
                self._sql["money_sums"],
                weight=_WEIGHT.format(date="date"),
                breaks=self._breaks(used),
                amounts=", ".join(amount(column) for column in columns),
            ),
            "money_join": fill(self._sql["money_join"], totals=summed, **self._less),
            "money_columns": (
                f"array_remove(ARRAY[{broken}]::text[], NULL) AS broken_relations,"
                f" ARRAY[{totals}] AS money_totals, m.money_days"
            ),
        }

    def _breaks(self, used: Collection[str]) -> str:
        return any_of(
            self._columns.breaks(BY_NAME[name])
            for name in used
            if name in BY_NAME and BY_NAME[name].has_dates
        )


NO_COLUMNS = MoneyColumns({}, frozenset())
NO_LOOK = {
    **dict.fromkeys(("alltime_amounts", "money_sums", "money_join"), ""),
    "money_columns": (
        "NULL::text[] AS broken_relations, NULL::double precision[] AS money_totals, NULL::double"
        " precision[] AS money_days"
    ),
}
"""The tokens of a look that reads no amount."""


def before_history(figure: Figure) -> str:
    """What an account of which `h` tells has of a figure before the history: NULL where it has
    trades there and that is not known.
    """
    column = f"h.{figure}"
    return (
        f"CASE WHEN h.trades = 0 OR {column} IS NOT NULL THEN"
        f" {amount(f'coalesce({column}, 0)')} END"
    )


def _less_history(figure: Figure, window: Window) -> str:
    if window.first is None:
        return ""
    return (
        f" - CASE WHEN h.history_from = {window.first_day} THEN {before_history(figure)} ELSE 0 END"
    )


def any_of(conditions: Iterable[str]) -> str:
    """The condition that any of some holds; never, if there is none."""
    return " OR ".join(f"({each})" for each in conditions) or "false"


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
        # Figures may be larger than what a sum in floating-point numbers may be made of.
        figure = f"{schema}.recon_figure({name}::text)"
        return f"CASE WHEN {figure} BETWEEN -{_LARGEST} AND {_LARGEST} THEN {figure} END"
    if column.sql_type in _REALS:
        # Sums of floating-point numbers fail where they overflow.
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
