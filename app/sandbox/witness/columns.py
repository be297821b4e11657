"""API rows as warehouse rows, independent of the service. No I/O."""

import datetime as dt
import re
import sys
from collections.abc import Callable, Collection, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.world.trades import Row, Value

_ISO_DATE_LENGTH = 10
_LARGEST_REAL = 3.4028235e38


class RowReader:
    """Reads rows for SQL types, as PostgreSQL parses them.

    Unusable numbers and enum words become None; missing fields are left out.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        types: Mapping[str, str],
        labels: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """`types` below domains, enums with `labels`."""
        known = labels or {}
        self._readers = tuple(
            (
                field.api_name,
                field.column,
                (
                    _label(known[field.column])
                    if field.column in known
                    else _reader(types[field.column])
                ),
            )
            for field in TABLES[endpoint].fields
            if field.column in types
        )

    def read(self, row: Row) -> dict[str, Value]:
        """The row by column; ValueError for an unreadable date."""
        return {column: read(row[name]) for name, column, read in self._readers if name in row}


def rows_for_columns(endpoint: Endpoint, row: Row) -> dict[str, Value]:
    """The row by column, as a fresh install holds it."""
    return _fresh_reader(endpoint).read(row)


@cache
def _fresh_reader(endpoint: Endpoint) -> RowReader:
    return RowReader(endpoint, {field.column: field.sql_type for field in TABLES[endpoint].fields})


def _reader(sql_type: str) -> Callable[[Value], Value]:
    if sql_type in _READERS:
        return _READERS[sql_type]
    numeric = re.fullmatch(r"numeric\((\d+),(\d+)\)", sql_type)
    return _numeric(int(numeric[1]), int(numeric[2])) if numeric else _text


def _label(labels: Collection[str]) -> Callable[[Value], Value]:
    return lambda value: str(value) if value is not None and str(value) in labels else None


def _text(value: Value) -> Value:
    return None if value is None else str(value)


def _date(value: Value) -> Value:
    if value is None:
        return None
    text = str(value)
    digits = text[:_ISO_DATE_LENGTH].replace("-", "")
    return dt.datetime.strptime(digits, "%Y%m%d").replace(tzinfo=dt.UTC).date().isoformat()


def _timestamp(value: Value) -> Value:
    if value is None:
        return None
    moment = dt.datetime.fromisoformat(str(value))
    return (moment.astimezone(dt.UTC) if moment.tzinfo else moment).replace(tzinfo=None).isoformat()


def _zoned(value: Value) -> Value:
    read = _timestamp(value)
    return None if read is None else f"{read}+00:00"


def _number(value: Value) -> Decimal | None:
    """Exact and finite, or None."""
    if value is None:
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _integer(bits: int) -> Callable[[Value], Value]:
    bound: int = 2 ** (bits - 1)

    def read(value: Value) -> Value:
        if type(value) is int and -bound <= value < bound:
            return value
        number = _number(value)
        # The bounds first: a number of a million digits must not be written out.
        if number is None or not -bound - 1 < number < bound:
            return None
        whole = int(number.to_integral_value(ROUND_HALF_UP))
        return whole if -bound <= whole < bound else None

    return read


def _floating(largest: float) -> Callable[[Value], Value]:
    def read(value: Value) -> Value:
        number = _number(value)
        if number is None:
            return None
        nearest = float(number)
        underflows = nearest == 0 and number != 0
        return None if abs(nearest) > largest or underflows else number

    return read


def _numeric(precision: int, scale: int) -> Callable[[Value], Value]:
    # PostgreSQL rounds half away from zero to the scale before it looks at the range.
    bound = Decimal(10) ** (precision - scale) - Decimal(10) ** -scale / 2

    def read(value: Value) -> Value:
        number = _number(value)
        return number if number is not None and -bound < number < bound else None

    return read


_READERS: Mapping[str, Callable[[Value], Value]] = {
    "date": _date,
    "timestamp": _timestamp,
    "timestamp without time zone": _timestamp,
    "timestamp with time zone": _zoned,
    "smallint": _integer(16),
    "integer": _integer(32),
    "bigint": _integer(64),
    "numeric": _number,
    "real": _floating(_LARGEST_REAL),
    "double": _floating(sys.float_info.max),
    "double precision": _floating(sys.float_info.max),
}
