"""What routes share: the service, headers of a started run, and descriptions of problems."""

import uuid
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from app.domain.runs.orders import bounded_reason
from app.engine.service import ReconService
from app.web.problems import Problem
from app.web.schemas.orders import GivenReason

LONGEST_WAIT = 300.0
_ASK_AGAIN_SECONDS = "2"
LOCATION = {
    "Location": {"description": "Where the run can be looked at.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "After how many seconds to look.",
        "schema": {"type": "integer"},
    },
}


def accepted(run_id: uuid.UUID) -> dict[str, str]:
    """The headers of an answer that a run goes on with."""
    return {"Location": f"/runs/{run_id}", "Retry-After": _ASK_AGAIN_SECONDS}


# A coroutine though nothing is awaited: FastAPI calls a plain function in a thread, a hop for each.
async def _service(request: Request) -> ReconService:
    service: ReconService = request.app.state.service
    return service


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
Responses = dict[int | str, dict[str, Any]]


def problems(**sentences: str) -> Responses:
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


def starting(*, on_409: str) -> Responses:
    """The answers of a route that starts a run, beside the one of a run that was waited for."""
    return {
        202: {"headers": LOCATION},
        **problems(
            on_404="An account is unknown; no run was started.",
            on_409=f"{on_409}; Location tells the run. No run was started.",
            on_422="The request cannot be; no run was started.",
        ),
    }


UNKNOWN_PARAMETER: Responses = {
    422: {"model": Problem, "description": "A parameter of the query is not known."}
}


def reason_of(given: GivenReason | None) -> str | None:
    """The reason of an order; InvalidRequest if it is too long."""
    return None if given is None else bounded_reason(given.reason)
