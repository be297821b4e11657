"""All pages of one read, proven to be all of its rows.

With skip and limit a row that is deleted while pages are read shifts the others, and one of them is in no page; `total`
does not show it when another was added. So each page begins with the last row of the page before, and a read is whole
only if they match, the total stayed the same, and as many distinct keys arrived as it names.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Protocol, Self

from app.domain.contract import PAGE_ROWS
from app.errors import IncompleteFetch
from app.upstream.envelope import Answer

WHOLE_READS = 3
"""A fetch that cannot be proven is read anew from its first page, this often in all."""

PAGE_READS = 3
"""A page that does not fit the ones before it is read this often before the whole is."""

_MOST_AHEAD = 4

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
        """Whether there is a row of anyone who was asked for; also true where nobody in particular was."""


class RowSink(Protocol):
    """Takes the rows of a scan."""

    async def add(self, rows: Sequence[bytes]) -> None:
        """Take the next rows, raw JSON objects in the API's order."""


@dataclass(frozen=True, slots=True)
class FetchProof:
    """A fetch is complete: its rows, the pages they came in, and all requests that were sent for it, retries included."""

    rows: int
    pages: int
    requests: int


class PagesAhead:
    """Reads pages, a few of them before they are asked for.

    Which rows a page will begin with is a guess that holds while pages come full; the first question that was not
    foreseen drops what is on its way, and from then on pages are read one by one.
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

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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


class UnprovenError(Exception):
    """One reading of all pages did not prove whole; its text says where and why."""


class _Reading:
    """One reading of all pages, from the first."""

    def __init__(self, pages: PagesAhead, sink: Sink) -> None:
        self._pages = pages
        self._sink = sink
        self._total: int | None = None
        self._last = b""
        self._is_capped = False
        self.held = 0
        self.pages = 0

    async def run(self) -> None:
        """Hand all rows to the sink. UnprovenError: they are not proven to be all."""
        while await self._advance():
            pass
        if not self.held and (await self._pages.read_again(0)).rows:  # nothing overlaps with nothing: only a second answer confirms it
            raise UnprovenError("the first page was empty, and then it was not")
        distinct = await self._sink.distinct_keys()
        if distinct != self.held:
            raise UnprovenError(f"{self.held} rows came, but only {distinct} distinct keys: rows were repeated, so others may be missing")
        if self.held and not await self._sink.is_of_asked():
            raise UnprovenError(f"{self.held} rows came, none of them of anyone who was asked for: it is the answer to another question")

    async def _advance(self) -> bool:
        """Take one page; False when it was the last."""
        skip = max(0, self.held - 1)
        answer = await self._fitting_page(skip)
        self._total = answer.total if self._total is None else self._total
        self.pages += 1
        fresh = answer.rows[1:] if self.held else answer.rows
        if fresh:
            await self._sink.add(fresh)
            self.held += len(fresh)
            self._last = fresh[-1]
        if self._total is None:
            return bool(fresh)
        if self.pages == 1 and len(fresh) == PAGE_ROWS:
            self._pages.plan(range(self.held - 1, self._total - 1, PAGE_ROWS - 1))
        # A full page ends where its limit is, not where the rows do: only one more page shows that the total was not too small.
        return self.held < self._total or len(answer.rows) >= min(PAGE_ROWS, answer.limit or PAGE_ROWS)

    async def _fitting_page(self, skip: int) -> Answer:
        answer = await self._pages.read(skip)
        for _ in range(PAGE_READS - 1):
            if not self._complaint(answer) and not self._is_short(answer, skip):
                return answer
            answer = await self._pages.read_again(skip)
        complaint = self._complaint(answer)
        if complaint:
            raise UnprovenError(f"the page after row {skip} {complaint}")
        self._is_capped = self._is_capped or self._is_short(answer, skip)
        return answer

    def _is_short(self, answer: Answer, skip: int) -> bool:
        """Whether rows are missing from a page by its total; one that stays short is continued, and then no later one is doubted."""
        total = answer.total if self._total is None else self._total
        return total is not None and not self._is_capped and len(answer.rows) < min(PAGE_ROWS, total - skip)

    def _complaint(self, answer: Answer) -> str:
        """What is wrong with a page, by itself or beside the pages before; empty if nothing is."""
        total = answer.total if self._total is None else self._total
        if answer.total is not None and answer.total != total:
            return f"names a total of {answer.total}, an earlier one {total}"
        if len(set(answer.rows)) != len(answer.rows):
            return "holds a row twice"
        complaint = self._complaint_of_overlap(answer.rows)
        if complaint or total is None:
            return complaint
        reached = self.held + len(answer.rows) - bool(self.held)
        if reached > total:
            return f"reaches row {reached}, beyond the total of {total}"
        if reached == self.held < total:
            return f"brings nothing new: {self.held} rows of {total} came"
        return ""

    def _complaint_of_overlap(self, rows: Sequence[bytes]) -> str:
        if self.held and not rows:
            return "is empty; its first row should be the last row of the page before"
        if self.held and not same_row(rows[0], self._last):
            return "does not begin with the last row of the page before: rows moved between the pages"
        return ""


async def fetch_whole(read: ReadPage, sink: Sink, subject: str) -> tuple[int, int]:
    """Hand all rows of a read to the sink; the number of rows and of pages, once they are proven to be all.

    What does not prove whole is read again: the page, then everything, with the sink reset. `subject` names the read in
    IncompleteFetch, which is raised after the last reading, with the sink empty.
    """
    reason = ""
    for _ in range(WHOLE_READS):
        async with PagesAhead(read) as pages:
            reading = _Reading(pages, sink)
            try:
                await reading.run()
            except UnprovenError as unproven:
                reason = str(unproven)
            else:
                return reading.held, reading.pages
        await sink.reset()
    raise IncompleteFetch(f"{subject} could not be proven whole in {WHOLE_READS} readings: {reason}. Nothing of it was kept.")


async def scan_all(read: ReadPage, sink: RowSink, subject: str) -> int:
    """Hand the rows of all pages to the sink as they come, without a proof that they are all; the number of rows.

    IncompleteFetch: the API keeps sending the same pages, so that the scan would never end.
    """
    seen, most = 0, 0
    previous: tuple[bytes, ...] = ()
    async with PagesAhead(read) as pages:
        while True:
            answer = await _page_of_scan(pages, seen, most)
            if not answer.rows:
                return seen
            most = max(most, answer.total or 0)
            if answer.rows == previous or (most and seen > 2 * most + PAGE_ROWS):
                raise IncompleteFetch(f"{subject}: the API sends the same rows again and again ({seen} rows came, the total is {most}).")
            previous = answer.rows
            await sink.add(answer.rows)
            if not seen and len(answer.rows) == PAGE_ROWS:
                pages.plan(range(PAGE_ROWS, most, PAGE_ROWS))
            seen += len(answer.rows)
            if len(answer.rows) < PAGE_ROWS and answer.total is not None and seen >= answer.total:
                return seen


async def _page_of_scan(pages: PagesAhead, seen: int, most: int) -> Answer:
    """The next page; an empty one is believed only if it stays empty, or as many rows came as the API named."""
    answer = await pages.read(seen)
    for _ in range(PAGE_READS - 1):
        if answer.rows or (seen and seen >= max(most, answer.total or 0)):
            break
        answer = await pages.read_again(seen)
    return answer


def same_row(one: bytes, other: bytes) -> bool:
    """Whether two raw rows hold equal values, numbers compared exactly; the order of keys and the form of numbers do not matter."""
    return one == other or _exact(one) == _exact(other)


def _exact(row: bytes) -> object:
    return json.loads(row, parse_float=Decimal, parse_int=Decimal)
