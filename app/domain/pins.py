"""Pins: restored rows stay as they are.

A date with a pinned row is compared with nothing; upstream is asked about it with growing pauses.
"""

import datetime as dt
from dataclasses import replace

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.verdict.verdict import is_explained

_ALLTIME = TABLES[Endpoint.ALLTIME].name
_DAILY = TABLES[Endpoint.DAILY].name
_HOURLY = TABLES[Endpoint.HOURLY].name
_CLOSED = TABLES[Endpoint.CLOSED].name
_COUNTED = (_DAILY, _HOURLY, _CLOSED)


def beside_pins(view: AccountView, now: dt.datetime) -> AccountView:
    """The account as it is compared at `now`: with the tables equal on pinned dates."""
    if not view.pins:
        return view
    pinned = {day for table, day in view.pins if table in _COUNTED and day is not None}
    totals = view.totals
    is_told = (_ALLTIME, None) not in view.pins
    disagreeing = {day.date: day for day in view.days if day.date in pinned}
    for day in disagreeing.values():
        count = _count_beside(day, view)
        is_told = is_told and count is not None
        meant = day.daily if count is None else count
        totals = replace(
            totals,
            daily=totals.daily + meant - day.daily,
            hourly=totals.hourly + meant - day.hourly,
            closed=totals.closed + meant - day.closed,
        )
    if any((_DAILY, day) in view.pins for day in pinned - disagreeing.keys()):
        # Where the tables agree with a pinned row nothing tells what upstream counts there.
        is_told = False
    days = tuple(day for day in view.days if day.date not in pinned)
    compared = replace(
        view, days=days, totals=totals if is_told else replace(totals, alltime=totals.daily)
    )
    if is_explained(compared, now):
        return compared
    return replace(compared, pins_are_due=True, doubts=compared.doubts | pinned)


def _count_beside(day: DayCounts, view: AccountView) -> int | None:
    """What the tables without a pin count on the date; None if pins leave that open."""
    if (_DAILY, day.date) not in view.pins:
        return day.daily
    finer = {
        count
        for table, count in ((_HOURLY, day.hourly), (_CLOSED, day.closed))
        if (table, day.date) not in view.pins
    }
    return finer.pop() if len(finer) == 1 else None
