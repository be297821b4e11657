"""The routes of changes."""

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
            "`since` is no cursor of this feed, the limit out of range, or a parameter unknown."
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
                "About this many entries: changes are not split, so that one of many dates may"
                " exceed it."
            ),
        ),
    ] = _SOME_CHANGES,
) -> Changes:
    """Account, table and date of every slice that trade-recon wrote, for recomputing derived data.

    Keep `next` after the work is done and ask again with it: no slice is missed, however many runs
    write at once. Ask at once while `more` is true. Rows that ingestion writes are not listed.
    """
    return shown(Changes, await service.readings.changes(since, limit))


@router.get(
    "/changes/rows",
    summary="List changed rows",
    tags=["warehouse"],
    responses=problems(on_422="A parameter is invalid or unknown."),
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
        int, Query(ge=1, le=_MOST_ROWS, description="At most this many changes.")
    ] = _SOME_ROWS,
) -> ChangedRowPage:
    """Each row that trade-recon overwrote, moved or removed, newest first: differing columns, old
    and new, and the source.

    Inserted rows leave no copy: `inserted` counts them by account, table and date.
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
