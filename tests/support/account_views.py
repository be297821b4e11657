"""Accounts as detection sees them, in few words."""

import datetime as dt

from app.domain.accounts.counts import DayCounts, IdentityFinding, Totals
from app.domain.ids import Login

DAY = dt.date(2026, 5, 4)


LATER = DAY + dt.timedelta(days=9)


def totals(
    alltime: int = 0, daily: int = 0, hourly: int = 0, closed: int = 0, *, missing: str = ""
) -> Totals:
    return Totals(
        has_alltime="a" not in missing,
        alltime=alltime,
        has_daily="d" not in missing,
        daily=daily,
        has_hourly="h" not in missing,
        hourly=hourly,
        has_closed=closed > 0,
        closed=closed,
    )


def day(daily: int, hourly: int, closed: int, date: dt.date = DAY) -> DayCounts:
    return DayCounts(date, daily, hourly, closed, int(daily > 0), int(hourly > 0))


def finding(
    holder: str | None, *candidates: str, table: str = "raw_trades_closed"
) -> IdentityFinding:
    return IdentityFinding(table, Login("7"), "8", "1", holder, candidates, 3, (DAY,))
