"""Holds: accounts whose repair waits for confirmation, and what was shown of them."""

from dataclasses import dataclass, field
from typing import Literal

from app.domain.states import Outcome


@dataclass(frozen=True, slots=True)
class Shown:
    """What a hold shows, and confirming allows: changes that leave `trades` or more in each
    table.

    `trades` is None where upstream has nothing: confirming then allows no write. `blanks` allows
    empty figures. `stored` is the held table's count; tables that count fewer may keep fewer.
    """

    trades: int | None = None
    blanks: bool = False
    stored: int | None = None

    def least(self, stored: int) -> int:
        """The trades that a table with so many must keep."""
        trades = self.trades or 0
        before = trades if self.stored is None else self.stored
        if stored < trades:
            return max(0, stored - max(0, before - trades))
        return max(0, trades - min(max(0, before - stored), stored - trades))


@dataclass(frozen=True, slots=True)
class Hold:
    """An account's hold: its outcome and reason; `absent` if upstream has nothing of it.

    `shown` is what confirming allows.
    """

    outcome: Literal[Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION]
    reason: str
    absent: bool = False
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """An account's rows that runs rewrote since it was last whole, and those removed."""

    rows: int = 0
    removed: int = 0
