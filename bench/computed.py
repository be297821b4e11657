"""An upstream that stores no row: it computes those of the world of bench/world.py, for any number
of accounts, when they are asked for.

`python -m bench.computed --accounts N` prints its address and answers until its input ends, in a
process of its own. `GET /counts` tells how often each endpoint was asked.
"""

import argparse
import asyncio
import bisect
import functools
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.domain.contract.tables import Endpoint
from bench.endless import Matching, RefusedError, served
from bench.world import (
    DATES,
    FILLED,
    LOTS_CENTS,
    PERIOD,
    PROFIT_CENTS,
    fillers,
    filling_of,
    hundredths,
    place_of,
    trades_at,
)

COUNTS = "/counts"
_PER_HOUR = 2
"""Trades of an hourly row, but for the day's last."""
_TEXTS = {f"{date:%Y%m%d}": day for day, date in enumerate(DATES)}
_FILTERS: Mapping[Endpoint, frozenset[str]] = {
    Endpoint.ALLTIME: frozenset({"accountIds", "logins"}),
    Endpoint.DAILY: frozenset({"accountIds", "logins", "dates"}),
    Endpoint.HOURLY: frozenset({"accountIds", "logins", "dates"}),
    Endpoint.CLOSED: frozenset({"logins", "trade-date", "trade-date-from", "trade-date-to"}),
}
_PAGING = frozenset({"skip", "limit", "include-total"})
_CACHED = 64
"""Requests whose rows are known by place while their pages are asked for."""


class Row(NamedTuple):
    """A row's account, day, and number among those of both."""

    account: int
    day: int
    number: int


class Answers:
    """Rows of so many accounts, with every `filled`-th column filled."""

    def __init__(self, accounts: int, filled: int = FILLED) -> None:
        """Prepare what is the same for accounts PERIOD apart."""
        self.counts: Counter[str] = Counter()
        self._accounts = accounts
        self._trades = [trades_at(place) for place in range(PERIOD)]
        self._of_all = [
            sum(self._trades[place_of(number, day)] for day in range(len(DATES)))
            for number in range(PERIOD)
        ]
        rows = {
            Endpoint.DAILY: [min(trades, 1) for trades in self._trades],
            Endpoint.HOURLY: [-(-trades // _PER_HOUR) for trades in self._trades],
            Endpoint.CLOSED: self._trades,
        }
        self._tables = {endpoint: _Table(each, accounts) for endpoint, each in rows.items()}
        self._fillings = {
            endpoint: functools.cache(functools.partial(filling_of, _template(endpoint, filled)))
            for endpoint in rows
        }
        self._written: Mapping[Endpoint, Callable[[Row], str]] = {
            Endpoint.ALLTIME: self._alltime,
            Endpoint.DAILY: self._daily,
            Endpoint.HOURLY: self._hourly,
            Endpoint.CLOSED: self._closed,
        }
        self._matching = functools.lru_cache(_CACHED)(self._match)

    def answer(self, path: str, parameters: Mapping[str, str]) -> Matching:
        """The rows that a request matches, in the order of their keys."""
        if path == COUNTS:
            return Matching(1, lambda _: json.dumps(self.counts))
        endpoint = Endpoint(path.removeprefix("/v2/"))
        self.counts[endpoint.value] += 1
        if endpoint is Endpoint.OPEN:
            return Matching(0, str)
        filters = tuple(
            sorted((name, text) for name, text in parameters.items() if name not in _PAGING)
        )
        return self._matching(endpoint, filters)

    def _match(self, endpoint: Endpoint, filters: tuple[tuple[str, str], ...]) -> Matching:
        if unknown := {name for name, _ in filters} - _FILTERS[endpoint]:
            raise RefusedError(f"{endpoint.value} knows no filter {', '.join(sorted(unknown))}.")
        texts = dict(filters)
        named = self._named(texts)
        written = self._written[endpoint]
        if endpoint is Endpoint.ALLTIME:
            among = range(1, self._accounts + 1) if named is None else named
            return Matching(len(among), lambda place: written(Row(among[place], 0, 0)))
        days, table = _days(texts), self._tables[endpoint]
        if named is None:
            return table.of_all(days, written)
        rows = table.of_accounts(named, days)
        return Matching(len(rows), lambda place: written(rows[place]))

    def _named(self, texts: Mapping[str, str]) -> Sequence[int] | None:
        """The accounts that are named, in order; None: all."""
        found: set[int] | None = None
        for name, prefix in (("accountIds", "acc-"), ("logins", "")):
            if name in texts:
                numbers = {
                    int(text.removeprefix(prefix))
                    for text in texts[name].split(",")
                    if text.removeprefix(prefix).isdecimal()
                }
                found = numbers if found is None else found & numbers
        return None if found is None else sorted(n for n in found if 0 < n <= self._accounts)

    def _alltime(self, row: Row) -> str:
        return f"{{{_metrics(row.account, self._of_all[row.account % PERIOD])}}}"

    def _daily(self, row: Row) -> str:
        place = place_of(row.account, row.day)
        return (
            f'{{"date":"{DATES[row.day]}",{_metrics(row.account, self._trades[place])}'
            f"{self._fillings[Endpoint.DAILY](place)}}}"
        )

    def _hourly(self, row: Row) -> str:
        place = place_of(row.account, row.day)
        trades = min(_PER_HOUR, self._trades[place] - _PER_HOUR * row.number)
        return (
            f'{{"date":"{DATES[row.day]}","hour":{row.number},{_metrics(row.account, trades)}'
            f"{self._fillings[Endpoint.HOURLY](place)}}}"
        )

    def _closed(self, row: Row) -> str:
        number = row.day * 100 + row.number + 1
        return (
            f'{{"tradeDate":"{DATES[row.day]}T00:00:00.000Z","login":"{row.account}","platform":1,'
            f'"broker":1,"position":"{number}","ticket":"{number}","profit":{_PROFIT},"lots":{_LOTS}'
            f"{self._fillings[Endpoint.CLOSED](place_of(row.account, row.day))}}}"
        )


class _Table:
    """How many rows an endpoint has at each place, and which is where in all of them."""

    def __init__(self, rows: Sequence[int], accounts: int) -> None:
        self._rows = rows
        self._accounts = accounts
        # Twice, so that a day may begin at any place.
        self._before = [0, *itertools.accumulate((*rows, *rows))]

    def of_accounts(self, accounts: Sequence[int], days: Sequence[int]) -> Sequence[Row]:
        """The rows of some accounts, by account and day."""
        return [
            Row(account, day, number)
            for account in accounts
            for day in days
            for number in range(self._rows[place_of(account, day)])
        ]

    def of_all(self, days: Sequence[int], written: Callable[[Row], str]) -> Matching:
        """The rows of all accounts, by day and account."""
        before = [0, *itertools.accumulate(map(self._total, days))]

        def row(place: int) -> str:
            at = bisect.bisect_right(before, place) - 1
            return written(self._at(days[at], place - before[at]))

        return Matching(before[-1], row)

    def _total(self, day: int) -> int:
        periods, rest = divmod(self._accounts, PERIOD)
        first = place_of(1, day)
        return periods * self._before[PERIOD] + self._before[first + rest] - self._before[first]

    def _at(self, day: int, place: int) -> Row:
        """The row at a place among those of a day."""
        periods, rest = divmod(place, self._before[PERIOD])
        first = place_of(1, day)
        rest += self._before[first]
        at = bisect.bisect_right(self._before, rest) - 1
        return Row(periods * PERIOD + at - first + 1, day, rest - self._before[at])


_PROFIT, _LOTS = hundredths(PROFIT_CENTS), hundredths(LOTS_CENTS)


def _metrics(account: int, trades: int) -> str:
    return (
        f'"accountId":"acc-{account:07}","login":"{account}","mt_version":1,"broker":1,"numTrades":'
        f'{trades},"netProfit":{hundredths(trades * PROFIT_CENTS)},"totalLots":'
        f"{hundredths(trades * LOTS_CENTS)}"
    )


def _template(endpoint: Endpoint, filled: int) -> str:
    return "".join(f',"{each.api_name}":{each.json}' for each in fillers(endpoint, filled))


def _days(texts: Mapping[str, str]) -> Sequence[int]:
    """The days that filters leave, in order."""
    days = set(_TEXTS)
    if "dates" in texts:
        days &= set(texts["dates"].split(","))
    if "trade-date" in texts:
        days &= {texts["trade-date"]}
    first, last = texts.get("trade-date-from", ""), texts.get("trade-date-to", "99999999")
    return sorted(_TEXTS[text] for text in days if first <= text <= last)


async def main(accounts: int, filled: int) -> None:
    """Serve until the input ends."""
    async with served(Answers(accounts, filled).answer) as address:
        print(address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, required=True, help="accounts of the world")
    parser.add_argument(
        "--filled", type=int, default=FILLED, help=f"every which column is filled ({FILLED})"
    )
    chosen = parser.parse_args()
    asyncio.run(main(chosen.accounts, chosen.filled))
