"""Issues in words and tables."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from app.cli.output.tables import plain_table
from app.domain.issues.codes import IssueCode, Severity
from app.domain.wording.counts import counted
from app.engine.report.models.report import IssueType, UnresolvedKey

MEANINGS: Mapping[IssueCode, str] = {
    IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES: "closed trades without account id",
    IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES: "open trades without account id",
    IssueCode.MISSING_METRICS_TABLES: "in some metrics tables, not in others",
    IssueCode.MISSING_TRADE_RECORDS: "alltime counts trades, none is stored",
    IssueCode.TRADE_COUNT_MISMATCH: "the tables' totals differ",
    IssueCode.DAILY_WITHOUT_HOURLY: "dates with daily trades and no hourly rows",
    IssueCode.HOURLY_WITHOUT_DAILY: "dates with hourly trades and no daily row",
    IssueCode.HOURLY_DAILY_MISMATCH: "dates on which hourly and daily differ",
    IssueCode.TRADES_DAILY_MISMATCH: "dates on which closed trades and daily differ",
    IssueCode.FOREIGN_ACCOUNT_ID: "rows under a placeholder or another account's id",
    IssueCode.AMBIGUOUS_IDENTITY: "a natural key fits several accounts: not guessed",
    IssueCode.UPSTREAM_DRIFT: "agrees with itself, but not with upstream",
    IssueCode.ABSENT_UPSTREAM: "rows that upstream does not send: kept",
    IssueCode.VALUE_DRIFT: "rows read whole differ where no count shows it",
    IssueCode.HISTORY_UNREAD: "what upstream counts before the history is unread",
    IssueCode.MONEY_MISMATCH: "net profit or lots differ where counts agree",
    IssueCode.UPSTREAM_INCONSISTENT: "upstream contradicts itself: nothing to heal",
    IssueCode.PINNED_BY_RESTORE: "pinned by restore: kept as restored",
    IssueCode.KEY_TOO_NARROW: "the table's key cannot hold two rows of upstream",
    IssueCode.IMPOSSIBLE_DATE: "rows of a date that no calendar holds: kept, not counted",
    IssueCode.UNSETTLED: "on unsettled dates: the next run reads these again",
    IssueCode.SUSPICIOUSLY_FEW_HOURS: "dates with many trades in one hourly row: for information",
}


def issues_table(title: str, issues: Sequence[IssueType]) -> Table:
    """The report's open issues by type."""
    table = plain_table(title, "issue", "severity", "#accounts", "meaning", "for example")
    for issue in issues:
        name = str(issue.issue_type)
        sample = next(iter(issue.sample_accounts), "")
        table.add_row(
            name,
            severity_name(issue.severity),
            str(issue.account_count),
            short_meaning(name),
            sample,
        )
    return table


def short_meaning(issue: str) -> str:
    """What an issue means in a few words; other systems recorded codes of their own."""
    return {code.value: text for code, text in MEANINGS.items()}.get(
        issue, "recorded by another system"
    )


def severity_name(severity: int) -> str:
    """The severity's number and name."""
    names = {int(known): known.name.lower() for known in Severity}
    return f"{severity} {names.get(severity, '')}".strip()


def natural_key(key: UnresolvedKey) -> str:
    """An unmatched natural key."""
    return (
        f"{key.table}: login {key.login}, platform {key.platform}, broker {key.broker},"
        f" {counted(key.rows, 'row')}, account id {key.account_id or 'missing'}, candidates:"
        f" {', '.join(key.candidates) or 'none'}"
    )
