"""Comparisons with upstream before the batches."""

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Sequence

from app.domain.accounts.progress import Effort
from app.domain.ids import AccountId
from app.engine.api_usage import RunApiStats
from app.engine.config import EngineConfig
from app.engine.preparation.audit import Audit, AuditTerms
from app.engine.preparation.open_trades import compare_open_trades, compare_open_trades_of
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.stats import ApiStatistics

_log = get_logger(__name__)


class UpstreamPhase:
    """Compares metrics and open trades, counting requests."""

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

    async def compare_metrics(
        self, run: ActiveRun, account_ids: Sequence[AccountId] | None, use: RunApiStats
    ) -> list[str]:
        """Compare accounts (None: all); those without answer."""
        begun, asked = time.monotonic(), ApiStatistics()
        try:
            with asked.recording():
                unanswered = await self._audit(run).compare(account_ids)
                if account_ids is None:
                    await compare_open_trades(self._store, self._client, run.run_id)
        except ReconError:
            # Requests count even if it breaks off.
            with contextlib.suppress(ReconError):
                await self._note_use(use, asked)
            raise
        await self._store.runs.add_phase(run.run_id, "audit", time.monotonic() - begun)
        await self._note_use(use, asked)
        return unanswered

    def _audit(self, run: ActiveRun) -> Audit:
        now = self._now()
        terms = AuditTerms(
            moving_from=self._config.moving(now, run.history_from).first,
            today=now.date() + dt.timedelta(days=1),
            guard=None if run.confirmed else self._config.guard,
            search_requests=self._config.search_requests,
            day=self._config.today(now),
        )
        return Audit(self._store, self._client, run.run_id, terms)

    async def compare_open_trades(
        self, run: ActiveRun, account_ids: Sequence[AccountId], use: RunApiStats
    ) -> None:
        """Compare named accounts' open trades."""
        asked = ApiStatistics()
        with asked.recording():
            await compare_open_trades_of(self._store, self._client, run.run_id, account_ids)
        await use.keep()
        await self._store.results.add_effort(run.run_id, (), asked.requests)

    async def _note_use(self, use: RunApiStats, asked: ApiStatistics) -> None:
        await use.keep()
        odd = self._store.scans.take_oddities(use.run_id)
        if odd.named:
            _log.warning(
                "Upstream sent values that cannot be read or stored: such figures were not"
                " compared, rows without an account left out.",
                action="audit.unreadable",
                run_id=str(use.run_id),
                fields=odd.fields,
                rows=odd.rows,
                accounts=odd.sample,
            )
        effort = Effort(values_nulled=odd.fields, set_aside=odd.rows)
        await self._store.results.add_effort(use.run_id, (effort,), asked.requests)
