"""Rows as JSON that is ready to be sent."""

from collections.abc import Iterable

import msgspec


def encoded_value(value: object) -> msgspec.Raw:
    """One value."""
    return msgspec.Raw(msgspec.json.encode(value))


def encoded_rows(rows: Iterable[object]) -> msgspec.Raw:
    """Rows as a JSON array that is ready to be sent.

    Encoded one by one: a single call for thousands would keep all other threads waiting until it is
    done.
    """
    encoder = msgspec.json.Encoder()
    encoded = bytearray(b"[")
    for row in rows:
        if len(encoded) > 1:
            encoded += b","
        encoder.encode_into(row, encoded, -1)
    encoded += b"]"
    return msgspec.Raw(encoded)
