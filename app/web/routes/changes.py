"""The routes of what was written: the change feed, and changed rows."""

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.domain.copies import TableName
from app.engine.report.models.changes import ChangeFilter
from app.web.request_limits import NO_NUL, refuse_unknown_parameters
from app.web.routes.common import Service, problems
from app.web.schemas.changes import ChangedRowPage, Changes
from app.web.views import shown

_SOME_CHANGES, _MOST_CHANGES = 1_000, 10_000
_SOME_ROWS, _MOST_ROWS = 50, 200
_LARGEST_ID = 2**63 - 1

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


@router.get(
    "/changes",
    summary="List changes",
    tags=["warehouse"],
    responses=problems(
        on_410="`since` lies behind the end of the feed: begin at the beginning.",
        on_422=(
            "`since` is no cursor of this feed, the limit cannot be, or a parameter is not known."
        ),
    ),
)
async def get_changes(
    service: Service,
    since: Annotated[
        str | None,
        Query(
            description=(
                "`next` of an earlier answer, kept as it is; without it: from the beginning."
            )
        ),
    ] = None,
    limit: Annotated[
        int,
        Query(
            ge=1,
            le=_MOST_CHANGES,
            description=(
                "About so many entries: changes are not split, so that one of many dates may"
                " exceed it."
            ),
        ),
    ] = _SOME_CHANGES,
) -> Changes:
    """Account, table and date of every slice that trade-recon wrote, so that what is computed from
    it can be computed again.

    Ask, do the work, keep `next`, and ask again with it: no slice is missed, however many runs
    write at the same time. Ask at once while `more` is true. A slice comes again each time that it
    is written. What ingestion writes is not listed.
    """
    return shown(Changes, await service.readings.changes(since, limit))


@router.get(
    "/changes/rows",
    summary="List changed rows",
    tags=["warehouse"],
    responses=problems(on_422="A parameter cannot be, or is not known."),
)
async def get_changed_rows(  # noqa: PLR0913 - a query parameter each
    service: Service,
    *,
    account_id: Annotated[
        str | None, Query(max_length=255, pattern=NO_NUL, description="Only rows of this account.")
    ] = None,
    table: Annotated[TableName | None, Query(description="Only rows of this table.")] = None,
    date: Annotated[
        dt.date | None,
        Query(description="Only rows that stood under this date, or were moved to it."),
    ] = None,
    run_id: Annotated[
        uuid.UUID | None, Query(description="Only rows that this run changed.")
    ] = None,
    before: Annotated[
        int | None,
        Query(ge=1, le=_LARGEST_ID, description="`next` of an earlier answer: only older changes."),
    ] = None,
    inserted_before: Annotated[
        int | None,
        Query(
            ge=1,
            le=_LARGEST_ID,
            description="`inserted_next` of an earlier answer: only `inserted`, older ones.",
        ),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=_MOST_ROWS, description="At most so many changes.")
    ] = _SOME_ROWS,
) -> ChangedRowPage:
    """Each row that trade-recon overwrote, moved or removed, newest first: the columns that differ,
    old beside new, and on whose word.

    Rows that were inserted leave no copy: `inserted` tells how many those were by account, table
    and date, and which of them still stand.
    """
    wanted = ChangeFilter(
        account_id=account_id,
        table=None if table is None else table.value,
        date=date,
        run_id=run_id,
        before=before,
        inserted_before=inserted_before,
    )
    return shown(ChangedRowPage, await service.readings.changed_rows(wanted, limit))
