"""Reads runs."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from app.domain.accounts.money import dropped_sentence
from app.domain.contract.tables import TABLES
from app.domain.holds.waiting import Waiting
from app.domain.runs.grounds import Basis
from app.domain.runs.leftovers import Leftovers, standing_status
from app.domain.runs.waits import Wait, guarded
from app.domain.states import Depth, RunStatus
from app.domain.wording.counts import choose
from app.engine.records import EndedRunRow, ListedRunRow, RunRow, read
from app.engine.report.models.report import EndedRun
from app.engine.report.models.runs import (
    ComparedRows,
    ComparedTable,
    GivenOrder,
    HeldAccount,
    IssueResult,
    LeftRun,
    ListedRun,
    OpenTradesCompared,
    RunAccounts,
    RunAttempt,
    RunList,
    RunResult,
    RunRows,
    RunState,
    RunWait,
    TableResult,
    UnderWay,
)
from app.engine.report.records import MaintenanceNote, RequestNote, ResultLevel
from app.engine.report.waits import WaitReasons
from app.engine.repositories import Repositories
from app.store.database.transaction import Record

_Row = TypeVar("_Row", bound=EndedRunRow)
_NAMED = 20
_DATES_SHOWN = 2_000


class RunReader:
    """Reads runs in their present status."""

    def __init__(
        self, store: Repositories, lease_seconds: float, today: Callable[[], dt.date]
    ) -> None:
        self._store = store
        self._today = today
        self._waits = WaitReasons(store.waits, lease_seconds)

    async def state(self, run_id: uuid.UUID) -> RunState:
        """A run; NotFound if there is none."""
        runs = self._store.run_reader
        stored = read(RunRow, await runs.get(run_id))
        still = await runs.still_held(run_id, self._today()) if stored.needs_confirmation else 0
        waits = await self._waits.of(stored)
        row, is_over = _standing(stored, still), stored.finished_at is not None
        pinned = await runs.pinned_rows(run_id) if is_over else 0
        left = _left(row, still)
        return read(
            RunState,
            msgspec.structs.asdict(row),
            error=_told(row, still, row.waiting if is_over else 0),
            waiting_for=[_shown_wait(wait) for wait in waits or _guarding(row, still)],
            accounts=read(RunAccounts, msgspec.structs.asdict(row), done=row.done),
            under_way=None if is_over else await self._under_way(row),
            left=left.figures,
            left_told=left.sentence,
            needs_somebody=left.needs_somebody,
            rests_on=_rests_on(row, pinned) if is_over else None,
            gone_accounts=await runs.gone_accounts(run_id, _NAMED) if row.gone else [],
            total_processed=row.done,
            fully_resolved=row.unchanged + row.healed + row.explained,
            partially_resolved=row.partial,
            skipped_due_to_previous_failure=row.skipped,
            rows=_rows(row),
            api_stats=row.api,
            compared=compared_rows(row.compared or None, row.requests),
            open_trades=msgspec.convert(row.named_open_trades, OpenTradesCompared | None),
            orders=[read(GivenOrder, each) for each in await self._store.orders.of_run(run_id)],
        )

    async def _under_way(self, row: RunRow) -> UnderWay | None:
        found = await self._store.under_way.of_run(row.run_id)
        if not found.accounts:
            return None
        # Accounts recorded by now may have been reported as under way a moment ago.
        return UnderWay(
            accounts=found.accounts,
            done=min(found.done, row.waiting),
            requests=found.requests,
            rows_written=found.rows_written,
        )

    async def page(
        self,
        statuses: Sequence[str] | None,
        kinds: Sequence[str] | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> RunList:
        """Runs before `before`, newest first; NotFound if that is unknown."""
        rows = [
            read(ListedRunRow, row)
            for row in await self._store.run_reader.listed(
                statuses, kinds, before, limit + 1, self._today()
            )
        ]
        return RunList(
            runs=[_listed(row) for row in rows[:limit]],
            next_before=rows[limit - 1].run_id if len(rows) > limit else None,
        )

    async def held_accounts(self, run_id: uuid.UUID, limit: int) -> list[HeldAccount]:
        """The first held accounts, with reasons."""
        rows = await self._store.run_reader.held_accounts(run_id, limit, self._today())
        return [read(HeldAccount, row) for row in rows]

    async def attempts(self, run_id: uuid.UUID) -> list[RunAttempt]:
        """Finished accounts, in order."""
        return [
            read(RunAttempt, row) for row in await self._store.account_reader.run_attempts(run_id)
        ]

    async def left(self) -> list[LeftRun]:
        """Runs that no living process serves."""
        claims = self._store.claims
        rows = await self._store.active_runs.left(claims.worker_id, claims.lease_seconds)
        return [read(LeftRun, row) for row in rows]

    async def result(self, run_id: uuid.UUID) -> RunResult:
        """Written rows by table, date, broker and issue; NotFound if unknown."""
        rows, issues = await self._store.run_reader.result(run_id)
        counted = [(read(ResultLevel, row).level, read(TableResult, row)) for row in rows]
        by_date = sorted(
            (each for level, each in counted if level == "date"),
            key=lambda each: (each.date or dt.date.max, each.table),
            reverse=True,
        )
        return RunResult(
            run_id=run_id,
            by_table=[each for level, each in counted if level == "table"],
            by_date=by_date[:_DATES_SHOWN],
            by_broker=[each for level, each in counted if level == "broker"],
            by_issue=[read(IssueResult, row) for row in issues],
        )


def compared_rows(
    compared: Mapping[str, Mapping[str, int]] | None, requests: int | None
) -> ComparedRows | None:
    """Row comparison by table; None without one."""
    if compared is None:
        return None
    tables = [
        read(ComparedTable, compared[table.name], table=table.name)
        for table in TABLES.values()
        if table.name in compared
    ]
    return ComparedRows(
        tables=tables,
        rows=sum(table.rows for table in tables),
        columns=sum(table.columns for table in tables),
        differing=sum(table.differing for table in tables),
        requests=requests,
    )


def ended_run(stored: Record | None) -> EndedRun | None:
    """A run in the report."""
    if stored is None:
        return None
    row = read(EndedRunRow, stored)
    still = row.still_held
    row = _standing(row, still)
    left = _left(row, still)
    return read(
        EndedRun,
        msgspec.structs.asdict(row),
        error=_told(row, still),
        left=left.figures,
        left_told=left.sentence,
        needs_somebody=left.needs_somebody,
    )


def _listed(stored: ListedRunRow) -> ListedRun:
    still = stored.still_held
    row = _standing(stored, still)
    return read(
        ListedRun,
        msgspec.structs.asdict(row),
        error=_told(row, still),
        needs_somebody=_left(row, still).needs_somebody,
        done=row.done,
        rows_written=_rows(row).written,
    )


def _rows(row: ListedRunRow) -> RunRows:
    return RunRows(
        inserted=row.rows_inserted,
        updated=row.rows_updated,
        moved=row.rows_moved,
        removed=row.rows_removed,
        set_aside=row.rows_set_aside,
    )


def _rests_on(row: RunRow, pinned: int) -> str | None:
    """The basis of an ended run's result."""
    request = read(RequestNote, row.request if isinstance(row.request, dict) else {})
    ids, depth = request.account_ids, request.depth
    return Basis(
        row.kind,
        by_rows=depth == Depth.ROWS or (depth is None and ids is not None),
        named=None if ids is None else len(ids),
        changed_only=request.changed_only,
        taken=row.total - row.unchanged,
        known=row.known_accounts,
        requests=row.requests,
        began=row.started_at,
        is_prepared=row.prepared_at is not None,
        first=row.history_from,
        compared=row.compared_accounts,
        left_out=row.skipped,
        unread=row.failed + row.gone + row.waiting,
        pinned=pinned,
    ).sentence + dropped_sentence(read(MaintenanceNote, row.maintenance).money_dropped)


def _standing(row: _Row, still: int) -> _Row:
    """The run with its present status: later runs may have ended its holds."""
    left = Leftovers.from_json(row.left_over)
    status = standing_status(row.status, left, held=row.needs_confirmation, still=still)
    return msgspec.structs.replace(row, status=status)


class _Left(NamedTuple):
    """What a run left, in figures and words; None while unknown."""

    figures: Mapping[str, Any] | None = None
    sentence: str | None = None
    needs_somebody: bool | None = None


def _left(row: EndedRunRow, still: int) -> _Left:
    left = Leftovers.from_json(row.left_over)
    if left is None:
        return _Left()
    left = left.with_held(still)
    acts = left.needs_somebody or row.status not in (
        RunStatus.SUCCEEDED,
        RunStatus.COMPLETED_WITH_ISSUES,
    )
    return _Left(left.as_json(), left.sentence, acts)


def _told(row: EndedRunRow, still: int, left: int = 0) -> str | None:
    """Why it ended so, accounts left and held, what to do; None if in order."""
    if row.finished_at is None:
        return None if row.error is None else str(row.error)
    ended = row.error or ("The run ended early." if left else "")
    rest = f"{left} of its accounts {choose(left, 'is', 'are')} left." if left else ""
    waiting = Waiting(
        row.run_id,
        row.status,
        row.needs_confirmation,
        row.newly_held,
        row.held_since,
        row.confirmed_at is not None,
        still,
    )
    return " ".join(filter(None, (ended, rest, waiting.sentence))) or None


def _guarding(row: RunRow, still: int) -> list[Wait]:
    if row.status != RunStatus.NEEDS_CONFIRMATION:
        return []
    return [guarded(_told(row, still) or "", row.finished_at, still)]


def _shown_wait(wait: Wait) -> RunWait:
    return RunWait(
        reason=wait.reason.value,
        message=wait.message,
        since=wait.since,
        until=wait.until,
        accounts=wait.accounts,
    )
