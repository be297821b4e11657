"""Levels that the others contradict."""

import datetime as dt

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.progress import Progress
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.issues.detection import _ALLTIME


def is_short(view: AccountView) -> bool:
    """Whether alltime counts more than daily explains: trades are missing on unknown dates."""
    totals = view.totals
    return totals.has_daily and totals.alltime > max(daily_if_contradicted(view))


def daily_if_contradicted(view: AccountView) -> tuple[int, int]:
    """Daily's total if the finer tables are right on contradicted dates: on all of them, and only
    on those with trades.
    """
    differences = [
        (day.hourly, day.hourly - day.daily) for day in view.days if is_day_contradicted(day)
    ]
    return (
        view.totals.daily + sum(difference for _, difference in differences),
        view.totals.daily + sum(difference for trades, difference in differences if trades),
    )


def is_day_contradicted(day: DayCounts) -> bool:
    """Whether both finer tables contradict daily."""
    return day.hourly == day.closed != day.daily


def is_daily_contradicted_by_all(view: AccountView, progress: Progress) -> bool:
    """Whether alltime, hourly rows and trades agree against daily, in total and on each date, after
    alltime and daily were read.
    """
    totals, daily = view.totals, progress.dates_read(Endpoint.DAILY)
    agree = totals.alltime == totals.hourly == totals.closed != totals.daily
    # A row that upstream no longer sends, or never did, contradicts nothing: the date may be
    # forgotten.
    unsent = {*progress.kept.get(Endpoint.DAILY, ()), *progress.withheld_days}
    sent = all(day.daily_rows and day.date not in unsent for day in view.days)
    was_read = progress.dates_read(Endpoint.ALLTIME).everything and all(
        daily.covers(day.date) for day in view.days
    )
    return agree and sent and was_read and all(is_day_contradicted(day) for day in view.days)


def is_daily_contradicted(view: AccountView) -> bool:
    """Whether daily would agree with alltime if it were wrong on the contradicted dates."""
    return view.totals.alltime in daily_if_contradicted(view)


def is_daily_exceeded(view: AccountView) -> bool:
    """Whether dates of which finer tables count more explain alltime."""
    lacking = sum(max(day.hourly, day.closed) - day.daily for day in view.days if has_surplus(day))
    return lacking > 0 and view.totals.alltime == view.totals.daily + lacking


def has_surplus(day: DayCounts) -> bool:
    """Whether hourly rows or trades count more than daily."""
    return day.hourly > day.daily or day.closed > day.daily


def is_split(view: AccountView) -> bool:
    """Whether the tables may be split two against two: a fetch of one side cannot decide."""
    return any(is_day_contradicted(day) and has_surplus(day) for day in view.days) or bool(
        ambiguous_days(view)
    )


def ambiguous_days(view: AccountView) -> set[dt.date]:
    """Dates lacking trades that fit several accounts."""
    lacking = {day.date for day in view.days if day.closed < day.daily}
    return lacking.intersection(
        day for finding in view.findings if len(finding.candidates) > 1 for day in finding.dates
    )


def is_alltime_foreign(view: AccountView) -> bool:
    """Whether the account's alltime row has the natural key of another account."""
    return any(
        finding.is_of_metrics and finding.table == _ALLTIME and finding.holder == view.account_id
        for finding in view.findings
    )


def foreign_days(view: AccountView) -> set[dt.date]:
    """Dates of metrics rows under ids that are not their natural key's."""
    return {day for finding in view.findings if finding.is_of_metrics for day in finding.dates}
