"""The summary that the report is read from: counted anew after work was recorded, seldom enough to
cost little.

Each process counts for what it recorded itself. One counts at a time, and how long the last count
took and when it was stands in the summary itself, so that all processes together spend no more than
their share. What others change in trade_recon without telling is found within a minute.

Before something comes to its end, such as a run, it is counted: whoever sees the end finds it in
the report, and nobody who reads the report ever waits for counting.
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
"""After counting so many times its own duration passes before it is done again: 5 % of a core, over
all processes.
"""
_LEAST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_CHEAP_SECONDS = 0.1
_TURN_SECONDS = 1.0
"""How long the end of something waits for another process that counts from before it; then it is
counted a little later.
"""
_LOOK_SECONDS = 0.05


class SnapshotRefresher:
    """Counts the figures of the report when they changed."""

    def __init__(self, readings: Readings) -> None:
        """`readings` counts and keeps."""
        self._readings = readings
        self._noted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._seconds = 0.0
        self._ends = 0

    @property
    def ends(self) -> int:
        """How much came to its end in this process: whoever read the summary when it was less reads
        it again.
        """
        return self._ends

    @property
    def is_behind(self) -> bool:
        """Whether something that this process recorded is not counted yet."""
        return self._noted.is_set()

    @property
    def is_cheap(self) -> bool:
        """Whether it takes so little to count that it may be done for one account."""
        return self._seconds < _CHEAP_SECONDS

    def note(self) -> None:
        """Something was recorded, and more is to come."""
        self._noted.set()

    def note_end(self) -> None:
        """Something came to its end: it is seen by the next who asks."""
        self._ends += 1
        self._noted.set()

    @contextlib.asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Around work that is at its end with the context: it is counted before whoever asked for
        it goes on.
        """
        try:
            yield
        finally:
            self.note_end()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Count what was recorded until now, whenever that was done last; when it cannot be done
        now, it is done as soon as it can.
        """
        self._noted.set()
        until = time.monotonic() + _TURN_SECONDS
        try:
            while not await self._count(0, 0) and time.monotonic() < until:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(_LOOK_SECONDS)
        except ReconError as error:
            _log.warning("The report's figures wait.", action="report.waiting", reason=str(error))
        self._ends += 1

    async def keep(self) -> None:
        """Count after each note, and once a minute. Never returns."""
        while True:
            is_noted = await self._is_noted()
            pause = _LEAST_PAUSE
            try:
                # Whoever only looks after what others may have changed leaves it to the process
                # that just did.
                if await self._count(_LEAST_PAUSE if is_noted else _LONGEST_PAUSE / 2, _SHARE):
                    pause = max(pause, _SHARE * self._seconds)
            except ReconError as error:
                _log.warning(
                    "The report's figures wait.", action="report.waiting", reason=str(error)
                )
            except Exception:  # noqa: BLE001 - the last resort of a task that must go on
                # Nobody would notice that the report grows old: it says so, and tries again.
                _log.exception("The report's figures could not be counted.", action="report.failed")
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Count once more at the end of the work, if there is anything to count."""
        if self._noted.is_set():
            await self.catch_up()

    async def _is_noted(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_PAUSE):
                await self._noted.wait()
        return self._noted.is_set()

    async def _count(self, least_seconds: float, share: float) -> bool:
        async with self._turn:
            # Before counting: what is recorded meanwhile is counted the next time.
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
                    # Somebody else counts, perhaps from before what was noted here, or did so a
                    # moment ago.
                    self._noted.set()
            return is_counted
