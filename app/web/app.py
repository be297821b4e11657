"""The HTTP app; the composition sets `app.state.service`."""

import asyncio
import re
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from app.web.problems import MEDIA_TYPE, add_problem_handlers
from app.web.report_cache import CachedReport
from app.web.request_limits import BodyLimit, EncodedIds
from app.web.routes import (
    acceptances,
    accounts,
    changes,
    health,
    inspections,
    maintenance,
    report,
    runs,
)

if TYPE_CHECKING:
    from starlette.types import StatelessLifespan

INTERFACE_VERSION = "0.1.0"
"""Of the HTTP interface, in its description."""

_FIRST_ERROR_STATUS = 400
_ROUTES = (maintenance, runs, accounts, report, changes, health, acceptances, inspections)
_DESCRIPTION = """\
trade-recon keeps a warehouse equal to the upstream risk-analytics API: it \
finds every account whose metrics and trades disagree, \
fetches the truth, writes only what differs, and proves the result.

Every answer that is not a success is a problem as RFC 9457 has it."""


class ReconApp(FastAPI):
    """FastAPI that describes problems as errors."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with errors as problems."""
        if self.openapi_schema is None:
            document = super().openapi()
            _join_lines(document)
            for path in document["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        if int(status) >= _FIRST_ERROR_STATUS:
                            response["content"] = {
                                MEDIA_TYPE: response["content"].pop("application/json")
                            }
        return super().openapi()


def build_app(lifespan: "StatelessLifespan[FastAPI] | None" = None) -> FastAPI:
    """The app with its routes; `lifespan` or the caller provides `app.state.service`."""
    app = ReconApp(
        title="trade-recon",
        version=INTERFACE_VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # served by a route of ours, under the rules of all others
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.maintenance_turn = asyncio.Lock()
    app.state.report = CachedReport()
    add_problem_handlers(app)
    app.add_middleware(EncodedIds)
    app.add_middleware(BodyLimit)
    for routes in _ROUTES:
        app.include_router(routes.router)
    return app


def _join_lines(node: Any) -> None:  # noqa: ANN401 - JSON
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"description", "summary"} and isinstance(value, str):
                node[key] = re.sub(r"(?<!\n)\n(?!\n|[-*] )", " ", value)
            else:
                _join_lines(value)
    elif isinstance(node, list):
        for value in node:
            _join_lines(value)
