"""The routes of probes, metrics and description."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request

from app.errors import DatabaseUnavailable, ReconError
from app.web.metrics import MetricsResponse, exposition
from app.web.problems import Problem
from app.web.request_limits import refuse_unknown_parameters
from app.web.routes.common import UNKNOWN_PARAMETER, Service
from app.web.schemas.health import Health, Readiness

router = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/healthz", summary="Check liveness", tags=["health"], responses=UNKNOWN_PARAMETER)
async def get_health() -> Health:
    """Asks no other service."""
    return Health()


@router.get(
    "/readyz",
    summary="Check readiness",
    tags=["health"],
    responses={
        **UNKNOWN_PARAMETER,
        503: {
            "model": Problem,
            "description": "PostgreSQL does not answer with the schema of trade-recon.",
        },
    },
)
async def get_readiness(service: Service) -> Readiness:
    """Asks PostgreSQL, within 3 seconds; a standby is not ready. An upstream outage does not count,
    as runs wait for its end.
    """
    try:
        await service.readings.is_ready()
    except ReconError as error:
        raise DatabaseUnavailable(str(error)) from error
    return Readiness()


@router.get("/metrics", summary="Get metrics", tags=["health"], response_class=MetricsResponse)
async def get_metrics(service: Service) -> MetricsResponse:
    """How the answering process has used upstream since its start: scrape each replica."""
    return MetricsResponse(exposition(service.readings.api_use()))


@router.get("/openapi.json", include_in_schema=False)
async def get_description(request: Request) -> dict[str, Any]:
    """The description of the HTTP interface."""
    app: FastAPI = request.app
    return app.openapi()
