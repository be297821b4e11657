"""Query parameters encoded as JSON."""

from collections.abc import Iterable

import msgspec

ACCOUNTS_AT_ONCE = 500
"""Limits the JSON encoded at once."""


def encoded_value(value: object) -> msgspec.Raw:
    """Encode one value."""
    return msgspec.Raw(msgspec.json.encode(value))


def encoded_rows(rows: Iterable[object]) -> msgspec.Raw:
    """Encode an array row by row, so other threads get a turn."""
    encoder = msgspec.json.Encoder()
    encoded = bytearray(b"[")
    for row in rows:
        if len(encoded) > 1:
            encoded += b","
        encoder.encode_into(row, encoded, -1)
    encoded += b"]"
    return msgspec.Raw(encoded)
