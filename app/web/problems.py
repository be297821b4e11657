"""Errors as problem details (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.domain.wording.nearest import nearest
from app.domain.wording.validation import RejectedValue
from app.errors import (
    Conflict,
    DatabaseUnavailable,
    Gone,
    InvalidRequest,
    NotFound,
    NotOpen,
    ReconError,
    UpstreamError,
    UpstreamUnavailable,
    WriteConflict,
)
from app.telemetry import get_logger, redacted

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = "5"
_INVALID = HTTPStatus(422)  # its name is not the same in all versions of Python
TOO_LARGE = (
    413,
    (
        "The body is larger than 1 MiB and was not read; nothing was changed. Name fewer accounts"
        " in a request."
    ),
)
"""Status names differ between Python versions."""
UNKNOWN = "extra_forbidden"
"""The validator's type for unknown fields."""
_LONGEST_FIELD = 200
_LONGEST_MESSAGE = 2_000
_FIELDS_NAMED = 5
_FIELDS_LISTED = 100
_log = get_logger(__name__)

_STATUSES: tuple[tuple[type[ReconError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Gone, HTTPStatus.GONE),
    (InvalidRequest, _INVALID),
    (Conflict, HTTPStatus.CONFLICT),
    (NotOpen, HTTPStatus.CONFLICT),
    (WriteConflict, HTTPStatus.CONFLICT),
    (DatabaseUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (UpstreamUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (UpstreamError, HTTPStatus.BAD_GATEWAY),
    (ReconError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""The first fit decides."""


class FieldProblem(BaseModel):
    """One invalid value of a request."""

    field: str = Field(
        description="Where the value stands, such as `body.max_accounts`.",
        examples=["body.max_accounts"],
    )
    message: str = Field(description="What it must be.")


class Problem(BaseModel):
    """Why a request was not fulfilled (RFC 9457)."""

    type: str = Field(
        default="about:blank",
        description="`about:blank`: the status says what kind of problem it is.",
    )
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened, what was kept and what to do, as a sentence.")
    instance: str = Field(description="The path that was asked for.", examples=["/accounts/4711"])
    errors: list[FieldProblem] | None = Field(
        default=None, description="Invalid values; only with status 422."
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error end as a problem."""
    app.add_exception_handler(ReconError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _frameworks)
    app.add_exception_handler(Exception, _unexpected)


def status_of(error: ReconError) -> HTTPStatus:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def problem(
    request: Request, status: HTTPStatus, detail: str, errors: list[FieldProblem] | None = None
) -> Response:
    """A problem's answer, without secrets in `detail`."""
    body = Problem(
        title=status.phrase,
        status=status.value,
        detail=redacted(detail),
        instance=request.url.path,
        errors=errors,
    )
    headers = {"Retry-After": _RETRY_SECONDS} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(body.model_dump_json(exclude_none=True), status.value, headers, MEDIA_TYPE)


async def _ours(request: Request, error: Exception) -> Response:
    status = status_of(error) if isinstance(error, ReconError) else HTTPStatus.INTERNAL_SERVER_ERROR
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning(
            "A request failed.",
            action="http.failed",
            path=request.url.path,
            status=status.value,
            reason=str(error),
        )
    answer = problem(request, status, str(error))
    if isinstance(error, Conflict):
        answer.headers["Location"] = f"/runs/{error.run_id}"
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    fields = [_field_problem(each) for each in found]
    told = list(dict.fromkeys(f"{each.field} {each.message.rstrip('.')}" for each in fields))
    more = f"; and {len(told) - _FIELDS_NAMED} more" if len(told) > _FIELDS_NAMED else ""
    # Without the header the framework takes the body for a text, and says that it is no object.
    is_no_json = (
        fields
        and all(each.field == "body" for each in fields)
        and "json" not in request.headers.get("content-type", "")
    )
    hint = (
        " Send a body of JSON with the header Content-Type: application/json." if is_no_json else ""
    )
    detail = (
        f"The request cannot be understood: {'; '.join(told[:_FIELDS_NAMED])}{more}.{hint} Nothing"
        " was changed."
    )
    return problem(request, _INVALID, detail, fields[:_FIELDS_LISTED])


def _field_problem(found: Mapping[str, Any]) -> FieldProblem:
    """One invalid value; never the input itself, which may be long, or a secret."""
    rejected = RejectedValue.read(found)
    where, said = [str(part) for part in rejected.place], rejected.requirement
    known = rejected.context.get("known", ())
    if rejected.kind == UNKNOWN and (meant := nearest(where[-1], known)) is not None:
        said += f": is {meant} meant?"
    return FieldProblem(
        field=_shown(".".join(where)),
        message=f"{_shown(said, _LONGEST_MESSAGE)}{'' if said.endswith('?') else '.'}",
    )


def _shown(text: str, longest: int = _LONGEST_FIELD) -> str:
    """What a caller sent, cut, and without lone surrogates."""
    return text[:longest].encode("utf-8", "replace").decode()


async def _frameworks(request: Request, error: Exception) -> Response:
    status = (
        HTTPStatus(error.status_code)
        if isinstance(error, HTTPException)
        else HTTPStatus.INTERNAL_SERVER_ERROR
    )
    details = {
        HTTPStatus.NOT_FOUND: f"There is nothing at {request.url.path}.",
        TOO_LARGE[0]: TOO_LARGE[1],
        HTTPStatus.METHOD_NOT_ALLOWED: (
            f"{request.url.path} does not know the method {request.method}."
        ),
    }
    if status is HTTPStatus.BAD_REQUEST:
        # The framework's word for a body that it cannot even decode; ours for bad input is 422.
        return problem(
            request,
            _INVALID,
            "The body is no JSON in UTF-8 of a reasonable depth; nothing was changed.",
        )
    answer = problem(request, status, details.get(status, f"{status.phrase}."))
    for name, value in (getattr(error, "headers", None) or {}).items():
        answer.headers[name] = value
    return answer


async def _unexpected(request: Request, _error: Exception) -> Response:
    # The server logs the traceback; the caller gets none of it.
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "An error in trade-recon itself; its log tells more.",
    )
