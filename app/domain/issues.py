"""The issues: what disagrees, told from counts alone, and what remains once upstream has been read. Pure: no I/O.

`detect` says what is wrong with an account as it stands. `explain` is asked after the heal: where everything involved
was read completely and the counts still differ, the difference is upstream's, lies in rows that upstream forgot, or in
dates that still move.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from app.domain.contract import TABLES, Endpoint
from app.domain.models import AccountView, DayCounts, Drift, IdentityFinding, Outcome, Progress

_SAMPLE = 10
_SHARP_DISCREPANCY = 10.0
"""Above this share of the largest total, in percent, a mismatch of totals is HIGH."""


class Severity(IntEnum):
    """Urgency as dashboards know it: 1 is the worst."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    INFO = 5


class IssueCode(StrEnum):
    """The kinds of disagreement; names are a public interface."""

    NULL_ACCOUNT_ID_CLOSED_TRADES = "null_account_id_closed_trades"
    NULL_ACCOUNT_ID_OPEN_TRADES = "null_account_id_open_trades"
    MISSING_METRICS_TABLES = "missing_metrics_tables"
    MISSING_TRADE_RECORDS = "missing_trade_records"
    TRADE_COUNT_MISMATCH = "trade_count_mismatch"
    DAILY_WITHOUT_HOURLY = "daily_without_hourly"
    HOURLY_WITHOUT_DAILY = "hourly_without_daily"
    HOURLY_DAILY_MISMATCH = "hourly_daily_mismatch"
    TRADES_DAILY_MISMATCH = "trades_daily_mismatch"
    FOREIGN_ACCOUNT_ID = "foreign_account_id"
    AMBIGUOUS_IDENTITY = "ambiguous_identity"
    UPSTREAM_DRIFT = "upstream_drift"
    ABSENT_UPSTREAM = "absent_upstream"
    UPSTREAM_INCONSISTENT = "upstream_inconsistent"
    KEY_TOO_NARROW = "key_too_narrow"
    UNSETTLED = "unsettled"


COUNT_CODES = frozenset(
    {
        IssueCode.MISSING_METRICS_TABLES,
        IssueCode.MISSING_TRADE_RECORDS,
        IssueCode.TRADE_COUNT_MISMATCH,
        IssueCode.DAILY_WITHOUT_HOURLY,
        IssueCode.HOURLY_WITHOUT_DAILY,
        IssueCode.HOURLY_DAILY_MISMATCH,
        IssueCode.TRADES_DAILY_MISMATCH,
    }
)
"""Issues that are seen in counts alone."""

IDENTITY_CODES = frozenset(
    {
        IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES,
        IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES,
        IssueCode.FOREIGN_ACCOUNT_ID,
        IssueCode.AMBIGUOUS_IDENTITY,
    }
)
"""Issues that are seen in account ids alone."""

NOT_OURS_TO_HEAL = frozenset(
    {
        IssueCode.AMBIGUOUS_IDENTITY,
        IssueCode.ABSENT_UPSTREAM,
        IssueCode.UPSTREAM_INCONSISTENT,
        IssueCode.UNSETTLED,
        IssueCode.KEY_TOO_NARROW,
    }
)
"""Issues that no fetch can close: they are shown, and cost the account no attempt."""

_CLOSED = TABLES[Endpoint.CLOSED].name
_OPEN = TABLES[Endpoint.OPEN].name
_ALLTIME = TABLES[Endpoint.ALLTIME].name
_DAILY = TABLES[Endpoint.DAILY].name
_HOURLY = TABLES[Endpoint.HOURLY].name
_COUNTED = (_ALLTIME, _DAILY, _HOURLY, _CLOSED)


@dataclass(frozen=True, slots=True)
class Issue:
    """One kind of disagreement of one account, with its evidence."""

    code: IssueCode
    severity: Severity
    description: str
    affected: tuple[str, ...]
    strategy: str
    evidence: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The entry of `trade_recon.issues`, in the names that dashboards read."""
        return {
            "type": self.code.value,
            "severity": int(self.severity),
            "description": self.description,
            "affected": list(self.affected),
            "resolution_strategy": self.strategy,
            **self.evidence,
        }


def with_open_drift(view: AccountView) -> AccountView:
    """The account with the drift that an earlier audit found and no run has healed since: it is still to be healed."""
    if view.drift is not None:
        return view
    for entry in view.open_issues:
        if entry.get("type") == IssueCode.UPSTREAM_DRIFT:
            return replace(view, drift=Drift(absent=False, evidence=_metadata(entry)))
    return view


def carried(view: AccountView, left: Sequence[Issue]) -> tuple[Issue, ...]:
    """What only an audit can judge, and no audit has: an account that upstream did not have stays shown as that."""
    if any(issue.code is IssueCode.ABSENT_UPSTREAM for issue in left):
        return ()
    for entry in view.open_issues:
        if entry.get("type") == IssueCode.ABSENT_UPSTREAM:
            return tuple(_drift_issues(replace(view, drift=Drift(absent=True, evidence=_metadata(entry)))))
    return ()


def _metadata(entry: Mapping[str, object]) -> Mapping[str, object]:
    metadata = entry.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def detect(view: AccountView) -> tuple[Issue, ...]:
    """All issues of an account as it stands, each with all of its dates."""
    return (*_identity_issues(view), *_presence_issues(view), *_total_issues(view), *_day_issues(view), *_drift_issues(view))


def judge(found: Sequence[Issue], left: Sequence[Issue]) -> Outcome:
    """How an account leaves a run, from what it came with and what is left of it."""
    if not left:
        return Outcome.HEALED if found else Outcome.UNCHANGED
    healable = {issue.code for issue in left} - NOT_OURS_TO_HEAL
    if not healable:
        return Outcome.EXPLAINED
    closed = {issue.code for issue in found} - {issue.code for issue in left}
    return Outcome.PARTIAL if closed else Outcome.FAILED


def explain(view: AccountView, progress: Progress, *, moving_from: dt.date) -> tuple[Issue, ...]:
    """What remains of an account after its heal; dates from `moving_from` on still move.

    A mismatch stays what it is while anything that could heal it was not read, was refused, failed or was left to
    another writer. Only when all of it was read and written does it become upstream's.
    """
    found = detect(view)
    others = tuple(issue for issue in found if issue.code not in COUNT_CODES and issue.code is not IssueCode.UPSTREAM_DRIFT)
    counts = tuple(issue for issue in found if issue.code in COUNT_CODES)
    drift = tuple(issue for issue in found if issue.code is IssueCode.UPSTREAM_DRIFT)
    narrow = _narrow_issues(progress)
    unfinished = bool(progress.errors or progress.refused or progress.left_alone)
    if drift and not unfinished and _coarse_levels_were_read(progress):
        drift = ()
    if not counts or unfinished or not _was_read(view, progress):
        return (*narrow, *others, *counts, *drift)
    # Where the table's own key is too narrow, the rows that it cannot hold explain the difference.
    explanations = narrow or _explanations(view, progress, moving_from)
    if any(issue.code is IssueCode.ABSENT_UPSTREAM for issue in explanations):
        others = tuple(issue for issue in others if issue.code is not IssueCode.ABSENT_UPSTREAM)
    return (*others, *explanations, *drift)


def _coarse_levels_were_read(progress: Progress) -> bool:
    return progress.dates_read(Endpoint.ALLTIME).everything and progress.dates_read(Endpoint.DAILY).everything


def _was_read(view: AccountView, progress: Progress) -> bool:
    """Whether every table that takes part in a mismatch was read where it takes part."""
    days = [day.date for day in view.days]
    if not progress.dates_read(Endpoint.ALLTIME).everything or not progress.dates_read(Endpoint.DAILY).covers_all(days):
        return False
    if view.totals.alltime != view.totals.daily and not progress.dates_read(Endpoint.DAILY).everything:
        return False
    hourly = [day.date for day in view.days if day.hourly != day.daily]
    closed = [day.date for day in view.days if day.closed != day.daily]
    return progress.dates_read(Endpoint.HOURLY).covers_all(hourly) and progress.dates_read(Endpoint.CLOSED).covers_all(closed)


def _explanations(view: AccountView, progress: Progress, moving_from: dt.date) -> tuple[Issue, ...]:
    """What a difference is that stands though all of it was read: forgotten rows, moving dates, ambiguous ids, or a contradiction."""
    kept = {endpoint: {day: trades for day, trades in days.items() if trades} for endpoint, days in progress.kept.items()}
    issues: list[Issue] = []
    if any(kept.values()):
        issues.append(_absent_issue(kept))
    ambiguous = {day for finding in view.findings if len(finding.candidates) != 1 and finding.table == _CLOSED for day in finding.dates}
    days = [_without_kept(day, kept) for day in view.days if not _is_forgotten(day, kept, progress)]
    days = [day for day in days if day.daily != day.hourly or (day.daily != day.closed and day.date not in ambiguous)]
    settled = [day for day in days if day.date < moving_from]
    alltime = view.totals.alltime - sum(kept.get(Endpoint.ALLTIME, {}).values())
    daily = view.totals.daily - sum(kept.get(Endpoint.DAILY, {}).values())
    # Alltime may go on counting days that upstream has forgotten: then it agrees with the rows that are kept.
    totals_agree = view.totals.daily in (view.totals.alltime, alltime) or alltime == daily
    moves = view.last_day is not None and view.last_day >= moving_from
    if settled or not (totals_agree or moves):
        issues.append(_inconsistent_issue(view, settled))
    elif days or not totals_agree:
        issues.append(_unsettled_issue(view, days, moving_from))
    return tuple(issues)


def _is_forgotten(day: DayCounts, kept: Mapping[Endpoint, Mapping[dt.date | None, int]], progress: Progress) -> bool:
    """Whether upstream has nothing on the date: its daily row is only stored, and so is whatever was read of the finer tables."""
    if day.date not in kept.get(Endpoint.DAILY, {}):
        return False
    left = _without_kept(day, kept)
    return all(
        not trades or not progress.dates_read(endpoint).covers(day.date)
        for endpoint, trades in ((Endpoint.HOURLY, left.hourly), (Endpoint.CLOSED, left.closed))
    )


def _without_kept(day: DayCounts, kept: Mapping[Endpoint, Mapping[dt.date | None, int]]) -> DayCounts:
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


def _identity_issues(view: AccountView) -> list[Issue]:
    issues: list[Issue] = []
    for table, code, strategy in (
        (_CLOSED, IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES, "assign_account_id_closed_trades"),
        (_OPEN, IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES, "assign_account_id_open_trades"),
    ):
        nulls = [finding for finding in view.findings if finding.table == table and finding.holder is None and len(finding.candidates) == 1]
        if nulls:
            rows = sum(finding.rows for finding in nulls)
            text = f"{rows} rows of {table} have no account id, though their natural key is this account's."
            issues.append(Issue(code, Severity.HIGH, text, (table,), strategy, _finding_evidence(nulls)))
    foreign = [finding for finding in view.findings if finding.holder is not None and len(finding.candidates) <= 1]
    if foreign:
        rows = sum(finding.rows for finding in foreign)
        text = f"{rows} rows carry an account id that their natural key did not have on their date."
        tables = tuple(sorted({finding.table for finding in foreign}))
        issues.append(Issue(IssueCode.FOREIGN_ACCOUNT_ID, Severity.HIGH, text, tables, "reassign_account_id", _finding_evidence(foreign)))
    ambiguous = [finding for finding in view.findings if len(finding.candidates) > 1]
    if ambiguous:
        candidates = sorted({candidate for finding in ambiguous for candidate in finding.candidates})
        rows = sum(finding.rows for finding in ambiguous)
        text = f"A natural key fits {len(candidates)} account ids; the {rows} rows without an id are not guessed."
        tables = tuple(sorted({finding.table for finding in ambiguous}))
        issues.append(Issue(IssueCode.AMBIGUOUS_IDENTITY, Severity.HIGH, text, tables, "show_candidates", _finding_evidence(ambiguous)))
    return issues


def _finding_evidence(findings: Sequence[IdentityFinding]) -> dict[str, object]:
    keys = [
        {
            "table": finding.table,
            "login": finding.login,
            "platform": finding.platform,
            "broker": finding.broker,
            "holder": finding.holder,
            "candidates": list(finding.candidates),
            "rows": finding.rows,
        }
        for finding in findings
    ]
    dates = sorted({day for finding in findings for day in finding.dates})
    return {
        **_dates_evidence(dates),
        "total_mismatches": sum(finding.rows for finding in findings),
        "metadata": {"natural_keys": keys[:_SAMPLE], "natural_keys_total": len(keys)},
    }


def _presence_issues(view: AccountView) -> list[Issue]:
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
        text = f"Alltime counts {totals.alltime} trades, none is stored."
        evidence = {"total_missing": totals.alltime, "metadata": {"counts": totals.counts}}
        issues.append(Issue(IssueCode.MISSING_TRADE_RECORDS, Severity.CRITICAL, text, (_CLOSED,), "fetch_all_closed_trades", evidence))
    return issues


def _total_issues(view: AccountView) -> list[Issue]:
    counts = view.totals.counts
    largest, least = max(counts.values()), min(counts.values())
    if largest == least:
        return []
    percentage = round(100.0 * (largest - least) / max(abs(largest), 1), 2)
    severity = Severity.HIGH if percentage > _SHARP_DISCREPANCY else Severity.MEDIUM
    text = f"The totals differ by {percentage} %: " + ", ".join(f"{table} {count}" for table, count in counts.items()) + "."
    evidence = {**_days_evidence(view.days), "discrepancy_percentage": percentage, "metadata": {"counts": counts}}
    return [Issue(IssueCode.TRADE_COUNT_MISMATCH, severity, text, _COUNTED, "refetch_all_data", evidence)]


def _day_issues(view: AccountView) -> list[Issue]:
    kinds: tuple[tuple[IssueCode, Severity, str, tuple[str, ...], str, list[DayCounts]], ...] = (
        (
            IssueCode.DAILY_WITHOUT_HOURLY,
            Severity.HIGH,
            "{} dates have trades in daily and no hourly rows.",
            (_HOURLY,),
            "fetch_hourly_for_existing_daily",
            [day for day in view.days if day.daily > 0 and not day.hourly_rows],
        ),
        (
            IssueCode.HOURLY_WITHOUT_DAILY,
            Severity.HIGH,
            "{} dates have trades in hourly and no daily row.",
            (_DAILY,),
            "fetch_daily_for_existing_hourly",
            [day for day in view.days if day.hourly > 0 and not day.daily_rows],
        ),
        (
            IssueCode.HOURLY_DAILY_MISMATCH,
            Severity.MEDIUM,
            "On {} dates daily and the sum of hourly differ.",
            (_DAILY, _HOURLY),
            "refetch_hourly_for_dates",
            [day for day in view.days if day.hourly != day.daily],
        ),
        (
            IssueCode.TRADES_DAILY_MISMATCH,
            Severity.MEDIUM,
            "On {} dates daily and the number of closed trades differ.",
            (_DAILY, _CLOSED),
            "refetch_all_data",
            [day for day in view.days if day.closed != day.daily],
        ),
    )
    return [
        Issue(code, severity, text.format(len(days)), affected, strategy, _days_evidence(days))
        for code, severity, text, affected, strategy, days in kinds
        if days
    ]


def _days_evidence(days: Sequence[DayCounts]) -> dict[str, object]:
    return {
        **_dates_evidence([day.date for day in days]),
        "sample_mismatches": [
            {"date": day.date.isoformat(), "daily": day.daily, "hourly": day.hourly, "closed": day.closed} for day in days[:_SAMPLE]
        ],
        "total_mismatches": len(days),
    }


def _dates_evidence(dates: Sequence[dt.date]) -> dict[str, object]:
    return {"missing_dates": [day.isoformat() for day in dates], "total_missing": len(dates)}


def _drift_issues(view: AccountView) -> list[Issue]:
    if view.drift is None:
        return []
    evidence = {"metadata": dict(view.drift.evidence)}
    if view.drift.absent:
        text = "Upstream no longer has the account; the stored rows are kept."
        return [Issue(IssueCode.ABSENT_UPSTREAM, Severity.MEDIUM, text, _COUNTED, "keep_stored_rows", evidence)]
    text = "Upstream's figures differ from the stored ones."
    return [Issue(IssueCode.UPSTREAM_DRIFT, Severity.HIGH, text, (_ALLTIME,), "refetch_all_data", evidence)]


def _absent_issue(kept: Mapping[Endpoint, Mapping[dt.date | None, int]]) -> Issue:
    tables = tuple(TABLES[endpoint].name for endpoint, days in kept.items() if days)
    dates = sorted({day for days in kept.values() for day in days if day is not None})
    trades = {TABLES[endpoint].name: sum(days.values()) for endpoint, days in kept.items() if days}
    text = f"Upstream no longer sends rows that are stored ({', '.join(tables)}); they are kept."
    evidence = {**_dates_evidence(dates), "metadata": {"trades_kept": trades}}
    return Issue(IssueCode.ABSENT_UPSTREAM, Severity.MEDIUM, text, tables, "keep_stored_rows", evidence)


def _inconsistent_issue(view: AccountView, days: Sequence[DayCounts]) -> Issue:
    text = "Upstream contradicts itself: everything was read anew and the counts still differ."
    evidence = {**_days_evidence(days), "metadata": {"upstream_counts": view.totals.counts}}
    return Issue(IssueCode.UPSTREAM_INCONSISTENT, Severity.INFO, text, _COUNTED, "none", evidence)


def _unsettled_issue(view: AccountView, days: Sequence[DayCounts], moving_from: dt.date) -> Issue:
    text = f"The counts differ on dates from {moving_from} on, which still move; the next run looks again."
    evidence = {**_days_evidence(days), "metadata": {"upstream_counts": view.totals.counts, "moving_from": moving_from.isoformat()}}
    return Issue(IssueCode.UNSETTLED, Severity.INFO, text, _COUNTED, "look_again", evidence)


def _narrow_issues(progress: Progress) -> tuple[Issue, ...]:
    if not progress.too_narrow:
        return ()
    tables = tuple(sorted({str(entry["table"]) for entry in progress.too_narrow}))
    text = f"{len(progress.too_narrow)} rows of upstream do not fit beside stored rows under the table's own key; nothing was overwritten."
    evidence = {
        "total_mismatches": len(progress.too_narrow),
        "metadata": {"rows": [dict(entry) for entry in progress.too_narrow[:_SAMPLE]]},
    }
    return (Issue(IssueCode.KEY_TOO_NARROW, Severity.HIGH, text, tables, "show_rows", evidence),)
