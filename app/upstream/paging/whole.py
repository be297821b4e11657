"""All pages of one fetch, proven."""

from dataclasses import dataclass

from app.domain.wording.counts import counted
from app.errors import IncompleteFetch
from app.upstream.paging.pages import PagesAhead, PageSize, ReadPage, Sink
from app.upstream.paging.reading import DoubledError, Reading, UnprovenError
from app.upstream.resilience.health import Patience

WHOLE_READS = 3
"""Readings before a fetch is unproven."""
SUSPECT_READS = 2
"""Two show keys that upstream has twice."""


@dataclass(frozen=True, slots=True)
class FetchProof:
    """A complete fetch."""

    rows: int
    pages: int
    requests: int


async def fetch_whole(
    read: ReadPage,
    sink: Sink,
    subject: str,
    size: PageSize | None = None,
    patience: Patience | None = None,
    readings: int = WHOLE_READS,
) -> tuple[int, int]:
    """Hand all rows of a read to the sink; numbers of rows and pages, once proven.

    Unproven pages are reread, then everything. Two identical readings prove doubled keys.
    IncompleteFetch: no `readings` or `patience` left.
    """
    reason, skip, size, patience = "", 0, size or PageSize(), patience or Patience()
    doubled: bytes | None = None
    for times in range(1, readings + 1):
        async with PagesAhead(read) as pages:
            # Where a row stands is only kept when it matters: of a million rows it would take much
            # memory.
            reading = Reading(pages, sink, size, patience, finds_copies=doubled is not None)
            try:
                await reading.run()
            except DoubledError as unproven:
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
