"""Inspections by issue, table, broker and date."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from app.domain.accounts.money import dropped_sentence
from app.domain.runs.inspected import InspectionFigures
from app.domain.states import Outcome, RunKind, RunStatus
from app.engine.records import read
from app.engine.report.inspection_text import sentence
from app.engine.report.models.inspection import (
    Breakdowns,
    Counted,
    FirstSeen,
    FoundAccount,
    InspectedAccounts,
    InspectedBroker,
    InspectedDate,
    InspectedIssue,
    InspectedTable,
    Inspection,
    LackingDate,
    TableTrades,
    UnreadAccount,
)
from app.engine.report.models.report import UnresolvedKeys
from app.engine.report.models.runs import RunState
from app.engine.report.records import MaintenanceNote, RequestNote
from app.engine.report.runs import RunReader
from app.engine.report.snapshot import unresolved_keys
from app.engine.repositories import Repositories
from app.errors import NotFound
from app.store.detect import inspections as stored

_DATES_SHOWN = 2_000
_UNREAD_SHOWN = 100
MOST_LISTED = 10_000
"""Most accounts listed at once."""


@dataclass(frozen=True, slots=True)
class Listing:
    """At most `limit` accounts behind `after`."""

    limit: int
    after: str | None = None


class InspectionReader:
    """Reads inspections."""

    def __init__(self, store: Repositories, runs: RunReader) -> None:
        self._store = store
        self._runs = runs

    async def result(self, run_id: uuid.UUID, listing: Listing) -> Inspection:
        """An inspection so far; NotFound for other runs."""
        state = await self._runs.state(run_id)
        if state.kind != RunKind.INSPECT:
            raise NotFound(
                f"Run {run_id} is no inspection but of kind {state.kind}: GET /runs/{run_id}/result"
                " tells what it did."
            )
        figures = await self._store.inspections.figures(run_id)
        found = await self._store.inspections.accounts(
            run_id, (Outcome.FOUND, Outcome.EXPLAINED), listing.after, listing.limit + 1
        )
        unread = await self._store.inspections.accounts(
            run_id, (Outcome.FAILED,), None, _UNREAD_SHOWN
        )
        identity = (
            await unresolved_keys(self._store)
            if read(RequestNote, state.request).account_ids is None
            else UnresolvedKeys(unmatched=0, ambiguous=0, sample=[])
        )
        accounts = _accounts(state)
        breakdowns = _breakdowns(figures, accounts.total)
        has_more = 0 < listing.limit < len(found)
        return read(
            Inspection,
            msgspec.structs.asdict(state) | msgspec.structs.asdict(breakdowns),
            accounts=accounts,
            message=sentence(state.status, accounts, breakdowns)
            + dropped_sentence(read(MaintenanceNote, state.maintenance).money_dropped),
            identity=identity,
            not_inspected=[
                UnreadAccount(account_id=each.account_id, reason=each.detail) for each in unread
            ],
            listed=[_found(each) for each in found[: listing.limit]],
            next_after=found[listing.limit - 1].account_id if has_more else None,
        )


def is_clean(inspection: Inspection) -> bool:
    """Whether all accounts were inspected, with nothing to do."""
    accounts = inspection.accounts
    return bool(
        inspection.status == RunStatus.SUCCEEDED and accounts.known and not accounts.not_inspected
    )


def _found(account: stored.FoundAccount) -> FoundAccount:
    issues = [FirstSeen(issue=each.issue, first_seen=each.first_seen) for each in account.issues]
    return FoundAccount(account_id=account.account_id, issues=issues)


def _accounts(state: RunState) -> InspectedAccounts:
    accounts = state.accounts
    return InspectedAccounts(
        known=state.known_accounts,
        total=accounts.total,
        inspected=accounts.found + accounts.explained + accounts.unchanged,
        found=accounts.found,
        explained=accounts.explained,
        unchanged=accounts.unchanged,
        not_inspected=accounts.failed + accounts.gone + accounts.waiting + accounts.skipped,
    )


def _breakdowns(figures: InspectionFigures, total: int) -> Breakdowns:
    return Breakdowns(
        by_issue=_by_issue(figures, total),
        by_table=_by_table(figures, total),
        by_broker=[
            InspectedBroker(broker=broker, accounts=accounts, share=_share(accounts, total))
            for broker, accounts in _largest(figures.brokers)
        ],
        by_date=_by_date(figures, total),
        beyond_dates=Counted(
            accounts=figures.short_accounts, share=_share(figures.short_accounts, total)
        ),
        lacking_dates=[
            LackingDate(
                date=dt.date.fromisoformat(day), accounts=accounts, share=_share(accounts, total)
            )
            for day, accounts in sorted(figures.lacking.items(), reverse=True)
        ],
    )


def _by_issue(figures: InspectionFigures, total: int) -> list[InspectedIssue]:
    counted = [
        InspectedIssue(
            issue=issue,
            severity=severity,
            accounts=known.accounts,
            share=_share(known.accounts, total),
            sample=known.sample,
        )
        for (issue, severity), known in figures.issues.items()
    ]
    return sorted(counted, key=lambda each: (each.severity, -each.accounts, each.issue))


def _by_table(figures: InspectionFigures, total: int) -> list[InspectedTable]:
    counted = [
        InspectedTable(table=table, issue=issue, accounts=accounts, share=_share(accounts, total))
        for issue, tables in figures.tables.items()
        for table, accounts in tables.items()
    ]
    return sorted(counted, key=lambda each: (each.table, -each.accounts, each.issue))


def _by_date(figures: InspectionFigures, total: int) -> list[InspectedDate]:
    dates = sorted(figures.dates.keys() | figures.short.keys() | figures.more.keys(), reverse=True)
    return [
        InspectedDate(
            date=dt.date.fromisoformat(day),
            accounts=figures.dates[day],
            share=_share(figures.dates[day], total),
            short=_trades(figures.short, day),
            more=_trades(figures.more, day),
        )
        for day in dates[:_DATES_SHOWN]
    ]


def _trades(figures: Mapping[str, Mapping[str, Mapping[str, int]]], day: str) -> list[TableTrades]:
    tables = sorted(figures.get(day, {}).items())
    return [read(TableTrades, counts, table=table) for table, counts in tables]


def _share(accounts: int, total: int) -> float:
    return round(accounts / total, 4) if total else 0.0


def _largest(counts: Mapping[str, int]) -> Sequence[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
