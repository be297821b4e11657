"""Reads one request and writes its rows."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.requests.apply import FetchApplier
from app.engine.batch.requests.fetch import Fetcher
from app.engine.batch.state import BatchState
from app.engine.repositories import Repositories
from app.errors import ReconError, ResourcesExhausted, RowRefused, StatementTooSlow
from app.upstream.client import UpstreamClient
from app.upstream.stats import ApiStatistics


class RequestReader:
    """Reads and applies within `slots`."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        slots: asyncio.Semaphore,
        applier: FetchApplier,
    ) -> None:
        self._store = store
        self._slots = slots
        self._fetcher = Fetcher(client, store.staging, store.applier)
        self._applier = applier

    async def read(self, state: BatchState, planned: PlannedRequest) -> int | None:
        """Number of rows written; None on stop."""
        try:
            async with self._slots:
                if state.is_stopping:
                    return None
                begun = time.monotonic()
                async with (
                    _shared_effort(state, planned),
                    self._fetcher.fetched(planned) as fetched,
                ):
                    state.timings["fetch"] += time.monotonic() - begun
                    with state.phase("apply"):
                        await self._applier.apply(state, planned, fetched)
                    return fetched.rows
        except (RowRefused, StatementTooSlow) as error:
            await self._require_database(error)
            raise

    async def _require_database(self, error: ReconError) -> None:
        """Raise DatabaseUnavailable where PostgreSQL itself fails."""
        # A connection that died silently looks like a slow statement.
        await self._store.reports.is_ready()
        if isinstance(error, ResourcesExhausted):
            await self._store.database.require_room()


@contextlib.asynccontextmanager
async def _shared_effort(state: BatchState, planned: PlannedRequest) -> AsyncIterator[None]:
    """Divide time and requests among accounts, even on failure."""
    begun, asked = time.monotonic(), ApiStatistics()
    try:
        with asked.recording():
            yield
    finally:
        accounts = max(len(planned.account_ids), 1)
        seconds, requests = (time.monotonic() - begun) / accounts, asked.requests / accounts
        for account_id in planned.account_ids:
            effort = state.progress[account_id].effort
            effort.seconds += seconds
            effort.own_requests += requests
