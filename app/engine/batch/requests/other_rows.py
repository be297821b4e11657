"""Stores missing rows fetched for other accounts."""

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.requests.fetch import Fetched
from app.engine.batch.state import BatchState
from app.engine.repositories import Repositories
from app.store.apply.context import WriteContext
from app.store.apply.fingerprints import Slice
from app.store.staging.staged_fetch import StagedFetch

_METRICS = (Endpoint.DAILY, Endpoint.HOURLY)


async def bring_in_others(
    store: Repositories,
    state: BatchState,
    planned: PlannedRequest,
    fetched: Fetched,
    context: WriteContext,
) -> None:
    """Store other accounts' metrics rows, unless upstream is suspect or accounts were named."""
    endpoint = planned.request.endpoint
    if (
        endpoint not in _METRICS
        or not (planned.is_scan or planned.by_login)
        or planned.shared is not None
        or state.guard.reason is not None
    ):
        return
    kept_out = sorted(_kept_out(state, planned))
    among = None if state.run.request.account_ids is None else sorted(state.views)
    brought = await store.others.bring_in(fetched.staged, fetched.proven, context, kept_out, among)
    for account_id, rows in brought.items():
        state.effort_of(account_id).inserted += rows
        if account_id in state.progress:
            state.progress[account_id].written.add(TABLES[endpoint].name)


async def bring_in_of_shared(
    store: Repositories,
    state: BatchState,
    staged: StagedFetch,
    proven: Slice,
    context: WriteContext,
) -> None:
    """Store metrics rows that a shared read brought for accounts that do not wait in the run."""
    if proven.endpoint not in _METRICS or state.guard.reason is not None:
        return
    brought = await store.others.bring_in(
        staged, proven, context, sorted(state.views), waiting_in=state.claim.run_id
    )
    state.unattributed.inserted += sum(brought.values())


def _kept_out(state: BatchState, planned: PlannedRequest) -> set[str]:
    # A read for a slice would take our rows there for another writer's.
    asked = state.asking.get(planned.request.endpoint, frozenset())
    held = {each for each, progress in state.progress.items() if progress.hold is not None}
    return {*planned.account_ids, *asked, *held}
