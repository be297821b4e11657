"""Missing tables, differing totals and dates."""

from collections.abc import Callable

from app.domain.accounts.counts import DayCounts
from app.domain.accounts.view import AccountView
from app.domain.issues.codes import (
    COUNTED_TABLES,
    Issue,
    IssueCode,
    Severity,
    days_evidence,
)
from app.domain.wording.counts import counted

_ALLTIME, _DAILY, _HOURLY, _CLOSED = COUNTED_TABLES
_SHARP_SHARE = 10
"""A tenth is HIGH."""


def presence_issues(view: AccountView) -> list[Issue]:
    """Tables without the account."""
    totals = view.totals
    present = {_ALLTIME: totals.has_alltime, _DAILY: totals.has_daily, _HOURLY: totals.has_hourly}
    missing = tuple(table for table, there in present.items() if not there)
    issues = []
    if missing and len(missing) < len(present) and any(totals.counts.values()):
        text = f"The account has no rows in {', '.join(missing)}, though other tables count trades."
        issues.append(
            Issue(
                IssueCode.MISSING_METRICS_TABLES,
                Severity.HIGH,
                text,
                missing,
                "fetch_missing_metrics",
                {"metadata": {"counts": totals.counts}},
            )
        )
    if totals.alltime > 0 and totals.closed == 0:
        text = f"Alltime counts {counted(totals.alltime, 'trade')}, none is stored."
        evidence = {"total_missing": totals.alltime, "metadata": {"counts": totals.counts}}
        issues.append(
            Issue(
                IssueCode.MISSING_TRADE_RECORDS,
                Severity.CRITICAL,
                text,
                (_CLOSED,),
                "fetch_all_closed_trades",
                evidence,
            )
        )
    return issues


def total_issues(view: AccountView) -> list[Issue]:
    """Totals that differ."""
    counts = view.totals.counts
    largest, least = max(counts.values()), min(counts.values())
    if largest == least:
        return []
    percentage = round(100.0 * (largest - least) / max(abs(largest), 1), 2)
    severity = Severity.HIGH if _SHARP_SHARE * (largest - least) > largest else Severity.MEDIUM
    text = (
        f"The totals differ by {percentage} %: "
        + ", ".join(f"{table} {count}" for table, count in counts.items())
        + "."
    )
    evidence = {
        **days_evidence(view.days),
        "discrepancy_percentage": percentage,
        "metadata": {"counts": counts},
    }
    return [
        Issue(
            IssueCode.TRADE_COUNT_MISMATCH,
            severity,
            text,
            COUNTED_TABLES,
            "refetch_all_data",
            evidence,
        )
    ]


_DayKind = tuple[IssueCode, Severity, str, tuple[str, ...], str, Callable[[DayCounts], bool]]

_DAY_KINDS: tuple[_DayKind, ...] = (
    (
        IssueCode.DAILY_WITHOUT_HOURLY,
        Severity.HIGH,
        "On {} daily has trades and hourly no rows.",
        (_HOURLY,),
        "fetch_hourly_for_existing_daily",
        lambda day: day.daily > 0 and not day.hourly_rows,
    ),
    (
        IssueCode.HOURLY_WITHOUT_DAILY,
        Severity.HIGH,
        "On {} hourly has trades and daily no row.",
        (_DAILY,),
        "fetch_daily_for_existing_hourly",
        lambda day: day.hourly > 0 and not day.daily_rows,
    ),
    (
        IssueCode.HOURLY_DAILY_MISMATCH,
        Severity.MEDIUM,
        "On {} daily and the sum of hourly differ.",
        (_DAILY, _HOURLY),
        "refetch_hourly_for_dates",
        lambda day: day.hourly != day.daily,
    ),
    (
        IssueCode.TRADES_DAILY_MISMATCH,
        Severity.MEDIUM,
        "On {} daily and the number of closed trades differ.",
        (_DAILY, _CLOSED),
        "refetch_all_data",
        lambda day: day.closed != day.daily,
    ),
)
"""Code, severity, sentence, tables, strategy, test."""


def day_issues(view: AccountView) -> list[Issue]:
    """Dates on which tables differ."""
    return [
        Issue(
            code,
            severity,
            text.format(counted(len(days), "date")),
            affected,
            strategy,
            days_evidence(days),
        )
        for code, severity, text, affected, strategy, differs in _DAY_KINDS
        if (days := [day for day in view.days if differs(day)])
    ]
