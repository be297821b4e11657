"""The routes of runs: start, list, show, steer."""

import uuid
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.domain import ids
from app.domain.runs.orders import bounded_reason
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.web.request_limits import refuse_unknown_parameters
from app.web.routes.common import (
    IdempotencyHeader,
    Service,
    accepted,
    problems,
    reason_of,
    starting,
)
from app.web.schemas.orders import Confirmation, GivenReason, RunAccepted, RunOrder
from app.web.schemas.results import RunResult
from app.web.schemas.runs import Run, RunList
from app.web.views import shown

_SOME_RUNS = 50
_MOST_RUNS = 1_000

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])

_STEERING = problems(
    on_404="There is no such run.",
    on_409="The run is in no state for this; nothing was changed.",
    on_422="The run id is no UUID, the run does not hold an account, or the reason is too long.",
)


@router.post(
    "/runs",
    status_code=HTTPStatus.ACCEPTED,
    summary="Start a run",
    tags=["runs"],
    responses=starting(
        on_409="A full run is active already, or the key was used for another request"
    ),
)
async def start_run(
    service: Service,
    response: Response,
    order: RunOrder | None = None,
    idempotency_key: IdempotencyHeader = None,
) -> RunAccepted:
    """The run is queued and served in the background; GET /runs/{run_id} shows it."""
    wanted = order or RunOrder()
    named = None if wanted.account_ids is None else tuple(map(ids.AccountId, wanted.account_ids))
    request = RunRequest(
        wanted.kind, wanted.max_accounts, named, wanted.stop_at, wanted.changed_only, wanted.depth
    )
    run_id = await service.start_run(request, idempotency_key, bounded_reason(wanted.reason))
    response.headers.update(accepted(run_id))
    return RunAccepted(run_id=run_id)


@router.get(
    "/runs",
    summary="List runs",
    tags=["runs"],
    responses=problems(
        on_404="There is no run `before`.",
        on_422="A filter or the limit is out of range, or a parameter is unknown.",
    ),
)
async def list_runs(
    service: Service,
    status: Annotated[
        list[RunStatus] | None, Query(description="Only runs of this state; may be given again.")
    ] = None,
    kind: Annotated[
        list[RunKind] | None, Query(description="Only runs of this kind; may be given again.")
    ] = None,
    before: Annotated[
        uuid.UUID | None,
        Query(description="Only runs that are older than this one: `next_before` of an answer."),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=_MOST_RUNS, description="At most this many.")
    ] = _SOME_RUNS,
) -> RunList:
    """Past and current runs; GET /runs/{run_id} tells more of one."""
    return shown(RunList, await service.readings.runs(status, kind, before, limit))


@router.get(
    "/runs/{run_id}",
    summary="Get a run",
    tags=["runs"],
    responses=problems(on_404="There is no such run.", on_422="The run id is no UUID."),
)
async def get_run(service: Service, run_id: uuid.UUID) -> Run:
    """Status, accounts by outcome, rows written, seconds by phase and API statistics."""
    return shown(Run, await service.readings.run_state(run_id))


@router.get(
    "/runs/{run_id}/result",
    summary="Get a run's result",
    tags=["runs"],
    responses=problems(on_404="There is no such run.", on_422="The run id is no UUID."),
)
async def get_run_result(service: Service, run_id: uuid.UUID) -> RunResult:
    """Rows inserted, overwritten, moved, removed, set aside and nulled by table, date, broker and
    issue.

    Counted on request: ask once a run is over, not in a loop.
    """
    return shown(RunResult, await service.readings.run_result(run_id))


@router.post("/runs/{run_id}/pause", summary="Pause a run", tags=["runs"], responses=_STEERING)
async def pause_run(service: Service, run_id: uuid.UUID, given: GivenReason | None = None) -> Run:
    """It takes no more accounts; finished work is recorded, the rest waits. Safe to repeat."""
    await service.pause(run_id, reason_of(given))
    return await get_run(service, run_id)


@router.post("/runs/{run_id}/resume", summary="Resume a run", tags=["runs"], responses=_STEERING)
async def resume_run(service: Service, run_id: uuid.UUID, given: GivenReason | None = None) -> Run:
    """It goes on where it stopped. Safe to repeat."""
    await service.resume(run_id, reason_of(given))
    return await get_run(service, run_id)


@router.post("/runs/{run_id}/cancel", summary="Cancel a run", tags=["runs"], responses=_STEERING)
async def cancel_run(service: Service, run_id: uuid.UUID, given: GivenReason | None = None) -> Run:
    """Healed accounts stay healed; `accounts.waiting` counts the rest. Safe to repeat."""
    await service.cancel(run_id, reason_of(given))
    return await get_run(service, run_id)


@router.post(
    "/runs/{run_id}/confirm",
    summary="Confirm a run",
    tags=["runs"],
    responses=_STEERING,
)
async def confirm_run(
    service: Service, run_id: uuid.UUID, confirmation: Confirmation | None = None
) -> Run:
    """Held accounts of the run are reconciled again, and written as far as was shown.

    With `account_ids` only these; the others stay held, and waiting accounts are left alone.
    """
    given = confirmation or Confirmation()
    await service.confirm(run_id, given.account_ids, bounded_reason(given.reason))
    return await get_run(service, run_id)
