"""Equality of raw rows."""

import json
from decimal import Decimal, InvalidOperation

from app.domain.contract.rows import fields_of


def same_row(one: bytes, other: bytes) -> bool:
    """Whether values are equal, numbers exactly, whatever order and spelling."""
    return one == other or _exact(one) == _exact(other)


def _exact(row: bytes) -> dict[str, object]:
    return {name: _exact_value(bytes(value)) for name, value in fields_of(row).items()}


def _exact_value(value: bytes) -> object:
    try:
        return json.loads(value, parse_float=_exact_number, parse_int=_exact_number)
    except RecursionError:  # nested so deeply, it is only equal to itself
        return value


def _exact_number(text: str) -> object:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that not even Decimal can hold
        return text
