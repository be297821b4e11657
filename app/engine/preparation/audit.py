"""The phase that an audit has before its batches: upstream's alltime metrics of every account,
compared with ours.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint, Request
from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import undoing
from app.domain.planning.plan import plan_accounts, plan_days
from app.domain.planning.planned_request import PlannedRequest
from app.domain.sequences import pieces
from app.engine.isolation.budget import Spent
from app.engine.isolation.control_requests import Control, Controls
from app.engine.isolation.search import Search
from app.engine.preparation.maintenance import mend_accounts
from app.engine.repositories import Repositories
from app.errors import EndpointFailed, FetchFailed, ReconError, RequestTooLarge, UpstreamSuspect
from app.store.detect.audit import ScanSink
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)
_TIMES_ASKED = 2
"""An account counts as absent when upstream says so twice: nothing at all is what a sick API says
most easily.
"""
_TELLING = 10
"""After so many requests by id it can be told whether the scan only missed accounts or upstream has
lost them.
"""
_MOST_BY_ID = 5
"""Above so many requests by id a scan of the days costs less."""
_REFRESHED = 5000
_NAMED = 20


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """What an audit keeps to.

    Dates from `moving_from` on still move; rows of dates after `today` are not asked for; `guard`
    tells for how many accounts upstream may have nothing (None: for all); `search_requests` may be
    spent on finding accounts that make requests for several fail. `day` is the business date.
    """

    moving_from: dt.date
    today: dt.date
    guard: HoldLimits | None
    search_requests: int = 1000
    day: dt.date = dt.date.max


async def audit(
    store: Repositories,
    client: UpstreamClient,
    run_id: uuid.UUID,
    terms: AuditTerms,
    account_ids: Sequence[str] | None,
) -> list[str]:
    """Note for a run which accounts (None: all) differ from upstream, or are absent there.

    All accounts are read by a scan without ids, which moves while it is read and may not be
    finished: an account that it did not show is asked for by id before it counts as absent. Named
    accounts are asked for by id alone. Dates that still move are only read for accounts that differ
    at all. Accounts about which upstream gave no answer, or at whose comparison PostgreSQL failed,
    are returned: they are neither equal nor absent.

    Raises UpstreamSuspect, long before all of them were asked for, if upstream has nothing for more
    accounts than the guard allows, or knows more of them under other natural keys; EndpointFailed
    if alltime or daily metrics are not to be had for anybody. Where it has less for too many, the
    run is marked as suspect: its batches hold those, heal others, and then stop.
    """
    await store.scans.clear(run_id)
    reader = _ScanReader(client, store.scans.alltime_sink(run_id))
    search = Search(
        client,
        _controls(client, store),
        reader,
        allowance=Spent(terms.search_requests),
        today=terms.today,
        proves=False,
    )
    if account_ids is None:
        is_whole = await _scan(client, Request(Endpoint.ALLTIME), reader.sink)
        await store.scans.name_rows(run_id)
        await _note_shared_ids(store, run_id, is_whole=is_whole)
        await store.claims.set_refused_apart(run_id, await store.scans.add_seen_accounts(run_id))
    await _learn_holders(store, run_id, terms.day)
    asked = 0
    for _ in range(_TIMES_ASKED):
        unseen = [
            each
            for each in await store.scans.unseen_accounts(run_id, account_ids)
            if each not in reader.unanswered
        ]
        asked += len(unseen)
        logins = await store.detection.logins_of_placeholders(unseen)
        requests = plan_accounts(unseen, max_ids=client.max_ids, logins=logins)
        for number, planned in enumerate(requests, start=1):
            await search.read(planned)
            _require(search)
            if terms.guard is not None and number == _TELLING:
                sample = [
                    account_id for each in requests[:number] for account_id in each.account_ids
                ]
                await store.scans.name_rows(run_id)
                await _suspect(store, run_id, account_ids, terms.guard, sample, len(unseen))
        if requests:
            await store.scans.name_rows(run_id)
    if asked:
        await _learn_holders(store, run_id, terms.day)
    different, uncompared = await store.scans.find_drift(run_id, dt.date.max, account_ids)
    unanswered = sorted({*reader.unanswered, *uncompared})
    different -= await store.scans.forget(run_id, unanswered)
    await store.scans.note_stale_alltime(run_id)
    drifting = await store.scans.drifting_accounts(run_id)
    if drifting:
        days = _ScanReader(client, store.scans.days_sink(run_id))
        left = Spent(terms.search_requests - search.spent.new)
        search_days = Search(
            client, _controls(client, store), days, allowance=left, today=terms.today, proves=False
        )
        logins = await store.detection.logins_of_placeholders(drifting)
        by_day = plan_days(
            drifting, _days(terms.moving_from, terms.today), max_ids=client.max_ids, logins=logins
        )
        await _note_moving_days(client, by_day, days, search_days)
        await store.scans.name_days(run_id)
        found, failed = await store.scans.find_drift(run_id, terms.moving_from, drifting)
        different += found - len(drifting)
        uncompared |= failed
        unanswered = sorted({*unanswered, *failed})
    for account_id, reason in uncompared.items():
        _log.warning(
            "PostgreSQL fails where an account is compared.",
            action="audit.uncompared",
            account_id=account_id,
            reason=reason,
        )
    await _note_rekeyed(store, run_id, account_ids, terms.guard)
    if terms.guard is not None:
        await _mark_suspect(store, run_id, account_ids, terms.guard)
    _log.info(
        "Every account was compared with upstream.",
        action="audit.compared",
        run_id=str(run_id),
        upstream_accounts=await store.scans.count(run_id),
        asked_by_id=asked,
        different=different,
        unanswered=len(unanswered),
    )
    return unanswered


class _ScanReader:
    """Reads for the search of an audit: rows prove themselves, one by one, and accounts are not
    blamed.
    """

    def __init__(self, client: UpstreamClient, sink: ScanSink) -> None:
        self._client = client
        self.sink = sink
        self.unanswered: set[str] = set()

    async def read(self, planned: PlannedRequest) -> int | None:
        return await self._client.scan(
            planned.request,
            self.sink,
            missing_is_empty=planned.missing_is_empty,
            is_suspect=planned.is_suspect,
        )

    def is_known(self, planned: PlannedRequest) -> bool:
        del planned
        return False

    def can_wait(self, planned: PlannedRequest) -> bool:
        del planned
        return False

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """No: what it does not show is asked for twice, and then judged by the batch."""
        del planned
        return False

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        del planned
        return None

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        self.untried(planned, str(error))

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        for account_id in planned.account_ids:
            _log.warning(
                "The API gives no answer about an account.",
                action="audit.unanswered",
                account_id=account_id,
                reason=reason,
            )
        self.unanswered.update(planned.account_ids)

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """Nothing is to be noted: each row proves itself."""


def _controls(client: UpstreamClient, store: Repositories) -> Controls:
    async def controls() -> list[Control]:
        return [
            Control(each.account_id, each.logins, each.day, quietest=each.quietest)
            for each in await store.detection.well_accounts(())
        ]

    return Controls(client, controls)


async def _scan(client: UpstreamClient, request: Request, sink: ScanSink) -> bool:
    """Read what a scan without ids shows; whether it came to its end."""
    try:
        await client.scan(request, sink)
    except (FetchFailed, RequestTooLarge) as error:
        _log.warning(
            "A scan could not be finished; what it did not show is asked for by id. Accounts that"
            " only upstream has may be missing.",
            action="audit.scan_unfinished",
            endpoint=request.endpoint.value,
            reason=str(error),
        )
        return False
    return True


async def _note_shared_ids(store: Repositories, run_id: uuid.UUID, *, is_whole: bool) -> None:
    """Name the ids that upstream sends for several natural keys; after a scan that came to its end,
    believe others again.
    """
    if is_whole:
        await store.scans.forget_shared_ids(run_id)
    if shared := await store.scans.shared_ids():
        _log.warning(
            "Upstream sends account ids for several natural keys each: rows with them count as rows"
            " without an id.",
            action="audit.shared_ids",
            run_id=str(run_id),
            ids=len(shared),
            sample=shared[:_NAMED],
        )


def _require(search: Search) -> None:
    """Raise EndpointFailed if an endpoint answers nobody: without it there is nothing to compare
    with.
    """
    for reason in search.silent:
        raise EndpointFailed(reason)


async def _learn_holders(store: Repositories, run_id: uuid.UUID, day: dt.date) -> None:
    """Take in which natural keys upstream sends without an id, or under one where a placeholder
    stands here.
    """
    for batch in pieces(sorted({*await store.holders.note_scan(run_id)}), _REFRESHED):
        await store.detection.add_accounts(batch)
        await mend_accounts(store, batch, day, run_id)
        await store.detection.refresh_stats(batch)


async def _suspect(
    store: Repositories,
    run_id: uuid.UUID,
    account_ids: Sequence[str] | None,
    guard: HoldLimits,
    sample: Sequence[str],
    asked: int,
) -> None:
    """Stop asking for accounts by id when upstream has nothing for those of the sample, and so most
    likely not for far too many of all.
    """
    total = await store.preparations.count_accounts() if account_ids is None else len(account_ids)
    unseen = set(await store.scans.unseen_accounts(run_id, account_ids))
    # Not all that are unseen: a scan that could not be finished did not show many that upstream
    # has. Nor those that are known as absent.
    news = await store.scans.count_news(
        [account_id for account_id in sample if account_id in unseen]
    )
    missing = round(asked * news / len(sample))
    if guard.suspects(missing, total):
        raise UpstreamSuspect(guard.suspicion(missing, total, 0))


async def _note_rekeyed(
    store: Repositories,
    run_id: uuid.UUID,
    account_ids: Sequence[str] | None,
    guard: HoldLimits | None,
) -> None:
    """Let accounts that upstream knows under another natural key be read whole; of too many nothing
    is written under such keys.

    Raises UpstreamSuspect if they are more than the guard allows.
    """
    rekeyed = await store.scans.count_rekeyed(run_id)
    if not rekeyed:
        return
    total = await store.preparations.count_accounts() if account_ids is None else len(account_ids)
    if guard is not None and guard.suspects(rekeyed, total):
        raise UpstreamSuspect(guard.suspicion_of_keys(rekeyed, total))
    await store.scans.note_rekeyed(run_id)


async def _mark_suspect(
    store: Repositories, run_id: uuid.UUID, account_ids: Sequence[str] | None, guard: HoldLimits
) -> None:
    """Mark the run where the scan tells, before anything is written, that upstream has less than is
    stored of too many accounts.
    """
    total = await store.preparations.count_accounts() if account_ids is None else len(account_ids)
    lowered = await store.scans.count_lowered(run_id)
    if guard.suspects(lowered, total):
        await store.runs.note_suspicion(
            run_id, guard.suspicion(lowered, total, 0) + undoing(run_id), None
        )


async def _note_moving_days(
    client: UpstreamClient, planned: Sequence[PlannedRequest], reader: _ScanReader, search: Search
) -> None:
    # Where so many differ, reading the days of everybody takes fewer requests.
    if len(planned) > _MOST_BY_ID and await _scan(
        client, Request(Endpoint.DAILY, dates=planned[0].request.dates), reader.sink
    ):
        return
    for each in planned:
        await search.read(each)
        _require(search)


def _days(first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
    return tuple(first + dt.timedelta(days=days) for days in range((last - first).days + 1))
