"""The report, cached with an ETag."""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request, Response

from app.engine.report.snapshot import ReportSnapshot
from app.engine.service import ReconService
from app.telemetry import get_logger
from app.web.schemas.report import Report
from app.web.views import shown

_FRESH_SECONDS = 1.0
_OLDEST_SECONDS = 5.0
"""An older report makes callers wait."""
_MOST_TAGS = 100
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """A snapshot; `ends` counts operations complete by then."""

    report: ReportSnapshot
    at: float
    ends: int


@dataclass(frozen=True, slots=True)
class _Rendered:
    body: bytes
    tag: str
    read: _Read
    state: object


class CachedReport:
    """One service's report for all requests."""

    def __init__(self) -> None:
        self._reading: asyncio.Task[_Read] | None = None
        self._read: _Read | None = None
        self._rendered: _Rendered | None = None

    async def answer(self, service: ReconService, request: Request) -> Response:
        """The report, or 304; DatabaseUnavailable if PostgreSQL is gone for longer than five
        seconds.
        """
        now, ends, read = time.monotonic(), service.summary.ends, self._read
        while read is None or read.ends < ends or read.at < now - _OLDEST_SECONDS:
            # One reading for all who wait; one that began before the last end is not enough.
            read = await asyncio.shield(self._ask(service))
        if read.at < now - _FRESH_SECONDS:
            self._ask(service)
        rendered = self._rendered
        if (
            rendered is None
            or rendered.read is not read
            or rendered.state != service.readings.api_state()
        ):
            rendered = self._rendered = _render(service, read)
        headers = {"ETag": rendered.tag, "Cache-Control": "no-cache"}
        if _names(request.headers.get("if-none-match"), rendered.tag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(rendered.body, headers=headers, media_type="application/json")

    def _ask(self, service: ReconService) -> "asyncio.Task[_Read]":
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refresh(service))
            self._reading.add_done_callback(_tell_failure)
        return self._reading

    async def _refresh(self, service: ReconService) -> _Read:
        at, ends = time.monotonic(), service.summary.ends
        read = self._read = _Read(await service.readings.kept(), at, ends)
        return read


def _tell_failure(reading: "asyncio.Task[_Read]") -> None:
    """Log why a refresh failed, as no caller may be waiting for it."""
    if not reading.cancelled() and (error := reading.exception()) is not None:
        _log.warning(
            "The report could not be refreshed.", action="report.unread", reason=str(error)
        )


def _render(service: ReconService, read: _Read) -> _Rendered:
    state = service.readings.api_state()
    report = shown(Report, service.readings.shown(read.report))
    # Weak: what was counted again and is the same keeps its tag, though it tells a later time.
    digest = hashlib.sha256(report.model_dump_json(exclude={"as_of"}).encode()).hexdigest()
    return _Rendered(report.model_dump_json().encode(), f'W/"{digest[:32]}"', read, state)


def _names(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names the ETag, compared weakly (RFC 9110)."""
    if header is None:
        return False
    opaque = tag.removeprefix("W/")
    return header.strip() == "*" or opaque in {
        each.strip().removeprefix("W/") for each in header.split(",", _MOST_TAGS)
    }
