"""The report as bytes: rendered when it changed, and handed out as often as it is asked for."""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request, Response

from app.engine.service import ReconService
from app.web.models import Report

_FRESH_SECONDS = 1.0
"""PostgreSQL is asked for the summary at most this often: what other processes recorded shows as much later."""
_MOST_TAGS = 100


@dataclass(frozen=True, slots=True)
class _Rendered:
    body: bytes
    tag: str
    of: object
    until: float


class RenderedReport:
    """The report of one service, for all requests to this process."""

    def __init__(self) -> None:
        """Nothing is rendered yet."""
        self._turn = asyncio.Lock()
        self._rendered: _Rendered | None = None

    async def answer(self, service: ReconService, request: Request) -> Response:
        """The report, or that it is what the caller has.

        Raises DatabaseUnavailable if PostgreSQL is gone and what is here is older than a second.
        """
        rendered = self._rendered
        if rendered is None or not self._is_fresh(rendered, service):
            async with self._turn:
                # Whoever waited for the turn finds what the one before rendered.
                rendered = self._rendered
                if rendered is None or not self._is_fresh(rendered, service):
                    rendered = self._rendered = await self._render(service)
        headers = {"ETag": rendered.tag, "Cache-Control": "no-cache"}
        if _names(request.headers.get("if-none-match"), rendered.tag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(rendered.body, headers=headers, media_type="application/json")

    @staticmethod
    def _is_fresh(rendered: _Rendered, service: ReconService) -> bool:
        return time.monotonic() < rendered.until and not service.summary.is_behind and rendered.of == service.readings.api_state()

    async def _render(self, service: ReconService) -> _Rendered:
        await service.summary.catch_up()
        until = time.monotonic() + _FRESH_SECONDS
        state = service.readings.api_state()
        body = Report.model_validate(await service.readings.kept_report()).model_dump_json().encode()
        return _Rendered(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', state, until)


def _names(header: str | None, tag: str) -> bool:
    """Whether an If-None-Match header names the tag; weak comparison, as RFC 9110 has it for this header."""
    if header is None:
        return False
    return header.strip() == "*" or tag in {each.strip().removeprefix("W/") for each in header.split(",", _MOST_TAGS)}
