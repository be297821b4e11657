"""Upstreams whose answers look whole and are not: in front of the sandbox, on its socket, by
rewriting questions and answers.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlencode

from starlette.types import Message, Receive, Scope, Send

from app.sandbox.server.app import create_sandbox
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World

if TYPE_CHECKING:
    from fastapi import FastAPI

Query = dict[str, str]
Ask = Callable[[str, Query], Query]
"""What is asked instead, of a path."""
Answer = Callable[[str, Query, dict[str, Any]], None]
"""Changes the `Data` of an answer."""


class Sick:
    """An app that answers as the sandbox does to other questions, or other things than the sandbox;
    `is_well` lets it recover.
    """

    def __init__(self, world: World, ask: Ask | None = None, answer: Answer | None = None) -> None:
        self._app = create_sandbox(world)
        self.state = self._app.state
        self._ask = ask
        self._answer = answer
        self.is_well = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path"))
        if scope["type"] != "http" or self.is_well or not path.startswith("/v2/"):
            await self._app(scope, receive, send)
            return
        query = dict(parse_qsl(scope["query_string"].decode()))
        asked = self._ask(path, dict(query)) if self._ask else query
        started: list[Message] = []
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
            else:
                body.extend(message.get("body", b""))

        await self._app({**scope, "query_string": urlencode(asked).encode()}, receive, keep)
        if self._answer is not None and started[0]["status"] == 200:
            content = json.loads(body)
            self._answer(path, query, content["Data"])
            body = bytearray(json.dumps(content).encode())
        headers = [
            (name, value) for name, value in started[0]["headers"] if name != b"content-length"
        ]
        await send(
            {**started[0], "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        )
        await send({"type": "http.response.body", "body": bytes(body)})


def serving(sick: Sick, world: World) -> SandboxServer:
    return SandboxServer(world, app=cast("FastAPI", sick))


def clips_ranges(days: int) -> Ask:
    """Trades of a long range are answered for its first days only, the total to match."""

    def ask(path: str, query: Query) -> Query:
        if path.endswith("trades/closed") and "trade-date-from" in query:
            first, last = (_day(query[name]) for name in ("trade-date-from", "trade-date-to"))
            query["trade-date-to"] = f"{min(last, first + _days(days - 1)):%Y%m%d}"
        return query

    return ask


def leaves_out_the_end(path: str, query: Query) -> Query:
    """The end of a range does not belong to it, as some APIs have it."""
    if path.endswith("trades/closed") and "trade-date-to" in query:
        query["trade-date-to"] = f"{_day(query['trade-date-to']) - _days(1):%Y%m%d}"
    return query


def clips_lists(dates: int) -> Ask:
    """Of a list of dates only the first are answered."""

    def ask(_: str, query: Query) -> Query:
        if "dates" in query:
            query["dates"] = ",".join(query["dates"].split(",")[:dates])
        return query

    return ask


def caps_rows(endpoints: Mapping[str, int]) -> Answer:
    """An answer holds no more rows than a limit that nobody mentioned, and its total counts no
    others.
    """

    def answer(path: str, query: Query, data: dict[str, Any]) -> None:
        for end, most in endpoints.items():
            if path.endswith(end):
                data["data"] = data["data"][: max(0, most - int(query.get("skip", "0")))]
                data["count"] = len(data["data"])
                if "total" in data:
                    data["total"] = min(data["total"], most)

    return answer


def _day(text: str) -> dt.date:
    return dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC).date()


def _days(number: int) -> dt.timedelta:
    return dt.timedelta(days=number)
