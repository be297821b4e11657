"""Holds: an account whose healing waits for confirmation, and what was shown of it."""

from dataclasses import dataclass, field
from typing import Literal

from app.domain.states import Outcome


@dataclass(frozen=True, slots=True)
class Shown:
    """What a hold shows, and what confirming it allows: any change that leaves at least `trades`
    counted in each table.

    `trades` is None where upstream has nothing at all: confirming that allows no write. `blanks`
    allows figures to become empty. `stored` is what the table of the hold counted: one that counts
    fewer, as where upstream contradicts itself, may be left with fewer.
    """

    trades: int | None = None
    blanks: bool = False
    stored: int | None = None

    def least(self, stored: int) -> int:
        """How many trades a table must be left with that counts so many; what was shown may have
        been written to it already.
        """
        trades = self.trades or 0
        before = trades if self.stored is None else self.stored
        if stored < trades:
            return max(0, stored - max(0, before - trades))
        return max(0, trades - min(max(0, before - stored), stored - trades))


@dataclass(frozen=True, slots=True)
class Hold:
    """That an account is held, as what, and the sentence that says why; `absent` if upstream has
    nothing at all for it.

    `shown` is what confirming the run lets through.
    """

    outcome: Literal[Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION]
    reason: str
    absent: bool = False
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Rows of an account that runs rewrote since it was whole for the last time, and how many of
    them were removed.
    """

    rows: int = 0
    removed: int = 0
