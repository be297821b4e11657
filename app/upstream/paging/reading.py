"""One reading of all pages, which proves that no row is missing.

Invariants:

1. Each page begins with the last row of the page before.
2. The total stays the same, and as many distinct keys arrive.
3. A disproven total is ignored; then a further page must hold only the last row.
"""

import hashlib
from collections.abc import Sequence

from app.domain.contract.tables import PAGE_ROWS
from app.domain.wording.counts import counted
from app.upstream.paging.pages import FEW_ROWS, PAGE_READS, PagesAhead, PageSize, Sink
from app.upstream.paging.same_row import same_row
from app.upstream.resilience.health import Patience
from app.upstream.response import Answer

_EMPTY, _NOTHING_NEW = "is empty", "brings nothing new"
_NO_MORE = (_EMPTY, _NOTHING_NEW)
"""A largest offset causes them, too."""


class UnprovenError(Exception):
    """Why a reading is not proven."""


class DoubledError(UnprovenError):
    """Nothing is wrong but that keys came twice: upstream doubles them, or rows moved."""


class Reading:
    """One reading of all pages."""

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
        """Whether the rows ended early, as behind a largest offset."""
        return self.ends_early and (self.pages > 1 or self.held >= PAGE_ROWS)

    @property
    def digest(self) -> bytes:
        """A digest that is equal for the same rows in the same order."""
        return self._digest.digest()

    @property
    def may_have_shifted(self) -> bool:
        """Whether a repeated row may hide a skipped one, by the total."""
        return self.pages > 1 and self._holds_copies_apart and self._total != self._distinct

    async def run(self) -> None:
        """Hand all rows to the sink; UnprovenError."""
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
            raise DoubledError(
                f"{counted(self.held, 'row')} came, but only"
                f" {counted(self._distinct, 'distinct key')}: rows were repeated, so others may be"
                " missing"
            )

    async def _advance(self) -> bool:
        """Read and prove the next page; False after the last one."""
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
            if (
                _is_steady(answer, before)
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
        complaint = self._final_complaint(answer, before, skip)
        if complaint:
            self._patience.spend()
            self.ends_early = complaint.startswith(_NO_MORE)
            raise UnprovenError(f"the page after row {skip} {complaint}")
        self._is_capped = self._is_capped or self._is_short(answer, skip)
        self._ignores_totals = self._ignores_totals or self._is_beyond_total(answer, skip)
        return answer

    def _final_complaint(self, answer: Answer, before: Answer | None, skip: int) -> str:
        """Why a reread page is not taken."""
        if complaint := self._complaint(answer):
            return complaint
        if not _is_steady(answer, before):
            return "holds a row twice, and each time another"
        if (
            not self._patience.is_left
            and len(answer.rows) <= FEW_ROWS
            and self._is_short(answer, skip)
        ):
            return f"holds {counted(len(answer.rows), 'row')}, short of the total of {answer.total}"
        return ""

    def _total_by(self, answer: Answer) -> int | None:
        if self._ignores_totals:
            return None
        return answer.total if self._total is None else self._total

    def _is_short(self, answer: Answer, skip: int) -> bool:
        """Whether rows are missing by the total; a page that stays short ends such doubts."""
        total = self._total_by(answer)
        return (
            total is not None
            and not self._is_capped
            and len(answer.rows) < min(PAGE_ROWS, total - skip)
        )

    def _is_beyond_total(self, answer: Answer, skip: int) -> bool:
        """Whether the page reaches beyond the total; if it still does when reread, totals are
        ignored.
        """
        if self._ignores_totals or not answer.rows:
            return False
        total = self._total if answer.total is None else answer.total
        return total is not None and total < skip + len(answer.rows)

    def _complaint(self, answer: Answer) -> str:
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


def _is_steady(answer: Answer, before: Answer | None) -> bool:
    """Whether no row comes twice, or the same rows as when the page was read before."""
    is_distinct = len(set(answer.rows)) == len(answer.rows)
    return is_distinct or (before is not None and before.rows == answer.rows)
