"""Reads one request and writes its rows."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.requests.apply import FetchApplier
from app.engine.batch.requests.fetch import Fetched, Fetcher
from app.engine.batch.requests.shared import RunReads
from app.engine.batch.state import BatchState
from app.engine.repositories import Repositories
from app.errors import ReconError, ResourcesExhausted, RowRefused, StatementTooSlow
from app.upstream.stats import ApiStatistics


@dataclass(frozen=True, slots=True)
class Sources:
    """Upstream, and the reads that the run shares."""

    upstream: Fetcher
    shared: RunReads


class RequestReader:
    """Reads and applies within `slots`."""

    def __init__(
        self,
        store: Repositories,
        slots: asyncio.Semaphore,
        sources: Sources,
        applier: FetchApplier,
    ) -> None:
        self._store = store
        self._slots = slots
        self._sources = sources
        self._applier = applier

    async def read(self, state: BatchState, planned: PlannedRequest) -> int | None:
        """Number of rows written; None on stop."""
        try:
            # Outside of the slots, which other requests need meanwhile.
            source = await self._source(state, planned)
            if source is None:
                return None
            async with self._slots:
                if state.is_stopping:
                    return None
                begun = time.monotonic()
                async with _shared_effort(state, planned), source as fetched:
                    state.timings["fetch"] += time.monotonic() - begun
                    with state.phase("apply"):
                        await self._applier.apply(state, planned, fetched)
                    return fetched.rows
        except (RowRefused, StatementTooSlow) as error:
            await self._require_database(error)
            raise

    async def _source(
        self, state: BatchState, planned: PlannedRequest
    ) -> AbstractAsyncContextManager[Fetched] | None:
        """Where the rows come from; None on stop."""
        if planned.shared is None:
            return self._sources.upstream.fetched(planned)
        shared = self._sources.shared
        proven = await shared.proven(self._store, state, planned.shared)
        return None if proven is None else shared.fetched(self._store, state, planned, proven)

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
