"""Logs why runs wait."""

import math
import time
from collections.abc import Sequence

from app.domain.ids import RunId
from app.engine.records import RunRow, read
from app.engine.report.waits import WaitReasons
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger

_log = get_logger(__name__)
_SECONDS = 2.0
"""Least time between reads."""
_MOST_RUNS = 3


class WaitLog:
    """Logs each reason once."""

    def __init__(self, store: Repositories, lease_seconds: float) -> None:
        self._store = store
        self._reasons = WaitReasons(store.waits, lease_seconds)
        self._told: dict[RunId, list[str]] = {}
        self._read_at = -math.inf

    def forget(self, run_id: RunId) -> None:
        """Drop an ended run."""
        self._told.pop(run_id, None)

    async def tell_some(self, runs: Sequence[ActiveRun]) -> None:
        """Log why the first runs wait."""
        now = time.monotonic()
        if now - self._read_at >= _SECONDS:
            self._read_at = now
            for run in runs[:_MOST_RUNS]:
                await self.tell(run.run_id)

    async def tell(self, run_id: RunId) -> None:
        """Log changed reasons of a run."""
        try:
            waits = await self._reasons.of(read(RunRow, await self._store.run_reader.get(run_id)))
        except ReconError as error:
            _log.warning(
                "It is not known why a run waits.",
                action="run.unwatched",
                run_id=str(run_id),
                reason=str(error),
            )
            return
        reasons = sorted(f"{wait.reason} {wait.accounts or ''}" for wait in waits)
        if waits and reasons != self._told.get(run_id):
            for wait in waits:
                _log.warning(
                    "A run waits.",
                    action="run.waiting",
                    run_id=str(run_id),
                    reason=wait.reason.value,
                    why=wait.message,
                )
        self._told[run_id] = reasons
