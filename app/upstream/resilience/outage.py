"""How long the API has been out."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from app.upstream.failures import AttemptFailed


class Outage:
    """How long the API has answered no request, counted only while one is wanted.

    So a run that starts hours after an outage began has its full patience.
    """

    def __init__(self) -> None:
        self.answers = 0
        self.was_probed = False
        """A last request was sent after all patience."""
        self.last: AttemptFailed | None = None
        self._since: float | None = None
        self._callers = 0
        self._answer = asyncio.Event()

    @property
    def seconds(self) -> float:
        """Seconds since the first failure without an answer after it."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    def answered(self) -> None:
        """The API answered a request."""
        self.answers += 1
        self._end()
        self._answer.set()
        self._answer = asyncio.Event()

    async def wait_for_answer(self, seconds: float) -> None:
        """Wait for any answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._answer.wait()

    def failed(self, error: AttemptFailed) -> None:
        """The API failed a request."""
        self.last = error
        if self._since is None:
            self._since = asyncio.get_running_loop().time()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Count a caller who waits."""
        self._callers += 1
        try:
            yield
        finally:
            self._callers -= 1
            if not self._callers:
                self._end()

    def _end(self) -> None:
        self._since = None
        self.was_probed = False
