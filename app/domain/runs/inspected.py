"""Counts of an inspection."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.domain.accounts.view import AcceptedIssue, AccountView
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.ids import AccountId
from app.domain.issues.acceptance import disagreement_of, is_covered
from app.domain.issues.codes import COUNT_CODES, IDENTITY_CODES, Issue, IssueCode, Severity
from app.domain.issues.recorded import RecordedIssue
from app.domain.planning.estimates import common_gaps, lost_dates

JUDGED = COUNT_CODES | IDENTITY_CODES | {IssueCode.IMPOSSIBLE_DATE, IssueCode.MONEY_MISMATCH}
"""Issues that an inspection closes if undetected."""
_OF_UPSTREAM = (IssueCode.UPSTREAM_DRIFT.value, IssueCode.UNSETTLED.value)
_COUNTED = {
    "daily": TABLES[Endpoint.DAILY].name,
    "hourly": TABLES[Endpoint.HOURLY].name,
    "closed": TABLES[Endpoint.CLOSED].name,
}
_SAMPLE = 5
_UNKNOWN_BROKER = "unknown"


@dataclass(frozen=True, slots=True)
class Inspected:
    """An account's issues to record (None: unchanged), and open entries."""

    account_id: AccountId
    issues: tuple[Issue, ...] | None
    entries: tuple[Mapping[str, object], ...]
    seen: str | None = None

    @property
    def recorded(self) -> list[RecordedIssue]:
        """The entries, read."""
        return [RecordedIssue.read(entry) for entry in self.entries]

    @property
    def codes(self) -> list[str]:
        """The types of its issues."""
        return sorted({each.type for each in self.recorded})

    @property
    def is_news(self) -> bool:
        """Whether any may be healed."""
        return self.issues is not None and any(
            each.severity < Severity.INFO for each in self.recorded
        )


def inspect_account(
    view: AccountView, detected: Sequence[Issue], accepted: Mapping[str, AcceptedIssue]
) -> Inspected:
    """Detected issues, and recorded ones of upstream."""
    if is_covered(view, accepted) or (
        view.explained_as is not None and view.explained_as == view.signature
    ):
        # Somebody accepted all of it, or a run asked upstream about just this: what is recorded
        # says more than the counts.
        return Inspected(view.account_id, None, view.open_issues, disagreement_of(view))
    recorded = [(RecordedIssue.read(entry).type, entry) for entry in view.open_issues]
    told = {code for code, _ in recorded}
    judged = JUDGED if told.intersection(_OF_UPSTREAM) else JUDGED | {IssueCode.UPSTREAM_DRIFT}
    issues = (*(issue for issue in detected if issue.code in judged), *_unseen_money(view))
    replaced = JUDGED | {issue.code for issue in issues}
    kept = [entry for code, entry in recorded if code not in replaced]
    return Inspected(
        view.account_id,
        issues,
        (*(issue.as_json() for issue in issues), *kept),
        disagreement_of(view),
    )


def _unseen_money(view: AccountView) -> list[Issue]:
    if not view.days and len(set(view.totals.counts.values())) == 1:
        return []
    return [
        Issue.from_json(entry)
        for entry in view.open_issues
        if RecordedIssue.read(entry).type == IssueCode.MONEY_MISMATCH
    ]


class IssueAccounts(msgspec.Struct):
    """Accounts with an issue, and the first of them."""

    accounts: int = 0
    sample: list[str] = []

    def add(self, other: "IssueAccounts") -> None:
        """Add others."""
        self.accounts += other.accounts
        self.sample = [*self.sample, *other.sample][:_SAMPLE]


class _KeptIssue(IssueAccounts):
    """An issue as recorded; single statements and earlier versions keep it under one severity."""

    severity: int = int(Severity.INFO)
    severities: dict[str, IssueAccounts] = {}


@dataclass(slots=True)
class InspectionFigures:
    """Accounts by issue, table, broker and date."""

    issues: dict[tuple[str, int], IssueAccounts] = field(default_factory=dict)
    """By type and severity."""
    tables: dict[str, Counter[str]] = field(default_factory=dict)
    brokers: Counter[str] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    short: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    more: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """Counts beyond all others."""
    short_accounts: int = 0
    """Accounts whose alltime exceeds all tables."""
    coverage: Counter[str] = field(default_factory=Counter)
    """Of these, accounts with rows by date."""
    everywhere: Counter[str] = field(default_factory=Counter)
    """All accounts by date."""
    until: str | None = None
    """The last date that may be lost."""

    def add(self, account: Inspected, view: AccountView, brokers: Collection[str]) -> None:
        """Count an account."""
        if not account.entries:
            return
        recorded = account.recorded
        # Once, though an earlier system may have left several entries of one type.
        for kind in {(each.type, each.severity) for each in recorded}:
            self.issues.setdefault(kind, IssueAccounts()).add(
                IssueAccounts(1, [account.account_id])
            )
        for issue, table in {(each.type, table) for each in recorded for table in each.affected}:
            self.tables.setdefault(issue, Counter())[table] += 1
        self.brokers.update(set(brokers) or {_UNKNOWN_BROKER})
        self.dates.update({day for each in recorded for day in each.dates})
        if account.issues is not None:
            self._add_days(view)

    def _add_days(self, view: AccountView) -> None:
        for day in view.days:
            counts = {table: getattr(day, name) for name, table in _COUNTED.items()}
            most, least = max(counts.values()), min(counts.values())
            largest = [table for table, count in counts.items() if count == most]
            if (
                len(largest) == 1
                and list(counts.values()).count(least) == len(counts) - 1
                and _exceeds_alltime(view, largest[0])
            ):
                of_day = self.more.setdefault(day.date.isoformat(), {})
                of_day.setdefault(largest[0], Counter()).update(accounts=1, trades=most - least)
                continue
            of_day = self.short.setdefault(day.date.isoformat(), {})
            for table, count in counts.items():
                if count < most:
                    of_day.setdefault(table, Counter()).update(accounts=1, trades=most - count)

    def add_gaps(self, accounts: int, coverage: Mapping[dt.date, int], until: dt.date) -> None:
        """Add `accounts` short of trades."""
        self.short_accounts += accounts
        self.coverage.update({day.isoformat(): number for day, number in coverage.items()})
        self.until = max(self.until or "", until.isoformat())

    @property
    def lacking(self) -> dict[str, int]:
        """Dates that are probably lost, with the number of short accounts without rows there."""
        if self.until is None or not self.short_accounts:
            return {}
        until = dt.date.fromisoformat(self.until)
        gaps = common_gaps(_by_date(self.coverage), until) | lost_dates(
            _by_date(self.everywhere), until, self.short_accounts
        )
        lacking = {
            day.isoformat(): self.short_accounts - self.coverage[day.isoformat()] for day in gaps
        }
        return {day: accounts for day, accounts in lacking.items() if accounts > self.dates[day]}

    def as_json(self) -> dict[str, Any]:
        """As recorded."""
        return {
            "issues": self._kept_issues(),
            "tables": self.tables,
            "brokers": self.brokers,
            "dates": self.dates,
            "short": self.short,
            "more": self.more,
            "short_accounts": self.short_accounts,
            "coverage": self.coverage,
            "everywhere": self.everywhere,
            "until": self.until,
        }

    def _kept_issues(self) -> dict[str, dict[str, Any]]:
        """Issues as recorded, in a form that earlier versions read, too."""
        kept: dict[str, _KeptIssue] = {}
        for (issue, severity), known in self.issues.items():
            whole = kept.setdefault(issue, _KeptIssue(severity=severity))
            whole.add(known)
            whole.severity = min(whole.severity, severity)
            whole.severities[str(severity)] = known
        return {issue: msgspec.to_builtins(whole) for issue, whole in kept.items()}

    @classmethod
    def summed(cls, kept: Iterable[Mapping[str, Any]]) -> "InspectionFigures":
        """The sum of recorded figures."""
        total = cls()
        for each in kept:
            for issue, entry in each.get("issues", {}).items():
                kept_issue = msgspec.convert(entry, _KeptIssue)
                for severity, figures in (
                    kept_issue.severities or {str(kept_issue.severity): kept_issue}
                ).items():
                    known = total.issues.setdefault((issue, int(severity)), IssueAccounts())
                    known.accounts += figures.accounts
                    known.sample = sorted([*known.sample, *figures.sample])[:_SAMPLE]
            for issue, tables in each.get("tables", {}).items():
                total.tables.setdefault(issue, Counter()).update(tables)
            total.brokers.update(each.get("brokers", {}))
            total.dates.update(each.get("dates", {}))
            total.short_accounts += each.get("short_accounts", 0)
            total.coverage.update(each.get("coverage", {}))
            total.everywhere.update(each.get("everywhere", {}))
            total.until = max(total.until or "", each.get("until") or "") or None
            for by_day, name in ((total.short, "short"), (total.more, "more")):
                for day, tables in each.get(name, {}).items():
                    of_day = by_day.setdefault(day, {})
                    for table, counts in tables.items():
                        of_day.setdefault(table, Counter()).update(counts)
        return total


def is_short(view: AccountView) -> bool:
    """Whether alltime exceeds all tables."""
    totals = view.totals
    return totals.alltime > max(totals.daily, totals.hourly, totals.closed)


def _exceeds_alltime(view: AccountView, table: str) -> bool:
    totals = view.totals
    return totals.counts[table] > totals.alltime


def _by_date(counts: Mapping[str, int]) -> dict[dt.date, int]:
    return {dt.date.fromisoformat(day): accounts for day, accounts in counts.items()}
