"""Page sizes, and reading ahead."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from app.domain.contract.tables import PAGE_ROWS
from app.upstream.response import Answer

PAGE_READS = 3
"""Of an unfit page, before the whole is reread."""
_MOST_AHEAD = 4
FEW_ROWS = 20
"""No API was seen with smaller pages."""
ReadPage = Callable[[int], Awaitable[Answer]]
"""Reads the page at this offset."""


class Sink(Protocol):
    """Takes the rows of one fetch."""

    async def reset(self) -> None:
        """Forget all rows: the fetch starts again."""

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take JSON objects in order."""

    async def distinct_keys(self) -> int:
        """Distinct keys among the rows taken."""

    async def is_of_asked(self) -> bool:
        """Whether any row is of a requested account."""


class RowSink(Protocol):
    """Takes the rows of a scan."""

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take JSON objects in order."""


class PageSize:
    """The API's real page size, from two equally long pages with successors.

    The total alone never makes such a page the last.
    """

    def __init__(self) -> None:
        self.rows = PAGE_ROWS
        self._followed = 0

    def note_followed(self, rows: int) -> None:
        """A page of `rows` rows had a successor."""
        if 1 < rows == self._followed:
            self.rows = min(self.rows, rows)
        self._followed = rows

    def is_reached(self, answer: Answer, *, is_limit_known: bool) -> bool:
        """Whether the limit may have ended the page."""
        limit = answer.limit or (PAGE_ROWS if is_limit_known else 0)
        return len(answer.rows) >= min(self.rows, limit)


class PagesAhead:
    """Reads ahead while pages are full; the first unforeseen one ends that."""

    def __init__(self, read: ReadPage, most: int = _MOST_AHEAD) -> None:
        self._read = read
        self._most = most
        self._planned: Iterator[int] = iter(())
        self._tasks: dict[int, asyncio.Task[Answer]] = {}

    async def __aenter__(self) -> Self:
        """Start without a plan."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave no request under way."""
        await self.drop()

    def plan(self, starts: Iterable[int]) -> None:
        """Begin to read at these offsets."""
        self._planned = iter(starts)
        self._top_up()

    async def read(self, skip: int) -> Answer:
        """The page at this offset."""
        task = self._tasks.pop(skip, None)
        if task is None:
            await self.drop()
            return await self._read(skip)
        self._top_up()
        return await task

    async def read_again(self, skip: int) -> Answer:
        """Read the page again."""
        return await self._read(skip)

    async def drop(self) -> None:
        """Forget the plan and cancel its requests."""
        self._planned = iter(())
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _top_up(self) -> None:
        while len(self._tasks) < self._most and (skip := next(self._planned, None)) is not None:
            self._tasks[skip] = asyncio.ensure_future(self._read(skip))
