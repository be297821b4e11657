"""Rows as JSON that is ready to be sent."""

from collections.abc import Iterable

import msgspec


def encoded_value(value: object) -> msgspec.Raw:
    """One value."""
    return msgspec.Raw(msgspec.json.encode(value))


def encoded_rows(rows: Iterable[object]) -> msgspec.Raw:
    """Rows as a JSON array, encoded one by one so that other threads get their turn."""
    encoder = msgspec.json.Encoder()
    encoded = bytearray(b"[")
    for row in rows:
        if len(encoded) > 1:
            encoded += b","
        encoder.encode_into(row, encoded, -1)
    encoded += b"]"
    return msgspec.Raw(encoded)
