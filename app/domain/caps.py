"""Caps: the limits at which a warehouse's own ingestion cuts extreme values off. What is capped there counts as equal. Pure: no I/O."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase

from app.errors import ConfigurationError

_RULE = re.compile(r"\s*([a-z0-9_.*? ]+(?:\(\s*\d+\s*,\s*\d+\s*\))?)\s*=\s*([0-9.eE+]+)\s*")
_LONGEST = 30
"""Digits of an amount; no column of the API holds more."""
_BETWEEN = re.compile(r"[,;](?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Caps:
    """Rules in order: a pattern of columns (`rel_*`, `raw_metrics_daily.rel_*`) or a type (`numeric(10,6)`), and the largest amount."""

    rules: tuple[tuple[str, Decimal], ...] = ()

    @classmethod
    def read(cls, text: str) -> "Caps":
        """Read rules such as `numeric(10,6)=9999.999999, rel_*=1000`. Raises ConfigurationError."""
        rules = [cls._rule(part) for part in _BETWEEN.split(text) if part.strip()]
        return cls(tuple(rules))

    @staticmethod
    def _rule(text: str) -> tuple[str, Decimal]:
        match = _RULE.fullmatch(text.lower())
        try:
            amount = Decimal(match[2]) if match else Decimal(0)
        except InvalidOperation:
            amount = Decimal(0)
        if match is None or not amount.is_finite() or amount <= 0 or amount.adjusted() > _LONGEST:
            raise ConfigurationError(f"{text.strip()!r} is no cap such as rel_*=1000 or numeric(10,6)=9999.999999")
        pattern = re.sub(r"\s+", "" if "(" in match[1] else " ", match[1].strip())
        return re.sub(r"^decimal\b", "numeric", pattern), amount

    @property
    def written(self) -> tuple[str, ...]:
        """The rules as the setting holds them."""
        return tuple(f"{pattern}={amount:f}" for pattern, amount in self.rules)

    def of(self, table: str, column: str, sql_type: str) -> Decimal | None:
        """The largest amount of a column of a table, by the first rule that names it or its type; None: it is not capped."""
        names = (column.lower(), f"{table}.{column}".lower(), sql_type.lower())
        return next((amount for pattern, amount in self.rules if any(fnmatchcase(name, pattern) for name in names)), None)


NO_CAPS = Caps()
