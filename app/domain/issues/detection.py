"""Detection: what is wrong with an account as it stands, told from counts and ids alone.

Pure: no I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.accounts.counts import DayCounts, Drift, IdentityFinding
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.absence import alltime_absence
from app.domain.issues.codes import (
    ASK_UPSTREAM,
    COUNTED_TABLES,
    SAMPLE,
    SHOW_UNMATCHED,
    Issue,
    IssueCode,
    Severity,
    dates_evidence,
    days_evidence,
)
from app.domain.issues.money_issues import money_issues
from app.domain.wording.counts import choose, counted

_SHARP_SHARE = 10
"""A mismatch of totals above this part (a tenth) of the largest is HIGH."""

_CLOSED = TABLES[Endpoint.CLOSED].name
_OPEN = TABLES[Endpoint.OPEN].name
_ALLTIME = TABLES[Endpoint.ALLTIME].name
_DAILY = TABLES[Endpoint.DAILY].name
_HOURLY = TABLES[Endpoint.HOURLY].name


def detect(view: AccountView) -> tuple[Issue, ...]:
    """All issues of an account as it stands, each with all of its dates."""
    if view.agrees:
        return ()
    return (
        *_identity_issues(view),
        *_odd_issues(view),
        *_presence_issues(view),
        *_total_issues(view),
        *_day_issues(view),
        *money_issues(view),
        *_drift_issues(view),
    )


def with_open_drift(view: AccountView) -> AccountView:
    """The account with the drift that an earlier audit found and no run has healed since: it is
    still to be healed.
    """
    if view.drift is not None:
        return view
    for entry in view.open_issues:
        if entry.get("type") == IssueCode.UPSTREAM_DRIFT:
            return replace(view, drift=Drift(absent=False, evidence=_metadata(entry)))
        waiting = _metadata(entry).get("drift")
        if entry.get("type") == IssueCode.UNSETTLED and isinstance(waiting, Mapping):
            return replace(view, drift=Drift(absent=False, evidence=waiting))
    return view


def _metadata(entry: Mapping[str, object]) -> Mapping[str, object]:
    metadata = entry.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _identity_issues(view: AccountView) -> list[Issue]:
    issues: list[Issue] = []
    for table, code, strategy in (
        (_CLOSED, IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES, "assign_account_id_closed_trades"),
        (_OPEN, IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES, "assign_account_id_open_trades"),
    ):
        nulls = [
            finding
            for finding in view.findings
            if finding.table == table and finding.holder is None and len(finding.candidates) == 1
        ]
        if nulls:
            rows = sum(finding.rows for finding in nulls)
            text = (
                f"{counted(rows, 'row')} of {table} {choose(rows, 'has', 'have')} no account id,"
                " though the natural key is this account's."
            )
            issues.append(
                Issue(code, Severity.HIGH, text, (table,), strategy, _finding_evidence(nulls))
            )
    foreign = [
        finding
        for finding in view.findings
        if finding.holder is not None and len(finding.candidates) <= 1
    ]
    if foreign:
        rows = sum(finding.rows for finding in foreign)
        text = (
            f"{counted(rows, 'row')} {choose(rows, 'carries', 'carry')} an account id that the"
            " natural key did not have on that date."
        )
        text += _example(foreign)
        tables = tuple(sorted({finding.table for finding in foreign}))
        strategy = SHOW_UNMATCHED
        if any(finding.is_of_metrics for finding in foreign):
            strategy = ASK_UPSTREAM
        if any(finding.candidates and not finding.is_of_metrics for finding in foreign):
            strategy = "reassign_account_id"
        issues.append(
            Issue(
                IssueCode.FOREIGN_ACCOUNT_ID,
                Severity.HIGH,
                text,
                tables,
                strategy,
                _finding_evidence(foreign),
            )
        )
    ambiguous = [finding for finding in view.findings if len(finding.candidates) > 1]
    if ambiguous:
        candidates = sorted(
            {candidate for finding in ambiguous for candidate in finding.candidates}
        )
        rows = sum(finding.rows for finding in ambiguous)
        text = (
            f"A natural key fits {counted(len(candidates), 'account id')}; {counted(rows, 'row')}"
            f" without an id {choose(rows, 'is', 'are')} not assigned by a guess."
        )
        tables = tuple(sorted({finding.table for finding in ambiguous}))
        issues.append(
            Issue(
                IssueCode.AMBIGUOUS_IDENTITY,
                Severity.HIGH,
                text,
                tables,
                "show_candidates",
                _finding_evidence(ambiguous),
            )
        )
    return issues


def _example(findings: Sequence[IdentityFinding]) -> str:
    """The first of the metrics rows among them, as a sentence that says what it is to be looked for
    by.
    """
    for finding in findings:
        if finding.is_of_metrics:
            date = f" of {finding.dates[0]}" if finding.dates else ""
            key = f"login {finding.login}, platform {finding.platform}, broker {finding.broker}"
            whose = f", which {finding.candidates[0]} holds" if finding.candidates else ""
            return f" {finding.table}{date} with {key}{whose} carries {finding.holder}."
    return ""


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
            "dates": [day.isoformat() for day in finding.dates[:SAMPLE]],
        }
        for finding in findings
    ]
    dates = sorted({day for finding in findings for day in finding.dates})
    return {
        **dates_evidence(dates),
        "total_mismatches": sum(finding.rows for finding in findings),
        "metadata": {"natural_keys": keys[:SAMPLE], "natural_keys_total": len(keys)},
    }


def _odd_issues(view: AccountView) -> list[Issue]:
    if not view.odd_rows:
        return []
    rows = sum(each.rows for each in view.odd_rows)
    text = (
        f"{counted(rows, 'stored row')} {choose(rows, 'has', 'have')} a date that no calendar"
        f" holds, such as {view.odd_rows[0].samples[0]} in {view.odd_rows[0].table}: kept, in no"
        f" count, and upstream cannot be asked for {choose(rows, 'it', 'them')}. Correct or delete"
        f" {choose(rows, 'it', 'them')}."
    )
    shown = [
        {"table": each.table, "row": sample} for each in view.odd_rows for sample in each.samples
    ]
    evidence = {
        "total_mismatches": rows,
        "metadata": {
            "rows": shown[:SAMPLE],
            "by_table": {each.table: each.rows for each in view.odd_rows},
        },
    }
    return [
        Issue(
            IssueCode.IMPOSSIBLE_DATE,
            Severity.MEDIUM,
            text,
            tuple(each.table for each in view.odd_rows),
            "keep_stored_rows",
            evidence,
        )
    ]


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


def _total_issues(view: AccountView) -> list[Issue]:
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


def _day_issues(view: AccountView) -> list[Issue]:
    kinds: tuple[tuple[IssueCode, Severity, str, tuple[str, ...], str, list[DayCounts]], ...] = (
        (
            IssueCode.DAILY_WITHOUT_HOURLY,
            Severity.HIGH,
            "On {} daily has trades and hourly no rows.",
            (_HOURLY,),
            "fetch_hourly_for_existing_daily",
            [day for day in view.days if day.daily > 0 and not day.hourly_rows],
        ),
        (
            IssueCode.HOURLY_WITHOUT_DAILY,
            Severity.HIGH,
            "On {} hourly has trades and daily no row.",
            (_DAILY,),
            "fetch_daily_for_existing_hourly",
            [day for day in view.days if day.hourly > 0 and not day.daily_rows],
        ),
        (
            IssueCode.HOURLY_DAILY_MISMATCH,
            Severity.MEDIUM,
            "On {} daily and the sum of hourly differ.",
            (_DAILY, _HOURLY),
            "refetch_hourly_for_dates",
            [day for day in view.days if day.hourly != day.daily],
        ),
        (
            IssueCode.TRADES_DAILY_MISMATCH,
            Severity.MEDIUM,
            "On {} daily and the number of closed trades differ.",
            (_DAILY, _CLOSED),
            "refetch_all_data",
            [day for day in view.days if day.closed != day.daily],
        ),
    )
    return [
        Issue(
            code,
            severity,
            text.format(counted(len(days), "date")),
            affected,
            strategy,
            days_evidence(days),
        )
        for code, severity, text, affected, strategy, days in kinds
        if days
    ]


def _drift_issues(view: AccountView) -> list[Issue]:
    if view.drift is None and view.descents:
        text = (
            f"Daily rows of {counted(len(view.descents), 'date')} were wrong; the hourly rows and"
            " trades below were not read since."
        )
        evidence: dict[str, object] = dates_evidence(sorted(view.descents))
        return [
            Issue(
                IssueCode.UPSTREAM_DRIFT,
                Severity.HIGH,
                text,
                (_HOURLY, _CLOSED),
                "refetch_all_data",
                evidence,
            )
        ]
    if view.drift is None:
        return []
    if view.drift.absent:
        # The audit asked for alltime alone: what the other tables of upstream have is not known
        # yet.
        return [alltime_absence(view)] if view.totals.has_alltime else []
    evidence = {"metadata": dict(view.drift.evidence)}
    text = "Upstream's figures differ from the stored ones."
    if "emptied" in view.drift.evidence:
        text = (
            "Nothing is stored of the account any more, though metrics were when it was last"
            " counted: upstream is asked what it has."
        )
    return [
        Issue(
            IssueCode.UPSTREAM_DRIFT, Severity.HIGH, text, (_ALLTIME,), "refetch_all_data", evidence
        )
    ]
