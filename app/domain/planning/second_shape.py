"""Reads to repeat in a second shape before upstream is contradicted, as answers may be clipped
unnoticed.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import METRICS, TABLES, Endpoint
from app.domain.issues.absence import is_silent, may_be_without_id
from app.domain.planning.contradictions import is_daily_contradicted, is_daily_contradicted_by_all

_CLOSED = TABLES[Endpoint.CLOSED].name
_ALLTIME = TABLES[Endpoint.ALLTIME].name


@dataclass(frozen=True, slots=True)
class Disputed:
    """What is asked for in a second shape: tables by login, single dates, alltime or, where only
    totals differ, all dates of the account's `life`.
    """

    by_login: frozenset[Endpoint] = frozenset()
    dates: Mapping[Endpoint, frozenset[dt.date]] = field(default_factory=dict)
    alltime: bool = False
    life: frozenset[dt.date] = frozenset()

    def __bool__(self) -> bool:
        """Whether any is due."""
        return bool(self.by_login or self.dates or self.alltime or self.life)


NOTHING = Disputed()


def was_read(view: AccountView, progress: Progress) -> bool:
    """Whether all that could explain the mismatch was read once."""
    if is_daily_contradicted_by_all(view, progress):
        return True
    days = [day.date for day in view.days]
    if not progress.dates_read(Endpoint.ALLTIME).everything or not progress.dates_read(
        Endpoint.DAILY
    ).covers_all(days):
        return False
    if (
        view.totals.alltime != view.totals.daily
        and not is_daily_contradicted(view)
        and not progress.dates_read(Endpoint.DAILY).everything
    ):
        return False
    hourly = [day.date for day in view.days if day.hourly != day.daily]
    closed = [day.date for day in view.days if day.closed != day.daily]
    return progress.dates_read(Endpoint.HOURLY).covers_all(hourly) and progress.dates_read(
        Endpoint.CLOSED
    ).covers_all(closed)


def differing_days(view: AccountView, days: tuple[DayCounts, ...]) -> list[DayCounts]:
    """Those of the days on which the tables differ, but for trades of unknown owners."""
    ambiguous = {
        day
        for finding in view.findings
        if len(finding.candidates) != 1 and finding.table == _CLOSED
        for day in finding.dates
    }
    # Of a key that two accounts hold at once no trade says whose it is: neither account's closed
    # trades can be judged.
    shared = any(
        len(finding.candidates) > 1 and finding.table == _ALLTIME for finding in view.findings
    )
    return [
        day
        for day in days
        if day.daily != day.hourly
        or (day.daily != day.closed and not shared and day.date not in ambiguous)
    ]


def disputed(view: AccountView, progress: Progress, *, alone: bool = False) -> Disputed:
    """What was not asked for in a second shape yet; with `alone`, for the account by itself.

    Nothing where a run makes no trial, the first reading is not done, or an earlier run tried this
    state and it is not due again.
    """
    unfinished = (
        progress.errors
        or progress.refused
        or progress.too_narrow
        or progress.left_alone
        or progress.hold
        or progress.known
    )
    if progress.tried is None or view.agrees or unfinished:
        return NOTHING
    if (
        is_silent(view, progress)
        and progress.dates_read(Endpoint.DAILY).everything
        and may_be_without_id(view, progress)
    ):
        return Disputed(frozenset({Endpoint.ALLTIME}))
    if not was_read(view, progress):
        return NOTHING
    if not alone and (by_login := _unnamed(view, progress)):
        return NOTHING if progress.explained_as == view.signature else Disputed(by_login)
    tried = progress.alone if alone else progress.tried
    # What lies in dates that still move is not blamed on anybody.
    days = [
        day
        for day in differing_days(view, view.days)
        if day.date not in progress.moving and day.date not in progress.withheld_days
    ]
    found = Disputed(
        frozenset(),
        _untried(days, tried, only_daily=is_daily_contradicted_by_all(view, progress)),
        bool(progress.sent)
        and None in progress.kept.get(Endpoint.ALLTIME, {})
        and None not in tried.get(Endpoint.ALLTIME, ()),
        frozenset() if days else _life(view, progress, tried),
    )
    # Last, since it costs most: the state may be one that was tried before.
    return NOTHING if not found or progress.explained_as == view.signature else found


def _untried(
    days: Sequence[DayCounts],
    tried: Mapping[Endpoint, Collection[dt.date | None]],
    *,
    only_daily: bool,
) -> dict[Endpoint, frozenset[dt.date]]:
    """The next tables to ask for on each date: its first stage that was not tried whole."""
    dates: defaultdict[Endpoint, set[dt.date]] = defaultdict(set)
    for day in days:
        for stage in _stages(day, only_daily=only_daily):
            untried = [endpoint for endpoint in stage if day.date not in tried.get(endpoint, ())]
            if untried:
                for endpoint in untried:
                    dates[endpoint].add(day.date)
                break
    return {endpoint: frozenset(each) for endpoint, each in dates.items()}


def lacks(view: AccountView, progress: Progress, endpoint: Endpoint, day: dt.date) -> bool:
    """Whether the table counts less than another one on the date, or holds rows not sent."""
    if day in progress.kept.get(endpoint, {}):
        return True
    counts = next((each for each in view.days if each.date == day), None)
    if counts is None:
        return False
    return (counts.daily if endpoint is Endpoint.DAILY else counts.hourly) < max(
        counts.daily, counts.hourly, counts.closed
    )


def _unnamed(view: AccountView, progress: Progress) -> frozenset[Endpoint]:
    """Metrics tables that brought nothing by id, to be asked for by login."""
    if view.by_login or not view.logins or not any(view.totals.counts.values()):
        return frozenset()
    return frozenset(
        each
        for each in METRICS
        if each in progress.silent and each not in progress.sent and each not in progress.named
    )


def _stages(day: DayCounts, *, only_daily: bool) -> Iterator[tuple[Endpoint, ...]]:
    """The tables to ask for on a date, the contradicted one first."""
    if day.hourly == day.daily:
        yield (Endpoint.CLOSED,)
        yield (Endpoint.DAILY, Endpoint.HOURLY)
    elif day.closed == day.daily:
        yield (Endpoint.HOURLY,)
        yield (Endpoint.DAILY, Endpoint.CLOSED)
    else:
        yield (Endpoint.DAILY,)
        if not only_daily:
            yield (Endpoint.HOURLY, Endpoint.CLOSED)


def _life(
    view: AccountView, progress: Progress, tried: Mapping[Endpoint, set[dt.date | None]]
) -> frozenset[dt.date]:
    last = (
        min(progress.moving.first, view.last_day + dt.timedelta(days=1))
        if view.last_day is not None
        else None
    )
    if (
        view.first_day is None
        or last is None
        or view.totals.alltime <= view.totals.daily
        or progress.alltime_is_withheld
    ):
        return frozenset()
    days = (
        view.first_day + dt.timedelta(days=number) for number in range((last - view.first_day).days)
    )
    return frozenset(day for day in days if day not in tried.get(Endpoint.DAILY, ()))
