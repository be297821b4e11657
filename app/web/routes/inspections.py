"""The routes of inspections."""

import uuid
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.domain import ids
from app.domain.runs.orders import bounded_reason
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.report.inspection import MOST_LISTED, Listing
from app.web.request_limits import NO_NUL, refuse_unknown_parameters
from app.web.routes.common import (
    LONGEST_WAIT,
    IdempotencyHeader,
    Service,
    accepted,
    problems,
    starting,
)
from app.web.schemas.inspections import Inspection, InspectionOrder
from app.web.schemas.orders import RunAccepted
from app.web.views import shown

_SOME_LISTED = 100

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


@router.post(
    "/inspections",
    status_code=HTTPStatus.ACCEPTED,
    summary="Start an inspection",
    tags=["inspections"],
    response_model=RunAccepted,
    responses={
        200: {"model": Inspection, "description": "It ended within the wait."},
        **starting(on_409="The key was used for another request"),
    },
)
async def start_inspection(
    service: Service,
    order: InspectionOrder | None = None,
    idempotency_key: IdempotencyHeader = None,
    *,
    wait: Annotated[
        float,
        Query(
            ge=0, le=LONGEST_WAIT, allow_inf_nan=False, description="Seconds to wait for the end."
        ),
    ] = 0,
) -> Response:
    """Issues are detected and recorded; nothing is healed, and upstream is not asked.

    An inspection is a run: GET /runs/{run_id} shows its state, GET /inspections/{run_id} its
    findings.
    """
    wanted = order or InspectionOrder()
    named = None if wanted.account_ids is None else tuple(map(ids.AccountId, wanted.account_ids))
    request = RunRequest(RunKind.INSPECT, wanted.max_accounts, named, wanted.stop_at)
    run_id = await service.start_run(request, idempotency_key, bounded_reason(wanted.reason))
    if wait and (await service.wait_for_run(run_id, wait)).is_end:
        found = await service.readings.inspection(run_id, Listing(_SOME_LISTED))
        return Response(
            shown(Inspection, found).model_dump_json(),
            HTTPStatus.OK,
            media_type="application/json",
        )
    body = RunAccepted(run_id=run_id).model_dump_json()
    return Response(body, HTTPStatus.ACCEPTED, accepted(run_id), media_type="application/json")


@router.get(
    "/inspections/{run_id}",
    summary="Get an inspection",
    tags=["inspections"],
    responses=problems(
        on_404="There is no such run, or it is no inspection.",
        on_422="The run id is no UUID, or a parameter is invalid.",
    ),
)
async def get_inspection(
    service: Service,
    run_id: uuid.UUID,
    limit: Annotated[
        int, Query(ge=0, le=MOST_LISTED, description="List at most this many accounts.")
    ] = _SOME_LISTED,
    after: Annotated[
        str | None,
        Query(
            max_length=255,
            pattern=NO_NUL,
            description="List accounts behind this one: `next_after` of an answer.",
        ),
    ] = None,
) -> Inspection:
    """Accounts by issue, table, broker and date, and those with issues, page by page."""
    found = await service.readings.inspection(run_id, Listing(limit, after))
    return shown(Inspection, found)
