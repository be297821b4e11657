"""What is done with a request before a route sees it: a body that is too large is refused, and an
id in a path may hold any character.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException

from app.web.problems import TOO_LARGE, UNKNOWN, problem

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_NUL = "^[^\\x00]*$"
"""The pattern of text parameters: PostgreSQL holds every character but this one."""
LARGEST_BODY = 1024 * 1024
"""Bytes; a request that names 10,000 accounts has a few hundred thousand."""
_CLOSING = {"Connection": "close"}
"""So that the rest of the body is not read."""
_WITH_IDS = b"/accounts/"


class BodyLimit:
    """Refuses a body above `LARGEST_BODY`: unread where its length is announced, else as soon as
    more than that has come.
    """

    def __init__(self, app: "ASGIApp") -> None:
        """Wrap an ASGI app."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, and count its body while it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if any(
            name == b"content-length" and value.isdigit() and int(value) > LARGEST_BODY
            for name, value in scope["headers"]
        ):
            answer = problem(Request(scope), HTTPStatus(TOO_LARGE[0]), TOO_LARGE[1])
            answer.headers.update(_CLOSING)
            await answer(scope, receive, send)
            return
        left = LARGEST_BODY

        async def counted() -> "Message":
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(TOO_LARGE[0], headers=_CLOSING)
            return message

        await self._app(scope, counted, send)


class EncodedIds:
    """Lets routes see paths with account ids as they were sent, so that a slash of an id (%2F)
    separates no segments.
    """

    def __init__(self, app: "ASGIApp") -> None:
        """Wrap an ASGI app."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, its path still encoded."""
        if scope["type"] == "http" and scope.get("raw_path", b"").startswith(_WITH_IDS):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


class EncodedConvertor(Convertor[str]):
    """An id in a path that is still encoded; slashes that were not encoded are taken for the id's
    too.
    """

    regex = ".+"

    def convert(self, value: str) -> str:
        """The id itself."""
        return unquote(value)

    def to_string(self, value: str) -> str:
        """The id as a path holds it."""
        return quote(value, safe="")


async def refuse_unknown_parameters(request: Request) -> None:
    """Refuse a query that names a parameter which the route does not know: a filter that is
    misspelled must not mean no filter.
    """
    # A coroutine, since FastAPI calls plain functions in a thread: a hop for each request.
    if not request.scope["query_string"]:
        return
    known = _parameters(request.scope["route"].dependant)
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        raise RequestValidationError(
            [
                {
                    "type": UNKNOWN,
                    "loc": ("query", name),
                    "msg": "",
                    "ctx": {"known": sorted(known)},
                }
                for name in unknown
            ]
        )


def _parameters(dependant: "Dependant") -> frozenset[str]:
    """The query parameters of a route, those of what it depends on included."""
    own = {field.alias for field in dependant.query_params}
    return frozenset(own.union(*(_parameters(each) for each in dependant.dependencies)))


register_url_convertor("encoded", EncodedConvertor())
