"""Composes statements about amounts."""

from collections.abc import Collection, Iterable

from app.domain.accounts.money import (
    BY_DATE,
    BY_NAME,
    Figure,
    Relation,
    Side,
)
from app.store.database.pool import Database
from app.store.database.queries import fill
from app.store.database.window import Window
from app.store.detect.money.columns import (
    DATE_WEIGHT,
    MARKED,
    SHORT_NAMES,
    MoneyColumns,
    amount,
)

_DATED = (Side.DAILY, Side.HOURLY, Side.CLOSED)


class MoneyStatements:
    """Statements about amounts, for the warehouse's columns and window."""

    def __init__(self, database: Database, columns: MoneyColumns, window: Window) -> None:
        self._sql = sql = database.queries("detect/money/statements", window)
        self._columns = columns
        self.keep, self.count_suspects, self.get = (
            sql["keep_relations"],
            sql["count_suspects"],
            sql["get_relations"],
        )
        self._less = {
            f"less_{short}": _less_history(figure, window) for figure, short in SHORT_NAMES.items()
        }

    @property
    def swept(self) -> dict[str, str]:
        """Sweep tokens: sums and marks by table."""
        columns = self._columns
        return {
            "alltime_amounts": ", ".join(
                f"{amount(columns.value(Side.ALLTIME, figure))} AS {short}"
                for figure, short in SHORT_NAMES.items()
            ),
            "daily_amounts": columns.sums(Side.DAILY, "date"),
            "hourly_amounts": columns.sums(Side.HOURLY, "date"),
            "closed_amounts": columns.sums(Side.CLOSED),
        }

    @property
    def learn(self) -> str:
        """Counts accounts by relation; empty without relations."""
        columns = self._columns
        told = {
            each.name: (columns.speaks(each), columns.is_broken(each)) for each in columns.relations
        }
        if columns.has_mark:
            told[BY_DATE] = (
                any_of(columns.speaks(Relation(*MARKED, figure)) for figure in Figure),
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
        """Finds accounts with disagreeing amounts."""
        relations = [BY_NAME[name] for name in used if name in BY_NAME]
        totals = any_of(self._columns.is_broken(each) for each in relations if not each.has_dates)
        dates = [self._columns.is_broken(each) for each in relations if each.has_dates]
        dates += [self._columns.is_mark_broken] if BY_DATE in used else []
        # Unknown sums raise no suspicion.
        return fill(
            self._sql["create_swept_suspects"],
            totals=f"coalesce({totals}, false)",
            dates=f"coalesce({any_of(dates)}, false)",
        )

    def dated(self, used: Collection[str], accounts: str) -> str:
        """Counts disagreeing dates."""
        return fill(
            self._sql["create_swept_money"], days=self.days(accounts), breaks=self._breaks(used)
        )

    def days(self, accounts: str) -> str:
        """Day matrix with amounts."""
        values = {
            f"{side}_{short}": self._columns.value(side, figure)
            for side in _DATED
            for figure, short in SHORT_NAMES.items()
        }
        return fill(self._sql["days_with_money"], accounts=accounts, **values)

    def look(self, used: Collection[str]) -> dict[str, str]:
        """Detection tokens with amounts."""
        conditions = {
            name: self._columns.is_broken(BY_NAME[name]) for name in used if name in BY_NAME
        }
        conditions |= {BY_DATE: self._columns.is_mark_broken} if BY_DATE in used else {}
        broken = ", ".join(
            f"CASE WHEN {condition} THEN '{name}' END" for name, condition in conditions.items()
        )
        columns = [f"{side}_{short}" for short in SHORT_NAMES.values() for side in _DATED]
        totals = ", ".join(f"s.{side}_{short}" for short in SHORT_NAMES.values() for side in Side)
        summed = ", ".join(
            f"{amount(f'm.{column}')} AS {column}"
            for column in (*columns, *(f"{side}_money_mark" for side in MARKED))
        )
        return {
            "alltime_amounts": f", count(*) AS alltime_rows{self._columns.sums(Side.ALLTIME)}",
            "money_sums": fill(
                self._sql["money_sums"],
                weight=DATE_WEIGHT.format(date="date"),
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


NO_LOOK = {
    **dict.fromkeys(("alltime_amounts", "money_sums", "money_join"), ""),
    "money_columns": (
        "NULL::text[] AS broken_relations, NULL::double precision[] AS money_totals, NULL::double"
        " precision[] AS money_days"
    ),
}
"""Detection tokens without amounts."""


def before_history(figure: Figure) -> str:
    """Amount before the history; NULL if unknown."""
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
    """Conditions joined by OR."""
    return " OR ".join(f"({each})" for each in conditions) or "false"
