"""Endpoints, raw tables and requests (docs/explanation/upstream.md)."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.contract.fields import METRICS_FIELDS, TRADE_FIELDS
from app.domain.ids import AccountId, Login

PAGE_ROWS = 1000
"""Rows of a page at most."""
MAX_DATES = 100
"""Bounded by the URL's length."""


class Endpoint(StrEnum):
    """Each fills one raw table."""

    ALLTIME = "metrics/alltime"
    DAILY = "metrics/daily"
    HOURLY = "metrics/hourly"
    CLOSED = "trades/closed"
    OPEN = "trades/open"

    @property
    def path(self) -> str:
        """Below the base URL."""
        return f"v2/{self.value}"

    @property
    def is_trades(self) -> bool:
        """Whether rows are trades, requested by login."""
        return self in (Endpoint.CLOSED, Endpoint.OPEN)


@dataclass(frozen=True, slots=True)
class Field:
    """A column that the API fills."""

    api_name: str
    column: str
    sql_type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A raw table, partitioned by `date_column`."""

    name: str
    endpoint: Endpoint
    key: tuple[str, ...]
    date_column: str | None
    fields: tuple[Field, ...]
    own_columns: tuple[Field, ...]

    def field(self, column: str) -> Field:
        """The field that fills `column`; KeyError."""
        for field in self.fields:
            if field.column == column:
                return field
        raise KeyError(column)

    @property
    def key_fields(self) -> tuple[Field, ...]:
        """Key fields that the API sends."""
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
"""Their rows carry an account id."""


@dataclass(frozen=True, slots=True)
class Request:
    """One filtered read of any number of pages; ranges include both ends. Empty: no filter.

    `is_single` names one date by its own filter.
    """

    endpoint: Endpoint
    account_ids: tuple[AccountId, ...] = ()
    logins: tuple[Login, ...] = ()
    dates: tuple[dt.date, ...] = ()
    date_from: dt.date | None = None
    date_to: dt.date | None = None
    is_single: bool = False
    hours: tuple[int, ...] = ()

    @property
    def names_several(self) -> bool:
        """Whether it names several accounts or logins."""
        return len(self.account_ids) > 1 or len(self.logins) > 1

    @property
    def is_divisible(self) -> bool:
        """Whether it can be split."""
        if self.names_several or self.endpoint is Endpoint.ALLTIME:
            return self.names_several
        if self.endpoint.is_trades:
            return self.date_from != self.date_to
        return len(self.dates) != 1 or (self.endpoint is Endpoint.HOURLY and len(self.hours) != 1)

    def params(self) -> dict[str, str]:
        """Query parameters, without paging."""
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
    """YYYYMMDD before the year 1000, too."""
    return day.isoformat().replace("-", "")
