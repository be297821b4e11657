"""The summary that the report is read from: counted anew after work was recorded, seldom enough to cost little.

Each process counts for what it recorded itself; that two count at once is kept out by a lock on the one row. What others change in
trade_recon without telling is found within a minute.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from app.engine.readings import Readings
from app.errors import ReconError
from app.telemetry import get_logger

_log = get_logger(__name__)
_SHARE, _SHARE_AT_END = 20, 2
"""After counting as many times its own duration passes before it is done again; the second when something has come to its end."""
_LEAST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_CHEAP_SECONDS = 0.5
"""Who asks right after the end of something waits for the figures to be counted, unless that takes longer."""


class SummaryKeeper:
    """Counts the figures of the report when they changed."""

    def __init__(self, readings: Readings) -> None:
        """`readings` counts and keeps."""
        self._readings = readings
        self._noted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._ends = 0
        self._ended = False
        self._cost = 0.0
        self._counted_at = 0.0

    @property
    def is_behind(self) -> bool:
        """Whether something has come to its end in this process, such as a run, that is not counted yet."""
        return self._ended or self._ends > 0

    def note(self) -> None:
        """Something was recorded, and more is to come."""
        self._noted.set()

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Around the end of something, which others see before it is noted here."""
        self._ends += 1
        try:
            yield
        finally:
            self._ends -= 1
            self._ended = True
            self._noted.set()

    async def keep(self) -> None:
        """Count after each note, and once a minute. Never returns."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_PAUSE):
                    await self._noted.wait()
            while (pause := self._pause()) > 0:  # noqa: ASYNC110 - time must pass
                # In steps: the end of something may come meanwhile, and makes it shorter.
                await asyncio.sleep(min(pause, _LEAST_PAUSE))
            try:
                await self._count()
            except ReconError as error:
                _log.warning("The report's figures wait.", action="report.waiting", reason=str(error))

    def _pause(self) -> float:
        share = _SHARE_AT_END if self._ended else _SHARE
        return self._counted_at + max(_LEAST_PAUSE, share * self._cost) - time.monotonic()

    async def catch_up(self) -> None:
        """Wait until what came to its end in this process is counted, unless that takes long: then it is counted in its turn."""
        if self.is_behind and self._cost < _CHEAP_SECONDS:
            await self._count()

    async def close(self) -> None:
        """Count once more at the end of the work, if there is anything to count."""
        if self._noted.is_set():
            await self._count()

    async def _count(self) -> None:
        async with self._turn:
            # Before counting: what is recorded meanwhile is counted the next time.
            self._noted.clear()
            ended, self._ended = self._ended, False
            begun = time.monotonic()
            is_counted = False
            try:
                is_counted = await self._readings.keep_report()
            finally:
                self._counted_at = time.monotonic()
                if is_counted:
                    self._cost = self._counted_at - begun
                else:
                    # Somebody else counts, perhaps from before what was noted here.
                    self._ended |= ended
                    self._noted.set()
