"""Rows that a read of a batch brought of accounts it was not for: what is lacking of them is
stored, without a request more.
"""

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.fetch import Fetched
from app.engine.batch.state import BatchState
from app.engine.repositories import Repositories
from app.store.apply.context import WriteContext

_METRICS = (Endpoint.DAILY, Endpoint.HOURLY)


async def bring_in_others(
    store: Repositories,
    work: BatchState,
    planned: PlannedRequest,
    fetched: Fetched,
    writer: WriteContext,
) -> None:
    """Repositories rows without trades of accounts that were not asked for, once the read was
    written for those that were.

    A run of named accounts writes no others. Nothing is stored while upstream is suspect.
    """
    endpoint = planned.request.endpoint
    if (
        endpoint not in _METRICS
        or not (planned.is_scan or planned.by_login)
        or work.guard.reason is not None
    ):
        return
    # Of accounts that another read of the round is for the slices stay as they are, or that read
    # would take our rows for somebody else's.
    held = {
        account_id for account_id, progress in work.progress.items() if progress.hold is not None
    }
    asked = {*planned.account_ids, *work.asking.get(endpoint, ()), *held}
    among = None if work.run.request.account_ids is None else sorted(work.views)
    for account_id, rows in (
        await store.others.bring_in(fetched.staged, fetched.proven, writer, sorted(asked), among)
    ).items():
        work.effort_of(account_id).inserted += rows
        if account_id in work.progress:
            work.progress[account_id].written.add(TABLES[endpoint].name)
