"""The API's quota over all replicas: permits drawn in blocks from one row of PostgreSQL (GCRA).

With rate r and burst B, the same in all replicas, the API gets at most B + r*w requests in any w
seconds.

1. The row says until when the quota is spent. Drawing n permits adds n*T, T = 1/r and a thousandth,
   by the database's clock: each permit has its due time.
2. Requests at most L late come, in w seconds, from at most 1 + (w + L)/T permits: so L = (B-1)*T. A
   third of L is for the way to the API; permits unused within the rest are dropped.
3. Half of that rest is an advance for unused time, which keeps the rate while draws take a while.
4. L is at least a tenth of a second: for small B, T grows to L/(B-1). With B = 1, or slow draws,
   permits are drawn singly, each with a gap for its lateness.
5. Draws reach at most `_horizon` ahead. A row missing after a crash, or further ahead, counts as
   spent until then; so does the quota once the clock was set forward.
6. A process measures from question or answer, whichever is safe, on its monotonic clock; its
   AsyncLimiter keeps the rate whatever the row says.
"""

import asyncio
import math
import random
from dataclasses import dataclass

from aiolimiter import AsyncLimiter

from app.errors import DatabaseError, DatabaseUnavailable, StatementTooSlow, WriteConflict
from app.store.database.pool import Database
from app.telemetry import get_logger

_SLOWER = 1.001
"""Spreads permits beyond the rate, against clock drift."""
_BLOCK_SECONDS = 0.25
"""Longest block: the loss with a killed replica."""
_WAY_SHARE = 1 / 3
_ADVANCE_SHARE = 1 / 2
_LEAST_WAY = 0.05
_LEAST_PATIENCE = 0.05
_LONGEST_PATIENCE = 2.0
"""Seconds between a draw and the use of its permits."""
_AHEAD_SECONDS = 3.0
_DRAW_SECONDS = 10.0
_CLOCK_TOLERANCE = 0.05
_CLOCK_DRIFT = 0.001
_MOST_DRAWS = 20
_log = get_logger(__name__)


@dataclass(slots=True)
class _Block:
    """Permits on the loop's clock: the first from `due` to `until`, others `interval` apart."""

    due: float
    until: float
    interval: float
    permits: int
    passed: int = 0
    used: int = 0

    def pass_one(self) -> None:
        self.due += self.interval
        self.until += self.interval
        self.passed += 1

    def next_size(self, now: float) -> int:
        """Permits to draw next: double if these were used up in time, else what was used."""
        return max(
            1, 2 * self.used if self.used == self.permits and now <= self.until else self.used
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """A draw: permits, the database's time, seconds until the quota is spent, our times."""

    permits: int
    now: float
    spent_in: float
    sent: float
    received: float


class Quota:
    """Permits to send: `rate` a second, `burst` at once, over the schema's users.

    Belongs to one event loop.
    """

    def __init__(self, database: Database, rate: float, burst: int) -> None:
        self._database = database
        self._statement = database.queries("quota")["draw_permits"]
        apart = (
            1 / rate if burst == 1 else max(1 / rate, (_LEAST_WAY + _LEAST_PATIENCE) / (burst - 1))
        )
        lateness = (burst - 1) * apart
        self._lateness = lateness - max(lateness * _WAY_SHARE, _LEAST_WAY)
        self._interval = apart * _SLOWER
        self._most = max(1, round(_BLOCK_SECONDS / apart))
        self._horizon = 2 * self._most * self._interval + _AHEAD_SECONDS
        at_once = 1 + math.floor(max(0.0, self._lateness * _ADVANCE_SHARE) / apart)
        self._smoothing = AsyncLimiter(at_once, at_once * apart)
        self._line = asyncio.Lock()
        self._block = _Block(due=0.0, until=0.0, interval=self._interval, permits=0)
        self._patience = _LEAST_PATIENCE
        self._last: _Answer | None = None

    async def acquire(self) -> None:
        """Wait until one request may be sent; it must then go at once.

        Cancelling costs at most a block. Raises DatabaseUnavailable if PostgreSQL is away or too
        slow, DatabaseError if it rejects the draw.
        """
        async with self._line:
            await self._smoothing.acquire()
            if await self._use():
                return
            for _ in range(_MOST_DRAWS):
                self._block = await self._draw()
                if await self._use():
                    return
        raise DatabaseUnavailable(
            f"PostgreSQL or this process is so slow that the permits of {_MOST_DRAWS} draws came"
            " too late to be used; nothing was sent without one."
        )

    async def _use(self) -> bool:
        """Use the block's first valid permit; whether there was one."""
        loop, block = asyncio.get_running_loop(), self._block
        while block.passed < block.permits:
            await asyncio.sleep(block.due - loop.time())
            is_good = loop.time() <= block.until
            block.pass_one()
            if is_good:
                block.used += 1
                return True
        return False

    async def _draw(self) -> _Block:
        """The next permits."""
        size = min(self._block.next_size(asyncio.get_running_loop().time()), self._most)
        is_restart = False
        while True:
            gap = max(0.0, self._patience - self._lateness)
            permits = 1 if gap else size
            answer = await self._ask(permits, gap, is_restart=is_restart)
            is_restart = self._was_set_forward(answer)
            cost = permits * self._interval + gap
            if is_restart:
                _log.warning(
                    "The database's clock was set forward: no permit is drawn until those from"
                    " before are past.",
                    action="quota.clock_jumped",
                )
            elif answer.permits:
                first = answer.spent_in - cost
                # Neither early nor too late, whenever the server read its clock.
                return _Block(
                    due=answer.received + first,
                    until=answer.sent + first + self._lateness + gap,
                    interval=self._interval,
                    permits=permits,
                )
            else:
                # Spread out, since all waiters waited for the same permits.
                await asyncio.sleep(
                    max(0.0, answer.spent_in + cost - self._horizon)
                    + random.uniform(0, _BLOCK_SECONDS)
                )

    async def _ask(self, permits: int, gap: float, *, is_restart: bool) -> _Answer:
        loop = asyncio.get_running_loop()
        advance = 0.0 if gap else self._lateness * _ADVANCE_SHARE
        try:
            async with self._database.connection() as connection:
                sent = loop.time()
                row = await connection.fetch_row(
                    self._statement,
                    permits,
                    self._interval,
                    gap,
                    self._horizon,
                    advance,
                    is_restart,
                    seconds=_DRAW_SECONDS,
                )
                received = loop.time()
        except (DatabaseUnavailable, StatementTooSlow, WriteConflict) as error:
            # In a fetch the original error would blame its rows.
            raise DatabaseUnavailable(
                f"PostgreSQL gave no permit of the API's quota: {error} Nothing was sent."
            ) from error
        if row is None:
            raise DatabaseError(
                "PostgreSQL gave no permit of the API's quota: a rule or a trigger on recon_quota"
                " stands in its way."
            )
        self._patience = min(max(2 * (loop.time() - sent), _LEAST_PATIENCE), _LONGEST_PATIENCE)
        return _Answer(row["permits"], row["now"], row["spent_in"], sent, received)

    def _was_set_forward(self, answer: _Answer) -> bool:
        """Whether the database's clock gained on ours beyond drift."""
        last, self._last = self._last, answer
        if last is None:
            return False
        gained = (answer.now - answer.received) - (last.now - last.sent)
        return gained > _CLOCK_TOLERANCE + _CLOCK_DRIFT * (answer.received - last.sent)
