"""Counts open trades against upstream's; snapshots are not repaired."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Sequence

from app.domain.contract.open_trades import (
    ComparedOpenTrades,
    NaturalKey,
    compared,
    date_of,
    is_of,
    without_zeros,
)
from app.domain.contract.tables import PAGE_ROWS, Endpoint, Request
from app.domain.ids import AccountId, RunId
from app.domain.sequences import pieces
from app.engine.repositories import Repositories
from app.errors import UpstreamError, UpstreamUnavailable
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)


class _Counting:
    def __init__(self, keys: Collection[NaturalKey] | None = None) -> None:
        self.days: Counter[dt.date | None] = Counter()
        self._keys = None if keys is None else without_zeros(keys)

    async def add(self, rows: Sequence[bytes]) -> None:
        self.days.update(
            date_of(row) for row in rows if self._keys is None or is_of(row, self._keys)
        )


async def compare_open_trades(store: Repositories, client: UpstreamClient, run_id: RunId) -> None:
    """Count upstream's snapshot against stored rows; failures are noted."""
    try:
        sent = await _count(client, Request(Endpoint.OPEN), _Counting())
    except UpstreamError as error:
        _log.warning(
            "Open trades were not compared.",
            action="audit.open_trades_unread",
            run_id=str(run_id),
            reason=str(error),
        )
        await store.open_trades.note(run_id, ComparedOpenTrades(error=str(error)).as_json())
        return
    found = compared(sent, await store.open_trades.stored())
    await store.open_trades.note(run_id, found.as_json())
    if found.dates_that_differ:
        _log.info(
            "The stored open trades are not as many as in upstream's snapshot; nothing is changed.",
            action="audit.open_trades_differ",
            run_id=str(run_id),
            upstream=found.upstream,
            stored=found.stored,
        )


async def compare_open_trades_of(
    store: Repositories, client: UpstreamClient, run_id: RunId, account_ids: Sequence[AccountId]
) -> None:
    """The same for named accounts, in their run."""
    keys = await store.open_trades.natural_keys(account_ids)
    # A comma separates logins in the API's lists.
    logins = sorted({login for login, _, _ in keys if "," not in login})
    sent: Counter[dt.date | None] = Counter()
    try:
        for part in pieces(logins, client.max_ids):
            sent += await _count(
                client, Request(Endpoint.OPEN, logins=tuple(part)), _Counting(keys)
            )
    except UpstreamUnavailable:
        # The rest of the run would fail, too.
        raise
    except UpstreamError as error:
        _log.warning(
            "Open trades were not compared.",
            action="run.open_trades_unread",
            run_id=str(run_id),
            reason=str(error),
        )
        await store.open_trades.note_named(run_id, ComparedOpenTrades(error=str(error)).as_json())
        return
    await store.open_trades.note_named(
        run_id, compared(sent, await store.open_trades.stored_of(keys)).as_json()
    )


async def _count(
    client: UpstreamClient, request: Request, counting: _Counting
) -> Counter[dt.date | None]:
    # Suspect requests are given up soon and delay no others: no repair depends on these.
    first = await client.sample(request, rows=PAGE_ROWS, is_suspect=True)
    if first.total is None or first.total > len(first.rows) or len(first.rows) == PAGE_ROWS:
        await client.scan(request, counting, is_suspect=True)
    else:
        await counting.add(first.rows)
    return counting.days
