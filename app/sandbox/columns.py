"""API rows as warehouse rows, by the rules of truth. Written apart from the service, so that it can be its witness. Pure: no I/O."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache

from app.domain.contract import TABLES, Endpoint
from app.sandbox.trades import Row, Value

_LARGEST_INTEGER = 2**31 - 1
_ISO_DATE_LENGTH = 10


def rows_for_columns(endpoint: Endpoint, row: Row) -> dict[str, Value]:
    """`row` by warehouse column, each value in a form that PostgreSQL reads into that column.

    Dates keep their date part alone; timestamps become UTC without a zone; a number outside its column's range, or something
    that is no number, becomes None. Fields that upstream did not send are left out. ValueError if a date or time is none.
    """
    return {column: read(row[name]) for name, column, read in _readers(endpoint) if name in row}


@cache
def _readers(endpoint: Endpoint) -> tuple[tuple[str, str, Callable[[Value], Value]], ...]:
    return tuple((field.api_name, field.column, _reader(field.sql_type)) for field in TABLES[endpoint].fields)


def _reader(sql_type: str) -> Callable[[Value], Value]:
    if sql_type in _READERS:
        return _READERS[sql_type]
    numeric = re.fullmatch(r"numeric\((\d+),(\d+)\)", sql_type)
    return _numeric(int(numeric[1]), int(numeric[2])) if numeric else _text


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


def _number(value: Value) -> Decimal | None:
    """`value` as an exact finite number; None if it is none."""
    if value is None:
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _integer(value: Value) -> Value:
    if type(value) is int and -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        return value
    number = _number(value)
    # The bounds first: a number of a million digits must not be written out.
    if number is None or not -_LARGEST_INTEGER - 2 < number < _LARGEST_INTEGER + 1:
        return None
    whole = int(number.to_integral_value(ROUND_HALF_UP))
    return whole if -_LARGEST_INTEGER - 1 <= whole <= _LARGEST_INTEGER else None


def _double(value: Value) -> Value:
    number = _number(value)
    if number is None:
        return None
    read = float(number)
    overflows = read in (float("inf"), float("-inf"))
    underflows = read == 0 and number != 0
    return None if overflows or underflows else number


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
    "integer": _integer,
    "double": _double,
}
