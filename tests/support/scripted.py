"""A tiny API on a real loopback socket that answers as a test scripts it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from app.upstream.config import UpstreamConfig
from tests.support.waiting import PATIENCE

KEY = "s3cr3t-key-of-the-tests"


@dataclass(frozen=True)
class Arrival:
    """One request as it arrived, with the loop's time."""

    at: float
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def skip(self) -> int:
        return int(self.query["skip"])

    @property
    def is_witness(self) -> bool:
        return self.query.get("limit") == "1"


@dataclass(frozen=True)
class Reply:
    """What is answered.

    `delay` before it, `drip` seconds after each byte, `drop` for no answer at all, `chunked` for a
    body in chunks, `raw` for these very bytes in place of an answer, after which the connection is
    closed, or left open as long as the other side does (`hangs`).
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    drop: bool = False
    chunked: bool = False
    raw: bytes | None = None
    hangs: bool = False


Script = Callable[[Arrival], Reply | Awaitable[Reply]]


def page(rows: Sequence[object], total: int | None) -> Reply:
    """An answer in the API's usual form."""
    data: dict[str, object] = {"data": list(rows), "skip": 0, "limit": 1000, "count": len(rows)}
    if total is not None:
        data["total"] = total
    return Reply(body=json.dumps({"Status": "ok", "Data": data, "Time": 1}).encode())


def rows_of(count: int) -> list[dict[str, object]]:
    """So many rows in the order of a unique key."""
    return [{"accountId": f"a{number:06}", "numTrades": number} for number in range(count)]


def serving(
    rows: Sequence[object], *, total: int | None = None, has_total: bool = True, cap: int = 1000
) -> Script:
    """A script that pages through rows as the API does; `cap` is the most that it puts into a
    page.
    """

    def script(arrival: Arrival) -> Reply:
        limit = min(cap, int(arrival.query["limit"]))
        named = (len(rows) if total is None else total) if has_total else None
        return page(rows[arrival.skip : arrival.skip + limit], named)

    return script


def always(reply: Reply, *, witness: Reply | None = None) -> Script:
    """A script that answers everything alike; `witness` is for the tiny request that tells a bad
    request from an outage.
    """
    return lambda arrival: witness if witness is not None and arrival.is_witness else reply


class ScriptedApi:
    """The server: `script` answers, `arrivals` are what came, `most_at_once` how many were in work
    together.
    """

    def __init__(self) -> None:
        self.script: Script = serving([])
        self.arrivals: list[Arrival] = []
        self.most_at_once = 0
        self.url = ""
        self._now = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
            ):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().splitlines()
        target = urlsplit(first.split()[1])
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        arrival = Arrival(asyncio.get_running_loop().time(), target.path, query, headers)
        self.arrivals.append(arrival)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            reply = self.script(arrival)
            if not isinstance(reply, Reply):
                reply = await reply
            await asyncio.sleep(reply.delay)
        finally:
            self._now -= 1
        if reply.drop:
            return False
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            if reply.hangs:
                await reader.read()
            return False
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        if reply.chunked:
            pieces = [reply.body[at : at + 997] for at in range(0, len(reply.body), 997)]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
            writer.write(
                f"HTTP/1.1 {reply.status} X\r\ntransfer-encoding: chunked\r\n{more}\r\n".encode()
                + chunks
            )
            await writer.drain()
            return True
        length = (
            ""
            if reply.status == HTTPStatus.NO_CONTENT
            else f"content-length: {len(reply.body)}\r\n"
        )
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{length}{more}\r\n".encode())
        for piece in (
            [reply.body[at : at + 1] for at in range(len(reply.body))]
            if reply.drip
            else [reply.body]
        ):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(reply.drip)
        return True


@asynccontextmanager
async def scripted_api() -> AsyncIterator[ScriptedApi]:
    api = ScriptedApi()
    server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    api.url = f"http://127.0.0.1:{port}/risk-analytics/firm/external/"
    try:
        yield api
    finally:
        server.close()
        api.hang_up()
        await asyncio.sleep(0.01)


class MemorySink:
    """Keeps the rows of a fetch; a row's key is its `accountId`."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.resets = 0

    async def reset(self) -> None:
        self.resets += 1
        self.rows.clear()

    async def add(self, rows: Sequence[bytes]) -> None:
        self.rows.extend(rows)

    async def distinct_keys(self) -> int:
        return len({json.loads(row)["accountId"] for row in self.rows})

    async def is_of_asked(self) -> bool:
        return True

    @property
    def decoded(self) -> list[object]:
        return [json.loads(row) for row in self.rows]


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; TimeoutError if it never does."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


def config_for(api: ScriptedApi, **changes: float) -> UpstreamConfig:
    """A configuration with waits that fit a test."""
    quick: dict[str, Any] = {
        "rate": 2000.0,
        "burst": 2000,
        "timeout": 5.0,
        "outage_wait": 30.0,
        "breaker_seconds": 0.2,
        "retry_wait": 0.005,
        "longest_retry_wait": 0.02,
    }
    return UpstreamConfig(api.url, SecretStr(KEY), **{**quick, **changes})
