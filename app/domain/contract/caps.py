"""Caps: where ingestion cuts extreme values; capped ones count as equal."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase

from app.errors import ConfigurationError

_RULE = re.compile(r"\s*([a-z0-9_.*? ]+(?:\(\s*\d+\s*,\s*\d+\s*\))?)\s*=\s*([0-9.eE+]+)\s*")
_LONGEST = 30
"""Digits of the widest column."""
_LEAST_ROWS, _LEAST_ACCOUNTS = 8, 5
"""An account's own figure may stand still."""
_LEAST_VALUES = 12
_FEWER = 5
"""A cap is shared by at least this many times the accounts that share an ordinary value."""
_NATURAL = frozenset(map(Decimal, (0, 1, 100)))
"""Limits of rates and percentages."""
_BETWEEN = re.compile(r"[,;](?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Caps:
    """Column patterns (`rel_*`) or types (`numeric(10,6)`) with largest amounts; the
    first counts.
    """

    rules: tuple[tuple[str, Decimal], ...] = ()

    @classmethod
    def read(cls, text: str) -> "Caps":
        """Parse `numeric(10,6)=9999.999999, rel_*=1000`; ConfigurationError."""
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
            raise ConfigurationError(
                f"{text.strip()!r} is no cap such as rel_*=1000 or numeric(10,6)=9999.999999"
            )
        pattern = re.sub(r"\s+", "" if "(" in match[1] else " ", match[1].strip())
        return re.sub(r"^decimal\b", "numeric", pattern), amount

    @property
    def written(self) -> tuple[str, ...]:
        """As the setting holds them."""
        return tuple(f"{pattern}={amount:f}" for pattern, amount in self.rules)

    def of(self, table: str, column: str, sql_type: str) -> Decimal | None:
        """A column's cap, if any."""
        names = (column.lower(), f"{table}.{column}".lower(), sql_type.lower())
        return next(
            (
                amount
                for pattern, amount in self.rules
                if any(fnmatchcase(name, pattern) for name in names)
            ),
            None,
        )


NO_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class Extreme:
    """A column's largest amount, either sign: `at` rows of `accounts` accounts have it, of `rows`
    with a value; below it are `values` other amounts, each at no more than `shared` accounts.
    """

    amount: Decimal
    at: int
    accounts: int
    rows: int
    values: int = 0
    shared: int = 0

    @property
    def may_be_cap(self) -> bool:
        """Whether enough rows have it."""
        return (
            self.amount not in _NATURAL
            and self.amount.is_finite()
            and self.amount.adjusted() <= _LONGEST
            and self.at >= _LEAST_ROWS
            and self.accounts >= _LEAST_ACCOUNTS
            and 2 * self.at < self.rows
        )

    @property
    def is_cap(self) -> bool:
        """Whether values are cut off there."""
        return (
            self.may_be_cap
            and self.values >= _LEAST_VALUES
            and _FEWER * self.shared <= self.accounts
        )
