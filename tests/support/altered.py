"""The sandbox's answers as a test alters them on their way: another server on a real socket,
between the service and the sandbox.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx2

from app.sandbox.server.serving import SandboxServer
from tests.support.scripted import Arrival, Reply, scripted_api

Alter = Callable[[Arrival, bytes], bytes | Reply]
"""Makes the body that arrives, or a whole reply, of the body that the sandbox sent."""


class AlteringApi:
    """Stands where an engine expects its sandbox; `alter` may be changed at any time, `arrivals`
    are what came.
    """

    def __init__(self, base_url: str, arrivals: list[Arrival], sandbox: SandboxServer) -> None:
        self.sandbox = sandbox
        self.base_url = base_url
        self.arrivals = arrivals
        self.alter: Alter = lambda _, body: body

    @property
    def as_sandbox(self) -> SandboxServer:
        """Itself, for what asks a sandbox only for its address."""
        return cast("SandboxServer", self)


@asynccontextmanager
async def altering(sandbox: SandboxServer) -> AsyncIterator[AlteringApi]:
    """A server before the sandbox."""
    async with (
        scripted_api() as server,
        httpx2.AsyncClient(base_url=sandbox.base_url, headers={"apiKey": "sandbox"}) as http,
    ):
        api = AlteringApi(server.url, server.arrivals, sandbox)

        async def script(arrival: Arrival) -> Reply:
            answer = await http.get(
                arrival.path.removeprefix("/risk-analytics/firm/external/"), params=arrival.query
            )
            altered = (
                api.alter(arrival, answer.content)
                if answer.status_code == httpx2.codes.OK
                else answer.content
            )
            return altered if isinstance(altered, Reply) else Reply(answer.status_code, altered)

        server.script = script
        yield api
