"""Open trades are snapshots, which nothing heals: an audit counts them beside upstream's, for the report alone."""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Sequence

from app.domain.contract import PAGE_ROWS, Endpoint, Request
from app.domain.open_trades import compared, date_of, not_compared
from app.engine.store import Store
from app.errors import UpstreamError
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)


class _Counting:
    """Where the rows of upstream's snapshot go: only their dates are counted."""

    def __init__(self) -> None:
        self.days: Counter[dt.date | None] = Counter()

    async def add(self, rows: Sequence[bytes]) -> None:
        self.days.update(date_of(row) for row in rows)


async def compare_open_trades(store: Store, client: UpstreamClient, run_id: uuid.UUID) -> None:
    """Count upstream's snapshot of open trades and what is stored of its dates; what cannot be read costs the audit nothing else."""
    try:
        sent = await _count(client)
    except UpstreamError as error:
        _log.warning("Open trades were not compared.", action="audit.open_trades_unread", run_id=str(run_id), reason=str(error))
        await store.open_trades.note(run_id, not_compared(str(error)))
        return
    found = compared(sent, await store.open_trades.stored())
    await store.open_trades.note(run_id, found)
    if found["dates_that_differ"]:
        _log.info(
            "The stored open trades are not as many as in upstream's snapshot; nothing is changed.",
            action="audit.open_trades_differ",
            run_id=str(run_id),
            upstream=found["upstream"],
            stored=found["stored"],
        )


async def _count(client: UpstreamClient) -> Counter[dt.date | None]:
    request, counting = Request(Endpoint.OPEN), _Counting()
    # A suspect is given up soon, and nobody else waits for it: nothing that an audit is for depends on it.
    first = await client.sample(request, rows=PAGE_ROWS, is_suspect=True)
    if first.total is None or first.total > len(first.rows) or len(first.rows) == PAGE_ROWS:
        await client.scan(request, counting, is_suspect=True)
    else:
        await counting.add(first.rows)
    return counting.days
