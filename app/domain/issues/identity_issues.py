"""Missing, foreign and ambiguous account ids."""

from collections.abc import Iterator, Sequence

from app.domain.accounts.counts import IdentityFinding
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.codes import (
    ASK_UPSTREAM,
    SAMPLE,
    SHOW_UNMATCHED,
    Issue,
    IssueCode,
    Severity,
    dates_evidence,
)
from app.domain.wording.counts import choose, counted

_CLOSED, _OPEN = TABLES[Endpoint.CLOSED].name, TABLES[Endpoint.OPEN].name


def identity_issues(view: AccountView) -> list[Issue]:
    """Issues of rows by natural key."""
    return [*_missing_ids(view), *_foreign_ids(view), *_ambiguous_ids(view)]


def _missing_ids(view: AccountView) -> Iterator[Issue]:
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
            yield Issue(code, Severity.HIGH, text, (table,), strategy, _finding_evidence(nulls))


def _foreign_ids(view: AccountView) -> Iterator[Issue]:
    foreign = [
        finding
        for finding in view.findings
        if finding.holder is not None and len(finding.candidates) <= 1
    ]
    if not foreign:
        return
    rows = sum(finding.rows for finding in foreign)
    text = (
        f"{counted(rows, 'row')} {choose(rows, 'carries', 'carry')} an account id that the"
        f" natural key did not have on that date.{_example(foreign)}"
    )
    strategy = SHOW_UNMATCHED
    if any(finding.is_of_metrics for finding in foreign):
        strategy = ASK_UPSTREAM
    if any(finding.candidates and not finding.is_of_metrics for finding in foreign):
        strategy = "reassign_account_id"
    yield Issue(
        IssueCode.FOREIGN_ACCOUNT_ID,
        Severity.HIGH,
        text,
        _tables(foreign),
        strategy,
        _finding_evidence(foreign),
    )


def _ambiguous_ids(view: AccountView) -> Iterator[Issue]:
    ambiguous = [finding for finding in view.findings if len(finding.candidates) > 1]
    if not ambiguous:
        return
    candidates = {candidate for finding in ambiguous for candidate in finding.candidates}
    rows = sum(finding.rows for finding in ambiguous)
    text = (
        f"A natural key fits {counted(len(candidates), 'account id')}; {counted(rows, 'row')}"
        f" without an id {choose(rows, 'is', 'are')} not assigned by a guess."
    )
    yield Issue(
        IssueCode.AMBIGUOUS_IDENTITY,
        Severity.HIGH,
        text,
        _tables(ambiguous),
        "show_candidates",
        _finding_evidence(ambiguous),
    )


def _tables(findings: Sequence[IdentityFinding]) -> tuple[str, ...]:
    return tuple(sorted({finding.table for finding in findings}))


def _example(findings: Sequence[IdentityFinding]) -> str:
    """A sentence of the first."""
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
