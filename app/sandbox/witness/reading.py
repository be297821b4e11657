"""A plain reader of the API."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Self

import httpx2
import msgspec

from app.domain.contract.tables import PAGE_ROWS, Endpoint
from app.errors import FetchFailed
from app.sandbox.world.trades import Row

_TRIES = 20
_TIMEOUT_SECONDS = 120.0
_IDS_PER_REQUEST = 100
_DEFAULT_WAIT = 1.0


class PlainReader:
    """Reads all rows of an endpoint; FetchFailed."""

    def __init__(self, base_url: str, api_key: str) -> None:
        """`base_url` ends with a slash."""
        self._client = httpx2.AsyncClient(
            base_url=base_url, headers={"apiKey": api_key}, timeout=_TIMEOUT_SECONDS
        )
        self._decoder = msgspec.json.Decoder(float_hook=Decimal)

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def rows(
        self, endpoint: Endpoint, name: str | None = None, ids: Iterable[str] = ()
    ) -> AsyncIterator[list[Row]]:
        """All pages, or by `ids` for `name`."""
        if name is None:
            groups: Sequence[Mapping[str, str]] = ({},)
        else:
            wanted = sorted(ids)
            groups = [
                {name: ",".join(wanted[start : start + _IDS_PER_REQUEST])}
                for start in range(0, len(wanted), _IDS_PER_REQUEST)
            ]
        for group in groups:
            skip = 0
            while True:
                page = await self._page(
                    endpoint, {**group, "limit": str(PAGE_ROWS), "skip": str(skip)}
                )
                yield page
                if len(page) < PAGE_ROWS:
                    break
                skip += PAGE_ROWS

    async def _page(self, endpoint: Endpoint, params: Mapping[str, str]) -> list[Row]:
        for _ in range(_TRIES):
            response = await self._client.get(endpoint.path, params=dict(params))
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                return self._opened(endpoint, response)
            await asyncio.sleep(_wait(response.headers.get("Retry-After")))
        raise FetchFailed(
            f"The API went on refusing {endpoint.path} with 429 after {_TRIES} tries."
        )

    def _opened(self, endpoint: Endpoint, response: httpx2.Response) -> list[Row]:
        if response.status_code != HTTPStatus.OK:
            raise FetchFailed(
                f"The API answered {endpoint.path} with {response.status_code}:"
                f" {response.text[:200]}"
            )
        body: dict[str, Any] = self._decoder.decode(response.content)
        data = body.get("Data", body.get("data"))
        rows = data.get("data") if isinstance(data, dict) else data
        if not isinstance(rows, list):
            raise FetchFailed(
                f"The API's answer to {endpoint.path} holds no rows:"
                f" {body.get('Error') or body.get('Message')}"
            )
        return rows


async def read_upstream(base_url: str, api_key: str) -> dict[Endpoint, list[Row]]:
    """Every row of every endpoint; FetchFailed."""
    async with PlainReader(base_url, api_key) as reader:
        return {
            endpoint: [row async for page in reader.rows(endpoint) for row in page]
            for endpoint in Endpoint
        }


def _wait(header: str | None) -> float:
    if header is None:
        return _DEFAULT_WAIT
    if header.isdecimal():
        return float(header)
    return max(0.0, (parsedate_to_datetime(header) - dt.datetime.now(dt.UTC)).total_seconds())
