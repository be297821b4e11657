"""The next reads of one account: first differing dates, then common gaps, alltime, all of daily."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.domain.accounts.progress import DatesRead, Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, TABLES, Endpoint
from app.domain.issues.absence import is_closed_unread, is_hourly_unread, is_silent, lacks_alltime
from app.domain.issues.money_issues import unread_money
from app.domain.planning.contradictions import (
    ambiguous_days,
    foreign_days,
    has_surplus,
    is_alltime_foreign,
    is_daily_contradicted,
    is_daily_contradicted_by_all,
    is_daily_exceeded,
    is_day_contradicted,
    is_short,
    is_split,
)

_MOST_OF = 0.5
_ALLTIME = TABLES[Endpoint.ALLTIME].name


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be read next of one account: dates by table (none: nothing, None: all).

    All closed trades are those of the account's life, extended to `closed_until`.
    """

    alltime: bool = False
    daily: frozenset[dt.date] | None = frozenset()
    hourly: frozenset[dt.date] | None = frozenset()
    closed: frozenset[dt.date] | None = frozenset()
    closed_until: dt.date | None = None


NOTHING = Needs()


def needs_of(
    view: AccountView, progress: Progress, gaps: frozenset[dt.date] = frozenset()
) -> Needs:
    """What must be read next; `gaps` are dates that all accounts lack.

    Nothing if the account failed, is held, explained, or written by others.
    """
    if _is_left(progress):
        return NOTHING
    if unread := uncompared(view, progress):
        return unread
    return NOTHING if view.agrees else _suspected(view, progress, gaps)


def _suspected(view: AccountView, progress: Progress, gaps: frozenset[dt.date]) -> Needs:
    if uncounted := _uncounted(view, progress):
        return uncounted
    if progress.alltime_is_withheld and (
        moving := _unread(progress.dates_read(Endpoint.DAILY), progress.moving.days)
    ):
        return Needs(daily=frozenset(moving))
    if is_silent(view, progress) and progress.dates_read(Endpoint.DAILY).everything:
        # Before upstream is said to have nothing of the account, each table that has rows of it
        # here was asked.
        return Needs(
            hourly=_whole_life(view) if is_hourly_unread(view, progress) else frozenset(),
            closed=None if is_closed_unread(view, progress) else frozenset(),
        )
    coarse = _coarse_needs(view, progress, gaps)
    if coarse != NOTHING:
        return coarse
    fine = _fine_needs(view, progress, gaps)
    # Last: what counts give reason to read may change amounts, too.
    return fine if fine != NOTHING else _money_needs(view, progress)


def _money_needs(view: AccountView, progress: Progress) -> Needs:
    unread = unread_money(view, progress)
    return Needs(unread.alltime, unread.daily, unread.hourly, unread.closed)


def uncompared(view: AccountView, progress: Progress) -> Needs | None:
    """What a comparison of every row has not read yet; None if nothing, or none is to be made."""
    if not progress.by_rows:
        return None
    span = _compared_span(view, progress)
    hourly = progress.dates_read(Endpoint.HOURLY)
    hourly_days: frozenset[dt.date] | None = frozenset() if hourly.everything else None
    if view.history is not None:
        # A read of all dates would bring those before the history, too.
        hourly_days = frozenset(_unread(hourly, days_between(*span))) if span else frozenset()
    lacks_trades = (
        span is not None
        and bool(view.logins)
        and not progress.dates_read(Endpoint.CLOSED).covers_span(*span)
    )
    needs = Needs(
        alltime=not progress.dates_read(Endpoint.ALLTIME).everything,
        daily=frozenset() if progress.dates_read(Endpoint.DAILY).everything else None,
        hourly=hourly_days,
        closed=None if lacks_trades else frozenset(),
        closed_until=span[1] if span is not None and lacks_trades else None,
    )
    return None if needs == NOTHING else needs


def _compared_span(view: AccountView, progress: Progress) -> tuple[dt.date, dt.date] | None:
    if view.first_day is None or view.last_day is None:
        return None
    return view.first_day, max((view.last_day, *progress.moving.days))


def days_between(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Each date, both ends included."""
    return (first + dt.timedelta(days=number) for number in range((last - first).days + 1))


def _uncounted(view: AccountView, progress: Progress) -> Needs | None:
    daily = progress.dates_read(Endpoint.DAILY)
    if view.history is None or view.history.is_known or daily.everything:
        return None
    days = view.history.uncounted
    if days is None:
        return Needs(daily=None)
    return Needs(daily=frozenset(unread)) if (unread := _unread(daily, days)) else None


def may_need_alltime(view: AccountView, progress: Progress) -> bool:
    """Whether alltime may be needed."""
    if view.agrees or _is_left(progress) or progress.dates_read(Endpoint.ALLTIME).everything:
        return False
    return bool(view.days) or view.totals.alltime != view.totals.daily


def _is_left(progress: Progress) -> bool:
    return bool(
        progress.errors
        or progress.untried
        or progress.left_alone
        or progress.known
        or progress.hold
    )


def _coarse_needs(view: AccountView, progress: Progress, gaps: frozenset[dt.date]) -> Needs:
    whole = _whole_levels(view, progress, gaps)
    if whole != NOTHING:
        return whole
    totals, daily = view.totals, progress.dates_read(Endpoint.DAILY)
    alltime_is_unread = not progress.dates_read(Endpoint.ALLTIME).everything
    surplus = (day.date for day in view.days if has_surplus(day))
    suspect = _unread(
        daily,
        (
            *_dates_with_key_conflicts(progress),
            *ambiguous_days(view),
            *foreign_days(view),
            *view.doubts,
            *surplus,
        ),
    )
    contradicted = _unread(daily, (day.date for day in view.days if is_day_contradicted(day)))
    if totals.alltime == totals.daily:
        return Needs(alltime=alltime_is_unread and is_split(view), daily=frozenset(suspect))
    lacking = _unread(daily, gaps) if is_short(view) else set()
    is_explained = bool(suspect) and is_daily_exceeded(view)
    if is_daily_contradicted(view) or is_explained or lacking:
        # If daily was read there and contradicts all others, only alltime is left to read.
        asked = frozenset(suspect | contradicted | lacking)
        return Needs(alltime=alltime_is_unread and not asked, daily=asked)
    # Alltime may be wrong itself, which costs least to see.
    return (
        Needs(alltime=True)
        if alltime_is_unread
        else Needs(daily=frozenset() if daily.everything else None)
    )


def _whole_levels(view: AccountView, progress: Progress, gaps: frozenset[dt.date]) -> Needs:
    """Alltime, or all of daily, where it is missing or suspect as a whole; first the `gaps`, which
    may explain a missing one.
    """
    totals = view.totals
    counts_trades = any(totals.counts.values())
    alltime = not progress.dates_read(Endpoint.ALLTIME).everything and (
        view.drifts
        or is_alltime_foreign(view)
        or _is_to_be_asked_again(view)
        or _is_pin_due(view)
        or (counts_trades and not totals.has_alltime)
    )
    descends = view.drift is not None and not (view.drift.absent or view.drift.daily_agrees)
    daily = progress.dates_read(Endpoint.DAILY)
    is_suspect = descends or is_silent(view, progress)
    lacks_daily = counts_trades and not totals.has_daily
    if lacks_daily and not is_suspect and (unread := _unread(daily, gaps)):
        return Needs(alltime=alltime, daily=frozenset(unread))
    everything = not daily.everything and (is_suspect or lacks_daily)
    return Needs(alltime=alltime, daily=None if everything else frozenset())


def _is_to_be_asked_again(view: AccountView) -> bool:
    return view.drift is None and lacks_alltime(view)


def _is_pin_due(view: AccountView) -> bool:
    return view.pins_are_due and (_ALLTIME, None) in view.pins


def _whole_life(view: AccountView) -> frozenset[dt.date] | None:
    if view.history is None or view.first_day is None or view.last_day is None:
        return None
    return frozenset(days_between(view.first_day, view.last_day))


def _dates_with_key_conflicts(progress: Progress) -> set[dt.date]:
    """Unsent rows may occupy a sent row's key; daily decides."""
    if not progress.too_narrow:
        return set()
    return {
        day
        for endpoint in (Endpoint.HOURLY, Endpoint.CLOSED)
        for day in progress.kept.get(endpoint, {})
        if day is not None
    }


def _unread(read: DatesRead, days: Iterable[dt.date]) -> set[dt.date]:
    return {day for day in days if not read.covers(day)}


def _fine_needs(view: AccountView, progress: Progress, gaps: frozenset[dt.date]) -> Needs:
    below = view.descents | view.doubts
    if (
        is_daily_contradicted_by_all(view, progress)
        and not below
        and not progress.again
        and not view.doubled
    ):
        return NOTHING
    # Only an audit makes the finer tables suspect where the counts agree: below a drift, and where
    # upstream's word is read again.
    hourly = (
        {day.date for day in view.days if day.hourly != day.daily}
        | below
        | progress.again.get(Endpoint.HOURLY, set())
    )
    closed = (
        {day.date for day in view.days if day.closed != day.daily}
        | below
        | progress.again.get(Endpoint.CLOSED, set())
    )
    # A trade has one date, and upstream tells which: a read of that takes the others away.
    closed |= view.doubled
    hourly = _unread(progress.dates_read(Endpoint.HOURLY), hourly)
    closed = _unread(progress.dates_read(Endpoint.CLOSED), closed) if view.logins else set()
    if hourly or closed:
        # A table without a row also lacks those of days without trades, which no count shows.
        most = len(hourly) > MAX_DATES and len(hourly) >= _MOST_OF * view.known_days
        lacks_hourly = not view.totals.has_hourly and not hourly <= gaps
        everything = bool(hourly) and (most or lacks_hourly)
        return Needs(
            hourly=_whole_life(view) if everything else frozenset(hourly), closed=frozenset(closed)
        )
    daily = _unread(progress.dates_read(Endpoint.DAILY), (day.date for day in view.days))
    return Needs(
        alltime=bool(view.days) and not progress.dates_read(Endpoint.ALLTIME).everything,
        daily=frozenset(daily),
    )
