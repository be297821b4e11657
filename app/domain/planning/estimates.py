"""Row estimates: wrong ones cost requests only."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint

_DOUBT = 1.25
"""Scans must be clearly cheaper."""
_TRADES_A_DAY = 3.0
_HOURS_A_DAY = 24.0
_HOURS_EXPONENT = 0.7
"""Real accounts trade in about trades ** 0.7 hours."""
_FEWEST_USUAL = 10
"""Fewer accounts prove nothing."""
_GAP_SHARE = 10
"""Below this share a date is a gap."""
_STOPPED = dt.timedelta(days=14)
"""After so long without rows, upstream may have none either."""
_LOST_SHARE = 2
"""Short accounts needed for each usual one."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected rows, in all and a day."""

    rows: float
    density: float


def expected_of(view: AccountView, endpoint: Endpoint) -> Expected:
    """The account's expected rows."""
    if endpoint is Endpoint.ALLTIME:
        return Expected(1.0, 0.0)
    trades = _counted_trades(view)
    days = float(view.known_days) or max(1.0, trades / _TRADES_A_DAY)
    span = (
        days
        if view.first_day is None or view.last_day is None
        else (view.last_day - view.first_day).days + 1
    )
    rows = days if endpoint is Endpoint.DAILY else days * _rows(endpoint, trades / days)
    return Expected(rows, rows / span)


def expected_on(
    view: AccountView, endpoint: Endpoint, dates: Iterable[dt.date]
) -> dict[dt.date, float]:
    """Expected rows by date."""
    counted = {day.date: _trades(day) for day in view.days}
    if endpoint is Endpoint.DAILY:
        density = expected_of(view, endpoint).density
        return {day: 1.0 if day in counted else density for day in dates}
    usual = _counted_trades(view) / max(1, view.known_days)
    return {day: _rows(endpoint, counted.get(day, usual)) for day in dates}


def expected_elsewhere(
    view: AccountView, endpoint: Endpoint, dates: Mapping[dt.date, float]
) -> float:
    """Expected rows on a date outside `dates`."""
    whole = expected_of(view, endpoint)
    span = whole.rows / whole.density
    return max(0.0, whole.rows - sum(dates.values())) / max(1.0, span - len(dates))


@dataclass(frozen=True, slots=True)
class Upstream:
    """Assumed accounts and trades of upstream."""

    accounts: int
    trades: int


def upstream_rows(views: Sequence[AccountView], endpoint: Endpoint, upstream: Upstream) -> float:
    """All accounts' expected rows, from a sample."""
    if endpoint is Endpoint.ALLTIME:
        return float(max(upstream.accounts, len(views)))
    rows = sum(expected_of(view, endpoint).rows for view in views)
    trades = sum(max(view.totals.counts.values()) for view in views)
    return rows * (1 + _DOUBT * max(0, upstream.trades - trades) / max(1, trades))


def upstream_a_day(views: Sequence[AccountView], endpoint: Endpoint, upstream: Upstream) -> float:
    """Rows of all accounts expected on a date."""
    return upstream_rows(views, endpoint, upstream) / _common_span(views)


def lost_dates(coverage: Mapping[dt.date, int], until: dt.date, short: int) -> frozenset[dt.date]:
    """Dates up to `until` that the whole warehouse lost: about as many accounts are `short` of
    trades as usually have rows on that weekday, by `coverage`.
    """
    usual = _usual(coverage, until)
    return frozenset(
        day for day in common_gaps(coverage, until) if _LOST_SHARE * short >= usual[day.weekday()]
    )


def common_gaps(coverage: Mapping[dt.date, int], until: dt.date) -> frozenset[dt.date]:
    """Dates up to `until` on which few accounts have rows, though many do on that weekday."""
    if not coverage:
        return frozenset()
    usual = _usual(coverage, until)
    return frozenset(
        day
        for day in _days_until(coverage, until)
        if usual[day.weekday()] >= _FEWEST_USUAL
        and _GAP_SHARE * coverage.get(day, 0) <= usual[day.weekday()]
    )


def recent_gaps(coverage: Mapping[dt.date, int], until: dt.date) -> frozenset[dt.date]:
    """Common gaps, without those of an ingestion that stopped long ago."""
    return common_gaps(coverage, min(until, max(coverage, default=until) + _STOPPED))


def _usual(coverage: Mapping[dt.date, int], until: dt.date) -> dict[int, int]:
    """The number of accounts that usually have rows, by weekday, while ingestion ran."""
    days = _days_until(coverage, min(until, max(coverage, default=until)))
    return {
        weekday: _median([coverage.get(day, 0) for day in days if day.weekday() == weekday])
        for weekday in range(7)
    }


def _days_until(coverage: Mapping[dt.date, int], until: dt.date) -> list[dt.date]:
    first = min(coverage, default=until)
    return [first + dt.timedelta(days=number) for number in range((until - first).days + 1)]


def _counted_trades(view: AccountView) -> int:
    return max(1, *view.totals.counts.values())


def _rows(endpoint: Endpoint, trades: float) -> float:
    return _hours(trades) if endpoint is Endpoint.HOURLY else trades


def _hours(trades: float) -> float:
    return min(_HOURS_A_DAY, max(1.0, math.pow(trades, _HOURS_EXPONENT)))


def _trades(day: DayCounts) -> int:
    return max(day.daily, day.hourly, day.closed, 1)


def _common_span(views: Sequence[AccountView]) -> int:
    firsts = [view.first_day for view in views if view.first_day is not None]
    lasts = [view.last_day for view in views if view.last_day is not None]
    return (max(lasts) - min(firsts)).days + 1 if firsts and lasts else 1


def _median(counts: Sequence[int]) -> int:
    return sorted(counts)[len(counts) // 2] if counts else 0
