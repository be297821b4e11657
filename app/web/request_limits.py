"""Limits on requests before routes: body size, encoded ids, known parameters."""

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException

from app.web.problems import TOO_LARGE, UNKNOWN, problem

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_NUL = "^[^\\x00]*$"
"""PostgreSQL holds every character but NUL."""
LARGEST_BODY = 1024 * 1024
"""Bytes; 10,000 account ids need less."""
_CLOSING = {"Connection": "close"}
"""The rest stays unread."""
_WITH_IDS = b"/accounts/"


class BodyLimit:
    """Rejects larger bodies, unread if announced."""

    def __init__(self, app: "ASGIApp") -> None:
        """Wrap an ASGI app."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, counting its body."""
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
    """Leaves ids encoded, so that their slashes separate nothing."""

    def __init__(self, app: "ASGIApp") -> None:
        """Wrap an ASGI app."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on with its path encoded."""
        if scope["type"] == "http" and scope.get("raw_path", b"").startswith(_WITH_IDS):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


class EncodedConvertor(Convertor[str]):
    """An encoded id; plain slashes are its own, too."""

    regex = ".+"

    def convert(self, value: str) -> str:
        """The id itself."""
        return unquote(value)


async def refuse_unknown_parameters(request: Request) -> None:
    """Reject unknown parameters: a misspelled filter must not mean none."""
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
    """A route's parameters, with its dependencies."""
    own = {field.alias for field in dependant.query_params}
    return frozenset(own.union(*(_parameters(each) for each in dependant.dependencies)))


register_url_convertor("encoded", EncodedConvertor())
