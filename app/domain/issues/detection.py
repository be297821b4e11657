"""Detection: issues from counts and ids alone."""

from collections.abc import Mapping
from dataclasses import replace

from app.domain.accounts.counts import Drift
from app.domain.accounts.view import AccountView
from app.domain.issues.absence import alltime_absence
from app.domain.issues.codes import (
    COUNTED_TABLES,
    SAMPLE,
    Issue,
    IssueCode,
    Severity,
    dates_evidence,
)
from app.domain.issues.count_issues import day_issues, presence_issues, total_issues
from app.domain.issues.identity_issues import identity_issues
from app.domain.issues.money_issues import money_issues
from app.domain.wording.counts import choose, counted

_ALLTIME, _, _HOURLY, _CLOSED = COUNTED_TABLES


def detect(view: AccountView) -> tuple[Issue, ...]:
    """All issues of an account."""
    if view.agrees:
        return ()
    return (
        *identity_issues(view),
        *_odd_date_issues(view),
        *presence_issues(view),
        *total_issues(view),
        *day_issues(view),
        *money_issues(view),
        *_drift_issues(view),
    )


def with_open_drift(view: AccountView) -> AccountView:
    """The account with an earlier audit's unrepaired drift."""
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


def _odd_date_issues(view: AccountView) -> list[Issue]:
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
