"""All pages of a scan, without proof."""

from app.domain.contract.tables import PAGE_ROWS
from app.domain.wording.counts import counted
from app.errors import IncompleteFetch
from app.upstream.paging.pages import FEW_ROWS, PAGE_READS, PagesAhead, PageSize, ReadPage, RowSink
from app.upstream.response import Answer


async def scan_all(
    read: ReadPage,
    sink: RowSink,
    subject: str,
    size: PageSize | None = None,
    *,
    is_of_all: bool = True,
) -> int:
    """Hand all pages' rows to the sink, and count them.

    IncompleteFetch: endless repetition, or with `is_of_all` fewer rows than named.
    """
    size = size or PageSize()
    seen, most, ignores_totals = 0, 0, False
    previous: tuple[bytes, ...] = ()
    async with PagesAhead(read) as pages:
        while True:
            answer = await _page_of_scan(pages, seen, most)
            if not answer.rows:
                if is_of_all and seen < most:
                    raise _cut_short(subject, seen, most)
                return seen
            ignores_totals |= answer.total is not None and answer.total < seen + len(answer.rows)
            most = 0 if ignores_totals else max(most, answer.total or 0)
            if answer.rows == previous or (most and seen > 2 * most + PAGE_ROWS):
                raise _endless(subject, seen, most)
            if previous:
                size.note_followed(len(previous))
            previous = answer.rows
            await sink.add(answer.rows)
            if not seen and len(answer.rows) == PAGE_ROWS:
                pages.plan(range(PAGE_ROWS, most, PAGE_ROWS))
            is_first, seen = not seen, seen + len(answer.rows)
            # The total of a single page may count just that page: where that would go unnoticed, an
            # empty page is the proof.
            is_proof = not is_first or not is_of_all or seen <= FEW_ROWS
            if (
                is_proof
                and most
                and seen >= most
                and not size.is_reached(answer, is_limit_known=not is_first)
            ):
                return seen


def _cut_short(subject: str, seen: int, most: int) -> IncompleteFetch:
    return IncompleteFetch(
        f"{subject}: the API sends no more than {counted(seen, 'row')}, the total is {most}."
    )


def _endless(subject: str, seen: int, most: int) -> IncompleteFetch:
    return IncompleteFetch(
        f"{subject}: the API sends the same rows again and again ({counted(seen, 'row')} came, the"
        f" total is {most})."
    )


async def _page_of_scan(pages: PagesAhead, seen: int, most: int) -> Answer:
    """An empty page must stay so, or match the total."""
    answer = await pages.read(seen)
    for _ in range(PAGE_READS - 1):
        if answer.rows or (seen and seen >= max(most, answer.total or 0)):
            break
        answer = await pages.read_again(seen)
    return answer
