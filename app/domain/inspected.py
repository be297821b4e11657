"""What an inspection counts: accounts by issue, table, broker and date. Pure: no I/O.

Figures of batches are summed up; they go into the record, and out of it, as JSON.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.acceptance import disagreement_of, is_covered
from app.domain.contract import TABLES, Endpoint
from app.domain.expectation import common_gaps
from app.domain.issues import COUNT_CODES, IDENTITY_CODES, Issue, IssueCode, Severity
from app.domain.models import AcceptedIssue, AccountView

JUDGED = COUNT_CODES | IDENTITY_CODES | {IssueCode.IMPOSSIBLE_DATE, IssueCode.MONEY_MISMATCH}
"""Issues on which a look at the warehouse alone has the last word: where it does not see them they are closed."""
_OF_UPSTREAM = (IssueCode.UPSTREAM_DRIFT.value, IssueCode.UNSETTLED.value)
_COUNTED = {"daily": TABLES[Endpoint.DAILY].name, "hourly": TABLES[Endpoint.HOURLY].name, "closed": TABLES[Endpoint.CLOSED].name}
_SAMPLE = 5
_UNKNOWN_BROKER = "unknown"


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found at one account: issues to be recorded (None: those that are open stand), and the entries that are open then.

    `seen` is a digest of how its tables disagreed.
    """

    account_id: str
    issues: tuple[Issue, ...] | None
    entries: tuple[Mapping[str, object], ...]
    seen: str | None = None

    @property
    def codes(self) -> list[str]:
        """The types of its issues."""
        return sorted({str(entry["type"]) for entry in self.entries})

    @property
    def is_news(self) -> bool:
        """Whether any of them is more than information, nor accepted, nor what a run found not to be the warehouse's to heal."""
        return self.issues is not None and any(_severity(entry) < Severity.INFO for entry in self.entries)


def inspect_account(view: AccountView, detected: Sequence[Issue], accepted: Mapping[str, AcceptedIssue]) -> Inspected:
    """What an account has, by what detection sees of it now and by what runs recorded that only upstream tells; `accepted` by code."""
    if is_covered(view, accepted) or (view.explained_as is not None and view.explained_as == view.signature):
        # Somebody accepted all of it, or a run asked upstream about just this: what is recorded says more than the counts.
        return Inspected(view.account_id, None, view.open_issues, disagreement_of(view))
    told = {str(entry["type"]) for entry in view.open_issues}
    judged = JUDGED if told.intersection(_OF_UPSTREAM) else JUDGED | {IssueCode.UPSTREAM_DRIFT}
    issues = (*(issue for issue in detected if issue.code in judged), *_unseen_money(view))
    replaced = JUDGED | {issue.code for issue in issues}
    kept = [entry for entry in view.open_issues if entry["type"] not in replaced]
    return Inspected(view.account_id, issues, (*(issue.as_json() for issue in issues), *kept), disagreement_of(view))


def _unseen_money(view: AccountView) -> list[Issue]:
    """The open issue of amounts where counts disagree: amounts are not looked at there, so that it stands."""
    if not view.days and len(set(view.totals.counts.values())) == 1:
        return []
    return [Issue.from_json(entry) for entry in view.open_issues if entry["type"] == IssueCode.MONEY_MISMATCH]


@dataclass(slots=True)
class Figures:
    """Accounts by issue, by issue and table, by broker and by date; what tables are short of on a date; dates that nearly all lack."""

    issues: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, Counter[str]] = field(default_factory=dict)
    brokers: Counter[str] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    short: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    lacking: Counter[str] = field(default_factory=Counter)

    def add(self, account: Inspected, view: AccountView, brokers: Collection[str]) -> None:
        """Count an account."""
        if not account.entries:
            return
        for entry in account.entries:
            known = self.issues.setdefault(str(entry["type"]), {"accounts": 0, "severity": _severity(entry), "sample": []})
            known["accounts"] += 1
            known["severity"] = min(known["severity"], _severity(entry))
            if len(known["sample"]) < _SAMPLE:
                known["sample"].append(account.account_id)
            affected = entry.get("affected")
            for table in {str(each) for each in affected} if isinstance(affected, list | tuple) else ():
                self.tables.setdefault(str(entry["type"]), Counter())[table] += 1
        self.brokers.update(set(brokers) or {_UNKNOWN_BROKER})
        self.dates.update({day for entry in account.entries for day in _days(entry)})
        if account.issues is not None:
            self._add_short(view)

    def _add_short(self, view: AccountView) -> None:
        for day in view.days:
            counts = {table: getattr(day, name) for name, table in _COUNTED.items()}
            most = max(counts.values())
            of_day = self.short.setdefault(day.date.isoformat(), {})
            for table, count in counts.items():
                if count < most:
                    of_day.setdefault(table, Counter()).update(accounts=1, trades=most - count)

    def add_gaps(self, accounts: int, coverage: Mapping[dt.date, int], until: dt.date) -> None:
        """Count `accounts` that lack trades of unknown dates on the dates that probably are these, as the rows of the others tell."""
        for day in common_gaps(coverage, until):
            self.lacking[day.isoformat()] += accounts - coverage.get(day, 0)

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "issues": self.issues,
            "tables": self.tables,
            "brokers": self.brokers,
            "dates": self.dates,
            "short": self.short,
            "lacking": self.lacking,
        }

    @classmethod
    def summed(cls, kept: Iterable[Mapping[str, Any]]) -> "Figures":
        """The sum of figures as they were kept."""
        total = cls()
        for each in kept:
            for issue, figures in each.get("issues", {}).items():
                known = total.issues.setdefault(issue, {"accounts": 0, "severity": figures["severity"], "sample": []})
                known["accounts"] += figures["accounts"]
                known["severity"] = min(known["severity"], figures["severity"])
                known["sample"] = sorted([*known["sample"], *figures["sample"]])[:_SAMPLE]
            for issue, tables in each.get("tables", {}).items():
                total.tables.setdefault(issue, Counter()).update(tables)
            total.brokers.update(each.get("brokers", {}))
            total.dates.update(each.get("dates", {}))
            total.lacking.update(each.get("lacking", {}))
            for day, short in each.get("short", {}).items():
                of_day = total.short.setdefault(day, {})
                for table, counts in short.items():
                    of_day.setdefault(table, Counter()).update(counts)
        return total


def is_short(view: AccountView) -> bool:
    """Whether alltime counts trades of dates that no other table has."""
    totals = view.totals
    return totals.alltime > max(totals.daily, totals.hourly, totals.closed)


def _severity(entry: Mapping[str, object]) -> int:
    severity = entry.get("severity")
    return severity if isinstance(severity, int) and Severity.CRITICAL <= severity <= Severity.INFO else int(Severity.INFO)


def _days(entry: Mapping[str, object]) -> set[str]:
    for name in ("missing_dates", "dates"):
        days = entry.get(name)
        if isinstance(days, list | tuple):
            return {day[:10] for day in days if isinstance(day, str) and _is_date(day[:10])}
    return set()


def _is_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True
