"""Issues: kinds of disagreement, groups, severities, records."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, StrEnum, auto
from typing import Self, assert_never

from app.domain.accounts.counts import DayCounts
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.wording.counts import choose, counted

COUNTED_TABLES = tuple(
    TABLES[endpoint].name
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
)
"""Their trade counts are compared."""
SAMPLE = 10
"""Examples in evidence; dates are complete."""


class Severity(IntEnum):
    """As on dashboards: 1 is the worst."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    INFO = 5


class IssueCode(StrEnum):
    """The kinds of disagreement; a public interface."""

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
    IMPOSSIBLE_DATE = "impossible_date"
    SUSPICIOUSLY_FEW_HOURS = "suspiciously_few_hours"
    HISTORY_UNREAD = "history_unread"
    PINNED_BY_RESTORE = "pinned_by_restore"
    VALUE_DRIFT = "value_drift"
    MONEY_MISMATCH = "money_mismatch"


class Seen(Enum):
    """What shows an issue."""

    IDS = auto()
    COUNTS = auto()
    UPSTREAM = auto()
    """Or another account's tables."""


class EndedBy(Enum):
    """What ends an issue."""

    RUN = auto()
    UPSTREAM = auto()
    """Asked again by every run."""
    OWNER = auto()
    """Asked about with growing pauses."""


def traits_of(code: IssueCode) -> tuple[Seen, EndedBy]:
    """The one place where codes are grouped."""
    match code:
        case (
            IssueCode.NULL_ACCOUNT_ID_CLOSED_TRADES
            | IssueCode.NULL_ACCOUNT_ID_OPEN_TRADES
            | IssueCode.FOREIGN_ACCOUNT_ID
        ):
            return Seen.IDS, EndedBy.RUN
        case IssueCode.AMBIGUOUS_IDENTITY:
            return Seen.IDS, EndedBy.OWNER
        case (
            IssueCode.MISSING_METRICS_TABLES
            | IssueCode.MISSING_TRADE_RECORDS
            | IssueCode.TRADE_COUNT_MISMATCH
            | IssueCode.DAILY_WITHOUT_HOURLY
            | IssueCode.HOURLY_WITHOUT_DAILY
            | IssueCode.HOURLY_DAILY_MISMATCH
            | IssueCode.TRADES_DAILY_MISMATCH
        ):
            return Seen.COUNTS, EndedBy.RUN
        case (
            IssueCode.UPSTREAM_DRIFT
            | IssueCode.VALUE_DRIFT
            | IssueCode.MONEY_MISMATCH
            | IssueCode.HISTORY_UNREAD
            | IssueCode.SUSPICIOUSLY_FEW_HOURS
        ):
            return Seen.UPSTREAM, EndedBy.RUN
        case IssueCode.UPSTREAM_INCONSISTENT | IssueCode.UNSETTLED:
            return Seen.UPSTREAM, EndedBy.UPSTREAM
        case (
            IssueCode.ABSENT_UPSTREAM
            | IssueCode.KEY_TOO_NARROW
            | IssueCode.IMPOSSIBLE_DATE
            | IssueCode.PINNED_BY_RESTORE
        ):
            return Seen.UPSTREAM, EndedBy.OWNER
        case _:
            assert_never(code)


COUNT_CODES = frozenset(code for code in IssueCode if traits_of(code)[0] is Seen.COUNTS)
IDENTITY_CODES = frozenset(code for code in IssueCode if traits_of(code)[0] is Seen.IDS)
NOT_OURS_TO_HEAL = frozenset(code for code in IssueCode if traits_of(code)[1] is not EndedBy.RUN)
"""They cost no attempt."""
LASTING = frozenset(code for code in IssueCode if traits_of(code)[1] is EndedBy.OWNER)
"""Asked about with growing pauses."""

ASK_UPSTREAM = "ask_upstream"
"""For metrics under foreign ids."""
SHOW_UNMATCHED = "show_unmatched"
"""For rows that fit no account."""
SHOW_ROWS = "show_rows"
"""For rows that the table cannot hold."""
BY_ROWS = "compared_by_rows"
"""Marks issues of row comparisons."""

_OWN_FIELDS = frozenset({"type", "severity", "description", "affected", "resolution_strategy"})


@dataclass(frozen=True, slots=True)
class Issue:
    """One kind of disagreement of one account."""

    code: IssueCode
    severity: Severity
    description: str
    affected: tuple[str, ...]
    strategy: str
    evidence: Mapping[str, object] = field(default_factory=dict)

    @property
    def can_be_healed(self) -> bool:
        """Whether a run may end it."""
        return self.code not in NOT_OURS_TO_HEAL and self.strategy not in (
            ASK_UPSTREAM,
            SHOW_UNMATCHED,
            SHOW_ROWS,
        )

    def as_json(self) -> dict[str, object]:
        """An entry of `trade_recon.issues`."""
        return {
            "type": self.code.value,
            "severity": int(self.severity),
            "description": self.description,
            "affected": list(self.affected),
            "resolution_strategy": self.strategy,
            **self.evidence,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, object]) -> Self:
        """The inverse of `as_json`."""
        evidence = {name: value for name, value in entry.items() if name not in _OWN_FIELDS}
        affected = entry.get("affected")
        return cls(
            IssueCode(str(entry["type"])),
            Severity(int(str(entry["severity"]))),
            str(entry.get("description", "")),
            tuple(str(table) for table in affected) if isinstance(affected, list) else (),
            str(entry.get("resolution_strategy", "")),
            evidence,
        )


FEW_HOURS_TRADES = 10
"""More trades usually span hours."""


def few_hours_issue(days: Sequence[dt.date]) -> Issue:
    """Many trades in one hourly row."""
    text = (
        f"On {counted(len(days), 'date')} more than {FEW_HOURS_TRADES} trades stand in a single"
        " hourly row."
    )
    hourly = TABLES[Endpoint.HOURLY].name
    return Issue(
        IssueCode.SUSPICIOUSLY_FEW_HOURS,
        Severity.INFO,
        text,
        (hourly,),
        "keep_stored_rows",
        dates_evidence(days),
    )


def restored_issue(days: Sequence[dt.date]) -> Issue:
    """Rows changed by a run were restored."""
    text = (
        "Rows were restored that a run had changed as upstream said; the next run compares"
        " the account with upstream."
    )
    evidence = {**dates_evidence(days), "metadata": {"restored": True}}
    return Issue(
        IssueCode.UPSTREAM_DRIFT, Severity.HIGH, text, COUNTED_TABLES, "refetch_all_data", evidence
    )


def overtaken_issue(days: Sequence[dt.date]) -> Issue:
    """Pinned rows were written or deleted since."""
    text = (
        "Pinned rows are no longer as they were restored: another writer changed or deleted them"
        " since. Their pins are over; the next run compares the account with upstream."
    )
    return replace(restored_issue(days), description=text)


def pinned_issue(pins: Mapping[tuple[str, dt.date | None], int], elsewhere: int = 0) -> Issue:
    """Pinned rows; `elsewhere`: under another account id."""
    rows = sum(pins.values())
    tables = tuple(sorted({table for table, _ in pins}))
    text = (
        f"{counted(rows, 'row')} {choose(rows, 'is', 'are')} pinned by restore:"
        f" {choose(rows, 'it stays', 'they stay')} as restored, whatever upstream sends, until"
        " `trade-recon removed release` or until upstream sends the same values."
    )
    if elsewhere:
        text += (
            f" {counted(elsewhere, 'trade')} of this account {choose(elsewhere, 'stands', 'stand')}"
            " so under another account id or none, and the account lacks"
            f" {choose(elsewhere, 'it', 'them')}."
        )
    days = sorted({day for _, day in pins if day is not None})
    by_table = {
        table: sum(number for (name, _), number in pins.items() if name == table)
        for table in tables
    }
    evidence = {"pinned_dates": [day.isoformat() for day in days], "metadata": {"rows": by_table}}
    return Issue(
        IssueCode.PINNED_BY_RESTORE, Severity.INFO, text, tables, "keep_stored_rows", evidence
    )


def days_evidence(days: Sequence[DayCounts]) -> dict[str, object]:
    """All differing dates, and some counts."""
    return {
        **dates_evidence([day.date for day in days]),
        "sample_mismatches": [
            # `hourly_sum` is the name that scripts of the earlier system read.
            {
                "date": day.date.isoformat(),
                "daily": day.daily,
                "hourly": day.hourly,
                "hourly_sum": day.hourly,
                "closed": day.closed,
            }
            for day in days[:SAMPLE]
        ],
        "total_mismatches": len(days),
        # So that a change of counts on the other dates is seen.
        **(
            {"mismatches_digest": hashlib.sha256(repr(tuple(days)).encode()).hexdigest()[:16]}
            if len(days) > SAMPLE
            else {}
        ),
    }


def plain_dates_evidence(dates: Sequence[dt.date]) -> dict[str, object]:
    """All dates, where nothing is missing."""
    return {"dates": [day.isoformat() for day in dates], "total_dates": len(dates)}


def dates_of_evidence(evidence: Mapping[str, object]) -> list[str]:
    """An issue's dates."""
    for name in ("missing_dates", "dates"):
        dates = evidence.get(name)
        if isinstance(dates, list):
            return [str(day) for day in dates]
    return []


def dates_evidence(dates: Sequence[dt.date]) -> dict[str, object]:
    """Dates missing or differing."""
    return {"missing_dates": [day.isoformat() for day in dates], "total_missing": len(dates)}
