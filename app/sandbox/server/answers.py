"""The sandbox's responses: envelopes, whole or spoiled."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import format_datetime
from http import HTTPStatus
from typing import Protocol, cast

import msgspec
from starlette.types import Receive, Send

from app.sandbox.server.faults import Draw, FaultKind, Faults
from app.sandbox.server.filters import Query
from app.sandbox.world.rows import Record

_JSON = b"application/json"
_DRIP_PIECES = 25
_SEND_SECONDS = 0.01
_WRONG_TOTALS = {
    FaultKind.SHIFTING_TOTAL: (-2, -1, 1, 2),
    FaultKind.SMALLER_TOTAL: (-1,),
    FaultKind.LARGER_TOTAL: (1,),
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A response's form: a `bare` list, `data` for `Data`, or parts missing."""

    bare: bool = False
    legacy_key: bool = False
    status: bool = True
    total: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Rows and total."""

    rows: Sequence[Record]
    total: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to send."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = _JSON
    delay_seconds: float = 0.0


def page_of(records: Sequence[Record], query: Query, draw: Draw) -> Page:
    """The requested page, with its fault."""
    kind, chance = draw.kind, draw.chance
    page = Page(records[query.skip : query.skip + query.limit], len(records))
    rows = list(page.rows)
    is_beyond = draw.faults.largest_skip is not None and query.skip > draw.faults.largest_skip
    if is_beyond or kind is FaultKind.EMPTY:
        return Page((), page.total if is_beyond else 0)
    if kind is FaultKind.SHORT_PAGE and rows:
        missing = min(len(rows), chance.randint(1, 3))
        start = (
            chance.choice((0, len(rows) // 2, len(rows) - missing)) if len(rows) > missing else 0
        )
        return Page(rows[:start] + rows[start + missing :], page.total)
    if kind is FaultKind.REPEATED_ROW and rows:
        place = chance.randrange(len(rows))
        return Page([*rows[: place + 1], *rows[place:]][: query.limit], page.total)
    if kind in _WRONG_TOTALS:
        return Page(rows, max(0, page.total + chance.choice(_WRONG_TOTALS[kind])))
    if kind is FaultKind.SHIFTING_ROWS and records:
        moved = min(max(query.skip - 1, 0), len(records) - 1)
        shifted = [*records[:moved], *records[moved + 1 :], records[moved]]
        return Page(shifted[query.skip : query.skip + query.limit], page.total)
    return page


def page_answer(page: Page, query: Query, envelope: Envelope) -> Answer:
    """The response with `page`."""
    rows = [record.encoded for record in page.rows]
    content: object = rows
    if not envelope.bare:
        data: dict[str, object] = {
            "data": rows,
            "skip": query.skip,
            "limit": query.limit,
            "count": len(rows),
        }
        if query.include_total and envelope.total:
            data["total"] = page.total
        content = data
    body: dict[str, object] = {"Status": "ok"} if envelope.status else {}
    body["data" if envelope.legacy_key else "Data"] = content
    body["Time"] = 1
    return Answer(HTTPStatus.OK, msgspec.json.encode(body))


def refusal(status: HTTPStatus, sentence: str, *, wait: str | None = None) -> Answer:
    """`wait` becomes Retry-After."""
    headers = ((b"retry-after", wait.encode()),) if wait is not None else ()
    return Answer(status, msgspec.json.encode({"Status": "error", "Message": sentence}), headers)


def failure(draw: Draw) -> Answer | None:
    """A fault's response instead of a page."""
    if draw.kind is FaultKind.TOO_MANY_REQUESTS:
        return refusal(
            HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", wait=str(draw.faults.retry_after)
        )
    if draw.kind is FaultKind.TOO_MANY_REQUESTS_DATE:
        moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=draw.faults.retry_after)
        return refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many requests.",
            wait=format_datetime(moment, usegmt=True),
        )
    return _FAILURES.get(draw.kind) if draw.kind is not None else None


def rejection_of(query: Query, rows: int, faults: Faults) -> Answer | None:
    """The rejection by a rule, if any."""
    for rule in faults.rejections:
        named = rule.ids is None or not rule.ids.isdisjoint(query.ids)
        there = rule.endpoints is None or query.endpoint in rule.endpoints
        then = rule.dates is None or any(query.covers(day) for day in rule.dates)
        if named and there and then and rows > rule.rows:
            answer = (
                refusal(HTTPStatus(rule.status), rule.message)
                if rule.kind is None
                else _FAILURES[rule.kind]
            )
            return replace(answer, delay_seconds=rule.delay_seconds)
    if (
        faults.largest_skip is not None
        and query.skip > faults.largest_skip
        and faults.beyond_skip != HTTPStatus.OK
    ):
        return refusal(
            HTTPStatus(faults.beyond_skip),
            f"The parameter skip must be at most {faults.largest_skip}.",
        )
    return None


_FAILURES: Mapping[FaultKind, Answer] = {
    FaultKind.INTERNAL_ERROR: refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong."),
    FaultKind.BAD_GATEWAY: Answer(
        HTTPStatus.BAD_GATEWAY,
        b"<html><body>502 Bad Gateway</body></html>",
        content_type=b"text/html",
    ),
    FaultKind.SERVICE_UNAVAILABLE: refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Come back later."),
    FaultKind.INVALID_JSON: Answer(
        HTTPStatus.OK, b'{"Status": "ok", "Data": {"data": [{"accountId": }]}}'
    ),
    FaultKind.FAILED_STATUS: Answer(
        HTTPStatus.OK, b'{"Status": "fail", "Error": "The query timed out."}'
    ),
}


async def deliver(answer: Answer, draw: Draw, receive: Receive, send: Send) -> None:
    """Whole, late, in drips, or cut off."""
    delay = draw.faults.delay_seconds
    if draw.kind is FaultKind.TRUNCATED_JSON:
        answer = replace(answer, body=answer.body[: len(answer.body) // 2])
    if draw.kind is FaultKind.DROPPED_CONNECTION:
        await _drop(answer, draw, receive, send)
    elif draw.kind is FaultKind.DRIP:
        await _drip(answer, delay, send)
    else:
        await asyncio.sleep(answer.delay_seconds + (delay if draw.kind is FaultKind.SLOW else 0))
        await send_answer(answer, send)


async def send_answer(answer: Answer, send: Send) -> None:
    """Send `answer` whole."""
    await _start(answer, send)
    await send({"type": "http.response.body", "body": answer.body})


async def _drip(answer: Answer, seconds: float, send: Send) -> None:
    await _start(answer, send)
    size = max(1, -(-len(answer.body) // _DRIP_PIECES))
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(seconds / _DRIP_PIECES)
        await send(
            {
                "type": "http.response.body",
                "body": answer.body[start : start + size],
                "more_body": True,
            }
        )
    await send({"type": "http.response.body", "body": b""})


async def _drop(answer: Answer, draw: Draw, receive: Receive, send: Send) -> None:
    if draw.chance.random() < 1 / 2:
        await _start(answer, send)
        await send(
            {
                "type": "http.response.body",
                "body": answer.body[: len(answer.body) // 2],
                "more_body": True,
            }
        )
        # The bytes must leave before the socket is closed under them.
        await asyncio.sleep(_SEND_SECONDS)
    close_socket(receive)


class _Cycle(Protocol):
    """It holds uvicorn's transport."""

    transport: asyncio.Transport


def close_socket(receive: Receive) -> None:
    """Close the connection as a dying server does; AttributeError outside uvicorn."""
    cycle = cast("_Cycle", receive.__self__)  # type: ignore[attr-defined]
    cycle.transport.abort()


async def _start(answer: Answer, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
