"""Cooperative cancellation of runs paused, ended or overdue.

Work stops at its next checkpoint, where all written is whole; after the grace time it is cancelled,
losing its fetch.
"""

import asyncio
import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from typing import TypeVar

from app.domain.ids import RunId
from app.engine.end_log import log_end
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.telemetry import get_logger

_Result = TypeVar("_Result")
_log = get_logger(__name__)


class StopSignal:
    """Whether to stop at the next checkpoint."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Stop at the next checkpoint."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether to stop."""
        return self._event.is_set()

    async def limit(
        self, work: Coroutine[object, object, _Result], grace_seconds: float
    ) -> _Result | None:
        """The result; None if cancelled, `grace_seconds` after the signal."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({task}, timeout=grace_seconds)
            if not task.done():
                return None
            return await task
        finally:
            stopped.cancel()
            task.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)


class StopSignals:
    """One signal for each piece of work."""

    def __init__(self, store: Repositories, today: Callable[[], dt.date]) -> None:
        self._today = today
        self._store, self._control = store, store.control
        self._signals: defaultdict[RunId, set[StopSignal]] = defaultdict(set)
        self._is_stopping = False

    @contextlib.contextmanager
    def working_on(self, run_id: RunId) -> Iterator[StopSignal]:
        """The signal of one piece of work; each has its own, as a resumed run is taken up while
        stopped work still ends.
        """
        signal = StopSignal()
        self._signals[run_id].add(signal)
        if self._is_stopping:
            signal.set()
        try:
            yield signal
        finally:
            self._signals[run_id].discard(signal)
            if not self._signals[run_id]:
                del self._signals[run_id]

    @property
    def run_ids(self) -> list[RunId]:
        """Runs worked on here."""
        return list(self._signals)

    def stop(self) -> None:
        """Stop all present and future work."""
        self._is_stopping = True
        for signals in self._signals.values():
            for signal in signals:
                signal.set()

    async def look(self) -> None:
        """End overdue runs, stop paused or ended ones."""
        try:
            for run_id in await self._control.end_overdue():
                _log.info("A run ended at its stop_at.", action="run.stopped", run_id=str(run_id))
                await log_end(self._store, run_id, self._today())
            ours = set(self._signals)
            for run_id in ours - await self._control.working(sorted(ours)) if ours else ():
                begun = [signal for signal in self._signals.get(run_id, ()) if not signal.is_set]
                if begun:
                    _log.info(
                        "A run is paused or over; its batches stop.",
                        action="run.halted",
                        run_id=str(run_id),
                        batches=len(begun),
                    )
                for signal in begun:
                    signal.set()
        except ReconError as error:
            _log.warning(
                "The state of the runs is unknown for the moment.",
                action="run.unwatched",
                reason=str(error),
            )
