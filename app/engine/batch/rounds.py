"""The rounds of a batch: each plans from the differences that the last one left.

Entry point: `Rounds.run`.

Invariants:
1. Metrics are applied before trades are read, which find their account through them.
2. Each round ends with detection; the next plan starts there.
3. Slices that others change are left alone until the next pass.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.domain.planning.plan import MAX_ROUNDS
from app.domain.planning.planned_request import PlannedRequest
from app.domain.verdict.explanation import descended
from app.engine.batch.detect import Detector
from app.engine.batch.holds import BatchHolds
from app.engine.batch.ids import BatchIds
from app.engine.batch.progress import forget_left_alone
from app.engine.batch.requests.apply import FetchApplier
from app.engine.batch.requests.fetch import Fetcher
from app.engine.batch.requests.history import BatchHistory
from app.engine.batch.requests.planner import RoundPlanner, RunSizes
from app.engine.batch.requests.read import RequestReader, Sources
from app.engine.batch.requests.search import BatchSearches
from app.engine.batch.requests.shared import RunReads
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.isolation.search import Search
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.upstream.client import UpstreamClient

_PASSES = 3
"""Passes over slices that others keep changing."""


@dataclass(frozen=True, slots=True)
class ProcessReads:
    """What the batches of a process share: slots for fetches, reads of runs, upstream's size."""

    slots: asyncio.Semaphore
    reads: RunReads
    sizes: RunSizes = field(default_factory=RunSizes)


class Rounds:
    """Reads and repairs until nothing is needed."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        detector: Detector,
        holds: BatchHolds,
        shared: ProcessReads,
    ) -> None:
        self._store = store
        self._detector = detector
        self._holds = holds
        self._ids = BatchIds(store, config, now, detector)
        self._history = BatchHistory(store, detector)
        self._planner = RoundPlanner(store, client, now, shared.sizes, shared.reads)
        sources = Sources(Fetcher(client, store.staging, store.applier), shared.reads)
        reader = RequestReader(
            store, shared.slots, sources, FetchApplier(store, config, self._history)
        )
        self._searches = BatchSearches(store, client, config, now, reader)

    async def run(self, state: BatchState) -> None:
        """Run passes, later ones for slices that others changed."""
        await self._planner.survey(state)
        search = self._searches.begin(state)
        for _ in range(_PASSES):
            forget_left_alone(state.progress.values())
            await self._run_rounds(state, search)
            await self._ids.give_back(state)
            await self._ids.repair_doubtful(state)
            if state.is_stopping:
                state.note_unfinished()
                break
            if not await off_loop(state.needs_more):
                break
        state.spent, state.silent = search.spent, tuple(search.silent)
        await self._store.applier.end_descents(await off_loop(_descended, state))

    async def _run_rounds(self, state: BatchState, search: Search) -> None:
        for _ in range(MAX_ROUNDS):
            await self._holds.hold_vanished(state)
            requests = await self._planner.plan(state)
            if not requests:
                return
            await self._fetch_and_apply(state, search, requests)
            await self._verify(state, requests)

    async def _fetch_and_apply(
        self, state: BatchState, search: Search, requests: Sequence[PlannedRequest]
    ) -> None:
        state.note_asking(requests)
        metrics = [each for each in requests if not each.request.endpoint.is_trades]
        trades = [each for each in requests if each.request.endpoint.is_trades]
        await _read_all(search, metrics)
        await self._ids.repair_read(state, metrics)
        await _read_all(search, trades)

    async def _verify(self, state: BatchState, requests: Sequence[PlannedRequest]) -> None:
        await self._history.note_parts(state)
        account_ids = sorted({each for request in requests for each in request.account_ids})
        with state.phase("verify"):
            await self._detector.renew(state, account_ids)
            await self._history.note_forgotten(state, account_ids)


async def _read_all(search: Search, requests: Sequence[PlannedRequest]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for each in requests:
                group.create_task(search.read(each))
    except ExceptionGroup as errors:
        # The others are the same outage.
        raise errors.exceptions[0] from errors


def _descended(state: BatchState) -> list[tuple[str, dt.date]]:
    return [
        (account_id, day)
        for account_id, view in state.views.items()
        for day in descended(view, state.progress[account_id])
    ]
