"""Refreshes the report's snapshot, at little cost.

Each process refreshes for its own records; the snapshot's time and duration hold all of them to one
budget. Other changes show within a minute. Work is seen as done only after a refresh; readers never
wait.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from app.engine.report.views import Readings
from app.errors import ReconError
from app.telemetry import get_logger

_log = get_logger(__name__)
_SHARE = 20
"""Pause in refreshes' durations: 5 % of a core together."""
_LEAST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_CHEAP_SECONDS = 0.1
_TURN_SECONDS = 1.0
"""Longest wait for another process's refresh."""
_LOOK_SECONDS = 0.05


class SnapshotRefresher:
    """Refreshes the snapshot after changes."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._noted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._seconds = 0.0
        self._ends = 0

    @property
    def ends(self) -> int:
        """Completed operations; reports cached before are stale."""
        return self._ends

    @property
    def is_behind(self) -> bool:
        """Whether the snapshot lacks records made here."""
        return self._noted.is_set()

    @property
    def is_cheap(self) -> bool:
        """Whether one account is worth it."""
        return self._seconds < _CHEAP_SECONDS

    def note(self) -> None:
        """Note a record."""
        self._noted.set()

    def note_end(self) -> None:
        """Note completed work."""
        self._ends += 1
        self._noted.set()

    @contextlib.asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Refresh before the caller sees the end."""
        try:
            yield
        finally:
            self.note_end()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Refresh as soon as possible."""
        self._noted.set()
        until = time.monotonic() + _TURN_SECONDS
        try:
            while not await self._count(0, 0) and time.monotonic() < until:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(_LOOK_SECONDS)
        except ReconError as error:
            _log.warning("The report's figures wait.", action="report.waiting", reason=str(error))
        self._ends += 1

    async def keep(self) -> None:
        """Refresh after notes, and every minute, forever."""
        while True:
            is_noted = await self._is_noted()
            pause = _LEAST_PAUSE
            try:
                # A routine refresh is skipped if another process just did one.
                if await self._count(_LEAST_PAUSE if is_noted else _LONGEST_PAUSE / 2, _SHARE):
                    pause = max(pause, _SHARE * self._seconds)
            except ReconError as error:
                _log.warning(
                    "The report's figures wait.", action="report.waiting", reason=str(error)
                )
            except Exception:  # noqa: BLE001 - the last resort of a task that must go on
                # A dead task would leave the report stale unnoticed: log the error, and try again.
                _log.exception("The report's figures could not be counted.", action="report.failed")
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Refresh once more if needed."""
        if self._noted.is_set():
            await self.catch_up()

    async def _is_noted(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_PAUSE):
                await self._noted.wait()
        return self._noted.is_set()

    async def _count(self, least_seconds: float, share: float) -> bool:
        async with self._turn:
            # Before counting: records made meanwhile are counted next time.
            was_noted = self._noted.is_set()
            self._noted.clear()
            begun = time.monotonic()
            is_counted = False
            try:
                is_counted = await self._readings.keep_report(least_seconds, share)
            finally:
                if is_counted:
                    self._seconds = time.monotonic() - begun
                elif was_noted:
                    # Another process counts, or just did, perhaps without the latest record here.
                    self._noted.set()
            return is_counted
