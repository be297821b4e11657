"""An audit's comparison of alltime metrics with upstream, before its batches.

Entry point: `Audit.compare`.

Invariants:
1. An account is absent only if a scan and two requests by id did not show it.
2. An account without answer is neither equal nor absent.
3. Raw tables are not written; a poor upstream stops or marks the run.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.contract.tables import Endpoint, Request
from app.domain.holds.limits import HoldLimits
from app.domain.ids import AccountId, RunId
from app.domain.planning.plan import plan_accounts, plan_days
from app.domain.sequences import pieces
from app.engine.preparation.audit_guard import AuditGuard
from app.engine.preparation.audit_reads import AuditReads
from app.engine.preparation.maintenance import repair_ids
from app.engine.repositories import Repositories
from app.store.detect.scan_sink import ScanSink
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)
_TIMES_ASKED = 2
_TELLING = 10
"""Requests that tell missed accounts from lost ones."""
_MOST_BY_ID = 5
"""Requests by id above which a scan costs less."""
_REFRESHED = 5000
_NAMED = 20


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """Terms of an audit.

    Dates from `moving_from` are unsettled, `today` is the last one asked, `day` the business date;
    `guard` limits absent accounts (None: unlimited).
    """

    moving_from: dt.date
    today: dt.date
    guard: HoldLimits | None
    search_requests: int = 1000
    day: dt.date = dt.date.max


class Audit:
    """Compares a run's accounts."""

    def __init__(
        self, store: Repositories, client: UpstreamClient, run_id: RunId, terms: AuditTerms
    ) -> None:
        self._store = store
        self._client = client
        self._run_id = run_id
        self._terms = terms
        self._asked = 0

    async def compare(self, account_ids: Sequence[AccountId] | None) -> list[str]:
        """Note which accounts (None: all) differ from upstream or are absent there; returns those
        that could not be compared.

        Named accounts are read by id, all by a scan; unsettled dates only where alltime differs.
        Raises UpstreamSuspect if too many are absent or have another natural key upstream, and
        EndpointFailed; if upstream has less for too many, the run is marked.
        """
        scans, run_id = self._store.scans, self._run_id
        guard = AuditGuard(self._store, run_id, account_ids, self._terms.guard)
        await scans.clear(run_id)
        reads = self._reads(scans.alltime_sink(run_id), self._terms.search_requests)
        if account_ids is None:
            await self._scan(reads)
        await self._learn_holders()
        await self._ask_for_unseen(reads, account_ids, guard)
        if self._asked:
            await self._learn_holders()
        different, uncompared = await scans.find_drift(run_id, dt.date.max, account_ids)
        unanswered = {*reads.unanswered, *uncompared}
        different -= await scans.forget(run_id, sorted(unanswered))
        await scans.note_stale_alltime(run_id)
        more, failed = await self._compare_days(self._terms.search_requests - reads.spent)
        _log_uncompared({**uncompared, **failed})
        await guard.judge_rekeyed()
        await guard.judge_lowered()
        unanswered |= failed.keys()
        await self._log_compared(different + more, len(unanswered))
        return sorted(unanswered)

    def _reads(self, sink: ScanSink, allowance: int) -> AuditReads:
        return AuditReads(
            self._store, self._client, sink, allowance=allowance, today=self._terms.today
        )

    async def _scan(self, reads: AuditReads) -> None:
        scans, run_id = self._store.scans, self._run_id
        is_whole = await reads.scan(Request(Endpoint.ALLTIME))
        await self._store.scan_ids.name_rows(run_id)
        await self._note_shared_ids(is_whole=is_whole)
        await self._store.claims.set_refused_apart(run_id, await scans.add_seen_accounts(run_id))

    async def _ask_for_unseen(
        self, reads: AuditReads, account_ids: Sequence[AccountId] | None, guard: AuditGuard
    ) -> None:
        for _ in range(_TIMES_ASKED):
            left = await self._store.scans.unseen_accounts(self._run_id, account_ids)
            unseen = [each for each in left if each not in reads.unanswered]
            self._asked += len(unseen)
            logins = await self._store.account_lists.logins_of_placeholders(unseen)
            requests = plan_accounts(unseen, max_ids=self._client.max_ids, logins=logins)
            for number, planned in enumerate(requests, start=1):
                await reads.read(planned)
                if self._terms.guard is not None and number == _TELLING:
                    sample = [each for past in requests[:number] for each in past.account_ids]
                    await self._store.scan_ids.name_rows(self._run_id)
                    await guard.judge_absent(sample, len(unseen))
            if requests:
                await self._store.scan_ids.name_rows(self._run_id)

    async def _compare_days(self, allowance: int) -> tuple[int, Mapping[str, str]]:
        """Compare unsettled dates; how many more differ, and failures."""
        scans, run_id = self._store.scans, self._run_id
        drifting = await scans.drifting_accounts(run_id)
        if not drifting:
            return 0, {}
        reads = self._reads(scans.days_sink(run_id), allowance)
        logins = await self._store.account_lists.logins_of_placeholders(drifting)
        days = _days(self._terms.moving_from, self._terms.today)
        requests = plan_days(drifting, days, max_ids=self._client.max_ids, logins=logins)
        # Where so many differ, reading the days of all accounts takes fewer requests.
        if len(requests) <= _MOST_BY_ID or not await reads.scan(
            Request(Endpoint.DAILY, dates=requests[0].request.dates)
        ):
            for planned in requests:
                await reads.read(planned)
        await self._store.scan_ids.name_days(run_id, drifting)
        found, failed = await scans.find_drift(run_id, self._terms.moving_from, drifting)
        return found - len(drifting), failed

    async def _learn_holders(self) -> None:
        """Note keys sent without an id, or for a placeholder."""
        holders = sorted({*await self._store.holders.note_scan(self._run_id)})
        for batch in pieces(holders, _REFRESHED):
            await self._store.account_lists.add_accounts(batch)
            await repair_ids(self._store, batch, self._terms.day, self._run_id)
            await self._store.detection.refresh_stats(batch)

    async def _note_shared_ids(self, *, is_whole: bool) -> None:
        """Log ids sent for several natural keys."""
        if is_whole:
            await self._store.scan_ids.forget_shared_ids(self._run_id)
        if shared := await self._store.scan_ids.shared_ids():
            _log.warning(
                "Upstream sends account ids for several natural keys each: rows with them count as"
                " rows without an id.",
                action="audit.shared_ids",
                run_id=str(self._run_id),
                ids=len(shared),
                sample=shared[:_NAMED],
            )

    async def _log_compared(self, different: int, unanswered: int) -> None:
        _log.info(
            "Every account was compared with upstream.",
            action="audit.compared",
            run_id=str(self._run_id),
            upstream_accounts=await self._store.scans.count(self._run_id),
            asked_by_id=self._asked,
            different=different,
            unanswered=unanswered,
        )


def _log_uncompared(reasons: Mapping[str, str]) -> None:
    for account_id, reason in reasons.items():
        _log.warning(
            "PostgreSQL fails where an account is compared.",
            action="audit.uncompared",
            account_id=account_id,
            reason=reason,
        )


def _days(first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
    return tuple(first + dt.timedelta(days=days) for days in range((last - first).days + 1))
