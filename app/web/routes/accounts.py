"""The routes of accounts."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.domain.runs.orders import bounded_reason
from app.engine.report.models.accounts import RunUnderWay
from app.web.request_limits import refuse_unknown_parameters
from app.web.routes.common import LOCATION, LONGEST_WAIT, Service, accepted, problems
from app.web.schemas.accounts import Account, AccountOutcome
from app.web.schemas.common import AccountId
from app.web.schemas.orders import AccountOrder, RunAccepted
from app.web.views import shown

_USUAL_WAIT = 30.0

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


@router.get(
    "/accounts/{account_id:encoded}",
    summary="Get an account",
    tags=["accounts"],
    responses=problems(on_404="There is no such account.", on_422="The account id is malformed."),
)
async def get_account(service: Service, account_id: AccountId) -> Account:
    """Status, totals, open issues with evidence, last attempts and issue history."""
    return shown(Account, await service.readings.account(account_id))


@router.post(
    "/accounts/{account_id:encoded}/reconcile",
    summary="Reconcile an account",
    tags=["accounts"],
    response_model=AccountOutcome,
    responses={
        202: {
            "model": RunAccepted,
            "description": "It takes longer: see the run at Location.",
            "headers": LOCATION,
        },
        **problems(
            on_404="There is no such account.",
            on_422="The account id is malformed, or the wait out of range.",
        ),
    },
)
async def reconcile_account(
    service: Service,
    account_id: AccountId,
    order: AccountOrder | None = None,
    *,
    wait: Annotated[
        float,
        Query(
            ge=0, le=LONGEST_WAIT, allow_inf_nan=False, description="Seconds to wait for the end."
        ),
    ] = _USUAL_WAIT,
) -> AccountOutcome | Response:
    """Compares every row of the account with upstream and repairs differences, before all other
    work.
    """
    given = order or AccountOrder()
    reason = bounded_reason(given.reason)
    match await service.reconcile_account(account_id, wait, given.depth, reason):
        case RunUnderWay(run_id):
            body = RunAccepted(run_id=run_id).model_dump_json()
            headers = accepted(run_id)
            return Response(body, HTTPStatus.ACCEPTED, headers, media_type="application/json")
        case outcome:
            return shown(AccountOutcome, outcome)
