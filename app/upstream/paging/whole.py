"""All pages of one fetch, proven to be all of its rows."""

from dataclasses import dataclass

from app.domain.wording.counts import counted
from app.errors import IncompleteFetch
from app.upstream.paging.pages import PagesAhead, PageSize, ReadPage, Sink
from app.upstream.paging.reading import DoubledError, Reading, UnprovenError
from app.upstream.resilience.health import Patience

WHOLE_READS = 3
"""A fetch that cannot be proven is read anew from its first page, this often in all."""
SUSPECT_READS = 2
"""One that failed before, or that can be asked for by id instead, is read so often: two readings
show keys that upstream has twice.
"""


@dataclass(frozen=True, slots=True)
class FetchProof:
    """A fetch is complete: its rows, the pages they came in, and all requests that were sent for
    it, retries included.
    """

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
