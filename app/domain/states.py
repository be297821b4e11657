"""The closed sets of the domain."""

from enum import StrEnum
from typing import assert_never


class RunKind(StrEnum):
    """The accounts that a run takes.

    `full`: mismatched ones not backing off; `retry`: all mismatched; `audit`: all that differ from
    upstream; `inspect`: all that disagree, detecting only, without upstream.
    """

    FULL = "full"
    RETRY = "retry"
    AUDIT = "audit"
    INSPECT = "inspect"


class Depth(StrEnum):
    """What a run compares: trade counts, or every row and column."""

    COUNTS = "counts"
    ROWS = "rows"


class RunStatus(StrEnum):
    """A run's state; the last five are ends, `needs_confirmation` one that can go on."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    COMPLETED_WITH_ISSUES = "completed_with_issues"
    NEEDS_CONFIRMATION = "needs_confirmation"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether it is over unless confirmed."""
        match self:
            case RunStatus.QUEUED | RunStatus.RUNNING | RunStatus.PAUSED:
                return False
            case (
                RunStatus.SUCCEEDED
                | RunStatus.COMPLETED_WITH_ISSUES
                | RunStatus.NEEDS_CONFIRMATION
                | RunStatus.FAILED
                | RunStatus.CANCELLED
            ):
                return True
            case _:
                assert_never(self)


class Outcome(StrEnum):
    """How an account left a run.

    `unchanged`: nothing to heal; `healed`: no issue is left; `explained`: those left are not the
    warehouse's to heal; `partial`: some that can be healed are left; `failed`: none was closed.
    Held: `flapping` (an issue reopens after healing) and `needs_confirmation` (healing would
    rewrite too much, or upstream has nothing). `gone`: deleted from trade_recon. `found`: by an
    inspection.
    """

    UNCHANGED = "unchanged"
    HEALED = "healed"
    EXPLAINED = "explained"
    PARTIAL = "partial"
    FAILED = "failed"
    FLAPPING = "flapping"
    NEEDS_CONFIRMATION = "needs_confirmation"
    GONE = "gone"
    FOUND = "found"
