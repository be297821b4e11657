from collections.abc import Iterator

import httpx2
import pytest

from app import errors
from app.errors import ReconError
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.web.app import build_app
from app.web.problems import MEDIA_TYPE, status_of
from tests.support.clock import TODAY

_EXPECTED = {
    "ConfigurationError": 500,
    "InvalidRequest": 422,
    "NotFound": 404,
    "Gone": 410,
    "Conflict": 409,
    "NotOpen": 409,
    "UpstreamError": 502,
    "UpstreamRefused": 502,
    "UpstreamUnavailable": 503,
    "EndpointFailed": 502,
    "FetchFailed": 502,
    "IncompleteFetch": 502,
    "RequestTooLarge": 502,
    "FetchTooBroad": 502,
    "UpstreamSuspect": 502,
    "DatabaseUnavailable": 503,
    "DatabaseFull": 503,
    "DatabaseError": 500,
    "MissingRight": 500,
    "WriteConflict": 409,
    "RowRefused": 500,
    "StatementTooSlow": 500,
    "ResourcesExhausted": 500,
    "ClaimLost": 500,
}


def _kinds(base: type[ReconError]) -> Iterator[type[ReconError]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _kinds(kind)


_KINDS = {kind.__name__: kind for kind in _kinds(ReconError)}


@pytest.mark.parametrize("name", sorted(_KINDS))
def test_each_error_has_the_status_that_tells_the_caller_what_to_do(name: str) -> None:
    # Made without its arguments: the status hangs on the class alone.
    assert status_of(_KINDS[name].__new__(_KINDS[name])) == _EXPECTED[name]


async def test_an_error_of_our_own_making_tells_the_caller_nothing_of_the_code() -> None:
    world = World.generate(1, seed=1, today=TODAY)
    # Without a service every reading fails.
    async with (
        SandboxServer(world, app=build_app()) as server,
        httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as client,
    ):
        answer = await client.get("/runs/6ba7b810-9dad-41d1-80b4-00c04fd430c8")
    assert (answer.status_code, answer.headers["content-type"]) == (500, MEDIA_TYPE)
    assert answer.json()["detail"] == "An error in trade-recon itself; its log tells more."
    assert "service" not in answer.text
