"""The report and its snapshot in PostgreSQL."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.domain.runs.emptiness import NO_TRADES, NOBODY_KNOWN
from app.domain.runs.grounds import audited
from app.domain.states import Outcome
from app.domain.wording.counts import counted
from app.engine.config import EngineConfig
from app.engine.records import read
from app.engine.report.models.report import (
    AcceptedFigures,
    Activity,
    ApiReport,
    Report,
    ReportFigures,
    UnresolvedKey,
    UnresolvedKeys,
)
from app.engine.report.runs import ended_run
from app.engine.repositories import Repositories
from app.store.database.transaction import Connection, Record
from app.store.report.figures import Horizon
from app.store.report.figures import ReportFigures as CountedFigures
from app.store.report.report import KeptFigures

_UNMATCHED_SHOWN = 20
_ACTIVE = dt.timedelta(days=7)


class LastAuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """The newest full audit."""

    finished_at: dt.datetime
    run_id: object
    left_out: int


class ReportSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Figures, and the last ended, holding and auditing runs."""

    figures: ReportFigures
    computed_at: dt.datetime
    read_at: dt.datetime
    last_run: Record | None
    holding_run: Record | None
    last_audit: Record | None


class ReportReader:
    """Counts, keeps and shows the figures."""

    def __init__(
        self, store: Repositories, config: EngineConfig, now: Callable[[], dt.datetime]
    ) -> None:
        self._store = store
        self._config = config
        self._now = now

    async def counted(self) -> ReportSnapshot:
        """A snapshot counted now."""
        runs = await self._store.reports.newest_runs(self._today())
        return _snapshot(await self._store.reports.counted(self._figures, self._horizon()), runs)

    async def kept(self) -> ReportSnapshot:
        """The kept snapshot; counted now if absent, or if an acceptance ended."""
        # Runs first: figures are refreshed before a run ends, so that they are no older than it.
        runs = await self._store.reports.newest_runs(self._today())
        kept = await self._store.reports.kept()
        snapshot = None if kept is None else _snapshot(kept, runs)
        if snapshot is None or _is_outdated(snapshot.figures, self._today()):
            counted_now = await self._store.reports.counted(self._figures, self._horizon())
            return _snapshot(counted_now, runs)
        return snapshot

    async def refresh(self, least_seconds: float = 0, share: float = 0) -> bool:
        """Count and keep; False if another process does, or did within `least_seconds` or `share`
        durations.
        """
        return await self._store.reports.keep(self._figures, self._horizon(), least_seconds, share)

    def _today(self) -> dt.date:
        return self._config.today(self._now())

    def _horizon(self) -> Horizon:
        return Horizon(self._today(), self._config.moving_from(self._now()))

    async def _figures(self, figures: CountedFigures, connection: Connection) -> Mapping[str, Any]:
        """As JSON; nothing that time changes."""
        kept: Mapping[str, Any] = msgspec.to_builtins(
            {
                "overall": figures.overall,
                "issues_by_type": figures.issues,
                "activity": figures.activity,
                "doubts": figures.doubts,
                "accounts_by_status": figures.statuses,
                "open_trades": figures.open_trades,
                "history_from": figures.history_from,
                "accepted": figures.accepted,
                "holding": [dict(row) for row in figures.holding],
                "disagree_without_issue": figures.undetailed,
                "accounts_with_trades": figures.with_trades,
                "money_relations": figures.money,
                "identity": await unresolved_keys(self._store, connection),
            }
        )
        return kept

    def shown(self, snapshot: ReportSnapshot, api: ApiReport | None) -> Report:
        """The report of a snapshot, now."""
        figures = snapshot.figures
        through, reason = self._through(figures)
        accepted = figures.accepted
        if accepted is not None and not accepted.accounts:
            accepted = None
        holding = figures.holding
        is_held = bool(figures.accounts_by_status.get(Outcome.NEEDS_CONFIRMATION))
        return Report(
            as_of=snapshot.computed_at,
            overall=figures.overall,
            issues_by_type=figures.issues_by_type,
            recent_activity=_activity(figures, (snapshot.read_at - _ACTIVE).date()),
            history_from=figures.history_from,
            money_relations=figures.money_relations,
            reconciled_through=through,
            reconciled_through_reason=reason,
            reconciled_through_told=_through_told(through, accepted),
            accepted=accepted,
            audited=_audited(snapshot.last_audit),
            holding_accounts=holding[0].accounts if holding else 0,
            held_back_by=holding,
            accounts_by_status=figures.accounts_by_status,
            disagree_without_issue=figures.disagree_without_issue,
            message=_rests_on(figures),
            identity=figures.identity,
            open_trades=figures.open_trades,
            api=api,
            last_run=ended_run(snapshot.last_run),
            # Without held accounts, later runs repaired that run's.
            holding_run=ended_run(snapshot.holding_run) if is_held else None,
        )

    def _through(self, figures: ReportFigures) -> tuple[dt.date | None, str]:
        """The last reconciled date (None: none), and the reason."""
        if not figures.overall.total_accounts:
            return None, NOBODY_KNOWN
        settled = self._config.moving_from(self._now())
        first, reason = settled, f"Dates from {settled} on still move."
        for doubt in figures.doubts:
            if doubt.first_date is None:
                return None, doubt.reason
            if doubt.first_date < first:
                first, reason = doubt.first_date, doubt.reason
        return (None if first == dt.date.min else first - dt.timedelta(days=1)), reason


async def unresolved_keys(
    store: Repositories, connection: Connection | None = None, limit: int = _UNMATCHED_SHOWN
) -> UnresolvedKeys:
    """Stored keys that fit no account or several."""
    found, unmatched, ambiguous = await store.identity.unresolved(limit, connection)
    sample = [UnresolvedKey(**each.shown()) for each in found]  # type: ignore[arg-type]
    return UnresolvedKeys(unmatched=unmatched, ambiguous=ambiguous, sample=sample)


def _snapshot(
    kept: KeptFigures, runs: tuple[Record | None, Record | None, Record | None]
) -> ReportSnapshot:
    last_run, holding_run, last_audit = runs
    return ReportSnapshot(
        figures=msgspec.convert(kept.figures, ReportFigures),
        computed_at=kept.computed_at,
        read_at=kept.read_at,
        last_run=last_run,
        holding_run=holding_run,
        last_audit=last_audit,
    )


def _activity(figures: ReportFigures, first_day: dt.date) -> Activity:
    days = [day for day in figures.activity if day.day >= first_day]
    return Activity(
        accounts_checked=sum(day.accounts_checked for day in days),
        resolved=sum(day.resolved for day in days),
        failed=sum(day.failed for day in days),
        days=days,
    )


def _audited(stored_audit: Record | None) -> str:
    if stored_audit is None:
        return audited(None, None)
    audit = read(LastAuditRow, stored_audit)
    return audited(audit.finished_at, audit.run_id, audit.left_out)


def _is_outdated(figures: ReportFigures, today: dt.date) -> bool:
    """Whether an acceptance has ended."""
    accepted = figures.accepted
    return bool(accepted and accepted.first_until and accepted.first_until <= today)


def _through_told(through: dt.date | None, accepted: AcceptedFigures | None) -> str:
    """As in "through 2026-11-24, but for 2 accounts accepted until 2027-03-01"."""
    date = f"through {through}" if through else "cannot be said"
    if accepted is None:
        return date
    first, last = accepted.first_until, accepted.last_until
    until = (
        f"accepted until {first}"
        if first == last
        else f"accepted until dates from {first} to {last}"
    )
    return f"{date}, but for {counted(accepted.accounts, 'account')} {until}"


def _rests_on(figures: ReportFigures) -> str | None:
    if not figures.overall.total_accounts:
        return NOBODY_KNOWN
    return None if figures.accounts_with_trades else NO_TRADES
