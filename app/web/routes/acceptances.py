"""The routes of accepted issues."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.domain.issues.codes import IssueCode
from app.domain.runs.orders import LONGEST_REASON, bounded_reason
from app.web.request_limits import NO_NUL, refuse_unknown_parameters
from app.web.routes.common import Service, problems
from app.web.schemas.acceptances import Acceptance, AcceptedIssue, Withdrawn
from app.web.schemas.common import AccountId
from app.web.views import shown

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])

_REFUSED = problems(
    on_404="There is no such account.",
    on_409="The account has no such open issue.",
    on_422=("No such kind of issue, the reason is missing or too long, or the date out of range."),
)


@router.post(
    "/accounts/{account_id:encoded}/issues/{code}/accept",
    summary="Accept an issue",
    tags=["accounts"],
    responses=_REFUSED,
)
async def accept_issue(
    service: Service, account_id: AccountId, code: IssueCode, acceptance: Acceptance
) -> AcceptedIssue:
    """It stays open and shown, but holds back neither a run's end nor `reconciled_through`.

    It counts again once its figures change, its date comes, or the acceptance is withdrawn. Safe to
    repeat; a new reason or date replaces the old.
    """
    accepted = await service.accept(account_id, code, acceptance.reason, acceptance.until)
    return shown(AcceptedIssue, accepted)


@router.delete(
    "/accounts/{account_id:encoded}/issues/{code}/accept",
    summary="Withdraw an acceptance",
    tags=["accounts"],
    responses=_REFUSED,
)
async def withdraw_acceptance(
    service: Service,
    account_id: AccountId,
    code: IssueCode,
    reason: Annotated[
        str | None,
        Query(max_length=LONGEST_REASON, pattern=NO_NUL, description="Why; kept in the record."),
    ] = None,
) -> Withdrawn:
    """The record keeps what was accepted. Safe to repeat."""
    was_accepted = await service.withdraw_acceptance(account_id, code, bounded_reason(reason))
    return Withdrawn(account_id=account_id, issue=code.value, was_accepted=was_accepted)
