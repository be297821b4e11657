"""Upstream rows that the warehouse cannot hold."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.domain.wording.counts import counted


@dataclass(frozen=True, slots=True)
class NarrowRow:
    """A row that shares a key of the table with another one, told in `beside`."""

    table: str
    key: str
    reason: str
    beside: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As evidence of an issue."""
        return {"table": self.table, "key": self.key, "reason": self.reason, **self.beside}


@dataclass(slots=True)
class SetAside:
    """Row keys by table and reason."""

    by_reason: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether any was set aside."""
        return bool(self.by_reason)

    def add(self, table: str, reason: str, keys: Iterable[str]) -> None:
        """Merge one read; the largest count wins."""
        known = self.by_reason.setdefault((table, reason), Counter())
        for key, rows in Counter(keys).items():
            known[key] = max(known[key], rows)

    def take_in(self, other: "SetAside") -> None:
        """Merge another read."""
        for (table, reason), keys in other.by_reason.items():
            self.add(table, reason, keys.elements())

    def sentences(self) -> list[str]:
        """Each reason with its first row."""
        return [
            self._sentence(table, reason, keys) for (table, reason), keys in self.by_reason.items()
        ]

    @staticmethod
    def _sentence(table: str, reason: str, keys: Counter[str]) -> str:
        if not keys:
            return f"{table} {reason}"
        others = keys.total() - 1
        beside = f" and {counted(others, 'other row')}" if others else ""
        return f"{table} {next(iter(keys))}{beside}: {reason}"
