"""All pages of one read, proven to be all of its rows.

With skip and limit a row that is deleted while pages are read shifts the others, and one of them is
in no page; `total` does not show it when another was added. So each page begins with the last row
of the page before, and a read is whole only if they match, the total stayed the same, and as many
distinct keys arrived as it names.

Some APIs count only the page, or stop counting at some number. A total that later pages disprove is
ignored from then on; the read is then whole if a further page, asked for from the last row on,
holds nothing but that row.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Protocol, Self

from app.domain.contract.rows import fields_of
from app.domain.contract.tables import PAGE_ROWS
from app.domain.wording.counts import counted
from app.errors import IncompleteFetch
from app.upstream.resilience.health import Patience
from app.upstream.response import Answer

WHOLE_READS = 3
"""A fetch that cannot be proven is read anew from its first page, this often in all."""

SUSPECT_READS = 2
"""One that failed before, or that can be asked for by id instead, is read so often: two readings
show keys that upstream has twice.
"""

PAGE_READS = 3
"""A page that does not fit the ones before it is read this often before the whole is."""

_MOST_AHEAD = 4
_EMPTY, _NOTHING_NEW = "is empty", "brings nothing new"
_NO_MORE = (_EMPTY, _NOTHING_NEW)
"""Complaints that an API which hands out no more than so many rows causes, too."""
_FEW_ROWS = 20
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


@dataclass(frozen=True, slots=True)
class FetchProof:
    """A fetch is complete: its rows, the pages they came in, and all requests that were sent for
    it, retries included.
    """

    rows: int
    pages: int
    requests: int


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


class UnprovenError(Exception):
    """One reading of all pages did not prove whole; its text says where and why."""


class _DoubledError(UnprovenError):
    """Keys came twice, and nothing else is wrong: another reading tells whether upstream has them
    twice or rows moved meanwhile.
    """


class _Reading:
    """One reading of all pages, from the first."""

    def __init__(
        self,
        pages: PagesAhead,
        sink: Sink,
        size: PageSize,
        patience: Patience,
        *,
        finds_copies: bool = False,
    ) -> None:
        self._pages = pages
        self._patience = patience
        self._places: dict[bytes, int] | None = {} if finds_copies else None
        self._holds_copies_apart = False
        self._distinct = 0
        self._sink = sink
        self._size = size
        self._total: int | None = None
        self._may_count_pages = False
        self._ignores_totals = False
        self._is_total_beyond_page = False
        self._last = b""
        self._last_page = 0
        self._is_capped = False
        self.skip = 0
        self._digest = hashlib.blake2b()
        self.ends_early = False
        self.held = 0
        self.pages = 0

    @property
    def is_cut_off(self) -> bool:
        """Whether whole pages came and then no more, though rows are missing: they may be behind
        the largest `skip`.
        """
        return self.ends_early and (self.pages > 1 or self.held >= PAGE_ROWS)

    @property
    def digest(self) -> bytes:
        """Equal for two readings that brought the same rows in the same order."""
        return self._digest.digest()

    @property
    def may_have_shifted(self) -> bool:
        """Whether a row of several pages came once more at another place, as one does that moved
        there while another one was skipped.

        Not where the total counts each key once: then no other row is missing.
        """
        return self.pages > 1 and self._holds_copies_apart and self._total != self._distinct

    async def run(self) -> None:
        """Hand all rows to the sink. UnprovenError: they are not proven to be all."""
        while await self._advance():
            pass
        if (
            not self.held and (await self._pages.read_again(0)).rows
        ):  # nothing overlaps with nothing: only a second answer confirms it
            raise UnprovenError("the first page was empty, and then it was not")
        if self.held and not await self._sink.is_of_asked():
            self._patience.spend(PAGE_READS)
            raise UnprovenError(
                f"{counted(self.held, 'row')} came, none of an account that was asked for: it is"
                " the answer to another question"
            )
        self._distinct = await self._sink.distinct_keys()
        if self._distinct != self.held:
            self._patience.spend(PAGE_READS)
            raise _DoubledError(
                f"{counted(self.held, 'row')} came, but only"
                f" {counted(self._distinct, 'distinct key')}: rows were repeated, so others may be"
                " missing"
            )

    async def _advance(self) -> bool:
        """Take one page; False when it was the last."""
        self.skip = skip = max(0, self.held - 1)
        answer = await self._fitting_page(skip)
        if self._total is None and answer.total is not None:
            self._total, self._may_count_pages = answer.total, answer.total == len(answer.rows)
        self._is_total_beyond_page |= self._total is not None and self._total > skip + len(
            answer.rows
        )
        self.pages += 1
        fresh = answer.rows[1:] if self.held else answer.rows
        if fresh:
            if self.held:
                self._size.note_followed(self._last_page)
            await self._sink.add(fresh)
            self.held += len(fresh)
            self._note(fresh)
            self._last, self._last_page = fresh[-1], len(answer.rows)
        if self._total is None or self._ignores_totals:
            return bool(fresh)
        if self.pages == 1 and len(fresh) == PAGE_ROWS:
            self._pages.plan(range(self.held - 1, self._total - 1, PAGE_ROWS - 1))
        # A full page ends where its limit is, not where the rows do: only one more page shows that
        # the total was not too small.
        is_full = self._size.is_reached(answer, is_limit_known=self._is_total_beyond_page)
        return self.held < self._total or (bool(fresh) and is_full)

    def _note(self, fresh: Sequence[bytes]) -> None:
        for place, row in enumerate(fresh, self.held - len(fresh)):
            self._digest.update(row)
            if self._places is not None:
                mark = hashlib.blake2b(row, digest_size=16).digest()
                self._holds_copies_apart |= self._places.get(mark, place - 1) != place - 1
                self._places[mark] = place

    async def _fitting_page(self, skip: int) -> Answer:
        answer = await self._pages.read(skip)
        before: Answer | None = None
        for _ in range(PAGE_READS - 1):
            # A row that stands twice in a page, and does so again, is upstream's; the keys of the
            # whole reading are counted at its end.
            is_steady = len(set(answer.rows)) == len(answer.rows) or (
                before is not None and before.rows == answer.rows
            )
            if (
                is_steady
                and not self._complaint(answer)
                and not self._is_short(answer, skip)
                and not self._is_beyond_total(answer, skip)
            ):
                self._patience.regain()
                return answer
            self._patience.spend()
            if not self._patience.is_left:
                break
            before, answer = answer, await self._pages.read_again(skip)
        complaint = self._complaint(answer)
        if (
            not complaint
            and len(set(answer.rows)) != len(answer.rows)
            and (before is None or before.rows != answer.rows)
        ):
            complaint = "holds a row twice, and each time another"
        if (
            not complaint
            and not self._patience.is_left
            and len(answer.rows) <= _FEW_ROWS
            and self._is_short(answer, skip)
        ):
            complaint = (
                f"holds {counted(len(answer.rows), 'row')}, short of the total of {answer.total}"
            )
        if complaint:
            self._patience.spend()
            self.ends_early = complaint.startswith(_NO_MORE)
            raise UnprovenError(f"the page after row {skip} {complaint}")
        self._is_capped = self._is_capped or self._is_short(answer, skip)
        self._ignores_totals = self._ignores_totals or self._is_beyond_total(answer, skip)
        return answer

    def _total_by(self, answer: Answer) -> int | None:
        """The total by which a page is judged: the first one that was told; None if none was, or if
        totals are ignored.
        """
        if self._ignores_totals:
            return None
        return answer.total if self._total is None else self._total

    def _is_short(self, answer: Answer, skip: int) -> bool:
        """Whether rows are missing from a page by its total; one that stays short is continued, and
        then no later one is doubted.
        """
        total = self._total_by(answer)
        return (
            total is not None
            and not self._is_capped
            and len(answer.rows) < min(PAGE_ROWS, total - skip)
        )

    def _is_beyond_total(self, answer: Answer, skip: int) -> bool:
        """Whether a page shows more rows than its total allows; if it stays so, no total of this
        reading is believed.
        """
        if self._ignores_totals or not answer.rows:
            return False
        total = self._total if answer.total is None else answer.total
        return total is not None and total < skip + len(answer.rows)

    def _complaint(self, answer: Answer) -> str:
        """What is wrong with a page, by itself or beside the pages before; empty if nothing is."""
        counts_itself = self._may_count_pages and answer.total == len(answer.rows)
        if (
            self._total is not None
            and answer.total is not None
            and answer.total != self._total
            and not counts_itself
        ):
            return f"names a total of {answer.total}, an earlier one {self._total}"
        if answer.total is not None and answer.total < len(
            set(answer.rows)
        ):  # a page that contradicts itself is no answer
            return f"holds {counted(len(answer.rows), 'row')}, beyond the total of {answer.total}"
        complaint = self._complaint_of_overlap(answer.rows)
        total = self._total_by(answer)
        if complaint or total is None:
            return complaint
        if self.held + len(answer.rows) - bool(self.held) == self.held < total:
            return f"{_NOTHING_NEW}: {counted(self.held, 'row')} of {total} came"
        return ""

    def _complaint_of_overlap(self, rows: Sequence[bytes]) -> str:
        if self.held and not rows:
            return f"{_EMPTY}; its first row should be the last row of the page before"
        if self.held and not same_row(rows[0], self._last):
            return (
                "does not begin with the last row of the page before: rows moved between the pages"
            )
        return ""


async def fetch_whole(
    read: ReadPage,
    sink: Sink,
    subject: str,
    size: PageSize | None = None,
    patience: Patience | None = None,
    readings: int = WHOLE_READS,
) -> tuple[int, int]:
    """Hand all rows of a read to the sink; the number of rows and of pages, once they are proven to
    be all.

    What does not prove whole is read again: the page, then everything, with the sink reset. Where
    only keys are doubled, and two readings in a row brought the very same rows, upstream has those
    keys twice and the rows are all there is, unless one of them may have moved. `subject` names the
    read in IncompleteFetch, which is raised after the last reading, with the sink empty; `size` is
    what is known of the API's pages. There are so many `readings` at most, and no further one once
    the `patience` with the endpoint is spent.
    """
    reason, skip, size, patience = "", 0, size or PageSize(), patience or Patience()
    doubled: bytes | None = None
    for times in range(1, readings + 1):
        async with PagesAhead(read) as pages:
            # Where a row stands is only kept when it matters: of a million rows it would take much
            # memory.
            reading = _Reading(pages, sink, size, patience, finds_copies=doubled is not None)
            try:
                await reading.run()
            except _DoubledError as unproven:
                if doubled == reading.digest and not reading.may_have_shifted:
                    return reading.held, reading.pages
                reason, doubled = str(unproven), reading.digest
            except UnprovenError as unproven:
                reason, doubled = str(unproven), None
                skip = reading.skip if reading.is_cut_off else 0
            else:
                return reading.held, reading.pages
        await sink.reset()
        if times == readings or not patience.is_left:
            break
    told = (
        f"{subject} could not be proven whole in {counted(times, 'reading')}: {reason}. Nothing of"
        " it was kept."
    )
    raise IncompleteFetch(told, skip=skip)


async def scan_all(
    read: ReadPage,
    sink: RowSink,
    subject: str,
    size: PageSize | None = None,
    *,
    is_of_all: bool = True,
) -> int:
    """Hand the rows of all pages to the sink as they come, without a proof that they are all; the
    number of rows.

    IncompleteFetch: the API keeps sending the same pages, so that the scan would never end; or it
    sends no more rows though it named more, where `is_of_all` tells that no account was asked for
    by id. `size` is what is known of its pages.
    """
    size = size or PageSize()
    seen, most, ignores_totals = 0, 0, False
    previous: tuple[bytes, ...] = ()
    async with PagesAhead(read) as pages:
        while True:
            answer = await _page_of_scan(pages, seen, most)
            if not answer.rows:
                if is_of_all and seen < most:
                    raise IncompleteFetch(
                        f"{subject}: the API sends no more than {counted(seen, 'row')}, the total"
                        f" is {most}."
                    )
                return seen
            ignores_totals |= answer.total is not None and answer.total < seen + len(answer.rows)
            most = 0 if ignores_totals else max(most, answer.total or 0)
            if answer.rows == previous or (most and seen > 2 * most + PAGE_ROWS):
                raise IncompleteFetch(
                    f"{subject}: the API sends the same rows again and again"
                    f" ({counted(seen, 'row')} came, the total is {most})."
                )
            if previous:
                size.note_followed(len(previous))
            previous = answer.rows
            await sink.add(answer.rows)
            if not seen and len(answer.rows) == PAGE_ROWS:
                pages.plan(range(PAGE_ROWS, most, PAGE_ROWS))
            is_first, seen = not seen, seen + len(answer.rows)
            # The total of a single page may count just that page: where that would go unnoticed, an
            # empty page is the proof.
            is_proof = not is_first or not is_of_all or seen <= _FEW_ROWS
            if (
                is_proof
                and most
                and seen >= most
                and not size.is_reached(answer, is_limit_known=not is_first)
            ):
                return seen


async def _page_of_scan(pages: PagesAhead, seen: int, most: int) -> Answer:
    """The next page; an empty one is believed only if it stays empty, or as many rows came as the
    API named.
    """
    answer = await pages.read(seen)
    for _ in range(PAGE_READS - 1):
        if answer.rows or (seen and seen >= max(most, answer.total or 0)):
            break
        answer = await pages.read_again(seen)
    return answer


def same_row(one: bytes, other: bytes) -> bool:
    """Whether two raw rows hold equal values, numbers compared exactly; the order of keys and the
    form of numbers do not matter.
    """
    return one == other or _exact(one) == _exact(other)


def _exact(row: bytes) -> dict[str, object]:
    return {name: _exact_value(bytes(value)) for name, value in fields_of(row).items()}


def _exact_value(value: bytes) -> object:
    try:
        return json.loads(value, parse_float=_exact_number, parse_int=_exact_number)
    except RecursionError:  # nested so deeply, it is only equal to itself
        return value


def _exact_number(text: str) -> object:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that not even Decimal can hold
        return text
