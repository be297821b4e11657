"""Notes search results at accounts."""

import dataclasses
import datetime as dt

from app.domain.contract.tables import Endpoint, Request
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.progress import record_read
from app.engine.batch.requests.read import RequestReader
from app.engine.batch.state import BatchState
from app.errors import FetchFailed, ReconError, RequestTooLarge, UpstreamError
from app.telemetry import get_logger

_log = get_logger(__name__)


class SearchReader:
    """The batch, as its search sees it."""

    def __init__(self, state: BatchState, reader: RequestReader) -> None:
        self._state = state
        self._reader = reader

    async def read(self, planned: PlannedRequest) -> int | None:
        """Number of rows written; None on stop."""
        return await self._reader.read(self._state, planned)

    def is_known(self, planned: PlannedRequest) -> bool:
        """Whether its accounts failed before."""
        return self._state.is_suspected(planned.account_ids[0])

    def can_wait(self, planned: PlannedRequest) -> bool:
        """Whether no account is in its second pass."""
        return self._state.claim.postponed.keys().isdisjoint(planned.account_ids)

    def may_have_rows(self, planned: PlannedRequest) -> bool:
        """Whether upstream should have rows of one, as it has stored ones and is neither held nor
        explained.
        """
        views = (
            self._state.views[each]
            for each in planned.account_ids
            if each not in self._state.was_held
        )
        return any(
            view.explained_as is None and any(dataclasses.astuple(view.totals)) for view in views
        )

    def first_day(self, planned: PlannedRequest) -> dt.date | None:
        """The account's first stored date."""
        return self._state.views[planned.account_ids[0]].first_day

    def failed(self, planned: PlannedRequest, error: ReconError) -> None:
        """Note the error at each account."""
        _log.warning(
            "A fetch failed; its accounts are left as they are.",
            action="fetch.failed",
            endpoint=planned.request.endpoint.value,
            accounts=len(planned.account_ids),
            reason=str(error),
        )
        for account_id in planned.account_ids:
            self._state.progress[account_id].errors.append(
                f"{_named(planned)}: {error}{_as_small_as_can_be(planned, error)}"
            )
            self._state.unread[account_id] += isinstance(error, UpstreamError)

    def untried(self, planned: PlannedRequest, reason: str) -> None:
        """Note why accounts wait for the next run."""
        for account_id in planned.account_ids:
            self._state.progress[account_id].untried = f"{planned.request.endpoint.value}: {reason}"

    def read_in_parts(self, planned: PlannedRequest) -> None:
        """Note all dates as read."""
        for account_id in planned.account_ids:
            record_read(self._state.progress[account_id], planned)
            self._state.progress[account_id].counted_in_parts |= (
                planned.request.endpoint is Endpoint.DAILY
            )


def _named(planned: PlannedRequest) -> str:
    days = _days(planned.request) if planned.is_part else ""
    return f"{planned.request.endpoint.value}{days}"


def _as_small_as_can_be(planned: PlannedRequest, error: ReconError) -> str:
    if (
        len(planned.account_ids) > 1
        or planned.is_undated
        or planned.by_dates()
        or not isinstance(error, FetchFailed | RequestTooLarge)
    ):
        return ""
    by = " and by hours" if planned.request.endpoint is Endpoint.HOURLY else ""
    return f" It was asked for by single dates{by}; no smaller request can be made."


def _days(request: Request) -> str:
    first, last = (
        (request.dates[0], request.dates[-1])
        if request.dates
        else (request.date_from, request.date_to)
    )
    return f" on {first}" if first == last else f" from {first} to {last}"
