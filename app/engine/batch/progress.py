"""Updates progress after reads and writes."""

import datetime as dt
from collections.abc import Iterable

from app.domain.accounts.comparison import ComparedTable
from app.domain.accounts.progress import Effort, Progress
from app.domain.accounts.settling import Moving
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.planning.plan import why_not_asked
from app.domain.planning.planned_request import PlannedRequest
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.domain.verdict.row_issues import compares_rows
from app.domain.verdict.unsettled import waits_until
from app.domain.verdict.verdict import is_explained, is_known
from app.store.apply.results import Applied
from app.store.identity.given_back import GivenBack


def initial_progress(
    view: AccountView, request: RunRequest, moving: Moving, now: dt.datetime
) -> Progress:
    """Progress before any request; its error tells why none is possible."""
    reason = why_not_asked(view)
    kind = request.kind
    return Progress(
        errors=[reason] if reason else [],
        # A run that compares rows does not wait until it is time to ask again.
        known=kind is RunKind.FULL and not request.compares_rows and is_known(view, moving, now),
        by_rows=request.compares_rows or compares_rows(view),
        moving=moving,
        waits=(waits_until(view) or dt.date.min) >= moving.first,
        tried={},
        # A retry tries everything.
        explained_as=(
            view.explained_as if kind is not RunKind.RETRY and is_explained(view, now) else None
        ),
    )


def forget_left_alone(progress: Iterable[Progress]) -> None:
    """Have slices left to other writers read again."""
    for each in progress:
        for endpoint in each.left_alone:
            each.dates_read(endpoint).clear()
        each.left_alone.clear()


def add_effort(effort: Effort, done: Applied) -> None:
    """Count a write."""
    effort.inserted += done.inserted
    effort.updated += done.updated
    effort.moved += done.moved
    effort.removed += done.removed
    effort.set_aside += done.set_aside
    effort.values_nulled += done.values_nulled


def record_write(progress: Progress, planned: PlannedRequest, done: Applied) -> None:
    """Note the result of a write."""
    _note_values(progress, done)
    _renew_unsent(progress, planned, done)
    endpoint = planned.request.endpoint
    add_effort(progress.effort, done)
    if done.sent:
        progress.sent.add(endpoint)
    if done.written:
        progress.written.add(TABLES[endpoint].name)
    progress.hold = progress.hold or done.hold
    progress.told.update(done.told)
    progress.grew |= done.grew
    if endpoint in (Endpoint.ALLTIME, Endpoint.DAILY) and (done.inserted or done.updated):
        # Trades find their account through these rows: earlier ones may belong elsewhere now.
        progress.dates_read(Endpoint.CLOSED).clear()
    if done.left_alone:
        progress.left_alone.add(endpoint)
    if done.claim_lost:
        progress.errors.append("another worker took the account over")
    if done.error is not None:
        progress.errors.append(done.error)


def _note_values(progress: Progress, done: Applied) -> None:
    """Note rows and values that cannot be stored."""
    progress.refused.take_in(done.refused)
    for table, columns in done.unheld.items():
        progress.unheld.setdefault(table, set()).update(columns)
    last = {(row.table, row.key) for row in done.too_narrow}
    progress.too_narrow[:] = [
        *(row for row in progress.too_narrow if (row.table, row.key) not in last),
        *done.too_narrow,
    ]


def _renew_unsent(progress: Progress, planned: PlannedRequest, done: Applied) -> None:
    endpoint = planned.request.endpoint
    before = {
        day: trades
        for day, trades in progress.kept.pop(endpoint, {}).items()
        if not planned.covers(day)
    }
    if before.keys() & done.shifted_days:
        # Trades were moved from these dates: what they kept is unknown now.
        before = {day: trades for day, trades in before.items() if day not in done.shifted_days}
        progress.dates_read(endpoint).clear()
    kept = before | done.kept
    withheld = {
        day for day in progress.withheld.pop(endpoint, ()) if not planned.covers(day)
    } | done.withheld
    if kept:
        progress.kept[endpoint] = kept
    if withheld:
        progress.withheld[endpoint] = withheld


def note_differing(progress: Progress, planned: PlannedRequest, found: ComparedTable) -> None:
    """Note differences before the write."""
    known = {(each.endpoint, each.day, each.differs, each.columns) for each in progress.differing}
    progress.differing += [
        each
        for each in found.differences
        if (each.endpoint, each.day, each.differs, each.columns) not in known
    ]
    _renew_unequal(progress, planned, found)


def note_unequal(progress: Progress, planned: PlannedRequest, left: ComparedTable) -> None:
    """Note differences after the write."""
    _renew_unequal(progress, planned, left)
    if not planned.is_trial:
        read = progress.dates_read(planned.request.endpoint)
        # A request for all dates counts all rows.
        read.rows = left.rows if planned.is_undated else read.rows + left.rows


def _renew_unequal(progress: Progress, planned: PlannedRequest, found: ComparedTable) -> None:
    endpoint = planned.request.endpoint
    before = progress.unequal.pop(endpoint, [])
    differing = [each for each in before if not planned.covers(each.day)] + list(found.differences)
    if differing:
        progress.unequal[endpoint] = differing


def note_given_back(progress: Progress, endpoint: Endpoint, given: GivenBack) -> None:
    """Note unsent rows given to their owner."""
    progress.effort.removed += given.removed
    progress.effort.moved += given.rows - given.removed
    progress.written.add(TABLES[endpoint].name)
    kept = {
        day: trades
        for day, trades in progress.kept.pop(endpoint, {}).items()
        if day not in given.days
    }
    if kept:
        progress.kept[endpoint] = kept


def record_read(progress: Progress, planned: PlannedRequest) -> None:
    """Note a request read whole and written."""
    request = planned.request
    read = progress.dates_read(request.endpoint)
    if request.date_from is not None and request.date_to is not None:
        read.ranges.append((request.date_from, request.date_to))
    elif request.dates:
        read.dates |= set(request.dates)
    else:
        read.everything = True
    if request.endpoint not in progress.sent and not planned.is_trial:
        progress.silent.add(request.endpoint)
    if planned.by_login and not planned.is_trial:
        progress.named.add(request.endpoint)
    if planned.is_trial:
        _note_tried(progress, planned)
    if request.endpoint is Endpoint.DAILY:
        _note_daily(progress, is_trial=planned.is_trial)


def _note_daily(progress: Progress, *, is_trial: bool) -> None:
    if not is_trial:
        _settle_again(progress)
    if progress.alltime_is_withheld and progress.moving_figures.told is not None:
        # Upstream's counts on unsettled dates decide whether alltime may fall.
        progress.withheld.pop(Endpoint.ALLTIME)
        progress.dates_read(Endpoint.ALLTIME).clear()


def _note_tried(progress: Progress, planned: PlannedRequest) -> None:
    request = planned.request
    days: set[dt.date | None] = (
        {request.date_from} if request.endpoint.is_trades else set(request.dates or (None,))
    )
    if progress.tried is not None:
        progress.tried.setdefault(request.endpoint, set()).update(days)
    if len(planned.account_ids) == 1:
        progress.alone.setdefault(request.endpoint, set()).update(days)


def _settle_again(progress: Progress) -> None:
    """Have rows read again that waited for daily rows."""
    daily = progress.dates_read(Endpoint.DAILY)
    for endpoint in (Endpoint.HOURLY, Endpoint.CLOSED):
        days = {
            day for day in progress.kept.get(endpoint, {}) if day is not None and daily.covers(day)
        }
        if days:
            progress.dates_read(endpoint).clear()
            progress.kept.pop(endpoint)
            if progress.too_narrow:
                progress.again.setdefault(endpoint, set()).update(days)
                progress.too_narrow.clear()
