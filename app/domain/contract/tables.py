"""What the API sends and where the warehouse keeps it.

`TABLES` describes the five raw tables; `Request` is one filtered read of an endpoint, which paging
turns into one or more HTTP requests. Facts: the vendor's field list in `app.domain.contract.fields`
and the API contract in docs/explanation/upstream.md.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.fields import METRICS_FIELDS, TRADE_FIELDS

PAGE_ROWS = 1000
"""The most rows that the API puts into one page."""
MAX_DATES = 100
"""Dates of one request, for the length of the URL."""


class Endpoint(StrEnum):
    """An endpoint of the API, by the end of its path; each fills one raw table."""

    ALLTIME = "metrics/alltime"
    DAILY = "metrics/daily"
    HOURLY = "metrics/hourly"
    CLOSED = "trades/closed"
    OPEN = "trades/open"

    @property
    def path(self) -> str:
        """The path below the base URL."""
        return f"v2/{self.value}"

    @property
    def is_trades(self) -> bool:
        """Whether rows are trades: asked for by login, and without an account id."""
        return self in (Endpoint.CLOSED, Endpoint.OPEN)


@dataclass(frozen=True, slots=True)
class Field:
    """One column that the API fills: its name there, its column here, and the column's SQL type in
    a fresh install.
    """

    api_name: str
    column: str
    sql_type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A raw table: `fields` from the API, `key` of a fresh install, `date_column` by which it is
    partitioned.
    """

    name: str
    endpoint: Endpoint
    key: tuple[str, ...]
    date_column: str | None
    fields: tuple[Field, ...]
    own_columns: tuple[Field, ...]

    def field(self, column: str) -> Field:
        """The field that fills `column`; KeyError if the API fills no such column."""
        for field in self.fields:
            if field.column == column:
                return field
        raise KeyError(column)

    @property
    def key_fields(self) -> tuple[Field, ...]:
        """The fields that the API sends of the key."""
        return tuple(field for field in self.fields if field.column in self.key)


def _table(
    name: str, endpoint: Endpoint, flag: str, key: tuple[str, ...], date_column: str | None
) -> Table:
    lines = (TRADE_FIELDS if endpoint.is_trades else METRICS_FIELDS).strip().splitlines()
    rows = [line.split() for line in lines]
    fields = [
        Field(api, column, sql_type) for api, column, sql_type, flags in rows if flag in flags
    ]
    return Table(
        name,
        endpoint,
        key,
        date_column,
        tuple(field for field in fields if field.api_name != "-"),
        tuple(field for field in fields if field.api_name == "-"),
    )


_TRADE_KEY = ("platform", "broker", "login", "position", "ticket", "trade_date")

TABLES: Mapping[Endpoint, Table] = {
    Endpoint.ALLTIME: _table("raw_metrics_alltime", Endpoint.ALLTIME, "a", ("account_id",), None),
    Endpoint.DAILY: _table(
        "raw_metrics_daily", Endpoint.DAILY, "d", ("account_id", "date"), "date"
    ),
    Endpoint.HOURLY: _table(
        "raw_metrics_hourly", Endpoint.HOURLY, "h", ("account_id", "date", "hour"), "date"
    ),
    Endpoint.CLOSED: _table("raw_trades_closed", Endpoint.CLOSED, "c", _TRADE_KEY, "trade_date"),
    Endpoint.OPEN: _table("raw_trades_open", Endpoint.OPEN, "o", _TRADE_KEY, "trade_date"),
}


METRICS = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY)
"""The endpoints whose rows carry an account id, where upstream has one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One filtered read of an endpoint: all rows that match, however many pages they fill.

    Metrics take `account_ids` or `logins` (for accounts that upstream knows by no id), (daily,
    hourly) `dates` and (hourly) `hours`; trades take `logins` and `date_from` to `date_to`, both
    included. An empty tuple or None means no filter. `is_single` asks for a single date by the
    filter for just that, and not by a range.
    """

    endpoint: Endpoint
    account_ids: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()
    dates: tuple[dt.date, ...] = ()
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    is_single: bool = False
    hours: tuple[int, ...] = ()

    @property
    def names_several(self) -> bool:
        """Whether it names more than one account id, or login."""
        return len(self.account_ids) > 1 or len(self.logins) > 1

    @property
    def is_divisible(self) -> bool:
        """Whether the same rows can be asked for by several requests, each for fewer dates, hours
        or ids.
        """
        if self.names_several or self.endpoint is Endpoint.ALLTIME:
            return self.names_several
        if self.endpoint.is_trades:
            return self.date_from != self.date_to
        return len(self.dates) != 1 or (self.endpoint is Endpoint.HOURLY and len(self.hours) != 1)

    def params(self) -> dict[str, str]:
        """The filter as query parameters, without paging."""
        params: dict[str, str] = {}
        if self.account_ids:
            params["accountIds"] = ",".join(self.account_ids)
        if self.logins:
            params["logins"] = ",".join(self.logins)
        if self.dates:
            params["dates"] = ",".join(_digits(day) for day in self.dates)
        if self.hours:
            params["hours"] = ",".join(map(str, self.hours))
        if self.is_single and self.date_from is not None and self.date_from == self.date_to:
            return {**params, "trade-date": _digits(self.date_from)}
        if self.date_from is not None:
            params["trade-date-from"] = _digits(self.date_from)
        if self.date_to is not None:
            params["trade-date-to"] = _digits(self.date_to)
        return params


def _digits(day: dt.date) -> str:
    """YYYYMMDD, also for the years before 1000, which strftime does not fill up everywhere."""
    return day.isoformat().replace("-", "")
