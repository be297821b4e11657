"""What a run leaves, and its status."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self, assert_never

from app.domain.issues.codes import IssueCode
from app.domain.states import Outcome, RunStatus
from app.domain.wording.counts import counted

SETTLING_CODES = frozenset({IssueCode.UNSETTLED})
"""They end by themselves; never news."""
OWN_WORD_CODES = frozenset({IssueCode.PINNED_BY_RESTORE})
"""They follow from a decision; never news."""


class Left(StrEnum):
    """What a run leaves: accounts, the most urgent first, and four kinds that count no accounts."""

    WAITING = "waiting"
    HEALABLE = "healable"
    EXHAUSTED = "exhausted"
    BACKING_OFF = "backing_off"
    HELD = "held"
    FLAPPING = "flapping"
    GONE = "gone"
    FOUND = "found"
    NEW = "new"
    KNOWN = "known"
    SETTLING = "settling"
    ACCEPTED = "accepted"
    INCOMPLETE = "incomplete"
    NOTHING_KNOWN = "nothing_known"
    UNMATCHED_NEW = "unmatched_new"
    UNMATCHED = "unmatched"

    @property
    def needs_somebody(self) -> bool:
        """Whether action is needed."""
        match self:
            case (
                Left.WAITING
                | Left.HEALABLE
                | Left.EXHAUSTED
                | Left.BACKING_OFF
                | Left.INCOMPLETE
                | Left.NOTHING_KNOWN
            ):
                return True
            case Left.HELD | Left.FLAPPING | Left.GONE | Left.FOUND:
                return True
            case Left.NEW | Left.UNMATCHED_NEW:
                return True
            case Left.KNOWN | Left.SETTLING | Left.ACCEPTED | Left.UNMATCHED:
                return False
            case _:
                assert_never(self)

    @property
    def is_issue(self) -> bool:
        """Whether it is not accepted."""
        return self is not Left.ACCEPTED


@dataclass(frozen=True, slots=True)
class OpenKinds:
    """Kinds of an account's open issues."""

    new: bool = False
    known: bool = False
    settling: bool = False
    accepted: bool = False


def left_of(  # noqa: PLR0911 - a line of the table each
    outcome: Outcome | None, open_kinds: OpenKinds, *, is_exhausted: bool
) -> Left | None:
    """What an account is left as, if anything; without outcome it was not reached."""
    match outcome:
        case None:
            return Left.WAITING
        case Outcome.UNCHANGED | Outcome.HEALED:
            return None
        case Outcome.PARTIAL | Outcome.FAILED:
            return Left.EXHAUSTED if is_exhausted else Left.HEALABLE
        case Outcome.FLAPPING:
            return Left.FLAPPING
        case Outcome.NEEDS_CONFIRMATION:
            return Left.HELD
        case Outcome.GONE:
            return Left.GONE
        case Outcome.FOUND:
            return Left.FOUND
        case Outcome.EXPLAINED:
            return _left_of_explained(open_kinds)
        case _:
            assert_never(outcome)


def _left_of_explained(open_kinds: OpenKinds) -> Left:
    if open_kinds.new:
        return Left.NEW
    if open_kinds.known:
        return Left.KNOWN
    if open_kinds.settling:
        return Left.SETTLING
    return Left.ACCEPTED if open_kinds.accepted else Left.KNOWN


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What a run leaves; `new_issues`: accounts with issues first found."""

    counts: Mapping[Left, int] = field(default_factory=dict)
    new_issues: int = 0

    @property
    def needs_somebody(self) -> bool:
        """Whether action is needed."""
        return any(left.needs_somebody for left in self._present)

    @property
    def has_issues(self) -> bool:
        """Whether an unaccepted issue is left."""
        return any(left.is_issue for left in self._present)

    @property
    def has_new(self) -> bool:
        """Whether the run was first to find an issue."""
        return (
            self.new_issues > 0
            or self.counts.get(Left.NEW, 0) > 0
            or self.counts.get(Left.UNMATCHED_NEW, 0) > 0
        )

    @property
    def sentence(self) -> str:
        """What is left, and who acts on it."""
        acting = [_told(left, self.counts[left]) for left in self._present if left.needs_somebody]
        resting = [
            _told(left, self.counts[left]) for left in self._present if not left.needs_somebody
        ]
        said = [f"To act on: {'; '.join(acting)}."] if acting else []
        said += (
            [f"Known, and nothing to be done by the warehouse: {'; '.join(resting)}."]
            if resting
            else []
        )
        return " ".join(said) or "Nothing is left."

    @property
    def _present(self) -> list[Left]:
        return [left for left in Left if self.counts.get(left, 0) > 0]

    def with_held(self, still: int) -> "Leftovers":
        """With `still` accounts held by now."""
        return replace(
            self, counts={**self.counts, Left.HELD: min(self.counts.get(Left.HELD, 0), still)}
        )

    def as_json(self) -> dict[str, object]:
        """As recorded."""
        return {
            **{left.value: self.counts.get(left, 0) for left in Left},
            "new_issues": self.new_issues,
        }

    @classmethod
    def from_json(cls, figures: Mapping[str, object] | None) -> Self | None:
        """The inverse of `as_json`; None for earlier versions."""
        if figures is None:
            return None
        known = {left: int(str(figures.get(left.value, 0))) for left in Left}
        return cls(known, int(str(figures.get("new_issues", 0))))


def gathered(counts: Iterable[tuple[Left | None, int]], *, new_issues: int = 0) -> Leftovers:
    """Sums by kind."""
    sums: dict[Left, int] = {}
    for left, number in counts:
        if left is not None and number > 0:
            sums[left] = sums.get(left, 0) + number
    return Leftovers(sums, new_issues)


def status_of(left: Leftovers, *, is_faulty: bool, is_stopped: bool) -> RunStatus:
    """The status of an ended run; `is_stopped`: by a guard."""
    if is_faulty:
        return RunStatus.FAILED
    if is_stopped:
        return RunStatus.NEEDS_CONFIRMATION
    return RunStatus.COMPLETED_WITH_ISSUES if left.needs_somebody else RunStatus.SUCCEEDED


def standing_status(status: str, left: Leftovers | None, *, held: int, still: int) -> str:
    """The present status, with `still` held."""
    if (
        still
        or not held
        or status not in (RunStatus.NEEDS_CONFIRMATION, RunStatus.COMPLETED_WITH_ISSUES)
    ):
        return status
    # What a run of an earlier version left is not known.
    acts = left is None or left.with_held(0).needs_somebody
    return RunStatus.COMPLETED_WITH_ISSUES.value if acts else RunStatus.SUCCEEDED.value


ACTING_BESIDE_HELD = tuple(
    left.value for left in Left if left.needs_somebody and left is not Left.HELD
)
"""What needs action besides held accounts."""

_ACCOUNTS: Mapping[Left, str] = {
    Left.WAITING: "not reached, which the next run takes",
    Left.HEALABLE: "that could not be healed yet, tried again by later runs",
    Left.EXHAUSTED: (
        "that failed too often in a row: `trade-recon accounts list --status exhausted`"
    ),
    Left.BACKING_OFF: "left out for now, since they flap, or failed and are not due yet",
    Left.HELD: "held until confirmed or accepted: `trade-recon accounts list --held`",
    Left.FLAPPING: (
        "held back for a day, since another writer brings the same issue back (flapping)"
    ),
    Left.GONE: "deleted from trade_recon by others",
    Left.FOUND: "with issues that the inspection found, healed by the next run",
    Left.NEW: "with issues that are new and not the warehouse's to heal",
    Left.KNOWN: "with issues that an earlier run showed, or that were confirmed",
    Left.SETTLING: "on dates that still move, read again by the next run",
    Left.ACCEPTED: "with accepted issues",
}
_KEYS: Mapping[Left, str] = {
    Left.UNMATCHED_NEW: "newly found to fit no account or several",
    Left.UNMATCHED: "known to fit no account or several",
}


def _told(left: Left, number: int) -> str:
    if left is Left.INCOMPLETE:
        return "maintenance that was not completed"
    if left is Left.NOTHING_KNOWN:
        return "no account is known"
    if left in _KEYS:
        return f"{counted(number, 'natural key')} {_KEYS[left]}"
    return f"{counted(number, 'account')} {_ACCOUNTS[left]}"
