"""Dates in doubt, and accounts that hold `reconciled_through` back."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.issues.codes import IssueCode
from app.domain.wording.counts import choose, counted
from app.store.database.transaction import Record

OF_DATES = frozenset(
    {
        IssueCode.MISSING_METRICS_TABLES,
        IssueCode.MISSING_TRADE_RECORDS,
        IssueCode.TRADE_COUNT_MISMATCH,
        IssueCode.UPSTREAM_DRIFT,
        IssueCode.VALUE_DRIFT,
        IssueCode.MONEY_MISMATCH,
    }
)
"""Issues that put all dates in doubt while they name none."""
_BESIDE = {
    "unmatched": (
        "{} stored row has a natural key that fits no account or several",
        "{} stored rows have a natural key that fits no account or several",
    ),
    "shared": (
        (
            "{} natural key is held by several accounts at the same time, and not all of them have"
            " the trades that they count"
        ),
        (
            "{} natural keys are held by several accounts at the same time, and not all of them"
            " have the trades that they count"
        ),
    ),
    "set_aside": (
        "{} row of upstream cannot be stored (recon_set_aside_rows)",
        "{} rows of upstream cannot be stored (recon_set_aside_rows)",
    ),
    "held": (
        "{} account is held (needs_confirmation) by a difference that names no date",
        "{} accounts are held (needs_confirmation) by differences that name no date",
    ),
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why dates are in doubt, from the first on (None: all)."""

    first_date: dt.date | None
    reason: str


def doubts_of(
    undated: int, issues: Sequence[Record], beside: Sequence[Record], since: dt.date
) -> list[Doubt]:
    """Doubts about dates from `since` on, the worst first."""
    doubts = (
        [
            Doubt(
                None,
                f"{counted(undated, 'account')} {choose(undated, 'disagrees', 'disagree')}, and it"
                " is not known yet on which dates.",
            )
        ]
        if undated
        else []
    )
    for row in issues:
        doubts += _of_issue(row, since)
    for row in beside:
        told = choose(row["rows"], *_BESIDE[row["kind"]]).format(row["rows"])
        if row["dateless"]:
            doubts.append(Doubt(None, f"{told}, and it is not known of which dates."))
        if row["first_date"] is not None:
            first = max(row["first_date"], since)
            doubts.append(Doubt(first, f"{told}, from {first} on."))
    return sorted(doubts, key=lambda doubt: doubt.first_date or dt.date.min)


def _of_issue(row: Record, since: dt.date) -> Iterator[Doubt]:
    # Issues for information count no date, except settled dates of an `unsettled` one
    # (count_issues).
    unknown = _undated(row)
    if unknown:
        yield Doubt(
            None,
            f"{row['issue_type']} is open at {counted(unknown, 'account')}, and it is not known yet"
            " on which dates.",
        )
    if row["first_date"] is not None:
        first = max(row["first_date"], since)
        yield Doubt(
            first,
            f"{row['issue_type']} is open at {counted(row['counting'], 'account')}, from {first}"
            " on.",
        )


def accounts_holding(states: Record, rows: Sequence[Record], limit: int) -> list[Mapping[str, Any]]:
    """The first accounts that hold the date back, undated ones first, with their number."""
    number = states["undated"] + (rows[0]["account_count"] if rows else 0)
    undated = [
        {"account_id": account_id, "issue": None, "first_date": None}
        for account_id in states["undated_accounts"]
    ]
    others = [
        {
            "account_id": row["account_id"],
            "issue": row["issue_type"],
            "first_date": row["first_date"],
        }
        for row in rows
    ]
    return [{**each, "accounts": number} for each in [*undated, *others][:limit]]


def _undated(issue: Record) -> int:
    """Accounts whose issue names no date."""
    if issue["is_unreadable"]:
        return int(issue["counting"])
    return int(issue["dateless"]) if issue["issue_type"] in OF_DATES else 0
