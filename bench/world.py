"""The rule of the made-up world on which benchmarks measure, in SQL and in Python.

An account and a day have a place among PERIOD, of which a hash is taken; that of two accounts
PERIOD apart is the same. From the hash follow how many trades the account has on the day, and what
the columns hold that carry no meaning here.
"""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from app.domain.contract.tables import TABLES, Endpoint

DAYS = 120
LAST_DAY = dt.date(2026, 3, 31)
DATES = tuple(LAST_DAY - dt.timedelta(days=DAYS - 1 - day) for day in range(DAYS))
SETTLED = DAYS - 4
"""Days that are settled on the last one."""
PERIOD = 10_007
"""A prime number of places."""
SHIFT = 4_801
"""Places from one day of an account to its next."""
_FACTOR, _MODULUS = 2_654_435_761, 4_294_967_291
PLACE_SQL = f"(n + {{day}} * {SHIFT}) % {PERIOD}"
HASH_SQL = f"place * place * {_FACTOR} % {_MODULUS}"
ACTIVE_SQL = "h % 1000 < 225"
TRADES_SQL = "1 + (h / 1000) % 11"
PROFIT_CENTS, LOTS_CENTS = 1234, 13
"""Hundredths of each trade, so that the sums of all tables agree."""
FILLED = 3
"""Which part of the columns without meaning is filled unless told otherwise: every third."""
_MEANT = frozenset(
    {
        "date",
        "hour",
        "account_id",
        "login",
        "platform",
        "broker",
        "num_trades",
        "trade_date",
        "position",
        "ticket",
        "net_profit",
        "total_lots",
        "profit",
        "lots",
    }
)


class Filler(NamedTuple):
    """A column that carries no meaning here but is filled: as SQL of `h`, and as a template of
    JSON for `filling_of`.
    """

    column: str
    api_name: str
    sql: str
    json: str


_FILLINGS = {
    "integer": ("(h >> 8) % 1000", "%(whole)s"),
    "numeric": ("((h >> 8) % 100000) / 100.0", "%(amount)s"),
    "varchar": ("'US'", '"US"'),
    "date": ("date '2026-01-01'", '"2026-01-01"'),
    "timestamp": ("timestamp '2026-01-01 09:30'", '"2026-01-01T09:30:00.000Z"'),
}


def fillers(endpoint: Endpoint, filled: int) -> Sequence[Filler]:
    """Every `filled`-th column of the table that carries no meaning here."""
    fields = [
        Filler(field.column, field.api_name, *_FILLINGS[kind])
        for field in TABLES[endpoint].fields
        if field.column not in _MEANT and (kind := field.sql_type.partition("(")[0]) in _FILLINGS
    ]
    return fields[::filled]


def filling_of(template: str, place: int) -> str:
    """A template of JSON with the values of a place."""
    h = hash_of(place) >> 8
    return template % {"whole": h % 1000, "amount": hundredths(h % 100_000)}


def hash_of(place: int) -> int:
    """HASH_SQL."""
    return place * place * _FACTOR % _MODULUS


def trades_at(place: int) -> int:
    """How many trades an account has on the day of this place: 0 on most."""
    h = hash_of(place)
    return 1 + h // 1000 % 11 if h % 1000 < 225 else 0  # noqa: PLR2004 - as in ACTIVE_SQL


def place_of(number: int, day: int) -> int:
    """PLACE_SQL: where account `number` stands on a day."""
    return (number + day * SHIFT) % PERIOD


def hundredths(amount: int) -> str:
    """An amount in hundredths, as a decimal number."""
    return f"{amount // 100}.{amount % 100:02}"
