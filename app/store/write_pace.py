"""The rate and the chunks in which this process writes raw tables."""

from aiolimiter import AsyncLimiter

CHUNK_ROWS = 20_000
"""Rows that one transaction writes into a raw table at most, as far as they can be parted."""


class WritePace:
    """A limit on rows a second: waits between transactions, and smaller ones."""

    def __init__(self, rows_per_second: float | None = None) -> None:
        """None: no limit. Belongs to one event loop."""
        self._limiter = (
            None
            if rows_per_second is None
            else AsyncLimiter(max(1.0, rows_per_second), max(1.0, 1.0 / rows_per_second))
        )
        self._most = (
            CHUNK_ROWS if rows_per_second is None else max(1, min(CHUNK_ROWS, int(rows_per_second)))
        )

    def chunk(self, most: int = CHUNK_ROWS) -> int:
        """Rows that one transaction may write, at most `most`."""
        return min(most, self._most)

    async def spend(self, rows: int) -> None:
        """Rows were written: return when the next ones may be."""
        if self._limiter is None:
            return
        while rows > 0:
            piece = min(rows, int(self._limiter.max_rate))
            await self._limiter.acquire(piece)
            rows -= piece
