"""Plans a round's requests."""

import datetime as dt
from collections.abc import Callable

from app.domain.ids import RunId
from app.domain.planning.contradictions import is_short
from app.domain.planning.estimates import Upstream
from app.domain.planning.plan import find_gaps, plan_round
from app.domain.planning.planned_request import PlannedRequest
from app.domain.planning.shared_parts import Shared
from app.engine.batch.requests.shared import RunReads
from app.engine.batch.state import BatchState
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.upstream.client import UpstreamClient


class RunSizes:
    """Upstream's size, for the latest run."""

    def __init__(self) -> None:
        self._measured: tuple[RunId, Upstream] | None = None

    async def of(self, run_id: RunId, store: Repositories) -> Upstream:
        """The size, counted once."""
        if self._measured is None or self._measured[0] != run_id:
            self._measured = run_id, await store.detection.size()
        return self._measured[1]


class RoundPlanner:
    """Decides the next requests."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        now: Callable[[], dt.datetime],
        sizes: RunSizes,
        reads: RunReads,
    ) -> None:
        self._store = store
        self._client = client
        self._now = now
        self._sizes = sizes
        self._reads = reads

    async def survey(self, state: BatchState) -> None:
        """Estimate upstream's size, and find dates all lack."""
        state.upstream = await self._sizes.of(state.claim.run_id, self._store)
        if state.run.request.shares_reads:
            state.shared = await self._reads.of(self._store, state.claim.run_id)
            state.gaps = Shared(state.shared).gaps
        short = [
            view
            for view in state.views.values()
            if is_short(view) and not state.progress[view.account_id].known
        ]
        if short:
            coverage = await self._store.detection.coverage([view.account_id for view in short])
            state.gaps |= find_gaps(
                short,
                coverage,
                self._now().date(),
                max_ids=self._client.max_ids,
                upstream=state.upstream,
            )

    async def plan(self, state: BatchState) -> list[PlannedRequest]:
        """The next requests; none at the end, or on stop."""
        if state.is_stopping:
            return []
        return await off_loop(_plan_round, state, self._client.max_ids)


def _plan_round(state: BatchState, max_ids: int) -> list[PlannedRequest]:
    suspects = {account_id for account_id in state.views if state.is_suspected(account_id)}
    planned = [
        each
        for is_suspect in (False, True)
        for each in plan_round(
            [
                (view, progress)
                for view, progress in state.accounts()
                if (view.account_id in suspects) is is_suspect
            ],
            max_ids=max_ids,
            upstream=state.upstream,
            gaps=state.gaps,
            shared=Shared(state.shared, state.apart),
        )
    ]
    # Last: what still differs after one read is asked for in a second shape.
    return planned or state.trials.plan(state.accounts(), max_ids=max_ids, suspects=suspects)
