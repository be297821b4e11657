"""The sandbox: an API that keeps the contract, and breaks it on demand.

Endpoints below `/v2/`, the control API below `/_control/`; both need `apiKey`.
"""

import datetime as dt
import hmac
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from starlette.types import Receive, Scope, Send

from app.domain.contract.tables import Endpoint
from app.errors import InvalidRequest
from app.sandbox.server.answers import (
    Answer,
    Envelope,
    close_socket,
    deliver,
    failure,
    page_answer,
    page_of,
    refusal,
    rejection_of,
    send_answer,
)
from app.sandbox.server.faults import NO_FAULTS, Draw, FaultKind, Faults, FaultState
from app.sandbox.server.filters import Query, matching, read_query
from app.sandbox.server.quota import Quota, retry_after
from app.sandbox.server.request_log import LoggedRequest, RequestLog
from app.sandbox.world.rows import Record
from app.sandbox.world.world import World

_ENDPOINTS = {f"/{endpoint.path}": endpoint for endpoint in Endpoint}


def create_sandbox(
    world: World,
    *,
    api_key: str = "sandbox",
    rate: float | None = None,
    burst: float | None = None,
    faults: Faults = NO_FAULTS,
    envelope: Envelope | None = None,
    max_url_bytes: int = 8000,
) -> FastAPI:
    """The sandbox as an ASGI app that serves `world`, at `rate` a second.

    Its `state` has `log`, `world` and `set_faults(faults)`.
    """
    quota = Quota(rate, burst if burst is not None else max(rate, 1)) if rate is not None else None
    api = _Api(world, api_key, quota, envelope or Envelope(), max_url_bytes)
    api.set_faults(faults)
    app = FastAPI(title="risk-analytics sandbox", openapi_url=None)
    app.state.log = api.log
    app.state.world = world
    app.state.set_faults = api.set_faults
    app.mount("/v2", api)
    _add_control(app, api)
    return app


class _Api:
    """A bare ASGI app: faults reach the socket."""

    def __init__(
        self,
        world: World,
        api_key: str,
        quota: Quota | None,
        envelope: Envelope,
        max_url_bytes: int,
    ) -> None:
        self.world = world
        self.log = RequestLog()
        self._faults = FaultState(NO_FAULTS)
        self._api_key = api_key.encode()
        self._quota = quota
        self._envelope = envelope
        self._max_url_bytes = max_url_bytes

    def set_faults(self, faults: Faults) -> None:
        self._faults = FaultState(faults)

    def is_authorized(self, key: bytes) -> bool:
        return hmac.compare_digest(key, self._api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = _ENDPOINTS.get(scope["path"])
        if endpoint is None or scope["method"] != "GET":
            status = HTTPStatus.NOT_FOUND if endpoint is None else HTTPStatus.METHOD_NOT_ALLOWED
            await send_answer(refusal(status, "There is no such call."), send)
            return
        logged = self.log.add(
            endpoint, f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        )
        draw = self._faults.draw(endpoint, logged.target)
        logged.fault = draw.kind
        if draw.faults.down:
            close_socket(receive)
            return
        answer = self._refused(scope, draw) or failure(draw) or self._page(logged, scope, draw)
        logged.status = int(answer.status)
        await deliver(answer, draw, receive, send)

    def _refused(self, scope: Scope, draw: Draw) -> Answer | None:
        if len(scope["raw_path"]) + len(scope["query_string"]) + 1 > self._max_url_bytes:
            return refusal(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"The URL is longer than {self._max_url_bytes} bytes.",
            )
        if draw.faults.unauthorized or not self.is_authorized(
            dict(scope["headers"]).get(b"apikey", b"")
        ):
            return refusal(HTTPStatus.UNAUTHORIZED, "The header apiKey is missing or wrong.")
        wait = self._quota.take() if self._quota else 0.0
        return (
            refusal(HTTPStatus.TOO_MANY_REQUESTS, "The quota is used up.", wait=retry_after(wait))
            if wait
            else None
        )

    def _page(self, logged: LoggedRequest, scope: Scope, draw: Draw) -> Answer:
        try:
            parameters = parse_qsl(
                scope["query_string"].decode(),
                keep_blank_values=True,
                strict_parsing=bool(scope["query_string"]),
            )
            query = read_query(logged.endpoint, parameters)
            logged.ids, logged.skip = query.ids, query.skip
            records = self._records(query, draw)
            rejection = rejection_of(query, len(records), draw.faults)
            if rejection is not None:
                return rejection
            page = page_of(records, query, draw)
        except InvalidRequest as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        except ValueError:
            return refusal(HTTPStatus.BAD_REQUEST, "The query of the URL cannot be read.")
        logged.rows = len(page.rows)
        return page_answer(page, query, self._envelope)

    def _records(self, query: Query, draw: Draw) -> Sequence[Record]:
        records = matching(self.world, query)
        if draw.kind is FaultKind.OTHERS_ROWS and query.ids:
            asked = {record.key for record in records}
            return [
                record
                for record in matching(self.world, query.without_ids())
                if record.key not in asked
            ]
        return records


class _Forget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account_id: str
    before: dt.date | None = None


def _add_control(app: FastAPI, api: _Api) -> None:
    """Add the control API, whose requests meet no log, quota or faults."""

    def authorize(request: Request) -> None:
        if not api.is_authorized(request.headers.get("apikey", "").encode()):
            raise HTTPException(HTTPStatus.UNAUTHORIZED)

    control = APIRouter(prefix="/_control", dependencies=[Depends(authorize)])

    @control.get("/log")
    async def get_log() -> Response:
        return Response(msgspec.json.encode(api.log.summary()), media_type="application/json")

    @control.post("/log/reset")
    async def reset_log() -> Response:
        api.log.reset()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @control.put("/faults")
    async def put_faults(request: Request) -> Response:
        try:
            api.set_faults(msgspec.json.decode(await request.body(), type=Faults))
        except (msgspec.DecodeError, InvalidRequest) as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from error
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @control.post("/forget")
    async def forget(request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await request.body(), type=_Forget)
            api.world.forget(wanted.account_id, wanted.before)
        except msgspec.DecodeError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from error
        except KeyError as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, "The sandbox has no such account.") from error
        return Response(status_code=HTTPStatus.NO_CONTENT)

    app.include_router(control)
