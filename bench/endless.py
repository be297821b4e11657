"""An upstream of any size in a few lines: a plain HTTP server on a socket that makes each page up
when it is asked for it.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from app.domain.contract.tables import PAGE_ROWS

FIRST_DAY = dt.date(2025, 1, 1)
_DAY = dt.timedelta(days=1)


class Matching(NamedTuple):
    """What a request matches: how many rows, and what gives the row at a place."""

    total: int
    row: Callable[[int], str]


class RefusedError(Exception):
    """The request is wrong; the message tells why."""


Answering = Callable[[str, Mapping[str, str]], Matching]
"""Answers a path with its parameters, or raises RefusedError."""


@dataclass(frozen=True, slots=True)
class Giant:
    """One account with `trades` closed trades, as many on each of `days` days but for the last."""

    trades: int
    days: int
    account_id: str = "giant"
    login: str = "100001"

    @property
    def each(self) -> int:
        """Trades of one day."""
        return -(-self.trades // self.days)

    @property
    def last_day(self) -> dt.date:
        """The last day that has trades."""
        return FIRST_DAY + (self.days - 1) * _DAY

    def answer(self, path: str, parameters: Mapping[str, str]) -> Matching:
        """Closed trades between two dates."""
        if not path.endswith("trades/closed"):
            return Matching(0, str)
        first = self._before(_day(parameters["trade-date-from"]))
        return Matching(
            self._before(_day(parameters["trade-date-to"]) + _DAY) - first,
            lambda place: self._trade(first + place),
        )

    def _before(self, day: dt.date) -> int:
        """Trades before a day."""
        return min(self.trades, max(0, (day - FIRST_DAY).days) * self.each)

    def _trade(self, number: int) -> str:
        day = FIRST_DAY + number // self.each * _DAY
        return (
            f'{{"tradeDate":"{day}T00:00:00.000Z","broker":1,"mngr":101,"platform":5,"ticket":"{number:09}","position":"{number:09}","login":"{self.login}","stdSymbol":"EURUSD","side":"Buy","lots":0.64,"contractSize":100000,"qtyInBaseCrncy":64000.00,"volumeUSD":69120.5,"stopLoss":1.07728,"takeProfit":1.17631,"openTime":"{day}T07:03:45.914Z","openPrice":1.08,"closeTime":"{day}T09:05:30.412Z","closePrice":1.0812,"duration":7304.5,"profit":76.8,"commission":-1.92,"fee":0,"swap":0,"comment":"trade'
            f' {number}"}}'
        )


@dataclass(frozen=True, slots=True)
class Crowd:
    """Many accounts, each with one trade on the same day."""

    accounts: int

    def name(self, number: int) -> str:
        """The id of an account."""
        return f"acc-{number:07}"

    def answer(self, path: str, parameters: Mapping[str, str]) -> Matching:
        """Daily rows of the accounts that are named, or of all."""
        if not path.endswith("metrics/daily"):
            return Matching(0, str)
        if "accountIds" not in parameters:
            return Matching(self.accounts, lambda place: self._daily(self.name(place)))
        named = sorted(parameters["accountIds"].split(","))
        return Matching(len(named), lambda place: self._daily(named[place]))

    @staticmethod
    def _daily(account_id: str) -> str:
        login = account_id.removeprefix("acc-")
        return f'{{"accountId":"{account_id}","login":"{login}","mt_version":5,"broker":1,"date":"{FIRST_DAY}","numTrades":1,"netProfit":1.5}}'


@contextlib.asynccontextmanager
async def served(answering: Answering) -> AsyncIterator[str]:
    """The address at which the upstream answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(request.split(b" ", 2)[1].decode())
                try:
                    body = _body(answering, target.path, dict(parse_qsl(target.query)))
                    status = b"200 OK"
                except RefusedError as error:
                    body, status = str(error).encode(), b"400 Bad Request"
                writer.write(
                    b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length:"
                    b" %d\r\n\r\n" % (status, len(body)) + body
                )
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def _body(answering: Answering, path: str, parameters: Mapping[str, str]) -> bytes:
    found = answering(path, parameters)
    skip, limit = int(parameters.get("skip", 0)), int(parameters.get("limit", PAGE_ROWS))
    rows = ",".join(map(found.row, range(skip, min(found.total, skip + limit))))
    total = f',"total":{found.total}' if parameters.get("include-total") == "1" else ""
    return (
        f'{{"Status":"ok","Data":{{"data":[{rows}],"skip":{skip},"limit":{limit}{total}}}}}'
    ).encode()


def _day(text: str) -> dt.date:
    return dt.date(int(text[:4]), int(text[4:6]), int(text[6:8]))
