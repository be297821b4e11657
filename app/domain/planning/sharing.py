"""Dates that a run reads once, for all of its batches.

What most accounts lack alike is cheaper to scan than to ask for by id, batch after batch. A sample
of the run's accounts shows which tables and dates that is.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import MAX_DATES, PAGE_ROWS, Endpoint
from app.domain.planning.contradictions import is_short
from app.domain.planning.descent import days_between, needs_of
from app.domain.planning.estimates import Upstream, expected_on, upstream_a_day
from app.domain.planning.planned_request import SharedRead

SAMPLE = 1000
"""Accounts that show what the run lacks."""
_WORTH = 0.9
"""A scan costs at most this share of the requests by id."""
_TOGETHER = 10 * PAGE_ROWS
"""Rows of a scan of several dates at most."""
_DAY = dt.timedelta(days=1)
_DATED = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)


@dataclass(frozen=True, slots=True)
class RunSize:
    """A run's accounts and batches, ids of a request, and upstream's estimated size."""

    accounts: int
    batches: int
    max_ids: int
    upstream: Upstream


@dataclass(slots=True)
class _Wanted:
    """One table and date in the sample: accounts and expected rows."""

    accounts: int = 0
    rows: float = 0.0


def propose(
    sample: Sequence[tuple[AccountView, Progress]],
    gaps: frozenset[dt.date],
    size: RunSize,
) -> list[SharedRead]:
    """The scans that save requests in a run of several batches; hardly an account has rows on
    `gaps`.
    """
    if size.batches < 2 or not sample:  # noqa: PLR2004 - one batch shares its reads anyway
        return []
    gaps = gaps if len(gaps) <= MAX_DATES else frozenset()
    wanted: defaultdict[Endpoint, dict[dt.date, _Wanted]] = defaultdict(dict)
    asking: Counter[Endpoint] = Counter()
    for view, progress in sample:
        for endpoint, days in _lacking(view, progress, gaps).items():
            asking[endpoint] += 1
            for day, rows in expected_on(view, endpoint, days).items():
                found = wanted[endpoint].setdefault(day, _Wanted())
                found.accounts += 1
                found.rows += rows
    views = [view for view, _ in sample]
    factor = size.accounts / len(sample)
    return [
        read
        for endpoint in _DATED
        for read in _worth_scanning(
            endpoint,
            {
                day: _Wanted(round(each.accounts * factor), each.rows * factor)
                for day, each in wanted[endpoint].items()
            },
            asking[endpoint] * factor,
            upstream_a_day(views, endpoint, size.upstream),
            gaps,
            size,
        )
    ]


def _lacking(
    view: AccountView, progress: Progress, gaps: frozenset[dt.date]
) -> dict[Endpoint, set[dt.date]]:
    """The dates that the account will probably be asked for, by table."""
    if view.by_login:
        return {}
    daily = needs_of(view, progress, gaps).daily or frozenset()
    lost = gaps & daily if is_short(view) else frozenset()
    days = list(view.days)
    wanted = {
        Endpoint.DAILY: {*daily},
        Endpoint.HOURLY: {day.date for day in days if day.hourly != _most(day)} | lost,
        Endpoint.CLOSED: {day.date for day in days if day.closed != _most(day)} | lost,
    }
    return {endpoint: found for endpoint, found in wanted.items() if found}


def _most(day: DayCounts) -> int:
    """The date's trades, if all tables lose rows but none has too many."""
    return max(day.daily, day.hourly, day.closed)


def _worth_scanning(
    endpoint: Endpoint,
    wanted: Mapping[dt.date, _Wanted],
    accounts: float,
    rows_a_day: float,
    gaps: frozenset[dt.date],
    size: RunSize,
) -> Iterable[SharedRead]:
    """The dates whose scans together cost less than asking by id, the dearest left out first."""
    left = dict(wanted)
    while left:
        rows = sum(each.rows for each in left.values())
        by_id = max(
            min(accounts, sum(each.accounts for each in left.values())) / size.max_ids,
            rows / PAGE_ROWS,
            min(size.batches, max(each.accounts for each in left.values())),
        )
        # A date that few lack has the rows of all others, too.
        of_all = {day: max(each.rows, rows_a_day) for day, each in left.items()}
        groups = _grouped(of_all, rows_a_day, is_range=endpoint.is_trades)
        if sum(1 + int(each / PAGE_ROWS) for each in groups.values()) <= _WORTH * by_id:
            share = PAGE_ROWS * _WORTH * by_id / sum(groups.values())
            return [
                SharedRead(
                    endpoint,
                    days,
                    max(PAGE_ROWS, round(share * of_group)),
                    max(1, round(of_group)),
                    tuple(day for day in days if day in gaps) if endpoint is Endpoint.DAILY else (),
                )
                for days, of_group in groups.items()
            ]
        dearest = max(left, key=lambda day: of_all[day] / left[day].accounts)
        del left[dearest]
    return []


def _grouped(
    rows: Mapping[dt.date, float], rows_a_day: float, *, is_range: bool
) -> dict[tuple[dt.date, ...], float]:
    """Dates that share a scan, with its rows: small ones fill pages together.

    A range also reads the dates in between.
    """
    groups: dict[tuple[dt.date, ...], float] = {}
    days: tuple[dt.date, ...] = ()
    for day in sorted(rows):
        between = tuple(days_between(days[-1] + _DAY, day - _DAY)) if days and is_range else ()
        together = groups.get(days, 0.0) + len(between) * rows_a_day + rows[day]
        if (
            days
            and together <= _TOGETHER
            and len(between) * rows_a_day < PAGE_ROWS
            and len(days) + len(between) < MAX_DATES
        ):
            del groups[days]
            days = (*days, *between, day)
            groups[days] = together
        else:
            days = (day,)
            groups[days] = rows[day]
    return groups
