"""The phase that an audit has before its batches: upstream's alltime metrics of every account, compared with ours."""

import datetime as dt
import uuid
from collections.abc import Sequence

from app.domain.contract import Endpoint, Request
from app.domain.holds import HoldLimits
from app.domain.plan import PlannedRequest, plan_accounts, plan_days
from app.engine.store import Store
from app.errors import FetchFailed, RequestTooLarge, UpstreamSuspect
from app.store.scans import ScanSink
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)
_TIMES_ASKED = 2
"""An account counts as absent when upstream says so twice: nothing at all is what a sick API says most easily."""
_TELLING = 10
"""After so many requests by id it can be told whether the scan only missed accounts or upstream has lost them."""
_MOST_BY_ID = 5
"""Above so many requests by id a scan of the days costs less."""


async def audit(
    store: Store,
    client: UpstreamClient,
    run_id: uuid.UUID,
    *,
    moving_from: dt.date,
    today: dt.date,
    account_ids: Sequence[str] | None,
    guard: HoldLimits | None,
) -> list[str]:
    """Note for a run which accounts (None: all) differ from upstream before `moving_from`, or are absent there.

    All accounts are read by a scan without ids, which moves while it is read: an account that it did not show is asked
    for by id before it counts as absent. Named accounts are asked for by id alone. Dates that still move are only read
    for accounts that differ at all. Accounts about which upstream gave no answer are returned: they are neither equal nor
    absent. Raises UpstreamSuspect, long before all of them were asked for, if it has nothing for more accounts than `guard` allows.
    """
    await store.scans.clear(run_id)
    if account_ids is None:
        await client.scan(Request(Endpoint.ALLTIME), store.scans.alltime_sink(run_id))
        await store.scans.add_seen_accounts(run_id)
    asked, unanswered = 0, set[str]()
    for _ in range(_TIMES_ASKED):
        unseen = [account_id for account_id in await store.scans.unseen_accounts(run_id, account_ids) if account_id not in unanswered]
        asked += len(unseen)
        for number, planned in enumerate(plan_accounts(unseen, max_ids=client.max_ids), start=1):
            unanswered |= set(await _ask(client, planned, store.scans.alltime_sink(run_id)))
            if guard is not None and number == _TELLING:
                await _suspect(store, run_id, account_ids, guard)
    different = await store.scans.find_drift(run_id, dt.date.max, account_ids) - await store.scans.forget(run_id, sorted(unanswered))
    await store.scans.note_stale_alltime(run_id)
    drifting = await store.scans.drifting_accounts(run_id)
    if drifting:
        await _note_moving_days(store, client, run_id, drifting, _days(moving_from, today))
        different += await store.scans.find_drift(run_id, moving_from, drifting) - len(drifting)
    _log.info(
        "Every account was compared with upstream.",
        action="audit.compared",
        run_id=str(run_id),
        upstream_accounts=await store.scans.count(run_id),
        asked_by_id=asked,
        different=different,
        unanswered=len(unanswered),
    )
    return sorted(unanswered)


async def _suspect(store: Store, run_id: uuid.UUID, account_ids: Sequence[str] | None, guard: HoldLimits) -> None:
    """Stop asking for accounts one by one when upstream has nothing of the first, and far too many others are not there either."""
    total = await store.runs.count_accounts() if account_ids is None else len(account_ids)
    unseen = len(await store.scans.unseen_accounts(run_id, account_ids))
    if guard.suspects(unseen, total):
        raise UpstreamSuspect(guard.suspicion(unseen, total))


async def _note_moving_days(
    store: Store, client: UpstreamClient, run_id: uuid.UUID, account_ids: Sequence[str], days: tuple[dt.date, ...]
) -> None:
    sink = store.scans.days_sink(run_id)
    planned = plan_days(account_ids, days, max_ids=client.max_ids)
    if len(planned) > _MOST_BY_ID:
        # So many differ that reading the days of everybody takes fewer requests.
        await client.scan(Request(Endpoint.DAILY, dates=days), sink)
        return
    for each in planned:
        await _ask(client, each, sink)


def _days(first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
    return tuple(first + dt.timedelta(days=days) for days in range((last - first).days + 1))


async def _ask(client: UpstreamClient, planned: PlannedRequest, sink: ScanSink) -> list[str]:
    """Ask about accounts by id, in halves where the API fails; the accounts that alone get no answer."""
    try:
        await client.scan(planned.request, sink)
    except (RequestTooLarge, FetchFailed) as error:
        if isinstance(error, RequestTooLarge):
            client.note_too_large(len(planned.account_ids))
        if len(planned.account_ids) == 1:
            (account_id,) = planned.account_ids
            _log.warning("The API gives no answer about an account.", action="audit.unanswered", account_id=account_id, reason=str(error))
            return [account_id]
        unanswered: list[str] = []
        for part in planned.halved(client.max_ids):
            unanswered += await _ask(client, part, sink)
        return unanswered
    return []
