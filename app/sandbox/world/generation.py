"""A made-up world that makes reconciliation hard. Seeded, no I/O."""

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from app.errors import InvalidRequest
from app.sandbox.world.rows import Contradiction
from app.sandbox.world.trade_book import TradeBook
from app.sandbox.world.trades import Account, NaturalKey, Tenure, Trade

_GIANT_TIMES = 30


class _Trait(Enum):
    """What sets accounts apart: those whose index leaves this remainder, by this divisor."""

    LEADING_ZEROS = (6, 1)
    SHARES_LOGIN = (10, 3)
    WITHOUT_TRADES = (15, 7)
    MOVES = (40, 5)
    IS_FOLLOWED = (40, 10)
    FOLLOWS = (40, 11)
    GIANT = (100, 50)

    def has(self, index: int) -> bool:
        """Whether the account has this trait."""
        every, place = self.value
        return index % every == place


_FEWEST_LAGGING_TRADES = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """`accounts` over `days` up to `today`."""

    accounts: int
    seed: int
    today: dt.date
    trades_per_account: int
    days: int


@dataclass(frozen=True, slots=True)
class Contradictions:
    """Numbers of accounts by contradiction, at most."""

    alltime_count: int = 1
    daily_count: int = 1
    same_natural_key_pairs: int = 1
    lagging_today: int = 1


@dataclass(frozen=True, slots=True)
class Generated:
    """A made-up world."""

    accounts: Sequence[Account]
    trades: Sequence[Trade]
    contradictions: Mapping[str, Contradiction]


@lru_cache(maxsize=4)
def generate(plan: Plan, contradictions: Contradictions | None) -> Generated:
    """The world of `plan`, always the same; InvalidRequest.

    One account in 100 is a giant, one in 15 has no trades, one in 10 shares a login, one in 40
    moved, one in 40 recycles a natural key.
    """
    if plan.accounts < 0 or plan.trades_per_account < 1 or plan.days < 1:
        raise InvalidRequest(
            "A world needs 0 accounts or more, 1 trade an account or more and 1 day or more."
        )
    return _Generator(plan).world(contradictions or Contradictions(0, 0, 0, 0))


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._first_day = plan.today - dt.timedelta(days=plan.days - 1)
        self._middle = plan.today - dt.timedelta(days=plan.days // 2)
        self._accounts: list[Account] = []
        self._trades: list[list[Trade]] = []
        self._ordinary: list[int] = []

    def world(self, contradictions: Contradictions) -> Generated:
        for index in range(self._plan.accounts):
            self._add(index)
        chosen = self._contradict(contradictions)
        return Generated(
            tuple(self._accounts),
            tuple(trade for trades in self._trades for trade in trades),
            MappingProxyType(chosen),
        )

    def _chance(self, index: int, purpose: str) -> random.Random:
        return random.Random(f"{self._plan.seed}|{index}|{purpose}")

    def _add(self, index: int) -> None:
        chance = self._chance(index, "account")
        account_id = f"acc-{index + 1:05d}"
        login = ("00" if _Trait.LEADING_ZEROS.has(index) else "") + str(400_000 + index * 7)
        key = NaturalKey(login, chance.choice((4, 5, 8)), chance.randint(1, 9))
        since, until, special = self._first_day, self._plan.today, True
        tenures = [Tenure(since, key)]
        shares, is_followed = _Trait.SHARES_LOGIN.has(index), _Trait.IS_FOLLOWED.has(index)
        can_split = self._plan.days > 1
        if shares:
            neighbour = self._accounts[index - 1].current_key
            tenures = [
                Tenure(since, NaturalKey(neighbour.login, neighbour.platform + 1, neighbour.broker))
            ]
        elif _Trait.MOVES.has(index) and can_split:
            tenures.append(Tenure(self._middle, key._replace(broker=key.broker + 10)))
        elif _Trait.FOLLOWS.has(index) and can_split:
            since = self._middle + dt.timedelta(days=1)
            tenures = [Tenure(since, self._accounts[index - 1].current_key)]
        elif is_followed and can_split:
            until = self._middle
        else:
            special = False
        account = Account(account_id, tuple(tenures), 100 + index % 5, since)
        self._accounts.append(account)
        giant = _Trait.GIANT.has(index)
        count = (
            0
            if _Trait.WITHOUT_TRADES.has(index)
            else self._plan.trades_per_account * (_GIANT_TIMES if giant else 1)
        )
        # Neighbours that share a login share position numbers too, so that only platform and broker
        # tell them apart.
        book = TradeBook(
            account,
            index - 1 if shares else index,
            self._chance(index, "trades"),
            since,
            min(until, self._plan.today),
        )
        trades = list(book.closed(count)) if since <= until else []
        if trades and not is_followed:
            trades.extend(book.still_open())
        self._trades.append(trades)
        if trades and not special and not giant:
            self._ordinary.append(index)

    def _contradict(self, wanted: Contradictions) -> dict[str, Contradiction]:
        shared = {
            index - 1 for index in range(self._plan.accounts) if _Trait.SHARES_LOGIN.has(index)
        }
        free = [index for index in self._ordinary if index not in shared]
        self._chance(0, "contradictions").shuffle(free)
        chosen: dict[str, Contradiction] = {}
        for kind, count in (
            (Contradiction.ALLTIME_COUNT, wanted.alltime_count),
            (Contradiction.DAILY_COUNT, wanted.daily_count),
        ):
            for _ in range(min(count, len(free))):
                chosen[self._accounts[free.pop()].account_id] = kind
        for _ in range(min(wanted.lagging_today, len(free))):
            index = free.pop()
            self._trade_today(index)
            chosen[self._accounts[index].account_id] = Contradiction.LAGGING_TODAY
        for _ in range(min(wanted.same_natural_key_pairs, len(free) // 2)):
            first, second = free.pop(), free.pop()
            self._share_key(first, second)
            chosen[self._accounts[first].account_id] = chosen[self._accounts[second].account_id] = (
                Contradiction.SAME_NATURAL_KEY
            )
        return chosen

    def _trade_today(self, index: int) -> None:
        book = TradeBook(
            self._accounts[index],
            index,
            self._chance(index, "today"),
            self._plan.today,
            self._plan.today,
            first_position=900_000,
        )
        self._trades[index].extend(book.closed(_FEWEST_LAGGING_TRADES))

    def _share_key(self, first: int, second: int) -> None:
        account, key = self._accounts[second], self._accounts[first].current_key
        self._accounts[second] = replace(account, tenures=(Tenure(account.tenures[0].since, key),))
        self._trades[second] = [replace(trade, key=key) for trade in self._trades[second]]
