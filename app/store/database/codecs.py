"""Dates, times and JSON between Python and PostgreSQL."""

import datetime as dt

import msgspec

_DAY_ZERO = dt.date(2000, 1, 1).toordinal()
_LAST_DAY = dt.date.max.toordinal()
_TIME_ZERO = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - what both types of timestamps count from, in UTC or in no zone
_MICROSECOND = dt.timedelta(microseconds=1)
_FIRST_TIME = (dt.datetime.min - _TIME_ZERO) // _MICROSECOND  # noqa: DTZ901 - as above
_LAST_TIME = (dt.datetime.max - _TIME_ZERO) // _MICROSECOND  # noqa: DTZ901 - as above
JSONB_VERSION = b"\x01"
"""Prefix of a binary jsonb value."""


def encode_date(value: dt.date) -> tuple[int]:
    """PostgreSQL's day number; asyncpg would make Python's extremes infinities."""
    return (value.toordinal() - _DAY_ZERO,)


def decode_date(value: tuple[int]) -> dt.date:
    """A date, clamped to Python's range."""
    return dt.date.fromordinal(min(max(value[0] + _DAY_ZERO, 1), _LAST_DAY))


def encode_moment(value: dt.datetime) -> tuple[int]:
    """Microseconds of an aware moment."""
    return ((value - _TIME_ZERO.replace(tzinfo=dt.UTC)) // _MICROSECOND,)


def decode_moment(value: tuple[int]) -> dt.datetime:
    """A moment in UTC, clamped to Python's range."""
    return decode_time(value).replace(tzinfo=dt.UTC)


def encode_time(value: dt.datetime) -> tuple[int]:
    """Microseconds of a time without zone."""
    return ((value - _TIME_ZERO) // _MICROSECOND,)


def decode_time(value: tuple[int]) -> dt.datetime:
    """A time without zone, clamped to Python's range."""
    return _TIME_ZERO + min(max(value[0], _FIRST_TIME), _LAST_TIME) * _MICROSECOND


def encode_json(value: object) -> bytes:
    """Binary jsonb."""
    return JSONB_VERSION + msgspec.json.encode(value)


def decode_json(value: bytes) -> object:
    """The value of jsonb."""
    return msgspec.json.decode(memoryview(value)[len(JSONB_VERSION) :])
