"""Prepares a run: maintenance, audit, queue.

Entry point: `Preparation.prepare`; a repetition gives the same queue.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import replace

from app.domain.ids import AccountId
from app.domain.states import RunKind
from app.engine.api_usage import RunApiStats
from app.engine.config import EngineConfig
from app.engine.preparation.enqueue import Enqueuing
from app.engine.preparation.history import begin_history
from app.engine.preparation.run_maintenance import RunMaintenance
from app.engine.preparation.shared_reads import SharedReadPlanning
from app.engine.preparation.upstream_phase import UpstreamPhase
from app.engine.repositories import Repositories
from app.engine.restore import Restoring
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient

_log = get_logger(__name__)
_FEW, _FEW_ACCOUNTS = 5, 1000
"""From a fifth of all accounts and a thousand on, a sweep costs less."""


class Preparation:
    """Makes a queued run ready."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._store = store
        self._client = client
        self._config = config
        self._now = now
        self._maintenance = RunMaintenance(store, config, now)
        self._enqueuing = Enqueuing(
            store,
            client,
            UpstreamPhase(store, client, config, now),
            SharedReadPlanning(store, config, lambda: client.max_ids, now),
        )

    async def prepare(self, run: ActiveRun, use: RunApiStats) -> None:
        """Update trade_recon, and queue accounts that need work.

        Raises UpstreamRefused, UpstreamUnavailable, UpstreamSuspect, ClaimLost, ConfigurationError.
        """
        await self._store.require_fit()
        first = await begin_history(self._store, self._config, self._now())
        await self._store.runs.note_history(run.run_id, first)
        bound = Preparation(self._store.within(first), self._client, self._config, self._now)
        await bound.prepare_bound(replace(run, history_from=first), use)

    async def prepare_bound(self, run: ActiveRun, use: RunApiStats) -> None:
        """Prepare a run whose history is known, with a store bound to its dates."""
        begun = time.monotonic()
        named = run.request.account_ids
        among = (
            named
            if named is not None
            else await self._touched()
            if run.request.changed_only
            else None
        )
        heals = run.request.kind is not RunKind.INSPECT
        await Restoring(self._store).release_overtaken(named)
        if among is None:
            maintained = await self._maintenance.maintain_all(run.run_id, heals=heals)
        else:
            maintained = await self._maintenance.maintain_some(run.run_id, among, heals=heals)
        await self._store.runs.add_phase(run.run_id, "maintenance", time.monotonic() - begun)
        queued = await self._enqueuing.enqueue(run, among, use, maintained)
        _log.info(
            "The accounts of the run are known.",
            action="run.prepared",
            run_id=str(run.run_id),
            kind=run.request.kind.value,
            skipped=queued.skipped,
            unchanged=queued.unchanged,
        )

    async def _touched(self) -> list[AccountId] | None:
        """Recently written accounts; None if a sweep costs less."""
        until = await self._store.touched.covered_until()
        if until is None or await self._store.touched.is_blind(until):
            return None
        most = await self._store.preparations.count_accounts() // _FEW + _FEW_ACCOUNTS
        since = until - dt.timedelta(seconds=self._config.changed_overlap)
        touched = await self._store.touched.accounts(since, most + 1, covered_until=until)
        return None if len(touched) > most else touched
