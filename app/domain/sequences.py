"""Cutting long sequences into pieces."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in order, at most `size` at a time; nothing for no items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def scattered(names: Iterable[str]) -> tuple[str, ...]:
    """The names in an order that keeps no neighbours together and is always the same: what spoils
    one often spoils its neighbours too.
    """
    return tuple(sorted(names, key=lambda name: zlib.crc32(name.encode())))
