"""What a run tells the writing side: on whose behalf rows are written, and what else it read."""

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
    """An account before a write, as far as guards are concerned."""

    totals: Totals = _NOTHING
    """What its tables counted when the run began."""
    rewritten: int = 0
    """Rows that this run changed already."""
    earlier: Rewritten = field(default_factory=Rewritten)
    """Rows that were changed since the account was whole."""
    was_held: bool = False
    """An earlier run left it held."""
    is_held: bool = False
    """This run holds it: nothing is written."""
    confirmed: Shown | None = None
    """What was confirmed in this run."""


@dataclass(frozen=True, slots=True)
class WriteContext:
    """On whose behalf rows are written: the run, the claim that must still hold, and the process
    (`worker_id`) that counts losses.

    On dates from `moving_from` on nothing is removed or lowered; up to `moving_until` upstream can
    have rows by now.
    """

    run_id: RunId | None
    claim_id: ClaimId
    account_seconds: float
    """How long one account may take."""
    lease_seconds: float
    guard: RunGuard | None = None
    """Limits what may change; None: nothing is limited."""
    standing: Mapping[str, Standing] = field(default_factory=dict)
    moving_from: dt.date = NEVER
    moving_until: dt.date = NEVER
    worker_id: WorkerId | None = None

    def holds(self, account_id: str) -> bool:
        """Whether nothing of the account may be written."""
        standing = self.standing.get(account_id)
        return standing is not None and standing.is_held


@dataclass(frozen=True, slots=True)
class RemovalEvidence:
    """What else of this run matters to a write."""

    daily_read: Mapping[str, frozenset[dt.date] | None] = field(default_factory=dict)
    """Dates by account on which daily was read (None: all): only there rows may be removed."""
    descending: frozenset[str] = frozenset()
    """Accounts whose finer tables must be read wherever a daily row's figures change."""
    moving: Mapping[str, MovingFigures] = field(default_factory=dict)
    """What is known of each account's unsettled dates."""
    is_trial: bool = False
    """Upstream is about to be blamed for what still differs."""
