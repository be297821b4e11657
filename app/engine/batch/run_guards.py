"""Guards of runs, shared by their batches here."""

from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import RunGuard, undoing
from app.domain.ids import RunId
from app.domain.states import RunKind
from app.store.runs.active_runs import ActiveRun
from app.store.runs.lifecycle import Runs

if TYPE_CHECKING:
    import datetime as dt


class RunGuards:
    """Finds a run's guard; a confirmed run begins another."""

    def __init__(self, runs: Runs, limits: HoldLimits) -> None:
        self._runs = runs
        self._limits = limits
        self._guards: dict[RunId, tuple[dt.datetime | None, RunGuard]] = {}

    def forget(self, run_id: RunId) -> None:
        """Drop an ended run."""
        self._guards.pop(run_id, None)

    async def of(self, run: ActiveRun) -> RunGuard:
        """The guard, updated from the record."""
        stands = not run.confirmed and await self._runs.is_suspicion_standing(run.run_id)
        # No await from here on: of two batches that begin at once, the later must find the
        # other's guard.
        guard = self._known(run) or self._begin(run)
        guard.recorded = replace(
            guard.recorded, accounts=run.recorded, rows=run.rows_compared, stands=stands
        )
        guard.reason = guard.reason or run.suspicion
        return guard

    def _known(self, run: ActiveRun) -> RunGuard | None:
        confirmed_at, guard = self._guards.get(run.run_id, (None, None))
        return guard if confirmed_at == run.confirmed_at else None

    def _begin(self, run: ActiveRun) -> RunGuard:
        # An audit has compared all its accounts before its first batch.
        compared = run.total if run.request.kind is RunKind.AUDIT else None
        guard = RunGuard(self._limits, compared, undoing(run.run_id))
        self._guards[run.run_id] = run.confirmed_at, guard
        return guard
