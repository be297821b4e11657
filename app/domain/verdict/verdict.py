"""The verdict after a heal: what a difference is that still stands, and how the account leaves the
run. Pure: no I/O.

Where everything involved was read completely and written, and the counts still differ, the
difference is upstream's, lies in rows that upstream forgot, or in dates that still move.
"""

import contextlib
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from app.domain.accounts.comparison import Differs
from app.domain.accounts.counts import DayCounts
from app.domain.accounts.hold import Hold
from app.domain.accounts.progress import Progress
from app.domain.accounts.settling import Moving
from app.domain.accounts.view import AccountView, History
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.absence import (
    absence,
    alltime_absence,
    carried,
    is_absent,
    is_alltime_lacking,
)
from app.domain.issues.codes import (
    BY_ROWS,
    COUNT_CODES,
    COUNTED_TABLES,
    LASTING,
    SAMPLE,
    SHOW_ROWS,
    Issue,
    IssueCode,
    Severity,
    days_evidence,
    pinned_issue,
    plain_dates_evidence,
)
from app.domain.issues.detection import detect
from app.domain.issues.money_issues import explained_money, money_is_read
from app.domain.planning.descent import uncompared
from app.domain.planning.second_shape import differing_days, disputed, was_read
from app.domain.states import Outcome
from app.domain.verdict.row_issues import left_by_rows
from app.domain.wording.counts import counted

SETTLED_AFTER = 3
"""In so many runs, an hour apart, a date that still moves may disagree; then the disagreement is
what it is.
"""
_TOTALS = "totals"
_COUNT = "num_trades"
_LOOK = dt.timedelta(hours=1)
"""Runs closer to each other than this are one look: upstream had no time to settle between them."""
_SETTLING = (IssueCode.UNSETTLED, IssueCode.UPSTREAM_INCONSISTENT)


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
    """How an account leaves a run, from what it came with and what is left of it.

    `before` is what an earlier pass of the run found. Without `wrote` nothing was written: then
    nothing was healed either. With `again`, dates were read again on which an earlier run had
    believed lower figures, or the run wrote before: no issue tells of either. An `incomplete`
    comparison of rows says nothing: the account failed, though no issue is known. What is
    `accepted` need not be healed, unless that comparison failed; a guard that holds back just that
    needs no word.
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
    """Whether every row of the account was to be compared, and some table was not read."""
    return not progress.known and uncompared(view, progress) is not None


def is_known(view: AccountView, moving: Moving, now: dt.datetime) -> bool:
    """Whether an earlier run explained just this state, by issues that asking again seldom changes,
    and it is not yet time to ask again.

    What upstream contradicts itself about on dates that still move is asked for by each run: there
    it settles by itself.
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
    """Whether an earlier run explained just this state (at `now`, aware), and it is not yet time to
    doubt that.
    """
    return (
        view.explained_as == view.signature
        and view.ask_again_at is not None
        and now < view.ask_again_at
    )


def explain(
    view: AccountView, progress: Progress, *, moving_from: dt.date, now: dt.datetime | None = None
) -> tuple[Issue, ...]:
    """What remains of an account after its heal; dates from `moving_from` on still move at `now`
    (aware; None: later than any other run).

    A mismatch stays what it is while anything that could heal it was not read, was refused, failed
    or was left to another writer. Only when all of it was read and written does it become
    upstream's.
    """
    if progress.known:
        return tuple(Issue.from_json(entry) for entry in view.open_issues)
    beside = (pinned_issue(view.pins),) if view.pins else ()
    left = _explain(view, progress, moving_from)
    return (
        *(left if now is None else tuple(_once_an_hour(view, issue, now) for issue in left)),
        *beside,
    )


def _once_an_hour(view: AccountView, issue: Issue, now: dt.datetime) -> Issue:
    """The issue with no more runs counted on a date than were an hour apart: runs in quick
    succession tell no more than one.
    """
    metadata = issue.evidence.get("metadata")
    if (
        issue.code is not IssueCode.UNSETTLED
        or not isinstance(metadata, Mapping)
        or not isinstance(metadata.get("looks"), Mapping)
    ):
        return issue
    last, looks = _looked_at(view), _looks(view)
    if last is None or not dt.timedelta() <= now - last < _LOOK:
        return replace(
            issue,
            evidence={**issue.evidence, "metadata": {**metadata, "looked_at": now.isoformat()}},
        )
    counts = {
        place: min(count, looks.get(place, count)) for place, count in metadata["looks"].items()
    }
    return replace(
        issue,
        evidence={
            **issue.evidence,
            "metadata": {**metadata, "looks": counts, "looked_at": last.isoformat()},
        },
    )


def _looked_at(view: AccountView) -> dt.datetime | None:
    """When a run last counted as one in which a date was left as unsettled."""
    for entry in view.open_issues:
        metadata = entry.get("metadata")
        text = metadata.get("looked_at") if isinstance(metadata, Mapping) else None
        if entry.get("type") == IssueCode.UNSETTLED and isinstance(text, str):
            with contextlib.suppress(ValueError):
                found = dt.datetime.fromisoformat(text)
                return found if found.tzinfo is not None else None
    return None


def _explain(view: AccountView, progress: Progress, moving_from: dt.date) -> tuple[Issue, ...]:
    """What remains of an account beside its pinned rows."""
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
        others = (*others, _unread_history(view.history))
    narrow = _narrow_issues(progress)
    lacking = (alltime_absence(view),) if is_alltime_lacking(view, progress) else ()
    others = (*others, *(carried(view, progress) or lacking))
    others = (*others, *left_by_rows(view, progress, [issue.code for issue in (*counts, *drift)]))
    unfinished = bool(progress.errors or progress.refused or progress.left_alone or progress.hold)
    if not unfinished and money_is_read(view, progress):
        left = () if counts else _explained_money(view, progress, moving_from)
        others = (*(issue for issue in others if issue.code is not IssueCode.MONEY_MISMATCH), *left)
    if drift and not unfinished and _drift_was_followed(view, progress):
        # What alltime keeps that upstream does not confirm is no drift while it may lie in dates
        # that still move.
        drift = (
            (_unsettled_issue(view, progress, ()),)
            if progress.alltime_is_withheld and not counts
            else ()
        )
    # Trades that fit no account may be those that are missing here: then upstream is not to blame.
    unmatched = bool(progress.strangers) and any(day.closed < day.daily for day in view.days)
    # Before upstream is blamed, what still differs was asked for in a second shape.
    if progress.by_rows and not counts and not unfinished:
        others = (*others, *_unsent_rows(view, progress, others))
    if (
        not counts
        or unfinished
        or unmatched
        or not was_read(view, progress)
        or disputed(view, progress)
    ):
        return (*narrow, *others, *counts, *drift)
    # Where the table's own key is too narrow, the rows that it cannot hold explain the difference.
    explanations = narrow or _explanations(view, progress, moving_from)
    if any(issue.code is IssueCode.ABSENT_UPSTREAM for issue in explanations):
        # It tells of the alltime row, too.
        others = tuple(issue for issue in others if issue.code is not IssueCode.ABSENT_UPSTREAM)
    return (*others, *explanations, *drift)


def _unread_history(history: History) -> Issue:
    """That upstream was asked in vain what it counts before the history: alltime says nothing
    without that.
    """
    text = (
        f"What upstream counts before {history.first} could not be read: alltime is not compared"
        " until it is."
    )
    tables = (TABLES[Endpoint.ALLTIME].name,)
    return Issue(
        IssueCode.HISTORY_UNREAD, Severity.MEDIUM, text, tables, "fetch_missing_metrics", {}
    )


def _drift_was_followed(view: AccountView, progress: Progress) -> bool:
    """Whether the levels at which it lies were read, and below them every date whose daily row was
    wrong.
    """
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
    """The dates below a drift whose hourly rows and trades were both read."""
    hourly, closed = progress.dates_read(Endpoint.HOURLY), progress.dates_read(Endpoint.CLOSED)
    return frozenset(day for day in view.descents if hourly.covers(day) and closed.covers(day))


def _explanations(view: AccountView, progress: Progress, moving_from: dt.date) -> tuple[Issue, ...]:
    """What a difference is that stands though all of it was read: forgotten rows, moving dates,
    ambiguous ids, or a contradiction.
    """
    kept = {
        endpoint: {day: trades for day, trades in days.items() if trades}
        for endpoint, days in progress.kept.items()
    }
    issues: list[Issue] = []
    absent = dict(_tried_in_vain(kept, view, progress))
    if is_alltime_lacking(view, progress):
        absent[Endpoint.ALLTIME] = {None: view.totals.alltime}
    if any(absent.values()):
        issues.append(_absent_issue(absent))
    days = differing_days(
        view,
        tuple(
            _without_kept(day, kept) for day in view.days if not _is_forgotten(day, kept, progress)
        ),
    )
    looks, withheld = _looks(view), progress.withheld_days
    settled = [
        day
        for day in days
        if day.date not in withheld
        and (day.date < moving_from or _is_what_it_is(day, looks, progress))
    ]
    waiting = [day for day in days if day not in settled]
    alltime = view.totals.alltime - sum(kept.get(Endpoint.ALLTIME, {}).values())
    daily = view.totals.daily - sum(kept.get(Endpoint.DAILY, {}).values())
    # Alltime may go on counting days that upstream has forgotten: then it agrees with the rows that
    # are kept.
    totals_agree = view.totals.daily in (view.totals.alltime, alltime) or alltime == daily
    moves = (
        view.last_day is not None
        and view.last_day >= moving_from
        and looks.get(_TOTALS, 0) < SETTLED_AFTER
    )
    moves = moves or progress.alltime_is_withheld
    if settled or not (totals_agree or moves):
        issues.append(_inconsistent_issue(view, progress, settled, looks))
        if withheld.intersection(day.date for day in waiting):
            issues.append(_unsettled_issue(view, progress, waiting))
    elif days or not totals_agree:
        issues.append(_unsettled_issue(view, progress, days))
    return tuple(issues)


def _explained_money(
    view: AccountView, progress: Progress, moving_from: dt.date
) -> tuple[Issue, ...]:
    """What amounts are that still differ: upstream's, rows that it does not send, or not settled,
    for as many runs as counts may be.
    """
    if view.money is None:
        return ()
    days = {day.date for day in view.money.days}
    unsent: dict[Endpoint, Mapping[dt.date | None, int]] = {
        endpoint: {day: trades for day, trades in kept.items() if day in days}
        for endpoint, kept in progress.kept.items()
    }
    if any(unsent.values()):
        return (
            _absent_issue(
                {endpoint: kept for endpoint, kept in unsent.items() if kept}, by_rows=True
            ),
        )
    looks = _looks(view)
    places = sorted(day.isoformat() for day in days) or [_TOTALS]
    left = explained_money(
        view, progress, moving_from, SETTLED_AFTER - min(looks.get(place, 0) for place in places)
    )
    return tuple(
        _with_looks(issue, places, looks) if issue.code is IssueCode.UNSETTLED else issue
        for issue in left
    )


def _with_looks(issue: Issue, places: Sequence[str], looks: Mapping[str, int]) -> Issue:
    """An issue of dates that still move, with the number of runs that left each of them."""
    metadata = issue.evidence["metadata"]
    counts = {place: looks.get(place, 0) + 1 for place in places}
    return replace(
        issue,
        evidence={
            **issue.evidence,
            "metadata": {**(metadata if isinstance(metadata, Mapping) else {}), "looks": counts},
        },
    )


def _unsent_rows(
    view: AccountView, progress: Progress, others: Sequence[Issue]
) -> tuple[Issue, ...]:
    """What a comparison of rows leaves where the counts agree: stored rows that upstream does not
    send, and dates that still move.
    """
    issues: list[Issue] = []
    kept = {
        endpoint: left for endpoint in progress.kept if (left := _still_unsent(progress, endpoint))
    }
    if kept and all(issue.code is not IssueCode.ABSENT_UPSTREAM for issue in others):
        issues.append(_absent_issue(kept, by_rows=True))
    if progress.withheld:
        issues.append(_unsettled_issue(view, progress, ()))
    return tuple(issues)


def _still_unsent(progress: Progress, endpoint: Endpoint) -> dict[dt.date | None, int]:
    """What is kept of a table and stood there unsent when its rows were compared last."""
    days = {
        each.day for each in progress.unequal.get(endpoint, ()) if each.differs is Differs.UNSENT
    }
    return {day: trades for day, trades in progress.kept.get(endpoint, {}).items() if day in days}


def _tried_in_vain(
    kept: Mapping[Endpoint, Mapping[dt.date | None, int]], view: AccountView, progress: Progress
) -> Mapping[Endpoint, Mapping[dt.date | None, int]]:
    """What upstream does not send; where a trial was needed, only on dates that differ: of others
    an answer may have been cut.
    """
    if not any((progress.tried or {}).values()):
        return kept
    differing = {day.date for day in view.days}
    return {
        endpoint: {day: trades for day, trades in days.items() if day is None or day in differing}
        for endpoint, days in kept.items()
    }


def _is_what_it_is(day: DayCounts, looks: Mapping[str, int], progress: Progress) -> bool:
    """Whether a date that still moves disagreed for several runs, in all that upstream sends of
    it.
    """
    differing = [
        endpoint
        for endpoint, trades in ((Endpoint.HOURLY, day.hourly), (Endpoint.CLOSED, day.closed))
        if trades != day.daily
    ]
    was_read = all(progress.dates_read(endpoint).covers(day.date) for endpoint in differing)
    return was_read and looks.get(day.date.isoformat(), 0) >= SETTLED_AFTER


def _looks(view: AccountView) -> dict[str, int]:
    """In how many runs so far each date, or the totals alone, was left as unsettled; kept when it
    became what it is, which lasts.
    """
    for entry in view.open_issues:
        metadata = entry.get("metadata")
        looks = metadata.get("looks") if isinstance(metadata, Mapping) else None
        if entry.get("type") in _SETTLING and isinstance(looks, Mapping):
            return {str(place): count for place, count in looks.items() if isinstance(count, int)}
    return {}


def _is_forgotten(
    day: DayCounts, kept: Mapping[Endpoint, Mapping[dt.date | None, int]], progress: Progress
) -> bool:
    """Whether upstream has nothing on the date: its daily row is only stored, and so is whatever
    was read of the finer tables.
    """
    if day.date not in kept.get(Endpoint.DAILY, {}):
        return False
    left = _without_kept(day, kept)
    return all(
        not trades or not progress.dates_read(endpoint).covers(day.date)
        for endpoint, trades in ((Endpoint.HOURLY, left.hourly), (Endpoint.CLOSED, left.closed))
    )


def _without_kept(
    day: DayCounts, kept: Mapping[Endpoint, Mapping[dt.date | None, int]]
) -> DayCounts:
    def less(count: int, endpoint: Endpoint) -> int:
        return count - kept.get(endpoint, {}).get(day.date, 0)

    return DayCounts(
        day.date,
        less(day.daily, Endpoint.DAILY),
        less(day.hourly, Endpoint.HOURLY),
        less(day.closed, Endpoint.CLOSED),
        day.daily_rows,
        day.hourly_rows,
    )


def _absent_issue(
    kept: Mapping[Endpoint, Mapping[dt.date | None, int]], *, by_rows: bool = False
) -> Issue:
    """Rows that upstream does not send; `by_rows` where only a comparison of all rows tells of
    them.
    """
    tables = tuple(TABLES[endpoint].name for endpoint, days in kept.items() if days)
    dates = sorted({day for days in kept.values() for day in days if day is not None})
    trades = {TABLES[endpoint].name: sum(days.values()) for endpoint, days in kept.items() if days}
    listed = ", ".join(
        f"{table} with {counted(number, 'trade')}" for table, number in trades.items()
    )
    where = f" on {counted(len(dates), 'date')}" if dates else ""
    text = (
        f"Upstream does not send rows that are stored{where}: {listed}. They are kept, also by a"
        " run that is confirmed: what upstream lacks altogether it may have forgotten, and only"
        " the warehouse's owner removes it."
    )
    evidence = {
        **plain_dates_evidence(dates),
        "metadata": {"trades_kept": trades, **({BY_ROWS: True} if by_rows else {})},
    }
    return Issue(
        IssueCode.ABSENT_UPSTREAM, Severity.MEDIUM, text, tables, "keep_stored_rows", evidence
    )


def _upstream_counts(view: AccountView, progress: Progress) -> dict[str, object]:
    """The trades that upstream counts of the account, by table; tables are left out that were not
    read whole, or where that is not known.

    What was read whole is stored, beside rows that upstream does not send. No figure is known where
    rows keep their counts on dates that still move, or where upstream sent a count that is none.
    """
    reads = {
        endpoint: progress.dates_read(endpoint)
        for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
    }
    whole = {endpoint for endpoint, read in reads.items() if read.everything}
    if (
        view.first_day is not None
        and view.last_day is not None
        and reads[Endpoint.CLOSED].covers_span(view.first_day, view.last_day)
    ):
        whole.add(Endpoint.CLOSED)
    if Endpoint.ALLTIME not in progress.sent:
        whole.discard(Endpoint.ALLTIME)
    counts = {
        TABLES[endpoint].name: (
            view.totals.counts[TABLES[endpoint].name]
            - sum(progress.kept.get(endpoint, {}).values())
        )
        for endpoint in reads
        if endpoint in whole
        and not progress.withheld.get(endpoint)
        and not _lacks_count(progress, TABLES[endpoint].name)
    }
    return {"upstream_counts": counts} if counts else {}


def _lacks_count(progress: Progress, table: str) -> bool:
    """Whether upstream sent a count of trades in the table that is no count, or none that can be
    stored.
    """
    return any(column.partition(" ")[0] == _COUNT for column in progress.unheld.get(table, ()))


def _inconsistent_issue(
    view: AccountView, progress: Progress, days: Sequence[DayCounts], looks: Mapping[str, int]
) -> Issue:
    text = "Upstream contradicts itself: everything was read again and the counts still differ."
    metadata: dict[str, object] = {
        **_upstream_counts(view, progress),
        **({"looks": dict(looks)} if looks else {}),
    }
    evidence = {**days_evidence(days), "metadata": metadata}
    return Issue(
        IssueCode.UPSTREAM_INCONSISTENT, Severity.INFO, text, COUNTED_TABLES, "none", evidence
    )


def _unsettled_issue(view: AccountView, progress: Progress, days: Sequence[DayCounts]) -> Issue:
    """That the difference lies in dates that still move; where alltime keeps its count, until when,
    and the drift that this leaves open.
    """
    moving, looks = progress.moving, _looks(view)
    text = (
        f"The counts differ on dates from {moving.first} on, which still move; the next run looks"
        " again."
    )
    places = [day.date.isoformat() for day in days] or [_TOTALS]
    metadata: dict[str, object] = {
        **_upstream_counts(view, progress),
        "moving_from": moving.first.isoformat(),
        "looks": {place: looks.get(place, 0) + 1 for place in places},
    }
    if progress.withheld:
        metadata["withheld"] = sorted({day.isoformat() for day in progress.withheld_days})
    if progress.alltime_is_withheld:
        until = waits_until(view) if progress.waits else moving.last
        metadata["alltime_waits_until"] = f"{until}"
        if view.drifts and view.drift is not None:
            metadata["drift"] = dict(view.drift.evidence)
    evidence = {**days_evidence(days), "metadata": metadata}
    return Issue(IssueCode.UNSETTLED, Severity.INFO, text, COUNTED_TABLES, "look_again", evidence)


def waits_until(view: AccountView) -> dt.date | None:
    """The last of the dates that moved when a run first put off a fall of alltime; None if none
    did.
    """
    for entry in view.open_issues:
        metadata = entry.get("metadata")
        text = metadata.get("alltime_waits_until") if isinstance(metadata, Mapping) else None
        if entry.get("type") == IssueCode.UNSETTLED and isinstance(text, str):
            with contextlib.suppress(ValueError):
                return dt.date.fromisoformat(text)
    return None


def _narrow_issues(progress: Progress) -> tuple[Issue, ...]:
    if not progress.too_narrow:
        return ()
    tables = tuple(sorted({str(entry["table"]) for entry in progress.too_narrow}))
    text = (
        "Rows of upstream that the table's own key cannot hold beside others:"
        f" {len(progress.too_narrow)}; nothing was overwritten."
    )
    evidence = {
        "total_mismatches": len(progress.too_narrow),
        "metadata": {"rows": [dict(entry) for entry in progress.too_narrow[:SAMPLE]]},
    }
    return (Issue(IssueCode.KEY_TOO_NARROW, Severity.HIGH, text, tables, SHOW_ROWS, evidence),)
