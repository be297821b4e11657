"""The route of maintenance."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.web.request_limits import refuse_unknown_parameters
from app.web.routes.common import (
    Service,
    problems,
    reason_of,
)
from app.web.schemas.maintenance import Maintenance
from app.web.schemas.orders import GivenReason

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


# A coroutine though nothing is awaited: see app.web.routes.common.
async def _maintenance_turn(request: Request) -> asyncio.Lock:
    lock: asyncio.Lock = request.app.state.maintenance_turn
    return lock


@router.post(
    "/maintenance",
    summary="Run maintenance",
    tags=["warehouse"],
    responses=problems(on_409="Another transaction wrote the same rows; try again."),
)
async def maintain(
    service: Service,
    turn: Annotated[asyncio.Lock, Depends(_maintenance_turn)],
    given: GivenReason | None = None,
) -> Maintenance:
    """Account ids are repaired by joins where exactly one account fits; the account list and totals
    are refreshed. Upstream is not asked.
    """
    # One after the other: a second one at the same time would only wait for the first one's row
    # locks.
    async with turn:
        return Maintenance.model_validate((await service.maintain(reason_of(given))).as_json())
