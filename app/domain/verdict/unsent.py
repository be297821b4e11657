"""Rows that upstream does not send."""

import datetime as dt
from collections.abc import Mapping

from app.domain.accounts.comparison import Differs
from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint


def still_unsent(progress: Progress, endpoint: Endpoint) -> dict[dt.date | None, int]:
    """Kept rows still unsent."""
    days = {
        each.day for each in progress.unequal.get(endpoint, ()) if each.differs is Differs.UNSENT
    }
    return {day: trades for day, trades in progress.kept.get(endpoint, {}).items() if day in days}


def unsent_rows(
    kept: Mapping[Endpoint, Mapping[dt.date | None, int]], view: AccountView, progress: Progress
) -> Mapping[Endpoint, Mapping[dt.date | None, int]]:
    """Unsent rows; after a trial, only on differing dates."""
    if not any((progress.tried or {}).values()):
        return kept
    differing = {day.date for day in view.days}
    return {
        endpoint: {day: trades for day, trades in days.items() if day is None or day in differing}
        for endpoint, days in kept.items()
    }


def is_forgotten(
    day: DayCounts, kept: Mapping[Endpoint, Mapping[dt.date | None, int]], progress: Progress
) -> bool:
    """Whether upstream has nothing on the date."""
    if day.date not in kept.get(Endpoint.DAILY, {}):
        return False
    left = without_kept(day, kept)
    return all(
        not trades or not progress.dates_read(endpoint).covers(day.date)
        for endpoint, trades in ((Endpoint.HOURLY, left.hourly), (Endpoint.CLOSED, left.closed))
    )


def without_kept(
    day: DayCounts, kept: Mapping[Endpoint, Mapping[dt.date | None, int]]
) -> DayCounts:
    """The counts without unsent rows."""

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
