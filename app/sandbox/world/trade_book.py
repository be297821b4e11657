"""Made-up trades. Seeded, pure: no I/O."""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from app.sandbox.world.trades import Account, Trade

_SYMBOLS = {
    "EURUSD": (Decimal("1.08"), Decimal(100_000)),
    "GBPJPY": (Decimal("191.4"), Decimal(1000)),
    "XAUUSD": (Decimal(2400), Decimal(100)),
    "BTCUSD": (Decimal(95_000), Decimal(1)),
    "US30": (Decimal(42_000), Decimal(1)),
    "DOGEUSD": (Decimal("0.18"), Decimal(1000)),
}
_COMMENTS = (
    None,
    None,
    "",
    "tp",
    "Grüße aus Köln",
    "手動決済",
    "стоп",
    "scalp 🚀",
    'it\'s "quoted"\\',
    "a\tb",
)
_CENT = Decimal("0.01")
_PRICE_STEP = Decimal("0.00001")
_VOLUME_STEP = Decimal("0.0001")
_TRADES_PER_ACTIVE_DAY = 3


class TradeBook:
    """Makes up trades between two dates."""

    def __init__(
        self,
        account: Account,
        number: int,
        chance: random.Random,
        since: dt.date,
        until: dt.date,
        *,
        first_position: int = 1,
    ) -> None:
        self._account = account
        self._chance = chance
        self._since = since
        self._until = until
        self._position = (number + 1) * 1_000_000 + first_position

    def closed(self, count: int) -> Iterator[Trade]:
        """Closed trades, clustered on days and hours."""
        length = (self._until - self._since).days + 1
        active = self._chance.sample(
            range(length), max(1, min(length, count // _TRADES_PER_ACTIVE_DAY))
        )
        sessions = {offset: self._chance.sample(range(24), 3) for offset in active}
        left = count
        while left > 0:
            offset = self._chance.choice(active)
            day = self._since + dt.timedelta(days=offset)
            # One position in ten is closed in parts: several tickets of one position.
            parts = min(left, self._chance.choice((2, 3)) if self._chance.random() < 1 / 10 else 1)
            yield from self._parts(day, self._chance.choice(sessions[offset]), parts)
            left -= parts

    def still_open(self) -> Iterator[Trade]:
        """Open trades: up to two, on the last day."""
        for _ in range(self._chance.randint(0, 2)):
            for trade in self._parts(self._until, 0, 1):
                yield replace(trade, close_time=None, close_price=None)

    def _parts(self, day: dt.date, hour: int, parts: int) -> Iterator[Trade]:
        chance = self._chance
        self._position += chance.randint(1, 9)
        symbol = chance.choice(tuple(_SYMBOLS))
        price, contract_size = _SYMBOLS[symbol]
        side = chance.choice(("Buy", "Sell"))
        first_close = self._first_close(day, hour)
        opened = first_close - dt.timedelta(
            seconds=int(chance.lognormvariate(8, 1.6)), milliseconds=chance.randint(0, 999)
        )
        stop, target = (
            (None, None)
            if chance.random() < 1 / 2
            else (_near(chance, price), _near(chance, price))
        )
        for part in range(parts):
            lots = Decimal(chance.randint(1, 500)) / 100
            profit = Decimal(round(chance.gauss(2, 120) * 100)) / 100
            yield Trade(
                account_id=self._account.account_id,
                key=self._account.key_on(day),
                manager=self._account.manager,
                position=str(self._position),
                ticket=str(self._position * 10 + part),
                trade_date=day,
                symbol=symbol,
                side=side,
                lots=lots,
                open_time=opened,
                open_price=_near(chance, price),
                close_time=first_close + dt.timedelta(seconds=part * chance.randint(0, 300)),
                close_price=_near(chance, price),
                profit=profit,
                commission=-(lots * 3).quantize(_CENT),
                fee=Decimal(0),
                swap=Decimal(chance.randint(-300, 20)) / 100 if opened.date() < day else Decimal(0),
                contract_size=contract_size,
                volume_usd=(lots * contract_size * price).quantize(_VOLUME_STEP),
                stop_loss=stop,
                take_profit=target,
                comment=chance.choice(_COMMENTS),
            )

    def _first_close(self, day: dt.date, hour: int) -> dt.datetime:
        chance = self._chance
        time = dt.time(
            hour, chance.randint(0, 30), chance.randint(0, 59), chance.randint(0, 999) * 1000
        )
        moment = dt.datetime.combine(day, time, dt.UTC)
        # One in thirty closes after midnight in UTC, before that of the server: its trade date is
        # the day before.
        if chance.random() < 1 / 30 and day < self._until:
            return moment.replace(hour=0) + dt.timedelta(days=1)
        return moment


def _near(chance: random.Random, price: Decimal) -> Decimal:
    return (price * (10_000 + chance.randint(-300, 300)) / 10_000).quantize(_PRICE_STEP)
