"""Judges a pass over an account."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.hold import Shown
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.acceptance import disagreement_of, still_accepted
from app.domain.issues.codes import Issue, IssueCode
from app.domain.planning.second_shape import disputed
from app.domain.states import Outcome
from app.domain.verdict.backoff import ask_again
from app.domain.verdict.closing import Closing, closings
from app.domain.verdict.explanation import explain
from app.domain.verdict.verdict import is_incomplete, judge
from app.domain.wording.counts import counted
from app.store.claims.claim import FirstPass
from app.store.results.account_result import AccountResult, Explained

COMPARED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""Tables whose rows are compared."""
_LONGEST_DETAIL = 2_000
_COLUMNS_NAMED = 10


@dataclass(frozen=True, slots=True)
class AccountPass:
    """One pass over an account.

    `found` issues at its start, `unread` counts failed fetches, `before` is the run's first pass,
    `columns` are counts of those compared.
    """

    view: AccountView
    progress: Progress
    found: tuple[Issue, ...]
    unread: int
    before: FirstPass | None
    is_second: bool = False
    columns: Mapping[Endpoint, int] = field(default_factory=dict)

    @property
    def found_before(self) -> Collection[IssueCode]:
        """Issues of the first pass."""
        return self.before.found if self.before else ()

    @property
    def wrote_before(self) -> bool:
        """Whether the first pass wrote."""
        return bool(self.before and self.before.effort.written)

    @property
    def is_unread(self) -> bool:
        """Whether all errors are incomplete fetches."""
        return 0 < self.unread == len(self.progress.errors)


def result_of(
    passed: AccountPass, *, now: dt.datetime, moving_from: dt.date, flap_seconds: float
) -> AccountResult:
    """The record at `now`; dates from `moving_from` are unsettled."""
    judged = _judge(passed, moving_from, now)
    return AccountResult(
        passed.view.account_id,
        judged.outcome,
        passed.found,
        judged.left,
        passed.progress.effort,
        failing=judged.is_failing,
        signature=judged.signature,
        detail=_detail(passed, is_left=judged.is_open),
        postponed=judged.is_postponed,
        untried=judged.is_untried,
        before=passed.before or FirstPass(),
        held_until=judged.held_until(now, flap_seconds),
        closings=judged.closings,
        explained=_explained(passed, now) if judged.outcome is Outcome.EXPLAINED else None,
        shown=judged.shown,
        compared=_compared(passed),
        seen=disagreement_of(passed.view) if judged.left else None,
        newly_held=judged.is_newly_held,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    passed: AccountPass
    outcome: Outcome
    accepted: Collection[IssueCode]
    left: tuple[Issue, ...]
    is_open: bool

    @property
    def is_failing(self) -> bool:
        """Whether it costs an attempt: not for concurrent writers or untried second shapes."""
        return (
            self.outcome in (Outcome.PARTIAL, Outcome.FAILED)
            and not self.passed.progress.left_alone
            and not disputed(self.passed.view, self.passed.progress)
        )

    @property
    def is_untried(self) -> bool:
        """Whether it failed only in requests for several accounts."""
        progress = self.passed.progress
        return (
            self.is_open
            and progress.untried is not None
            and not progress.errors
            and progress.hold is None
        )

    @property
    def is_postponed(self) -> bool:
        """Whether it is read again."""
        return self.is_untried or (
            self.is_open
            and not self.passed.is_second
            and self.passed.progress.hold is None
            and self.passed.is_unread
        )

    @property
    def signature(self) -> str:
        """A digest of the account's state, for explained accounts alone, as it is expensive."""
        if self.outcome is Outcome.EXPLAINED and _explains_itself(
            self.passed, self.left, self.accepted
        ):
            return self.passed.view.signature
        return ""

    def held_until(self, now: dt.datetime, flap_seconds: float) -> dt.datetime | None:
        is_flapping = self.outcome is Outcome.FLAPPING
        return now + dt.timedelta(seconds=flap_seconds) if is_flapping else None

    @property
    def closings(self) -> Mapping[IssueCode, Closing]:
        passed = self.passed
        return closings(passed.view, passed.progress, passed.found, self.left, passed.found_before)

    @property
    def shown(self) -> Shown | None:
        hold = self.passed.progress.hold
        return hold.shown if hold and self.outcome is Outcome.NEEDS_CONFIRMATION else None

    @property
    def is_newly_held(self) -> bool:
        return (
            self.outcome is Outcome.NEEDS_CONFIRMATION
            and self.passed.view.status != Outcome.NEEDS_CONFIRMATION
        )


def _judge(passed: AccountPass, moving_from: dt.date, now: dt.datetime) -> _Judged:
    view, progress = passed.view, passed.progress
    left = explain(view, progress, moving_from=moving_from, now=now)
    # Without a full comparison of rows something may be wrong although no issue tells it.
    incomplete = is_incomplete(view, progress)
    accepted = still_accepted(left, progress.accepted)
    outcome = judge(
        passed.found,
        left,
        passed.found_before,
        progress.hold,
        wrote=progress.owes_to_write() or passed.wrote_before,
        again=bool(view.doubts) or passed.wrote_before,
        incomplete=incomplete,
        accepted=accepted,
    )
    return _Judged(passed, outcome, accepted, left, is_open=bool(left) or incomplete)


def _explains_itself(
    passed: AccountPass, left: Collection[Issue], accepted: Collection[IssueCode]
) -> bool:
    """Whether the account would be explained without its acceptances, too."""
    view = passed.view
    if any(issue.can_be_healed and issue.code in accepted for issue in left):
        return False
    return not passed.progress.covered or view.explained_as == view.signature


def _compared(passed: AccountPass) -> dict[str, dict[str, int]] | None:
    """Compared rows by table; None without row comparison."""
    progress = passed.progress
    if not progress.by_rows or progress.known:
        return None
    differing: Counter[Endpoint] = Counter()
    for each in progress.differing:
        differing[each.endpoint] += each.rows
    return {
        TABLES[endpoint].name: {
            "rows": progress.dates_read(endpoint).rows,
            "columns": passed.columns.get(endpoint, 0),
            "differing": differing[endpoint],
        }
        for endpoint in COMPARED
        if _was_compared(passed, endpoint)
    }


def _was_compared(passed: AccountPass, endpoint: Endpoint) -> bool:
    """Whether the table was read, even if a guard kept it unwritten."""
    read = passed.progress.dates_read(endpoint)
    return bool(read.everything or read.dates or read.ranges or read.rows)


def _explained(passed: AccountPass, now: dt.datetime) -> Explained:
    """How often upstream was asked about this state in vain, and when it is asked again."""
    view, progress = passed.view, passed.progress
    is_same = view.explained_as == view.signature and view.ask_again_at is not None
    if is_same and view.ask_again_at is not None and (progress.known or now < view.ask_again_at):
        return Explained(view.explained_times, view.ask_again_at)
    times = view.explained_times + 1 if is_same else 1
    return Explained(times, ask_again(times, now))


def _detail(passed: AccountPass, *, is_left: bool) -> str | None:
    progress = passed.progress
    hold = progress.hold.reason if progress.hold else None
    # Rejected values are named even where the counts agree.
    unheld = [_said_of(table, columns) for table, columns in sorted(progress.unheld.items())]
    unknown_keys = progress.unknown_keys if is_left else ()
    reasons = [
        *([hold] if hold else []),
        *progress.errors,
        *progress.refused.sentences(),
        *unknown_keys,
        *unheld,
    ]
    if progress.untried and is_left:
        reasons.append(progress.untried)
    if passed.is_second and passed.unread:
        reasons.append("this was read for the second time in the run, in vain as before")
    if progress.left_alone:
        reasons.append("someone else kept writing the same rows; they were left alone")
    return "; ".join(reasons)[:_LONGEST_DETAIL] or None


def _said_of(table: str, columns: Collection[str]) -> str:
    others = (
        f" and {counted(len(columns) - _COLUMNS_NAMED, 'other')}"
        if len(columns) > _COLUMNS_NAMED
        else ""
    )
    return (
        f"{table} holds other values than upstream sends, which cannot be stored:"
        f" {', '.join(sorted(columns)[:_COLUMNS_NAMED])}{others}"
    )
