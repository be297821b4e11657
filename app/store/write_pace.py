"""Pace and chunks of writes to raw tables."""

from aiolimiter import AsyncLimiter

CHUNK_ROWS = 20_000
"""Most rows of one transaction, where they can be parted."""


class WritePace:
    """Limits rows a second, by waits and smaller transactions."""

    def __init__(self, rows_per_second: float | None = None) -> None:
        """Belongs to one event loop; None: no limit."""
        self._limiter = (
            None
            if rows_per_second is None
            else AsyncLimiter(max(1.0, rows_per_second), max(1.0, 1.0 / rows_per_second))
        )
        self._most = (
            CHUNK_ROWS if rows_per_second is None else max(1, min(CHUNK_ROWS, int(rows_per_second)))
        )

    def chunk(self, most: int = CHUNK_ROWS) -> int:
        """Rows that a transaction may write, at most `most`."""
        return min(most, self._most)

    async def spend(self, rows: int) -> None:
        """Return when rows may be written after these."""
        if self._limiter is None:
            return
        while rows > 0:
            piece = min(rows, int(self._limiter.max_rate))
            await self._limiter.acquire(piece)
            rows -= piece
