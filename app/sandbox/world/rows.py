"""The API rows of one account. No I/O."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.world.figures import Measured, figures, measured
from app.sandbox.world.lifetime_figures import lifetime
from app.sandbox.world.plausible import Profile, plausible, profile_of
from app.sandbox.world.rendering import Renderer, timestamp
from app.sandbox.world.trades import Account, NaturalKey, Row, Trade, stable_hash

_FIELD_NAMES = {
    endpoint: tuple(field.api_name for field in table.fields) for endpoint, table in TABLES.items()
}
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ONE_IN_EMPTY_ROWS = 20
_ONE_IN_EMPTY_DAYS = 4
_EMPTY_HOUR = 3
_DAYS_BEFORE_FIRST_TRADE = 5


class Contradiction(StrEnum):
    """How upstream contradicts itself about an account."""

    ALLTIME_COUNT = "alltime counts one trade more than the days"
    DAILY_COUNT = "daily counts one trade more than there are closed trades on one date"
    SAME_NATURAL_KEY = "another account id has the same natural key at the same time"
    LAGGING_TODAY = "alltime and daily lag behind today's trades by one"


@dataclass(slots=True)
class Record:
    """A row with filters' values; `key` orders."""

    key: tuple[str | int, ...]
    account_id: str
    natural_key: NaturalKey
    profile: Profile
    row: Row
    day: dt.date | None = None
    hour: int | None = None
    trade: Trade | None = None
    _encoded: msgspec.Raw | None = None

    @property
    def encoded(self) -> msgspec.Raw:
        """The row as JSON with all digits."""
        if self._encoded is None:
            self._encoded = msgspec.Raw(_ENCODER.encode(self.row))
        return self._encoded


class AccountRows:
    """Makes records; `without_id` levels have no account id, rows `forgotten_before` are gone."""

    def __init__(
        self,
        account: Account,
        trades: Sequence[Trade],
        *,
        seed: int,
        today: dt.date,
        forgotten_before: dt.date,
        contradiction: Contradiction | None,
        without_id: frozenset[Endpoint] = frozenset(),
    ) -> None:
        """Sort the trades by date."""
        self._account = account
        self._seed = seed
        self._today = today
        self._forgotten_before = forgotten_before
        self._contradiction = contradiction
        self._without_id = without_id
        self._profile = profile_of(account, seed)
        self._renderer = Renderer(account, seed)
        self._trades = trades
        self._days: dict[dt.date, list[Measured]] = {}
        for each in measured([trade for trade in trades if not trade.is_open]):
            self._days.setdefault(each.trade.trade_date, []).append(each)

    def records(self, endpoint: Endpoint) -> list[Record]:
        """The records of `endpoint`, unordered."""
        makers = {
            Endpoint.ALLTIME: self._alltime,
            Endpoint.DAILY: self._daily,
            Endpoint.HOURLY: self._hourly,
        }
        if endpoint in makers:
            return list(makers[endpoint]())
        return [
            self._trade(endpoint, trade)
            for trade in self._trades
            if trade.is_open == (endpoint is Endpoint.OPEN) and self._is_known(trade.trade_date)
        ]

    def _is_known(self, day: dt.date) -> bool:
        return day >= self._forgotten_before

    def _alltime(self) -> Iterator[Record]:
        sample = [each for day in sorted(self._days) for each in self._visible(day)]
        row = self._metrics(sample, None, None)
        days = sorted(self._days)
        row.update(lifetime(sample, float(self._profile.starting_balance), self._today))
        row["firstTradeDate"] = self._renderer.date(days[0], Endpoint.ALLTIME) if days else None
        row["daysSinceInitialDeposit"] = (
            self._today - self._account.opened
        ).days + _DAYS_BEFORE_FIRST_TRADE
        row["updatedDate"] = timestamp(dt.datetime.combine(self._today, dt.time(0, 5), dt.UTC))
        if self._contradiction is Contradiction.ALLTIME_COUNT:
            row["numTrades"] = len(sample) + 1
        yield self._record(Endpoint.ALLTIME, row, None, None)

    def _visible(self, day: dt.date) -> list[Measured]:
        """The date's trades as alltime and daily know them."""
        sample = self._days[day]
        return (
            sample[:-1]
            if self._contradiction is Contradiction.LAGGING_TODAY and day == self._today
            else sample
        )

    def _daily(self) -> Iterator[Record]:
        contradicted = (
            sorted(self._days)[len(self._days) // 2]
            if self._contradiction is Contradiction.DAILY_COUNT and self._days
            else None
        )
        for day in filter(self._is_known, self._days):
            row = self._metrics(self._visible(day), day, None)
            if day == contradicted:
                row["numTrades"] = len(self._days[day]) + 1
            yield self._record(Endpoint.DAILY, row, day, None)
        for day in self._empty_days():
            yield self._record(Endpoint.DAILY, self._metrics([], day, None), day, None)

    def _hourly(self) -> Iterator[Record]:
        for day in filter(self._is_known, self._days):
            hours: dict[int, list[Measured]] = {}
            for each in self._days[day]:
                if each.trade.close_time is not None:
                    hours.setdefault(each.trade.close_time.hour, []).append(each)
            if self._has_empty_rows:
                hours.setdefault(_EMPTY_HOUR, [])
            for hour, sample in hours.items():
                yield self._record(Endpoint.HOURLY, self._metrics(sample, day, hour), day, hour)
        for day in self._empty_days():
            yield self._record(
                Endpoint.HOURLY, self._metrics([], day, _EMPTY_HOUR), day, _EMPTY_HOUR
            )

    @property
    def _has_empty_rows(self) -> bool:
        return (
            stable_hash("empty rows", self._seed, self._account.account_id) % _ONE_IN_EMPTY_ROWS
            == 0
        )

    def _empty_days(self) -> Iterator[dt.date]:
        """Days with rows, but without trades."""
        if not self._has_empty_rows or not self._days:
            return
        first = min(self._days)
        for offset in range((max(self._days) - first).days):
            day = first + dt.timedelta(days=offset)
            if (
                day not in self._days
                and self._is_known(day)
                and stable_hash("empty", self._account.account_id, day) % _ONE_IN_EMPTY_DAYS == 0
            ):
                yield day

    def _metrics(self, sample: Sequence[Measured], day: dt.date | None, hour: int | None) -> Row:
        row = plausible(self._account, self._profile, self._seed, day, hour)
        row.update(figures(sample, float(self._profile.starting_balance)))
        return row

    def _record(
        self, endpoint: Endpoint, row: Row, day: dt.date | None, hour: int | None
    ) -> Record:
        """A record, its fields in the API's order."""
        account = self._account
        held = account.key_on(day) if day else account.current_key
        row.update({"login": held.login, "broker": held.broker, "mt_version": held.platform})
        row["accountId"] = None if endpoint in self._without_id else account.account_id
        key: tuple[str | int, ...] = (account.account_id,)
        if day is not None:
            written = self._renderer.date(day, endpoint)
            # From the account's first day on, whatever comes or goes: rows of other dates must not
            # change with a trade.
            age = (day - account.opened).days
            row.update(
                date=written,
                firstTradeDate=self._renderer.date(account.opened, endpoint),
                daysSinceFirstTrade=max(age, 0),
            )
            row["daysSinceInitialDeposit"] = max(age, 0) + _DAYS_BEFORE_FIRST_TRADE
            key = (account.account_id, day.toordinal())
        if day is not None and hour is not None:
            row.update(
                hour=hour, datetime=timestamp(dt.datetime.combine(day, dt.time(hour), dt.UTC))
            )
            key = (account.account_id, day.toordinal(), hour)
        self._renderer.metrics(row, reach=hour is None)
        ordered = {name: row[name] for name in _FIELD_NAMES[endpoint]}
        return Record(key, account.account_id, held, self._profile, ordered, day, hour)

    def _trade_row(self, endpoint: Endpoint, trade: Trade) -> Row:
        return {
            "tradeDate": self._renderer.date(trade.trade_date, endpoint),
            "broker": trade.key.broker,
            "mngr": trade.manager,
            "platform": trade.key.platform,
            "ticket": trade.ticket,
            "position": trade.position,
            "login": trade.key.login,
            "stdSymbol": trade.symbol,
            "side": trade.side,
            "lots": trade.lots,
            "contractSize": trade.contract_size,
            "qtyInBaseCrncy": trade.lots * trade.contract_size,
            "volumeUSD": trade.volume_usd,
            "stopLoss": trade.stop_loss,
            "takeProfit": trade.take_profit,
            "openTime": timestamp(trade.open_time),
            "openPrice": trade.open_price,
            "closeTime": timestamp(trade.close_time),
            "closePrice": trade.close_price,
            "duration": self._duration(trade),
            "profit": trade.profit,
            "commission": trade.commission,
            "fee": trade.fee,
            "swap": trade.swap,
            "comment": trade.comment,
        }

    def _trade(self, endpoint: Endpoint, trade: Trade) -> Record:
        row = self._trade_row(endpoint, trade)
        self._renderer.trade(row)
        ordered = {name: row[name] for name in _FIELD_NAMES[endpoint]}
        key = trade.trade_key
        place = (
            key.login,
            key.platform,
            key.broker,
            key.position,
            key.ticket,
            key.trade_date.toordinal(),
        )
        return Record(
            place,
            trade.account_id,
            trade.key,
            self._profile,
            ordered,
            trade.trade_date,
            None,
            trade,
        )

    def _duration(self, trade: Trade) -> float | None:
        if trade.is_open and trade.open_time is not None:
            midnight = dt.datetime.combine(
                trade.trade_date + dt.timedelta(days=1), dt.time(), dt.UTC
            )
            return round((midnight - trade.open_time).total_seconds(), 2)
        return trade.seconds
