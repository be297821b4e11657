"""Single requests: sent, read, decoded or failed."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from urllib.parse import urlencode

import httpx2

from app.domain.contract.tables import Endpoint
from app.errors import FetchFailed
from app.telemetry import register_secret
from app.upstream.config import UpstreamConfig
from app.upstream.failures import AttemptFailed
from app.upstream.redaction import Redactor
from app.upstream.response import NOTHING, Answer, decode
from app.upstream.statuses import failure_of_status

MOST_BODY_BYTES = 64 * 1024 * 1024
"""The longest response, decompressed."""

_CONNECT_SECONDS = 10.0


class Transport:
    """Sends requests with the key."""

    def __init__(self, http: httpx2.AsyncClient, redact: Redactor) -> None:
        self.redact = redact
        port = http.base_url.port or (443 if http.base_url.scheme == "https" else 80)
        self.address = f"{http.base_url.host}:{port}"
        self._http = http

    async def ask_for_one_row(self) -> Answer:
        """Send the smallest request known to be good."""
        return await self.get(Endpoint.ALLTIME, {"limit": "1", "skip": "0"})

    async def get(self, endpoint: Endpoint, params: dict[str, str]) -> Answer:
        """Send a request and decode its response."""
        address = (  # commas as they are: encoded, a list of ids is much longer
            f"{endpoint.path}?{urlencode(params, safe=',')}"
        )
        async with self._http.stream("GET", address) as response:
            body = await _read(response)
        failure = failure_of_status(response.status_code, response.headers, body, self.redact)
        if failure is not None:
            raise failure
        if response.status_code == HTTPStatus.NO_CONTENT:
            return NOTHING
        try:
            return decode(body, self.redact)
        except AttemptFailed as error:
            raise error.quoting(response.status_code, body, self.redact) from error.__cause__


@asynccontextmanager
async def open_transport(config: UpstreamConfig) -> AsyncIterator[Transport]:
    """A transport with its connections."""
    key = config.api_key.get_secret_value()
    register_secret(key)
    http = httpx2.AsyncClient(
        base_url=config.base_url,
        headers={"apiKey": key, "Accept": "application/json", "User-Agent": "trade-recon"},
        limits=httpx2.Limits(
            max_connections=config.concurrency, max_keepalive_connections=config.concurrency
        ),
        timeout=httpx2.Timeout(config.timeout, connect=min(config.timeout, _CONNECT_SECONDS)),
        verify=_trusted(),
        follow_redirects=False,  # the key would go along to wherever the answer points
    )
    async with http:
        yield Transport(http, Redactor(key))


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise FetchFailed(
                f"The API's answer is longer than {MOST_BODY_BYTES} bytes and was not read to its"
                " end."
            )
    return bytes(body)


@cache
def _trusted() -> ssl.SSLContext:
    """The TLS context, cached, as reading certificates takes long."""
    return httpx2.create_ssl_context()
