"""Holds: accounts whose repair waits for confirmation."""

from dataclasses import dataclass, field
from typing import Literal

from app.domain.states import Outcome


@dataclass(frozen=True, slots=True)
class Shown:
    """Confirmed changes leave at least `trades` (None: no change); `stored` is the held table's
    count.
    """

    trades: int | None = None
    blanks: bool = False
    stored: int | None = None

    def least(self, stored: int) -> int:
        """Trades that a table with `stored` ones must keep."""
        trades = self.trades or 0
        before = trades if self.stored is None else self.stored
        if stored < trades:
            return max(0, stored - max(0, before - trades))
        return max(0, trades - min(max(0, before - stored), stored - trades))


@dataclass(frozen=True, slots=True)
class Hold:
    """An account's hold; `absent`: upstream has nothing."""

    outcome: Literal[Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION]
    reason: str
    absent: bool = False
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Rows rewritten since the account was whole."""

    rows: int = 0
    removed: int = 0
