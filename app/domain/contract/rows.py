"""API rows as JSON that PostgreSQL accepts; repairs stay within a field."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Self

import msgspec

REPLACEMENT = "\ufffd"
"""For characters that PostgreSQL cannot hold."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = msgspec.Raw(b"null")
_NUMBER = re.compile(rb'"?\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,6})?)\s*"?')


class RepairedRow(bytes):
    """A row with fields `nulled` (unreadable) or `replaced` (by REPLACEMENT)."""

    nulled: frozenset[str]
    replaced: frozenset[str]

    @classmethod
    def of(
        cls,
        fields: Mapping[str, msgspec.Raw],
        *,
        nulled: Iterable[str] = (),
        replaced: Iterable[str] = (),
    ) -> Self:
        """The row, null in `nulled` fields."""
        nulled = frozenset(nulled)
        row = cls(
            msgspec.json.encode(
                {name: _NULL if name in nulled else value for name, value in fields.items()}
            )
        )
        row.nulled, row.replaced = nulled, frozenset(replaced) - nulled
        return row

    def with_text(self, text: bytes) -> Self:
        """Another text with the same repairs."""
        row = type(self)(text)
        row.nulled, row.replaced = self.nulled, self.replaced
        return row

    def without_nulled(self) -> bytes:
        """The row without unreadable fields."""
        return msgspec.json.encode(
            {name: value for name, value in fields_of(self).items() if name not in self.nulled}
        )


def fields_of(row: bytes) -> dict[str, msgspec.Raw]:
    """Fields; of doubles the last, as in PostgreSQL."""
    return _FIELDS.decode(row)


def flattened(row: bytes) -> bytes:
    """Null for objects and arrays."""
    if row.find(b"{", 1) < 0 and b"[" not in row:
        return row
    fields = fields_of(row)
    nested = {
        name for name, value in fields.items() if bytes(memoryview(value)[:1]) in {b"{", b"["}
    }
    if not nested:
        return row
    if isinstance(row, RepairedRow):
        return RepairedRow.of(fields, nulled=row.nulled | nested, replaced=row.replaced)
    return RepairedRow.of(fields, nulled=nested)


def is_count(value: bytes, largest: int) -> bool:
    """Whether it is null, or whole up to `largest`."""
    if value.isdigit() and len(value) < len(str(largest)):
        return True
    if value == b"null":
        return True
    match = _NUMBER.fullmatch(value)
    if match is None:
        return False
    number = Decimal(match[1].decode())
    return 0 <= number <= largest and number == number.to_integral_value()
