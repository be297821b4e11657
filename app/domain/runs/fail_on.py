"""Ends of a run that fail its command (`--fail-on`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.domain.runs.leftovers import Leftovers
from app.domain.wording.nearest import nearest
from app.errors import InvalidRequest

_FAILED = "failed"


class Condition(StrEnum):
    """What fails the command."""

    ACTION = "action"
    ISSUES = "issues"
    NEW_ISSUES = "new-issues"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class FailOn:
    """Any condition suffices; `failed` is a share."""

    conditions: frozenset[Condition] = frozenset({Condition.ACTION})
    failed: float | None = None

    def reason(self, left: Leftovers, *, done: int, failed: int) -> str | None:
        """Why the end is a failure, if so."""
        if 0 < failed == done:
            return "no account could be healed"
        if self.failed is not None and failed > self.failed * done:
            return f"more than {self.failed:.4g} of the accounts failed (--fail-on failed)"
        met = {
            Condition.ACTION: left.needs_somebody,
            Condition.ISSUES: left.has_issues,
            Condition.NEW_ISSUES: left.has_new,
            Condition.NONE: False,
        }
        for condition in Condition:
            if condition in self.conditions and met[condition]:
                return _REASONS[condition]
        return None


_REASONS = {
    Condition.ACTION: "action is needed",
    Condition.ISSUES: "unaccepted issues are left (--fail-on issues)",
    Condition.NEW_ISSUES: "new issues are left (--fail-on new-issues)",
}
ACTION = FailOn()
"""The default."""


def parse_fail_on(given: Iterable[str]) -> FailOn:
    """Parse conditions; the smallest share counts. InvalidRequest."""
    words = [word.strip() for text in given for word in text.split(",")]
    conditions = frozenset(_condition(word) for word in words if not _is_share(word))
    if Condition.NONE in conditions and len(words) > 1:
        raise InvalidRequest("--fail-on none goes with nothing else. No run was started.")
    shares = [parse_share(word.partition(":")[2]) for word in words if _is_share(word)]
    return FailOn(conditions, min(shares, default=None)) if words else ACTION


def parse_share(text: str) -> float:
    """Parse 10% or 0.1; InvalidRequest."""
    number, is_percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if is_percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidRequest(
            f"{text!r} is no share such as 10% or 0.1, from 0 to 100%. No run was started."
        )
    return share


def _is_share(word: str) -> bool:
    return word.partition(":")[0].strip().lower() == _FAILED


def _condition(word: str) -> Condition:
    try:
        return Condition(word.lower().replace("_", "-"))
    except ValueError:
        known = [*(condition.value for condition in Condition), f"{_FAILED}:5%"]
        meant = nearest(word, known)
        hint = f" Is {meant} meant?" if meant else ""
        raise InvalidRequest(
            f"--fail-on {word!r} is not known; it is one of {', '.join(known)}, or several with"
            f" commas.{hint} No run was started."
        ) from None
