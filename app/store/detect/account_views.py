"""Detection rows as account views."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.accounts.counts import DayCounts, Drift, IdentityFinding, OddRows, Totals
from app.domain.accounts.view import AccountView, History
from app.domain.ids import AccountId
from app.domain.issues.codes import COUNTED_TABLES
from app.store.database.transaction import Record
from app.store.detect.money.views import dates_of, money_of

_STATS = (
    "has_alltime",
    "alltime",
    "has_daily",
    "daily",
    "has_hourly",
    "hourly",
    "has_closed",
    "closed",
)


@dataclass(frozen=True, slots=True)
class Beside:
    """Facts about accounts beside their counts."""

    findings: Mapping[str, list[IdentityFinding]]
    drift: Mapping[str, Drift]
    descents: Mapping[str, frozenset[dt.date]]
    logins: Mapping[str, Record]
    odd_rows: Mapping[str, tuple[OddRows, ...]]
    doubts: Mapping[str, frozenset[dt.date]]
    pins: Mapping[str, Mapping[tuple[str, dt.date | None], int]]
    pins_elsewhere: Mapping[str, int]
    history_from: dt.date | None
    used: frozenset[str]


def views_of(looked: Sequence[Record], beside: Beside) -> dict[AccountId, AccountView]:
    """Views by account."""
    return {
        row["account_id"]: AccountView(
            row["account_id"],
            _totals(row),
            days=_days(row),
            known_days=row["known_days"],
            first_day=row["first_day"],
            last_day=row["last_day"],
            findings=tuple(beside.findings.get(row["account_id"], ())),
            drift=beside.drift.get(row["account_id"]),
            logins=(
                tuple(known["logins"]) if (known := beside.logins.get(row["account_id"])) else ()
            ),
            by_login=known is not None and known["by_login"],
            open_issues=_entries(row["issues"]),
            descents=beside.descents.get(row["account_id"], frozenset()),
            explained_as=row["explained_as"],
            explained_times=row["explained_times"] or 0,
            ask_again_at=row["ask_again_at"],
            status=row["reconciliation_status"] or "pending",
            odd_rows=beside.odd_rows.get(row["account_id"], ()),
            doubts=beside.doubts.get(row["account_id"], frozenset()),
            history=_history(row, beside.history_from),
            pins=beside.pins.get(row["account_id"], {}),
            pins_elsewhere=beside.pins_elsewhere.get(row["account_id"], 0),
            money=money_of(row, beside.used) if _agrees(row) else None,
        )
        for row in looked
    }


def changed_totals(looked: Sequence[Record]) -> list[dict[str, object]]:
    """Totals that differ from stored ones."""
    return [fresh for row in looked if row["is_known"] and (fresh := _fresh(row)) is not None]


def changed_few_hours(looked: Sequence[Record]) -> list[dict[str, object]]:
    """Changed dates with few hours."""
    return [
        {"account_id": row["account_id"], "dates": [day.isoformat() for day in found]}
        for row in looked
        if (row["few_hours"] or row["stored_few_hours"])
        and row["is_known"]
        and (found := sorted(row["few_hours"] or ())) != (row["stored_few_hours"] or [])
    ]


def _history(row: Record, first: dt.date | None) -> History | None:
    if first is None:
        return None
    return History(
        first, row["is_history_known"], row["counted_from"], row["counted"] or 0, row["first_trade"]
    )


def _totals(row: Record) -> Totals:
    return Totals(
        row["has_alltime"],
        # Until upstream's count before the history is known, alltime inside it proves nothing.
        row["alltime"] if row["is_history_known"] else row["daily"],
        row["has_daily"],
        row["daily"],
        row["has_hourly"],
        row["hourly"],
        row["has_closed"],
        row["closed"],
    )


def _days(row: Record) -> tuple[DayCounts, ...]:
    return tuple(
        DayCounts(dt.date.fromordinal(number), *counts)
        for number, *counts in sorted(row["days"] or ())
    )


def _fresh(row: Record) -> dict[str, object] | None:
    fresh: dict[str, object] = {name: row[name] for name in _STATS}
    fresh["mismatched_days"] = len(row["days"] or ())
    fresh["mismatched_money"] = dates_of(row) if _agrees(row) else 0
    fresh["checksum"] = (
        row["is_history_known"]
        and row["alltime"] >= 0
        and row["alltime"] == row["daily"] == row["hourly"] == row["closed"]
    )
    return (
        None
        if all(value == row[f"stored_{name}"] for name, value in fresh.items())
        else {"account_id": row["account_id"], **fresh}
    )


def _agrees(row: Record) -> bool:
    """Whether all counts agree, so that amounts are compared."""
    return bool(
        not row["days"]
        and row["is_history_known"]
        and row["alltime"] == row["daily"] == row["hourly"] == row["closed"]
    )


def emptied_accounts(looked: Sequence[Record]) -> dict[str, Drift]:
    """Accounts whose rows, counted before, are all gone, with the counts that write_stats notes."""
    return {row["account_id"]: _lost_counts(row) for row in looked if _is_emptied(row)}


def _is_emptied(row: Record) -> bool:
    is_stored = row["has_alltime"] or row["has_daily"] or row["has_hourly"] or row["has_closed"]
    return not is_stored and (row["stored_has_alltime"] or row["stored_has_daily"])


def _lost_counts(row: Record) -> Drift:
    tables = zip(COUNTED_TABLES, ("alltime", "daily", "hourly", "closed"), strict=True)
    return Drift(
        absent=False, evidence={"emptied": {table: row[f"stored_{name}"] for table, name in tables}}
    )


def disagrees(row: Record) -> bool:
    """Whether tables disagree or issues are open."""
    return bool(row["issues"] or row["broken_relations"] or not _agrees(row))


def _entries(issues: object) -> tuple[Mapping[str, object], ...]:
    """Other entries are left by earlier systems."""
    entries = issues if isinstance(issues, list) else ()
    return tuple(
        entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("type"), str)
    )


def odd_rows_of(rows: Sequence[Record]) -> dict[str, tuple[OddRows, ...]]:
    """Impossible dates by account."""
    by_account: dict[str, tuple[OddRows, ...]] = {}
    for row in sorted(rows, key=lambda row: (row["account_id"], row["table_name"])):
        found = OddRows(row["table_name"], row["rows"], tuple(row["samples"]))
        by_account[row["account_id"]] = (*by_account.get(row["account_id"], ()), found)
    return by_account


def pins_of(rows: Sequence[Record]) -> dict[str, dict[tuple[str, dt.date | None], int]]:
    """Pinned rows by account, table and date."""
    pins: dict[str, dict[tuple[str, dt.date | None], int]] = {}
    for row in rows:
        pins.setdefault(row["account_id"], {})[row["table_name"], row["date"]] = row["rows"]
    return pins


def pins_elsewhere_of(rows: Sequence[Record]) -> Mapping[str, int]:
    """Pinned trades under other ids."""
    elsewhere = Counter[str]()
    for row in rows:
        elsewhere[row["account_id"]] += row["elsewhere"]
    return elsewhere


def findings_by_account(rows: Sequence[Record]) -> dict[str, list[IdentityFinding]]:
    """Findings by candidate and holder."""
    findings: dict[str, list[IdentityFinding]] = defaultdict(list)
    for row in rows:
        finding = IdentityFinding(
            row["table_name"],
            row["login"],
            row["platform"],
            row["broker"],
            row["holder"],
            tuple(row["candidates"]),
            row["rows"],
            tuple(sorted(row["dates"])),
        )
        for account_id in {*finding.candidates, *([finding.holder] if finding.holder else [])}:
            findings[account_id].append(finding)
    return findings
