"""What the sandbox knows of the world: accounts, the natural keys they held, and their trades.

No I/O.
"""

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
    """By what trades name their account; it may belong to several account ids, at different times
    or at once.
    """

    login: str
    platform: int
    broker: int


class TradeKey(NamedTuple):
    """What makes a trade row unique; `login` first, so that rows sorted by it lie together by
    login.
    """

    login: str
    platform: int
    broker: int
    position: str
    ticket: str
    trade_date: dt.date


@dataclass(frozen=True, slots=True)
class Tenure:
    """The natural key that an account holds from `since` on, until its next tenure."""

    since: dt.date
    key: NaturalKey


@dataclass(frozen=True, slots=True)
class Account:
    """An account.

    `tenures` ascend by date and are never empty; `opened` is its first day and never moves.
    """

    account_id: str
    tenures: tuple[Tenure, ...]
    manager: int
    opened: dt.date

    def key_on(self, day: dt.date) -> NaturalKey:
        """The natural key that the account held on `day`; before its first tenure that of the
        first.
        """
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
    """A trade of an account; it is open while `close_time` is None, and `profit` is then the
    unrealized one.

    Times are UTC with their zone. `lots`, `profit`, `commission`, `fee`, `swap` and `volume_usd`
    are exact.
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
        """How long the trade was held, in seconds to two places; None while it runs or if its
        opening is unknown.
        """
        if self.open_time is None or self.close_time is None:
            return None
        return round((self.close_time - self.open_time).total_seconds(), 2)


def stable_hash(*parts: object) -> int:
    """A number from 0 to 2**32 - 1 that depends on `parts` alone, in every process and on every
    machine.
    """
    return zlib.crc32("|".join(map(str, parts)).encode())


def sharing_accounts(trades: Iterable[Trade]) -> set[str]:
    """The accounts that share a natural key with another at the same time: from first to last
    trade, their days overlap.
    """
    days: dict[NaturalKey, dict[str, list[dt.date]]] = {}
    for trade in trades:
        days.setdefault(trade.key, {}).setdefault(trade.account_id, []).append(trade.trade_date)
    sharing: set[str] = set()
    for held in days.values():
        for one, other in combinations(held, 2):
            if min(held[one]) <= max(held[other]) and min(held[other]) <= max(held[one]):
                sharing |= {one, other}
    return sharing
