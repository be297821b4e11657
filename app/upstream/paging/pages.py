"""Pages of one read: how long they are, and reading some ahead."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from app.domain.contract.tables import PAGE_ROWS
from app.upstream.response import Answer

PAGE_READS = 3
"""A page that does not fit the ones before it is read this often before the whole is."""
_MOST_AHEAD = 4
FEW_ROWS = 20
"""No API was seen to cap its pages at so few rows."""
ReadPage = Callable[[int], Awaitable[Answer]]
"""Reads the page that skips so many rows."""


class Sink(Protocol):
    """Takes the rows of one fetch."""

    async def reset(self) -> None:
        """Forget all rows so far: the fetch starts anew."""

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take the next rows, raw JSON objects in the API's order."""

    async def distinct_keys(self) -> int:
        """Count the distinct keys among the rows taken."""

    async def is_of_asked(self) -> bool:
        """Whether there is a row of anyone who was asked for; also true where nobody in particular
        was.
        """


class RowSink(Protocol):
    """Takes the rows of a scan."""

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take the next rows, raw JSON objects in the API's order."""


class PageSize:
    """The most rows that the API puts into a page, whatever limit it is asked for and claims to
    keep.

    Learned from two pages of one length that were both followed by more rows: a page of that length
    is never taken for the last one on the word of its total alone.
    """

    def __init__(self) -> None:
        """Believe the contract until the API shows otherwise."""
        self.rows = PAGE_ROWS
        self._followed = 0

    def note_followed(self, rows: int) -> None:
        """More rows came after a page of so many."""
        if 1 < rows == self._followed:
            self.rows = min(self.rows, rows)
        self._followed = rows

    def is_reached(self, answer: Answer, *, is_limit_known: bool) -> bool:
        """Whether a page may end where its limit is, and not where the rows do; one that does not
        tell its limit always may.
        """
        limit = answer.limit or (PAGE_ROWS if is_limit_known else 0)
        return len(answer.rows) >= min(self.rows, limit)


class PagesAhead:
    """Reads pages, a few of them before they are asked for.

    Which rows a page will begin with is a guess that holds while pages come full; the first
    question that was not foreseen drops what is on its way, and from then on pages are read one by
    one.
    """

    def __init__(self, read: ReadPage, most: int = _MOST_AHEAD) -> None:
        """Hold at most `most` pages that were not asked for yet."""
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
        """Begin to read the pages that skip so many rows, in this order."""
        self._planned = iter(starts)
        self._top_up()

    async def read(self, skip: int) -> Answer:
        """The page that skips so many rows."""
        task = self._tasks.pop(skip, None)
        if task is None:
            await self.drop()
            return await self._read(skip)
        self._top_up()
        return await task

    async def read_again(self, skip: int) -> Answer:
        """A page that was read before, anew; those ahead of it stay on their way."""
        return await self._read(skip)

    async def drop(self) -> None:
        """Forget the plan and end the requests under way."""
        self._planned = iter(())
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _top_up(self) -> None:
        while len(self._tasks) < self._most and (skip := next(self._planned, None)) is not None:
            self._tasks[skip] = asyncio.ensure_future(self._read(skip))
