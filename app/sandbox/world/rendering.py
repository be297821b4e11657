"""The API's spellings of values."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum

from app.domain.contract.tables import Endpoint
from app.sandbox.world.trades import Account, Row, Value, stable_hash

_MONEY = (
    "netProfit",
    "totalLots",
    "grossProfit",
    "successRate",
    "meanProfit",
    "profit",
    "lots",
    "swap",
)
_COUNTS = ("numTrades", "phase", "numTradedSymbols", "maxNumConsecWins")
_KEY_NUMBERS = ("broker", "mt_version", "platform")
_IDENTIFIERS = ("position", "ticket")
_OUT_OF_RANGE: Row = {
    "profitFactor": Decimal("1E+15"),
    "multipleWinLossLots": Decimal("-123456789.5"),
    "daysSinceInitialDeposit": 98765432101,
}
_ONE_IN_OUT_OF_RANGE = 30


class NumberShape(IntEnum):
    """How an account's numbers are written."""

    PLAIN = 0
    STRINGS = 1
    """Counts, money and key numbers as strings."""
    DECIMAL_COUNTS = 2
    """Counts as 7.0."""
    NUMERIC_IDENTIFIERS = 3
    """Positions and tickets as numbers."""


class Renderer:
    """Writes an account's rows in one spelling."""

    def __init__(self, account: Account, seed: int) -> None:
        """Choose it by `seed`."""
        self._mark = stable_hash("rendering", seed, account.account_id)
        self._shape = NumberShape(self._mark % len(NumberShape))
        self._far_out = (self._mark >> 8) % _ONE_IN_OUT_OF_RANGE == 0

    def date(self, day: dt.date, endpoint: Endpoint) -> str:
        """A date in one of the API's three formats."""
        form = (self._mark // 7 + len(endpoint.value)) % 3
        if form == 0:
            return f"{day.isoformat()}T00:00:00.000Z"
        return day.isoformat() if form == 1 else day.strftime("%Y%m%d")

    def metrics(self, row: Row, *, reach: bool) -> None:
        """Rewrite a metrics row's numbers; with `reach` some leave their column's range."""
        if self._far_out and reach and row["numTrades"]:
            row.update(_OUT_OF_RANGE)
        self._shape_numbers(row)

    def trade(self, row: Row) -> None:
        """Rewrite a trade's numbers."""
        self._shape_numbers(row)

    def _shape_numbers(self, row: Row) -> None:
        if self._shape is NumberShape.STRINGS:
            _rewrite(row, (*_MONEY, *_COUNTS, *_KEY_NUMBERS), _as_string)
        elif self._shape is NumberShape.DECIMAL_COUNTS:
            _rewrite(
                row,
                _COUNTS,
                lambda value: Decimal(f"{value}.0") if isinstance(value, int) else value,
            )
        elif self._shape is NumberShape.NUMERIC_IDENTIFIERS:
            _rewrite(row, _IDENTIFIERS, _as_number)
            _rewrite(
                row,
                _MONEY,
                lambda value: (
                    int(value)
                    if isinstance(value, Decimal) and value == value.to_integral_value()
                    else value
                ),
            )


def timestamp(moment: dt.datetime | None) -> str | None:
    """Aware UTC, with milliseconds and a Z."""
    return (
        None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    )


def _rewrite(row: Row, names: tuple[str, ...], change: Callable[[Value], Value]) -> None:
    for name in names:
        value = row.get(name)
        if value is not None:
            row[name] = change(value)


def _as_string(value: Value) -> Value:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _as_number(value: Value) -> Value:
    # Only where the number reads back as the same identifier: 0042 must stay text.
    return (
        int(value)
        if isinstance(value, str) and value.isdecimal() and str(int(value)) == value
        else value
    )
