"""Accounts as detection sees them, in few words."""

import datetime as dt

from app.domain.accounts.counts import DayCounts, Drift, Totals
from app.domain.accounts.view import AccountView
from app.domain.ids import AccountId, Login

DAY = dt.date(2026, 5, 4)


def days(*numbers: int) -> frozenset[dt.date]:
    return frozenset(DAY + dt.timedelta(days=number) for number in numbers)


def view(
    account_id: str,
    alltime: int,
    daily: int,
    *counts: tuple[int, int, int],
    finer: int | None = None,
    drift: Drift | None = None,
    first: dt.date = DAY,
    known_days: int | None = None,
) -> AccountView:
    """An account whose tables disagree on consecutive dates from `first` on, as (daily, hourly,
    closed).
    """
    lines = tuple(
        DayCounts(first + dt.timedelta(days=number), *each, int(each[0] > 0), int(each[1] > 0))
        for number, each in enumerate(counts)
    )
    finer = alltime if finer is None else finer
    totals = Totals(
        has_alltime=True,
        alltime=alltime,
        has_daily=True,
        daily=daily,
        has_hourly=True,
        hourly=finer,
        has_closed=True,
        closed=finer,
    )
    known = len(counts) if known_days is None else known_days
    last = first + dt.timedelta(days=max(known - 1, len(counts) - 1, 0))
    return AccountView(
        AccountId(account_id),
        totals,
        lines,
        known,
        first,
        last,
        drift=drift,
        logins=(Login(f"login-{account_id}"),),
    )
