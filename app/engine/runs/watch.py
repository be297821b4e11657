"""Watches runs beside the work."""

import math
import time
from typing import TYPE_CHECKING

from app.engine.batch.batch_progress import BatchProgress
from app.engine.runs.heartbeat import Heartbeat
from app.engine.runs.wait_log import WaitLog
from app.engine.runs.wake import WakeSignal, sleep
from app.engine.stopping import StopSignals
from app.telemetry import get_logger

if TYPE_CHECKING:
    from app.domain.runs.waits import Hindrance

_log = get_logger(__name__)


class RunWatch:
    """Stops work on paused or ended runs; reports progress."""

    def __init__(
        self,
        signals: StopSignals,
        heartbeat: Heartbeat,
        waits: WaitLog,
        under_way: BatchProgress,
    ) -> None:
        self._signals = signals
        self._heartbeat = heartbeat
        self._waits = waits
        self._under_way = under_way
        self._told: Hindrance | None = None
        self._told_at = -math.inf

    async def keep(self, wake: WakeSignal, poll_seconds: float) -> None:
        """Check at wake-ups and every `poll_seconds`."""
        while True:
            event = wake.event
            await self._signals.look()
            await self._tell_hindrance()
            await self._under_way.tell()
            await sleep(poll_seconds, event)

    async def _tell_hindrance(self) -> None:
        before, found = self._told, self._heartbeat.hindrance
        is_new = (before and before.kind) != (found and found.kind)
        if not is_new and not self._is_next_try_past(before):
            return
        self._told, self._told_at = found, time.monotonic()
        await self._heartbeat.beat()
        for run_id in self._signals.run_ids if is_new else ():
            if found is None:
                _log.info("A run goes on.", action="run.going_on", run_id=str(run_id))
            else:
                await self._waits.tell(run_id)

    def _is_next_try_past(self, told: "Hindrance | None") -> bool:
        return (
            told is not None
            and told.next_in is not None
            and time.monotonic() - self._told_at > told.next_in
        )
