"""The dates to which statements on raw tables are limited.

The first is a literal, so that PostgreSQL excludes older partitions while planning.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

_BEGINNING = dt.date.min
_UNLIMITED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "less_history",
            "history_join",
            "history_of_d",
            "plus_trades",
            "plus_profit",
            "plus_lots",
        ),
        "",
    ),
    "lists_all": "true",
    "history_columns": (
        "true AS is_history_known, NULL::date AS counted_from, 0::bigint AS counted,"
        " NULL::date AS first_trade"
    ),
}
"""Tokens without a first date."""


@dataclass(frozen=True, slots=True)
class Window:
    """The dates from `first` on; None: all."""

    first: dt.date | None = None

    @property
    def first_day(self) -> str:
        """The first date as an SQL literal."""
        return f"'{self.first or _BEGINNING}'"

    def since(self, column: str | None, alias: str = "") -> str:
        """The condition that a row lies in the window; else empty."""
        return (
            ""
            if self.first is None or column is None
            else f" AND {alias}{column} >= {self.first_day}"
        )

    def of(self, sql: Mapping[str, str]) -> Mapping[str, str]:
        """Statements with the window's tokens filled."""
        tokens = self._tokens()
        filled = dict(sql)
        for name, statement in sql.items():
            for token, value in tokens.items():
                filled[name] = (
                    filled[name].replace(f"{{{{{token}}}}}", value)
                    if token in statement
                    else filled[name]
                )
        return filled

    def _tokens(self) -> Mapping[str, str]:
        tokens = {
            "first_day": self.first_day,
            "since_date": self.since("date"),
            "since_trade_date": self.since("trade_date"),
            "t_since_date": self.since("date", "t."),
        }
        return {**tokens, **(_UNLIMITED if self.first is None else self._history_tokens())}

    def _history_tokens(self) -> Mapping[str, str]:
        history = "prop_trading_model.recon_history"
        return {
            "lists_all": "false",
            "less_history": (
                f" - CASE WHEN h.history_from = {self.first_day} THEN h.trades ELSE 0 END"
            ),
            "history_columns": (
                f"a.account_id IS NULL OR coalesce(h.history_from = {self.first_day}, false) AS"
                f" is_history_known, CASE WHEN h.history_from < {self.first_day} THEN"
                " h.history_from END AS counted_from, h.trades AS counted, p.first_trade"
            ),
            "history_join": (
                f"LEFT JOIN {history} AS h ON h.account_id = wanted.account_id\nLEFT JOIN (\n   "
                " SELECT account_id, min(first_trade) AS first_trade FROM"
                " prop_trading_model.recon_identity WHERE account_id = ANY($1::text[]) GROUP BY"
                " account_id\n) AS p ON p.account_id = wanted.account_id\n"
            ),
            "history_of_d": (
                f" JOIN {history} AS h ON h.account_id = d.account_id AND h.history_from ="
                f" {self.first_day}"
            ),
            "plus_trades": " + h.trades",
            "plus_profit": " + h.net_profit",
            "plus_lots": " + h.total_lots",
        }

    def less_history_of(self, alias: str, schema: str) -> str:
        """Takes trades from before the window off alltime's count."""
        if self.first is None:
            return ""
        return (
            f" - coalesce((SELECT h.trades FROM {schema}.recon_history AS h WHERE h.account_id ="
            f" {alias}.account_id::text AND h.history_from = {self.first_day}), 0)"
        )


ALL_DATES = Window()
