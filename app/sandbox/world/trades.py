"""Accounts, their natural keys and trades. No I/O."""

import datetime as dt
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | Decimal | None
"""One value of an API row."""

Row: TypeAlias = dict[str, Value]
"""One row as the API sends it, by API field name."""


class NaturalKey(NamedTuple):
    """Names a trade's account; it may belong to several, in turn or at once."""

    login: str
    platform: int
    broker: int


class TradeKey(NamedTuple):
    """A trade's unique key, ordered by login."""

    login: str
    platform: int
    broker: int
    position: str
    ticket: str
    trade_date: dt.date


@dataclass(frozen=True, slots=True)
class Tenure:
    """An account's natural key from `since` until its next tenure."""

    since: dt.date
    key: NaturalKey


@dataclass(frozen=True, slots=True)
class Account:
    """An account; `tenures` ascend and are never empty, `opened` is its first day."""

    account_id: str
    tenures: tuple[Tenure, ...]
    manager: int
    opened: dt.date

    def key_on(self, day: dt.date) -> NaturalKey:
        """The natural key on `day`, that of the first tenure before it."""
        held = self.tenures[0]
        for tenure in self.tenures[1:]:
            if tenure.since <= day:
                held = tenure
        return held.key

    @property
    def current_key(self) -> NaturalKey:
        """The natural key that the account holds now."""
        return self.tenures[-1].key


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade, open while `close_time` is None, with its unrealized `profit`.

    Times are UTC. Lots, volume and money are exact.
    """

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
        """Whether the trade still runs."""
        return self.close_time is None

    @property
    def trade_key(self) -> TradeKey:
        """The key under which no second trade may exist."""
        return TradeKey(*self.key, self.position, self.ticket, self.trade_date)

    @property
    def seconds(self) -> float | None:
        """Seconds held, to two places; None while open or of unknown opening."""
        if self.open_time is None or self.close_time is None:
            return None
        return round((self.close_time - self.open_time).total_seconds(), 2)


def stable_hash(*parts: object) -> int:
    """A 32-bit number that depends on `parts` alone."""
    return zlib.crc32("|".join(map(str, parts)).encode())


def sharing_accounts(trades: Iterable[Trade]) -> set[str]:
    """Accounts that share a natural key with another at the same time."""
    days: dict[NaturalKey, dict[str, list[dt.date]]] = {}
    for trade in trades:
        days.setdefault(trade.key, {}).setdefault(trade.account_id, []).append(trade.trade_date)
    sharing: set[str] = set()
    for held in days.values():
        for one, other in combinations(held, 2):
            if min(held[one]) <= max(held[other]) and min(held[other]) <= max(held[one]):
                sharing |= {one, other}
    return sharing
