"""The route of the report."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Request, Response

from app.web.request_limits import refuse_unknown_parameters
from app.web.routes.common import problems
from app.web.schemas.report import Report

if TYPE_CHECKING:
    from app.web.report_cache import CachedReport

_TAG = {"ETag": {"description": "The same as long as the report is.", "schema": {"type": "string"}}}

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


@router.get(
    "/report",
    summary="Get the report",
    tags=["warehouse"],
    responses={
        200: {"model": Report, "headers": _TAG},
        304: {"description": "It is what If-None-Match names.", "headers": _TAG},
        **problems(),
    },
)
async def get_report(request: Request) -> Response:
    """Accounts, issues by type, the last seven days, and identities that fit no account or several.

    The figures are of `as_of`. Send the last ETag as If-None-Match: the answer is 304 while nothing
    changed.
    """
    rendered: CachedReport = request.app.state.report
    return await rendered.answer(request.app.state.service, request)
