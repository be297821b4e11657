"""How an account leaves a run."""

import datetime as dt
from collections.abc import Collection, Sequence

from app.domain.accounts.hold import Hold
from app.domain.accounts.progress import Progress
from app.domain.accounts.settling import Moving
from app.domain.accounts.view import AccountView
from app.domain.issues.codes import (
    LASTING,
    SHOW_ROWS,
    Issue,
    IssueCode,
)
from app.domain.planning.descent import uncompared
from app.domain.states import Outcome


def judge(  # noqa: PLR0913 - all that a verdict rests on
    found: Sequence[Issue],
    left: Sequence[Issue],
    before: Collection[IssueCode] = (),
    hold: Hold | None = None,
    *,
    wrote: bool = True,
    again: bool = False,
    incomplete: bool = False,
    accepted: Collection[IssueCode] = (),
) -> Outcome:
    """An account's outcome, from issues `found` and `left`.

    `before`: an earlier pass found them; `again`: doubted dates were reread; `incomplete`: not
    all rows were compared; `accepted` issues need no repair.
    """
    if hold is not None and (left or incomplete):
        is_accepted = (
            bool(left) and not hold.absent and all(issue.code in accepted for issue in left)
        )
        return (
            Outcome.EXPLAINED
            if is_accepted and hold.outcome is Outcome.NEEDS_CONFIRMATION
            else hold.outcome
        )
    if not left and incomplete:
        return Outcome.PARTIAL if (found or before) and wrote else Outcome.FAILED
    if not left:
        return Outcome.HEALED if (found or before or again) and wrote else Outcome.UNCHANGED
    if not any(
        issue.can_be_healed and (incomplete or issue.code not in accepted) for issue in left
    ):
        return Outcome.EXPLAINED
    closed = {*before, *(issue.code for issue in found)} - {issue.code for issue in left}
    return Outcome.PARTIAL if closed else Outcome.FAILED


def is_incomplete(view: AccountView, progress: Progress) -> bool:
    """Whether a row comparison lacks a table."""
    return not progress.known and uncompared(view, progress) is not None


def is_known(view: AccountView, moving: Moving, now: dt.datetime) -> bool:
    """Whether lasting issues explain this state for now.

    Contradictions on unsettled dates are always asked about.
    """
    codes = {
        entry.get("type")
        for entry in view.open_issues
        if entry.get("resolution_strategy") != SHOW_ROWS
    }
    lasting = (
        LASTING
        if any(day.date in moving for day in view.days)
        else LASTING | {IssueCode.UPSTREAM_INCONSISTENT}
    )
    return (
        view.drift is None
        and bool(view.open_issues)
        and codes <= lasting
        and is_explained(view, now)
    )


def is_explained(view: AccountView, now: dt.datetime) -> bool:
    """Whether this state is explained, and undoubted at `now` (aware)."""
    return (
        view.explained_as == view.signature
        and view.ask_again_at is not None
        and now < view.ask_again_at
    )
