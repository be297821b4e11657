"""Preparation of a run, done by one replica: maintenance, an audit's scan, and the list of the run's accounts."""

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Sequence

from app.domain.contract import PAGE_ROWS
from app.domain.models import RunKind
from app.domain.sequences import pieces
from app.engine.audit import audit
from app.engine.config import EngineConfig
from app.engine.maintenance import maintain, mend_accounts
from app.engine.store import Store
from app.engine.usage import RunUse
from app.errors import ReconError
from app.store.runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.stats import ApiStatistics

_log = get_logger(__name__)


class Preparation:
    """Makes a queued run ready for its batches; doing it again after a crash gives the same."""

    def __init__(self, store: Store, client: UpstreamClient, config: EngineConfig, now: Callable[[], dt.datetime]) -> None:
        """Bind the parts; `now` gives the time (aware)."""
        self._store = store
        self._client = client
        self._config = config
        self._now = now

    async def prepare(self, run: ActiveRun, use: RunUse) -> None:
        """Bring the warehouse's own state up to date and put the accounts that need work into the run.

        `use` records what the run asks of the API. Raises UpstreamRefused or UpstreamUnavailable if an audit cannot read upstream,
        ConfigurationError if the warehouse was changed so that we cannot work in it any more.
        """
        begun = time.monotonic()
        await self._store.require_fit()
        named = run.request.account_ids
        maintenance: dict[str, object] = {}
        if named is None:
            maintenance = (await maintain(self._store)).as_json()
        else:
            for batch in pieces(named, self._config.batch_size):
                await mend_accounts(self._store, batch)
                await self._store.detection.refresh_stats(batch)
        await self._store.runs.add_phase(run.run_id, "maintenance", time.monotonic() - begun)
        skipped, unchanged = await self._enqueue(run, named, use)
        await self._store.runs.finish_preparation(run.run_id, skipped=skipped, unchanged=unchanged, maintenance=maintenance)
        _log.info(
            "The accounts of the run are known.",
            action="run.prepared",
            run_id=str(run.run_id),
            kind=run.request.kind.value,
            skipped=skipped,
            unchanged=unchanged,
        )

    async def _enqueue(self, run: ActiveRun, named: Sequence[str] | None, use: RunUse) -> tuple[int, int]:
        """How many accounts are left out since they back off, and how many need nothing."""
        request = run.request
        if request.kind is RunKind.AUDIT:
            compared = named
            if compared is None and request.max_accounts is not None and await self._costs_less_by_id(request.max_accounts):
                compared = await self._store.runs.oldest_accounts(request.max_accounts)
            unanswered = await self._audit(run, compared, use)
            equal, skipped = await self._store.runs.enqueue_audited(run.run_id, compared, limit=request.max_accounts, unanswered=unanswered)
            return skipped + len(unanswered), equal
        if named is not None:
            await self._store.runs.enqueue_accounts(run.run_id, named)
            return 0, 0
        retry = request.kind is RunKind.RETRY
        return await self._store.runs.enqueue_mismatched(run.run_id, retry=retry, limit=request.max_accounts), 0

    async def _costs_less_by_id(self, accounts: int) -> bool:
        """Whether asking for some accounts by id takes fewer requests than the scan, which also sees accounts that only upstream has."""
        return accounts * PAGE_ROWS < await self._store.runs.count_accounts() * self._client.max_ids

    async def _audit(self, run: ActiveRun, account_ids: Sequence[str] | None, use: RunUse) -> list[str]:
        begun, asked = time.monotonic(), ApiStatistics()
        now = self._now()
        try:
            with asked.recording():
                unanswered = await audit(
                    self._store,
                    self._client,
                    run.run_id,
                    moving_from=self._config.moving_from(now),
                    today=now.date() + dt.timedelta(days=1),
                    account_ids=account_ids,
                )
        except ReconError:
            # It breaks off; what it asked is still counted.
            with contextlib.suppress(ReconError):
                await self._note_use(use, asked)
            raise
        await self._store.runs.add_phase(run.run_id, "audit", time.monotonic() - begun)
        await self._note_use(use, asked)
        return unanswered

    async def _note_use(self, use: RunUse, asked: ApiStatistics) -> None:
        await use.keep()
        await self._store.runs.add_effort(use.run_id, (), asked.requests)
