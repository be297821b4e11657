"""What a run passes to the writing side."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.accounts.counts import Totals
from app.domain.accounts.hold import Rewritten, Shown
from app.domain.accounts.settling import NEVER, MovingFigures
from app.domain.holds.run_guard import RunGuard
from app.domain.ids import ClaimId, RunId, WorkerId

_NOTHING = Totals(
    has_alltime=False,
    alltime=0,
    has_daily=False,
    daily=0,
    has_hourly=False,
    hourly=0,
    has_closed=False,
    closed=0,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """An account before a write."""

    totals: Totals = _NOTHING
    """At the start of the run."""
    rewritten: int = 0
    """Rows changed by this run."""
    earlier: Rewritten = field(default_factory=Rewritten)
    """Rows changed since the account was whole."""
    was_held: bool = False
    is_held: bool = False
    """By this run."""
    confirmed: Shown | None = None


@dataclass(frozen=True, slots=True)
class WriteContext:
    """The run, its claim, and the process that counts losses.

    From `moving_from` on nothing is removed or lowered; upstream may have rows until
    `moving_until`.
    """

    run_id: RunId | None
    claim_id: ClaimId
    account_seconds: float
    lease_seconds: float
    guard: RunGuard | None = None
    """None: no limits."""
    standing: Mapping[str, Standing] = field(default_factory=dict)
    moving_from: dt.date = NEVER
    moving_until: dt.date = NEVER
    worker_id: WorkerId | None = None

    def holds(self, account_id: str) -> bool:
        """Whether the account is held."""
        standing = self.standing.get(account_id)
        return standing is not None and standing.is_held


@dataclass(frozen=True, slots=True)
class RemovalEvidence:
    """What else the run knows."""

    daily_read: Mapping[str, frozenset[dt.date] | None] = field(default_factory=dict)
    """Dates on which daily was read (None: all); rows are removed only there."""
    descending: frozenset[str] = frozenset()
    """Accounts whose changed daily dates need their finer tables read."""
    moving: Mapping[str, MovingFigures] = field(default_factory=dict)
    """Unsettled figures."""
    is_trial: bool = False
    """Remaining differences will be blamed on upstream."""
