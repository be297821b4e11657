"""Holds: accounts whose repair waits for confirmation."""

from dataclasses import dataclass, field
from typing import Literal

from app.domain.states import Outcome


@dataclass(frozen=True, slots=True)
class Shown:
    """What a hold shows, and confirming it allows: writes that leave `trades` or more.

    `trades` None allows no write, as upstream has nothing. `blanks` allows empty figures. `stored`
    is the held table's count: tables that count fewer may keep fewer.
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
    """Why an account's repair waits, and what confirming allows; `absent`: upstream has nothing."""

    outcome: Literal[Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION]
    reason: str
    absent: bool = False
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Rows changed, moved or removed since the account was last whole, `removed` among them."""

    rows: int = 0
    removed: int = 0
