"""What is left of an account's issues after a repair.

Where all was read and written, the difference is upstream's, of unsent rows, or unsettled.
"""

import datetime as dt
from collections.abc import Mapping, Sequence

from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.issues.absence import (
    absence,
    alltime_absence,
    carried,
    is_absent,
    is_alltime_lacking,
)
from app.domain.issues.codes import (
    COUNT_CODES,
    Issue,
    IssueCode,
    pinned_issue,
)
from app.domain.issues.detection import detect
from app.domain.issues.money_issues import explained_money, money_is_read
from app.domain.planning.second_shape import differing_days, disputed, was_read
from app.domain.verdict.row_issues import left_by_rows
from app.domain.verdict.unsent import is_forgotten, still_unsent, unsent_rows, without_kept
from app.domain.verdict.unsettled import (
    SETTLED_AFTER,
    TOTALS,
    is_lasting,
    once_an_hour,
    runs_unsettled,
    with_runs_counted,
)
from app.domain.verdict.upstream_issues import (
    absent_issue,
    inconsistent_issue,
    narrow_key_issues,
    unread_history_issue,
    unsettled_issue,
)


def explain(
    view: AccountView, progress: Progress, *, moving_from: dt.date, now: dt.datetime | None = None
) -> tuple[Issue, ...]:
    """What remains of an account's issues; dates from `moving_from` on are unsettled at `now`.

    A mismatch keeps its code while anything that could repair it was not done.
    """
    if progress.known:
        return tuple(Issue.from_json(entry) for entry in view.open_issues)
    beside = (pinned_issue(view.pins, view.pins_elsewhere),) if view.pins else ()
    left = _explain(view, progress, moving_from)
    return (
        *(left if now is None else tuple(once_an_hour(view, issue, now) for issue in left)),
        *beside,
    )


def _explain(view: AccountView, progress: Progress, moving_from: dt.date) -> tuple[Issue, ...]:
    found = detect(view)
    others = tuple(
        issue
        for issue in found
        if issue.code not in (*COUNT_CODES, IssueCode.UPSTREAM_DRIFT, IssueCode.ABSENT_UPSTREAM)
    )
    counts = tuple(issue for issue in found if issue.code in COUNT_CODES)
    drift = tuple(issue for issue in found if issue.code is IssueCode.UPSTREAM_DRIFT)
    if is_absent(view, progress):
        # How its own tables disagree is of no interest any more: there is nothing to heal them by.
        return (*others, absence())
    if view.history is not None and not view.history.is_known:
        others = (*others, unread_history_issue(view.history))
    narrow = narrow_key_issues(progress)
    lacking = (alltime_absence(view),) if is_alltime_lacking(view, progress) else ()
    others = (*others, *(carried(view, progress) or lacking))
    others = (*others, *left_by_rows(view, progress, [issue.code for issue in (*counts, *drift)]))
    unfinished = bool(progress.errors or progress.refused or progress.left_alone or progress.hold)
    if not unfinished and money_is_read(view, progress):
        left = () if counts else _explained_money(view, progress, moving_from)
        others = (*(issue for issue in others if issue.code is not IssueCode.MONEY_MISMATCH), *left)
    if drift and not unfinished and _drift_was_followed(view, progress):
        # What alltime keeps that upstream does not confirm is no drift while it may lie on
        # unsettled dates.
        drift = (
            (unsettled_issue(view, progress, ()),)
            if progress.alltime_is_withheld and not counts
            else ()
        )
    if progress.by_rows and not counts and not unfinished:
        others = (*others, *_unsent_rows(view, progress, others))
    if not counts or unfinished or _may_be_ours(view, progress):
        return (*narrow, *others, *counts, *drift)
    # Where the table's own key is too narrow, the rows that it cannot hold explain the difference.
    explanations = narrow or _explanations(view, progress, moving_from)
    if any(issue.code is IssueCode.ABSENT_UPSTREAM for issue in explanations):
        # It tells of the alltime row, too.
        others = tuple(issue for issue in others if issue.code is not IssueCode.ABSENT_UPSTREAM)
    return (*others, *explanations, *drift)


def _may_be_ours(view: AccountView, progress: Progress) -> bool:
    """Whether something was not read in both shapes."""
    is_unmatched = bool(progress.unknown_keys) and any(day.closed < day.daily for day in view.days)
    return is_unmatched or not was_read(view, progress) or bool(disputed(view, progress))


def _drift_was_followed(view: AccountView, progress: Progress) -> bool:
    if view.drift is not None and not progress.dates_read(Endpoint.ALLTIME).everything:
        return False
    if (
        view.drift is not None
        and not view.drift.daily_agrees
        and not progress.dates_read(Endpoint.DAILY).everything
    ):
        return False
    return descended(view, progress) == view.descents


def descended(view: AccountView, progress: Progress) -> frozenset[dt.date]:
    """Dates below a drift that were read."""
    hourly, closed = progress.dates_read(Endpoint.HOURLY), progress.dates_read(Endpoint.CLOSED)
    return frozenset(day for day in view.descents if hourly.covers(day) and closed.covers(day))


def _explanations(view: AccountView, progress: Progress, moving_from: dt.date) -> tuple[Issue, ...]:
    kept = {
        endpoint: {day: trades for day, trades in days.items() if trades}
        for endpoint, days in progress.kept.items()
    }
    issues: list[Issue] = []
    absent = dict(unsent_rows(kept, view, progress))
    if is_alltime_lacking(view, progress):
        absent[Endpoint.ALLTIME] = {None: view.totals.alltime}
    if any(absent.values()):
        issues.append(absent_issue(absent))
    days = differing_days(
        view,
        tuple(
            without_kept(day, kept) for day in view.days if not is_forgotten(day, kept, progress)
        ),
    )
    looks, withheld = runs_unsettled(view), progress.withheld_days
    settled = [
        day
        for day in days
        if day.date not in withheld and (day.date < moving_from or is_lasting(day, looks, progress))
    ]
    waiting = [day for day in days if day not in settled]
    totals_agree = _do_totals_agree(view, kept)
    moves = (
        view.last_day is not None
        and view.last_day >= moving_from
        and looks.get(TOTALS, 0) < SETTLED_AFTER
    )
    moves = moves or progress.alltime_is_withheld
    if settled or not (totals_agree or moves):
        issues.append(inconsistent_issue(view, progress, settled, looks))
        if withheld.intersection(day.date for day in waiting):
            issues.append(unsettled_issue(view, progress, waiting))
    elif days or not totals_agree:
        issues.append(unsettled_issue(view, progress, days))
    return tuple(issues)


def _do_totals_agree(
    view: AccountView, kept: Mapping[Endpoint, Mapping[dt.date | None, int]]
) -> bool:
    """Whether alltime and daily agree, with or without unsent rows."""
    alltime = view.totals.alltime - sum(kept.get(Endpoint.ALLTIME, {}).values())
    daily = view.totals.daily - sum(kept.get(Endpoint.DAILY, {}).values())
    return view.totals.daily in (view.totals.alltime, alltime) or alltime == daily


def _explained_money(
    view: AccountView, progress: Progress, moving_from: dt.date
) -> tuple[Issue, ...]:
    if view.money is None:
        return ()
    days = {day.date for day in view.money.days}
    unsent: dict[Endpoint, Mapping[dt.date | None, int]] = {
        endpoint: {day: trades for day, trades in kept.items() if day in days}
        for endpoint, kept in progress.kept.items()
    }
    if any(unsent.values()):
        return (
            absent_issue(
                {endpoint: kept for endpoint, kept in unsent.items() if kept}, by_rows=True
            ),
        )
    looks = runs_unsettled(view)
    places = sorted(day.isoformat() for day in days) or [TOTALS]
    left = explained_money(
        view, progress, moving_from, SETTLED_AFTER - min(looks.get(place, 0) for place in places)
    )
    return tuple(
        with_runs_counted(issue, places, looks) if issue.code is IssueCode.UNSETTLED else issue
        for issue in left
    )


def _unsent_rows(
    view: AccountView, progress: Progress, others: Sequence[Issue]
) -> tuple[Issue, ...]:
    issues: list[Issue] = []
    kept = {
        endpoint: left for endpoint in progress.kept if (left := still_unsent(progress, endpoint))
    }
    if kept and all(issue.code is not IssueCode.ABSENT_UPSTREAM for issue in others):
        issues.append(absent_issue(kept, by_rows=True))
    if progress.withheld:
        issues.append(unsettled_issue(view, progress, ()))
    return tuple(issues)
