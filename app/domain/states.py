"""The closed sets of the domain: kinds, depths, statuses, outcomes."""

from enum import StrEnum
from typing import assert_never


class RunKind(StrEnum):
    """Which accounts a run takes: mismatched ones not backing off, all mismatched ones, or whatever
    differs from upstream.

    An inspection takes all that disagree and only detects: it heals nothing, and does not ask
    upstream.
    """

    FULL = "full"
    RETRY = "retry"
    AUDIT = "audit"
    INSPECT = "inspect"


class Depth(StrEnum):
    """How far a run compares an account: the counts that detection sees, or every row and column of
    every table.
    """

    COUNTS = "counts"
    ROWS = "rows"


class RunStatus(StrEnum):
    """The states of a run; all but the first three are ends, and from `needs_confirmation` somebody
    may let it go on.
    """

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
        """Whether nothing more will happen to the run by itself."""
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

    `unchanged`: there was nothing to heal; `healed`: issues were there and none is left;
    `explained`: what is left is not the warehouse's to heal (upstream contradicts itself, forgot,
    still moves, or the identity is ambiguous); `partial`: some issues were closed, some that can be
    healed are left; `failed`: none was closed. Held, and not healed though that is possible:
    `flapping`, where the same issue opens again and again right after healing;
    `needs_confirmation`, where healing would rewrite too much, or upstream suddenly has nothing.
    `gone`: somebody deleted it from trade_recon while it waited. `found`: an inspection found
    issues.
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
