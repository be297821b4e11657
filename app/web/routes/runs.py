"""The routes: each turns a request into one call of the engine, and what it gives into an
answer.
"""

import asyncio
import datetime as dt
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response

from app.domain.copies import TableName
from app.domain.runs.orders import bounded_reason
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.engine.service import ReconService
from app.errors import DatabaseUnavailable, ReconError
from app.store.restore.changed_rows import Picked
from app.web.metrics import MetricsResponse, exposition
from app.web.problems import Problem
from app.web.request_limits import NO_NUL, refuse_unknown_parameters
from app.web.schemas.accounts import Account, AccountOutcome
from app.web.schemas.changes import ChangedRowPage, Changes
from app.web.schemas.common import AccountId
from app.web.schemas.health import Health, Readiness
from app.web.schemas.maintenance import Maintenance
from app.web.schemas.orders import AccountOrder, Confirmation, GivenReason, RunAccepted, RunOrder
from app.web.schemas.report import Report
from app.web.schemas.results import RunResult
from app.web.schemas.runs import Run, RunList
from app.web.views import shown_account

if TYPE_CHECKING:
    from app.web.report_cache import CachedReport

_SOME_CHANGES = 1_000
_MOST_CHANGES = 10_000
_SOME_RUNS = 50
_MOST_RUNS = 1_000
_INVALID = 422
_SOME_ROWS, _MOST_ROWS = 50, 200
_LARGEST_ID = 2**63 - 1
_USUAL_WAIT = 30.0
LONGEST_WAIT = 300.0
_ASK_AGAIN_SECONDS = "2"
LOCATION = {
    "Location": {"description": "Where the run can be looked at.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "After how many seconds to look.",
        "schema": {"type": "integer"},
    },
}

_TAG = {"ETag": {"description": "The same as long as the report is.", "schema": {"type": "string"}}}

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


def accepted(run_id: uuid.UUID) -> dict[str, str]:
    """The headers of an answer that a run goes on with."""
    return {"Location": f"/runs/{run_id}", "Retry-After": _ASK_AGAIN_SECONDS}


# Coroutines though nothing is awaited: FastAPI calls plain functions in a thread, a hop for each.
async def _service(request: Request) -> ReconService:
    service: ReconService = request.app.state.service
    return service


async def _maintenance_turn(request: Request) -> asyncio.Lock:
    lock: asyncio.Lock = request.app.state.maintenance_turn
    return lock


Service = Annotated[ReconService, Depends(_service)]
IdempotencyHeader = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern="^[\x21-\x7e]+$",
        description=(
            "A name of the caller's for this request: sent again with the same body it starts"
            " nothing and names that run."
        ),
    ),
]
_Responses = dict[int | str, dict[str, Any]]


def problems(**sentences: str) -> _Responses:
    """Descriptions of the problems that a route may answer with; every route that asks the database
    may find it gone.
    """
    described = {int(name.removeprefix("on_")): sentence for name, sentence in sentences.items()}
    described = {422: "A parameter of the query is not known.", **described} | {
        500: "trade-recon or PostgreSQL refuses for a reason that trying again does not mend.",
        503: "PostgreSQL cannot be reached.",
    }
    return {
        status: {"model": Problem, "description": sentence}
        for status, sentence in sorted(described.items())
    }


def starting(*, on_409: str) -> _Responses:
    """The answers of a route that starts a run, beside the one of a run that was waited for."""
    return {
        202: {"headers": LOCATION},
        **problems(
            on_404="An account is unknown; no run was started.",
            on_409=f"{on_409}; Location tells the run. No run was started.",
            on_422="The request cannot be; no run was started.",
        ),
    }


_UNKNOWN: _Responses = {
    422: {"model": Problem, "description": "A parameter of the query is not known."}
}


def _reason(given: GivenReason | None) -> str | None:
    return None if given is None else bounded_reason(given.reason)


_STEERING = problems(
    on_404="There is no such run.",
    on_409="The run is in no state for this; nothing was changed.",
    on_422="The run id is no UUID, the run does not hold an account, or the reason is too long.",
)


@router.post(
    "/maintenance",
    summary="Mend account ids, refresh the account list and all totals",
    tags=["warehouse"],
    responses=problems(on_409="Someone else wrote the same rows at that moment; ask again."),
)
async def maintain(
    service: Service,
    turn: Annotated[asyncio.Lock, Depends(_maintenance_turn)],
    given: GivenReason | None = None,
) -> Maintenance:
    """Ids are mended by joins inside the warehouse, where exactly one account fits; upstream is not
    asked.
    """
    # One after the other: a second one at the same time would only wait for the first one's row
    # locks.
    async with turn:
        return Maintenance.model_validate((await service.maintain(_reason(given))).as_json())


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
    """The run is queued and served in the background; look at it with GET /runs/{run_id}."""
    wanted = order or RunOrder()
    ids = None if wanted.account_ids is None else tuple(wanted.account_ids)
    request = RunRequest(
        wanted.kind, wanted.max_accounts, ids, wanted.stop_at, wanted.changed_only, wanted.depth
    )
    run_id = await service.start_run(request, idempotency_key, bounded_reason(wanted.reason))
    response.headers.update(accepted(run_id))
    return RunAccepted(run_id=run_id)


@router.get(
    "/runs",
    summary="Runs, newest first",
    tags=["runs"],
    responses=problems(
        on_404="There is no run `before`.",
        on_422="A filter or the limit cannot be, or a parameter is not known.",
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
    limit: Annotated[int, Query(ge=1, le=_MOST_RUNS, description="At most so many.")] = _SOME_RUNS,
) -> RunList:
    """What was done and is under way; GET /runs/{run_id} tells more of one, and why it does not go
    on.
    """
    return RunList.model_validate(await service.readings.runs(status, kind, before, limit))


@router.get(
    "/runs/{run_id}",
    summary="A run as it stands",
    tags=["runs"],
    responses=problems(on_404="There is no such run.", on_422="The run id is no UUID."),
)
async def get_run(service: Service, run_id: uuid.UUID) -> Run:
    """Status, accounts by outcome, rows written, seconds by phase and API statistics."""
    return Run.model_validate(await service.readings.run_state(run_id))


@router.get(
    "/runs/{run_id}/result",
    summary="What a run did, in detail",
    tags=["runs"],
    responses=problems(on_404="There is no such run.", on_422="The run id is no UUID."),
)
async def get_run_result(service: Service, run_id: uuid.UUID) -> RunResult:
    """Rows inserted, overwritten, moved, removed, set aside and nulled by table, date and broker,
    and by the issues that it found.

    Counted from the record when it is asked for: ask once a run is over, and not in a loop.
    """
    return RunResult.model_validate(await service.readings.run_result(run_id))


@router.post("/runs/{run_id}/pause", summary="Pause a run", tags=["runs"], responses=_STEERING)
async def pause_run(service: Service, run_id: uuid.UUID, given: GivenReason | None = None) -> Run:
    """No more accounts of it are taken; what is under way is recorded as far as it is finished, the
    rest waits. Safe to repeat.
    """
    await service.pause(run_id, _reason(given))
    return await get_run(service, run_id)


@router.post(
    "/runs/{run_id}/resume", summary="Let a paused run go on", tags=["runs"], responses=_STEERING
)
async def resume_run(service: Service, run_id: uuid.UUID, given: GivenReason | None = None) -> Run:
    """It goes on where it was. Safe to repeat."""
    await service.resume(run_id, _reason(given))
    return await get_run(service, run_id)


@router.post(
    "/runs/{run_id}/cancel", summary="End a run for good", tags=["runs"], responses=_STEERING
)
async def cancel_run(service: Service, run_id: uuid.UUID, given: GivenReason | None = None) -> Run:
    """What was healed stays healed, and `accounts.waiting` tells how many are left.

    Safe to repeat.
    """
    await service.cancel(run_id, _reason(given))
    return await get_run(service, run_id)


@router.post(
    "/runs/{run_id}/confirm",
    summary="Let a run write what it held",
    tags=["runs"],
    responses=_STEERING,
)
async def confirm_run(
    service: Service, run_id: uuid.UUID, confirmation: Confirmation | None = None
) -> Run:
    """For a run that needs confirmation, or one with such accounts: they are reconciled again, and
    written as far as was shown.

    With `account_ids` these alone: the others stay held, and accounts that the run had not come to
    are left alone.
    """
    given = confirmation or Confirmation()
    await service.confirm(run_id, given.account_ids, bounded_reason(given.reason))
    return await get_run(service, run_id)


@router.get(
    "/accounts/{account_id:encoded}",
    summary="An account as it stands",
    tags=["accounts"],
    responses=problems(on_404="There is no such account.", on_422="The account id cannot be one."),
)
async def get_account(service: Service, account_id: AccountId) -> Account:
    """Status, totals, open issues with their evidence, the last attempts and the issues'
    history.
    """
    return shown_account(await service.readings.account(account_id))


@router.post(
    "/accounts/{account_id:encoded}/reconcile",
    summary="Heal one account now",
    tags=["accounts"],
    response_model=AccountOutcome,
    responses={
        202: {
            "model": RunAccepted,
            "description": "It takes longer; look at the run.",
            "headers": LOCATION,
        },
        **problems(
            on_404="There is no such account.",
            on_422="The account id cannot be one, or the wait cannot be.",
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
    """Every row of the account is compared with upstream, and what differs is healed before all
    other work, whatever its state.
    """
    given = order or AccountOrder()
    found = await service.reconcile_account(
        account_id, wait, given.depth, bounded_reason(given.reason)
    )
    if not isinstance(found, uuid.UUID):
        return AccountOutcome.model_validate(found)
    body = RunAccepted(run_id=found).model_dump_json()
    return Response(body, HTTPStatus.ACCEPTED, accepted(found), media_type="application/json")


@router.get(
    "/report",
    summary="The report",
    tags=["warehouse"],
    responses={
        200: {"model": Report, "headers": _TAG},
        304: {"description": "It is what If-None-Match names.", "headers": _TAG},
        **problems(),
    },
)
async def get_report(request: Request) -> Response:
    """How the warehouse stands: accounts, issues by type, the last seven days, identities that fit
    no account or several.

    The figures are those of `as_of`: they are counted after work was recorded, the more seldom the
    longer that takes, and at the end of it. Send the ETag of the last answer as If-None-Match: as
    long as nothing changed the answer is 304.
    """
    rendered: CachedReport = request.app.state.report
    return await rendered.answer(request.app.state.service, request)


@router.get(
    "/changes",
    summary="What was written",
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
    return Changes.model_validate(await service.readings.changes(since, limit))


@router.get(
    "/changes/rows",
    summary="What became of rows",
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
    picked = Picked(account_id, None if table is None else table.value, date, run_id, before)
    return ChangedRowPage.model_validate(
        await service.readings.changed_rows(picked, limit, inserted_before)
    )


@router.get("/healthz", summary="Whether the process answers", tags=["health"], responses=_UNKNOWN)
async def get_health() -> Health:
    """Asks nobody else."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether the process can work",
    tags=["health"],
    responses={
        **_UNKNOWN,
        503: {
            "model": Problem,
            "description": "PostgreSQL does not answer with the schema of trade-recon.",
        },
    },
)
async def get_readiness(service: Service) -> Readiness:
    """Asks PostgreSQL, within 3 seconds; an upstream that is down does not count, for runs wait for
    it. A standby takes no work.
    """
    try:
        await service.readings.is_ready()
    except ReconError as error:
        raise DatabaseUnavailable(str(error)) from error
    return Readiness()


@router.get(
    "/metrics", summary="Figures for Prometheus", tags=["health"], response_class=MetricsResponse
)
async def get_metrics(service: Service) -> MetricsResponse:
    """How the process that answers uses upstream, since it started: scrape each replica.

    Asks nobody else.
    """
    return MetricsResponse(exposition(service.readings.api_use()))


@router.get("/openapi.json", include_in_schema=False)
async def get_description(request: Request) -> dict[str, Any]:
    """The description of the HTTP interface."""
    app: FastAPI = request.app
    return app.openapi()
