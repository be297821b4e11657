"""How an issue is closed; only a healed one that comes back shows another writer."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.issues.codes import COUNT_CODES, IDENTITY_CODES, Issue, IssueCode, dates_of_evidence
from app.domain.issues.detection import detect


class ClosedAs(StrEnum):
    """How an issue was closed."""

    HEALED = "healed"
    """Undetected after a write."""
    RELABELLED = "relabelled"
    """The difference remains under other codes."""
    GONE = "gone"
    """Undetected without a write that explains it."""


_CLOSED_BY = {
    ClosedAs.HEALED: "detection after the heal",
    ClosedAs.RELABELLED: "another issue that tells of the same difference",
    ClosedAs.GONE: "detection; nothing was written",
}


@dataclass(frozen=True, slots=True)
class Closing:
    """How an issue was closed, and the codes that replace it."""

    closed_as: ClosedAs
    relabelled_as: tuple[IssueCode, ...] = ()

    def as_json(self) -> dict[str, object]:
        """As evidence of the history."""
        shown: dict[str, object] = {
            "closed_as": self.closed_as.value,
            "closed_by": _CLOSED_BY[self.closed_as],
        }
        return (
            {**shown, "relabelled_as": [code.value for code in self.relabelled_as]}
            if self.relabelled_as
            else shown
        )


GONE = Closing(ClosedAs.GONE)


def closings(
    view: AccountView,
    progress: Progress,
    found: Sequence[Issue],
    left: Sequence[Issue],
    before: Collection[IssueCode] = (),
) -> dict[IssueCode, Closing]:
    """How issues were closed; `before`: an earlier pass."""
    remaining = {issue.code for issue in left}
    judged = _Judge(view, progress, left)
    opened = {issue.code: issue for issue in (*_open_before(view), *found)}
    return {
        code: judged.closing(code, opened.get(code))
        for code in sorted({*opened, *before} - remaining)
    }


def _open_before(view: AccountView) -> Iterator[Issue]:
    known = set(IssueCode)
    for entry in view.open_issues:
        if entry.get("type") in known and str(entry.get("severity")).isdigit():
            yield Issue.from_json(entry)


class _Judge:
    def __init__(self, view: AccountView, progress: Progress, left: Sequence[Issue]) -> None:
        self._progress = progress
        self._left = left
        self._codes = tuple(sorted({issue.code for issue in left}))
        self._now = {issue.code for issue in detect(view)}
        self._days = {day.date.isoformat() for day in view.days}

    def closing(self, code: IssueCode, issue: Issue | None) -> Closing:
        labels = self._labels(code, set() if issue is None else _dates(issue.evidence))
        if labels:
            return Closing(ClosedAs.RELABELLED, labels)
        tables = () if issue is None else issue.affected
        return Closing(ClosedAs.HEALED) if self._progress.owes_to_write(tables) else GONE

    def _labels(self, code: IssueCode, dates: set[str]) -> tuple[IssueCode, ...]:
        """Codes of the same difference."""
        if code in IDENTITY_CODES:
            overlapping = (issue for issue in self._left if issue.code in IDENTITY_CODES)
            return tuple(
                sorted(
                    {
                        issue.code
                        for issue in overlapping
                        if code in self._now or dates & _dates(issue.evidence)
                    }
                )
            )
        others = tuple(each for each in self._codes if each not in IDENTITY_CODES) or self._codes
        if code is IssueCode.VALUE_DRIFT:
            # Counts tell nothing of it: all of its rows were compared again.
            still = False
        elif code is IssueCode.MONEY_MISMATCH:
            still = code in self._now
        elif code is IssueCode.UPSTREAM_DRIFT:
            still = self._progress.alltime_is_withheld or (
                IssueCode.ABSENT_UPSTREAM in self._codes and code not in self._now
            )
        elif code in COUNT_CODES:
            still = (
                code in self._now
                or bool(dates & self._days)
                or (not dates and bool(self._now & COUNT_CODES))
            )
        else:
            still = bool(self._now - IDENTITY_CODES)
        return others if still else ()


def _dates(evidence: Mapping[str, object]) -> set[str]:
    return set(dates_of_evidence(evidence))
