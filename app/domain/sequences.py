"""Cutting and ordering sequences."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Name = TypeVar("Name", bound=str)


def pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """At most `size` items at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def scattered(names: Iterable[Name]) -> tuple[Name, ...]:
    """A stable order that separates neighbours, as what spoils one often spoils the next."""
    return tuple(sorted(names, key=lambda name: zlib.crc32(name.encode())))
