"""How an account leaves a batch: the verdict on what was found, done and left, put into the words
of the record.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.acceptance import disagreement_of, still_accepted
from app.domain.issues.codes import Issue, IssueCode
from app.domain.planning.second_shape import disputed
from app.domain.states import Outcome
from app.domain.verdict.backoff import ask_again
from app.domain.verdict.closing import closings
from app.domain.verdict.explanation import explain
from app.domain.verdict.verdict import is_incomplete, judge
from app.domain.wording.counts import counted
from app.store.claims.claim import FirstPass
from app.store.results.account_result import AccountResult, Explained

COMPARED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
"""The tables of which rows are compared."""
_LONGEST_DETAIL = 2_000
_COLUMNS_NAMED = 10


@dataclass(frozen=True, slots=True)
class Passed:
    """What one pass of a run came to at one account.

    `found` are the issues with which it came, `unread` how many fetches for it could not be
    completed, `before` what the run found and did when it came to it earlier; `is_second` tells
    that it had put it off then. `columns` are how many of each table were compared.
    """

    view: AccountView
    progress: Progress
    found: tuple[Issue, ...]
    unread: int
    before: FirstPass | None
    is_second: bool = False
    columns: Mapping[Endpoint, int] = field(default_factory=dict)

    @property
    def is_unread(self) -> bool:
        """Whether nothing went wrong but that fetches could not be completed."""
        return 0 < self.unread == len(self.progress.errors)


def result_of(
    passed: Passed, *, now: dt.datetime, moving_from: dt.date, flap_seconds: float
) -> AccountResult:
    """The record of an account; dates from `moving_from` on still move at `now`, a flapping account
    is held back for `flap_seconds`.
    """
    view, progress, before = passed.view, passed.progress, passed.before
    left = explain(view, progress, moving_from=moving_from, now=now)
    # Where all rows were to be compared and were not, no issue needs to tell that something is
    # wrong.
    incomplete = is_incomplete(view, progress)
    is_open = bool(left) or incomplete
    # What failed in company, and was not tried alone, waits for the next run: nothing is known
    # against the account.
    untried = (
        is_open and progress.untried is not None and not progress.errors and progress.hold is None
    )
    wrote = progress.owes_to_write() or bool(before and before.effort.written)
    accepted = still_accepted(left, progress.accepted)
    outcome = judge(
        passed.found,
        left,
        before.found if before else (),
        progress.hold,
        wrote=wrote,
        again=bool(view.doubts) or bool(before and before.effort.written),
        incomplete=incomplete,
        accepted=accepted,
    )
    return AccountResult(
        view.account_id,
        outcome,
        passed.found,
        left,
        progress.effort,
        # What the batch had no requests left to try is no failure of the account.
        failing=outcome in (Outcome.PARTIAL, Outcome.FAILED)
        and not progress.left_alone
        and not disputed(view, progress),
        # Only with that outcome is it ever looked at again, and it costs more than all the rest.
        signature=(
            view.signature
            if outcome is Outcome.EXPLAINED and _explains_itself(passed, left, accepted)
            else ""
        ),
        detail=_detail(passed, is_left=is_open),
        postponed=untried
        or (is_open and not passed.is_second and progress.hold is None and passed.is_unread),
        untried=untried,
        before=before or FirstPass(),
        held_until=(
            now + dt.timedelta(seconds=flap_seconds) if outcome is Outcome.FLAPPING else None
        ),
        closings=closings(view, progress, passed.found, left, before.found if before else ()),
        explained=_explained(view, progress, now) if outcome is Outcome.EXPLAINED else None,
        shown=(
            progress.hold.shown if outcome is Outcome.NEEDS_CONFIRMATION and progress.hold else None
        ),
        compared=_compared(passed) if progress.by_rows and not progress.known else None,
        seen=disagreement_of(view) if left else None,
        newly_held=outcome is Outcome.NEEDS_CONFIRMATION
        and view.status != Outcome.NEEDS_CONFIRMATION,
    )


def _explains_itself(
    passed: Passed, left: Collection[Issue], accepted: Collection[IssueCode]
) -> bool:
    """Whether what is left needs no asking without anybody's word either, once that holds no
    more.
    """
    view = passed.view
    if any(issue.can_be_healed and issue.code in accepted for issue in left):
        return False
    return not passed.progress.covered or view.explained_as == view.signature


def _compared(passed: Passed) -> dict[str, dict[str, int]]:
    """What was compared by rows, by table: rows of upstream and stored ones together, columns, and
    rows that differed.
    """
    progress = passed.progress
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


def _was_compared(passed: Passed, endpoint: Endpoint) -> bool:
    """Whether any of the table was read; what a guard holds back was compared as well, though it
    counts as unread.
    """
    read = passed.progress.dates_read(endpoint)
    return bool(read.everything or read.dates or read.ranges or read.rows)


def _explained(view: AccountView, progress: Progress, now: dt.datetime) -> Explained:
    """How often upstream was asked in vain about just this state, and when it is asked again; what
    was not due changes neither.
    """
    is_same = view.explained_as == view.signature and view.ask_again_at is not None
    if is_same and view.ask_again_at is not None and (progress.known or now < view.ask_again_at):
        return Explained(view.explained_times, view.ask_again_at)
    times = view.explained_times + 1 if is_same else 1
    return Explained(times, ask_again(times, now))


def _detail(passed: Passed, *, is_left: bool) -> str | None:
    progress = passed.progress
    hold = progress.hold.reason if progress.hold else None
    # What was refused is told even where the counts agree.
    unheld = [_said_of(table, columns) for table, columns in sorted(progress.unheld.items())]
    strangers = progress.strangers if is_left else ()
    reasons = [
        *([hold] if hold else []),
        *progress.errors,
        *progress.refused.sentences(),
        *strangers,
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
    """Which columns of a table hold something else than what was sent."""
    others = (
        f" and {counted(len(columns) - _COLUMNS_NAMED, 'other')}"
        if len(columns) > _COLUMNS_NAMED
        else ""
    )
    return (
        f"{table} holds other values than upstream sends, which cannot be stored:"
        f" {', '.join(sorted(columns)[:_COLUMNS_NAMED])}{others}"
    )
