"""Selects rows by the API's rules; no I/O."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.contract.tables import PAGE_ROWS, Endpoint
from app.errors import InvalidRequest
from app.sandbox.world.rows import Record
from app.sandbox.world.world import World

_PAGING = frozenset({"limit", "skip", "include-total"})
_PROFILE_FILTERS = frozenset({"types", "phases", "providers", "platforms"})
_ID_FILTERS = frozenset({"accountIds", "logins"})
_LAST_HOUR = 23
_DATE_DIGITS = 8
_ALLOWED: Mapping[Endpoint, frozenset[str]] = {
    Endpoint.ALLTIME: _PAGING | _PROFILE_FILTERS | {"logins", "accountIds"},
    Endpoint.DAILY: _PAGING | _PROFILE_FILTERS | {"logins", "accountIds", "dates"},
    Endpoint.HOURLY: _PAGING | _PROFILE_FILTERS | {"logins", "accountIds", "dates", "hours"},
    Endpoint.OPEN: (
        _PAGING
        | {
            "logins",
            "symbols",
            "trade-date",
            "trade-date-from",
            "trade-date-to",
            "open-time-from",
            "open-time-to",
        }
    ),
    Endpoint.CLOSED: (
        _PAGING
        | {
            "logins",
            "symbols",
            "trade-date",
            "trade-date-from",
            "trade-date-to",
            "open-time-from",
            "open-time-to",
        }
        | {"close-time-from", "close-time-to"}
    ),
}
_Test = Callable[[Record], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """A checked request; `filters` exclude paging."""

    endpoint: Endpoint
    filters: tuple[tuple[str, str], ...]
    limit: int
    skip: int
    include_total: bool

    @property
    def ids(self) -> tuple[str, ...]:
        """The requested account ids and logins."""
        return tuple(
            part for name, text in self.filters if name in _ID_FILTERS for part in text.split(",")
        )

    def covers(self, day: dt.date) -> bool:
        """Whether the request covers the date."""
        filters = dict(self.filters)
        listed = filters.get("dates")
        first, last = filters.get("trade-date-from", ""), filters.get("trade-date-to", "99999999")
        text = f"{day:%Y%m%d}"
        return first <= text <= last and (listed is None or text in listed.split(","))

    def without_ids(self) -> "Query":
        """The same for all accounts."""
        return replace(
            self,
            filters=tuple((name, text) for name, text in self.filters if name not in _ID_FILTERS),
        )


def read_query(endpoint: Endpoint, parameters: Sequence[tuple[str, str]]) -> Query:
    """InvalidRequest for unknown, repeated or wrong parameters."""
    values: dict[str, str] = {}
    for name, text in parameters:
        if name not in _ALLOWED[endpoint]:
            raise InvalidRequest(f"The parameter {name} is unknown at {endpoint.path}.")
        if name in values:
            raise InvalidRequest(f"The parameter {name} stands there twice.")
        values[name] = text
    limit = _number("limit", values.pop("limit", str(PAGE_ROWS)), PAGE_ROWS)
    if limit == 0:
        raise InvalidRequest(f"The parameter limit must be 1 to {PAGE_ROWS}.")
    skip = _number("skip", values.pop("skip", "0"), None)
    include_total = _number("include-total", values.pop("include-total", "0"), 1) == 1
    return Query(endpoint, tuple(sorted(values.items())), limit, skip, include_total)


def matching(world: World, query: Query) -> Sequence[Record]:
    """All matching records in key order; InvalidRequest."""
    return world.select((query.endpoint, query.filters), lambda: _choose(world, query))


def _choose(world: World, query: Query) -> Sequence[Record]:
    filters = dict(query.filters)
    accounts: set[str] | None = None
    tests: list[_Test] = []
    if "logins" in filters:
        logins = set(_parts("logins", filters.pop("logins")))
        accounts = {account_id for login in logins for account_id in world.holders(login)}
        tests.append(lambda record: record.natural_key.login in logins)
    if "accountIds" in filters:
        wanted = set(_parts("accountIds", filters.pop("accountIds"))) - world.missed_by_id(
            query.endpoint
        )
        accounts = wanted if accounts is None else accounts & wanted
    tests.extend(_test(name, text) for name, text in filters.items())
    records = world.records(query.endpoint, accounts)
    return (
        [record for record in records if all(test(record) for test in tests)] if tests else records
    )


def _test(name: str, text: str) -> _Test:
    if name == "symbols":
        symbols = set(_parts(name, text))
        return lambda record: record.trade is not None and record.trade.symbol in symbols
    if name == "dates":
        days = {_day(name, part) for part in _parts(name, text)}
        return lambda record: record.day in days
    if name in _NUMBERS:
        numbers, read = (
            {
                _number(name, part, _LAST_HOUR if name == "hours" else None)
                for part in _parts(name, text)
            },
            _NUMBERS[name],
        )
        return lambda record: read(record) in numbers
    day = _day(name, text)
    moment = _MOMENTS[name.removesuffix("-from").removesuffix("-to")]
    if name.endswith("-from"):
        return lambda record: (seen := moment(record)) is not None and seen >= day
    if name.endswith("-to"):
        return lambda record: (seen := moment(record)) is not None and seen <= day
    return lambda record: moment(record) == day


_NUMBERS: Mapping[str, Callable[[Record], int | None]] = {
    "hours": lambda record: record.hour,
    "types": lambda record: record.profile.type,
    "phases": lambda record: record.profile.phase,
    "providers": lambda record: record.natural_key.broker,
    "platforms": lambda record: record.natural_key.platform,
}


def _opened(record: Record) -> dt.date | None:
    trade = record.trade
    return trade.open_time.date() if trade is not None and trade.open_time is not None else None


def _closed(record: Record) -> dt.date | None:
    trade = record.trade
    return trade.close_time.date() if trade is not None and trade.close_time is not None else None


_MOMENTS: Mapping[str, Callable[[Record], dt.date | None]] = {
    "trade-date": lambda record: record.day,
    "open-time": _opened,
    "close-time": _closed,
}


def _parts(name: str, text: str) -> list[str]:
    parts = text.split(",")
    if not all(parts):
        raise InvalidRequest(f"The parameter {name} must be a comma list without gaps.")
    return parts


def _number(name: str, text: str, most: int | None) -> int:
    if not (text.isascii() and text.isdecimal()) or (most is not None and int(text) > most):
        raise InvalidRequest(
            f"The parameter {name} must be a whole number from"
            f" 0{'' if most is None else f' to {most}'}."
        )
    return int(text)


def _day(name: str, text: str) -> dt.date:
    try:
        if len(text) == _DATE_DIGITS and text.isascii() and text.isdecimal():
            return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError as error:
        raise InvalidRequest(f"The parameter {name} must be a date YYYYMMDD.") from error
    raise InvalidRequest(f"The parameter {name} must be a date YYYYMMDD.")
