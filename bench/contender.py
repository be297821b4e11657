"""A contender of the benchmark of claims: it makes work ready, does it, and counts what is done."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg


@dataclass(frozen=True, slots=True)
class Contender:
    """`queue` makes the work ready, unmeasured; `work` does it; `done` counts what is on record as
    done; `rates` are one a round.
    """

    name: str
    queue: Callable[[], Awaitable[None]]
    work: Callable[[], Awaitable[None]]
    done: Callable[[], Awaitable[int]]
    rates: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Pieces of work a second."""
        return statistics.median(self.rates)

    async def play(self, server: "asyncpg.Connection[asyncpg.Record]", pieces: int) -> None:
        """One round. Raises RuntimeError unless every piece was done."""
        await self.queue()
        await server.execute("CHECKPOINT")
        begun = time.perf_counter()
        await self.work()
        seconds = time.perf_counter() - begun
        done = await self.done()
        if done != pieces:
            raise RuntimeError(
                f"{self.name}: {done} of {pieces} were done; the round says nothing."
            )
        self.rates.append(pieces / seconds)


class NothingToCompareError(Exception):
    """pgqueuer is not installed."""
