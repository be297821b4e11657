"""Shared by routes: service, headers, problems."""

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
    "Location": {"description": "The path of the run.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds to wait before asking.",
        "schema": {"type": "integer"},
    },
}


def accepted(run_id: uuid.UUID) -> dict[str, str]:
    """Headers for a started run."""
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
            "The caller's name for this request: sent again with the same body, it starts"
            " nothing and names that run."
        ),
    ),
]
Responses = dict[int | str, dict[str, Any]]


def problems(**sentences: str) -> Responses:
    """A route's problems; the database may be gone."""
    described = {int(name.removeprefix("on_")): sentence for name, sentence in sentences.items()}
    described = {422: "A query parameter is unknown.", **described} | {
        500: "trade-recon or PostgreSQL fails for a reason that a retry does not repair.",
        503: "PostgreSQL cannot be reached.",
    }
    return {
        status: {"model": Problem, "description": sentence}
        for status, sentence in sorted(described.items())
    }


def starting(*, on_409: str) -> Responses:
    """Answers of a route that starts a run."""
    return {
        202: {"headers": LOCATION},
        **problems(
            on_404="An account is unknown; no run was started.",
            on_409=f"{on_409}; Location tells the run. No run was started.",
            on_422="The request is invalid; no run was started.",
        ),
    }


UNKNOWN_PARAMETER: Responses = {
    422: {"model": Problem, "description": "A query parameter is unknown."}
}


def reason_of(given: GivenReason | None) -> str | None:
    """An order's reason; InvalidRequest."""
    return None if given is None else bounded_reason(given.reason)
