"""Closed trades from a CSV file with the API's field names."""

import csv
import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from app.errors import InvalidRequest
from app.sandbox.world.trades import Account, NaturalKey, Tenure, Trade, TradeKey

REQUIRED = (
    "account_id", "login", "platform", "broker", "mngr", "position", "ticket", "tradeDate",
    "stdSymbol", "side",
    "lots", "openTime", "openPrice", "closeTime", "closePrice", "profit", "commission", "fee",
    "swap",
)  # fmt: skip
"""Required columns."""

_SIDES = {"buy": "Buy", "sell": "Sell"}
_VOLUME_STEP = Decimal("0.0001")
_Parsed = TypeVar("_Parsed")


def read_trades(path: Path) -> list[Trade]:
    """The file's closed trades; InvalidRequest names file, line and column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_trades(path, csv.DictReader(file)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(
            f"{path} cannot be read as a CSV file in UTF-8: {error}. Name a file of closed trades."
        ) from error


def accounts_of(trades: list[Trade]) -> list[Account]:
    """The accounts of trades, with their natural keys over time."""
    by_account: dict[str, list[Trade]] = {}
    for trade in sorted(trades, key=lambda each: each.trade_date):
        by_account.setdefault(trade.account_id, []).append(trade)
    found = []
    for account_id, own in by_account.items():
        tenures: list[Tenure] = []
        for trade in own:
            if not tenures or tenures[-1].key != trade.key:
                tenures.append(Tenure(trade.trade_date, trade.key))
        found.append(Account(account_id, tuple(tenures), own[-1].manager, own[0].trade_date))
    return found


def _trades(path: Path, reader: "csv.DictReader[str]") -> Iterator[Trade]:
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise InvalidRequest(
            f"{path}, line 1: the column {', '.join(missing)} is missing. The file needs the"
            f" columns {', '.join(REQUIRED)}."
        )
    seen: dict[TradeKey, int] = {}
    for values in reader:
        trade = _Line(path, reader.line_num, values).trade()
        earlier = seen.setdefault(trade.trade_key, reader.line_num)
        if earlier != reader.line_num:
            raise InvalidRequest(
                f"{path}, line {reader.line_num}, column ticket: the same trade as in line"
                f" {earlier}, by login, platform, broker, position, ticket and tradeDate."
            )
        yield trade


class _Line:
    def __init__(self, path: Path, number: int, values: dict[str, str]) -> None:
        self._path = path
        self._number = number
        self._values = values

    def trade(self) -> Trade:
        lots, close_price = self._decimal("lots"), self._decimal("closePrice")
        contract_size = self._optional("contractSize", _decimal) or Decimal(1)
        return Trade(
            account_id=self._text("account_id"),
            key=NaturalKey(self._text("login"), self._integer("platform"), self._integer("broker")),
            manager=self._integer("mngr"),
            position=self._text("position"),
            ticket=self._text("ticket"),
            trade_date=self._read("tradeDate", _date, "a date such as 2025-06-01"),
            symbol=self._text("stdSymbol"),
            side=self._read("side", lambda text: _SIDES[text.lower()], "Buy or Sell"),
            lots=lots,
            open_time=self._optional("openTime", _moment),
            open_price=self._optional("openPrice", _decimal),
            close_time=self._read("closeTime", _moment, "a time such as 2025-06-01T12:00:00.000Z"),
            close_price=close_price,
            profit=self._decimal("profit"),
            commission=self._decimal("commission"),
            fee=self._decimal("fee"),
            swap=self._decimal("swap"),
            contract_size=contract_size,
            volume_usd=self._optional("volumeUSD", _decimal)
            or self._volume(lots, contract_size * close_price),
            stop_loss=self._optional("stopLoss", _decimal),
            take_profit=self._optional("takeProfit", _decimal),
            comment=self._values.get("comment") or None,
        )

    def _volume(self, lots: Decimal, price: Decimal) -> Decimal:
        try:
            return (lots * price).quantize(_VOLUME_STEP)
        except InvalidOperation as error:
            raise InvalidRequest(
                f"{self._path}, line {self._number}, column lots: lots times closePrice is too"
                " large a number."
            ) from error

    def _text(self, name: str) -> str:
        return self._read(name, str, "a text")

    def _integer(self, name: str) -> int:
        return self._read(name, int, "a whole number")

    def _decimal(self, name: str) -> Decimal:
        return self._read(name, _decimal, "a number")

    def _optional(self, name: str, parse: Callable[[str], _Parsed]) -> _Parsed | None:
        return self._read(name, parse, "empty or readable") if self._values.get(name) else None

    def _read(self, name: str, parse: Callable[[str], _Parsed], wanted: str) -> _Parsed:
        text = (self._values[name] or "").strip()
        try:
            if text:
                return parse(text)
        except (ValueError, KeyError, InvalidOperation) as error:
            raise InvalidRequest(
                f"{self._path}, line {self._number}, column {name}: {text!r} is not {wanted}."
            ) from error
        raise InvalidRequest(
            f"{self._path}, line {self._number}, column {name}: the value is missing; it must be"
            f" {wanted}."
        )


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


def _date(text: str) -> dt.date:
    # Only the date part counts, whatever time zone follows it.
    return dt.date.fromisoformat(text[:10])


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
