"""Accounts, natural keys, trades. No I/O."""

import datetime as dt
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | Decimal | None
"""A value of an API row."""

Row: TypeAlias = dict[str, Value]
"""An API row by field name."""


class NaturalKey(NamedTuple):
    """It may belong to several accounts, in turn or at once."""

    login: str
    platform: int
    broker: int


class TradeKey(NamedTuple):
    """A trade's unique key."""

    login: str
    platform: int
    broker: int
    position: str
    ticket: str
    trade_date: dt.date


@dataclass(frozen=True, slots=True)
class Tenure:
    """An account's natural key from `since` on."""

    since: dt.date
    key: NaturalKey


@dataclass(frozen=True, slots=True)
class Account:
    """`tenures` ascend and are never empty."""

    account_id: str
    tenures: tuple[Tenure, ...]
    manager: int
    opened: dt.date

    def key_on(self, day: dt.date) -> NaturalKey:
        """The natural key on `day`."""
        held = self.tenures[0]
        for tenure in self.tenures[1:]:
            if tenure.since <= day:
                held = tenure
        return held.key

    @property
    def current_key(self) -> NaturalKey:
        """The present natural key."""
        return self.tenures[-1].key


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade in UTC, open without `close_time`."""

    account_id: str
    key: NaturalKey
    manager: int
    position: str
    ticket: str
    trade_date: dt.date
    symbol: str
    side: str
    lots: Decimal
    open_time: dt.datetime | None
    open_price: Decimal | None
    close_time: dt.datetime | None
    close_price: Decimal | None
    profit: Decimal
    commission: Decimal
    fee: Decimal
    swap: Decimal
    contract_size: Decimal
    volume_usd: Decimal
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    comment: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still runs."""
        return self.close_time is None

    @property
    def trade_key(self) -> TradeKey:
        """Its unique key."""
        return TradeKey(*self.key, self.position, self.ticket, self.trade_date)

    @property
    def seconds(self) -> float | None:
        """Seconds held, if known."""
        if self.open_time is None or self.close_time is None:
            return None
        return round((self.close_time - self.open_time).total_seconds(), 2)


def stable_hash(*parts: object) -> int:
    """32 bits, by `parts` alone."""
    return zlib.crc32("|".join(map(str, parts)).encode())


def sharing_accounts(trades: Iterable[Trade]) -> set[str]:
    """Accounts sharing a natural key at one time."""
    days: dict[NaturalKey, dict[str, list[dt.date]]] = {}
    for trade in trades:
        days.setdefault(trade.key, {}).setdefault(trade.account_id, []).append(trade.trade_date)
    sharing: set[str] = set()
    for held in days.values():
        for one, other in combinations(held, 2):
            if min(held[one]) <= max(held[other]) and min(held[other]) <= max(held[one]):
                sharing |= {one, other}
    return sharing
