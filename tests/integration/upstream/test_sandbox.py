"""The client against the sandbox: another's understanding of the same contract, with every fault
that it knows.
"""

import asyncio
import datetime as dt
import json
from collections.abc import Sequence

import pytest
from pydantic import SecretStr

from app.domain.contract.tables import TABLES, Endpoint, Request
from app.errors import IncompleteFetch
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig

_TODAY = dt.date(2026, 6, 30)


class _Rows:
    def __init__(self, endpoint: Endpoint) -> None:
        self.rows: list[bytes] = []
        self._key = tuple(field.api_name for field in TABLES[endpoint].key_fields)

    async def reset(self) -> None:
        self.rows.clear()

    async def add(self, rows: Sequence[bytes]) -> None:
        self.rows.extend(rows)

    async def distinct_keys(self) -> int:
        return len({tuple(json.loads(row).get(name) for name in self._key) for row in self.rows})

    async def is_of_asked(self) -> bool:
        return True


@pytest.fixture(scope="module")
def world() -> World:
    return World.generate(
        60, seed=5, today=_TODAY, trades_per_account=60, days=60, contradictory=False
    )


def _config(server: SandboxServer) -> UpstreamConfig:
    return UpstreamConfig(
        server.base_url,
        SecretStr(server.api_key),
        rate=2000.0,
        burst=2000,
        timeout=5.0,
        breaker_seconds=0.1,
        retry_wait=0.005,
        longest_retry_wait=0.02,
    )


async def _read(client: UpstreamClient, endpoint: Endpoint) -> list[bytes]:
    sink = _Rows(endpoint)
    await client.fetch(Request(endpoint), sink)
    return sink.rows


async def test_every_endpoint_is_read_whole(world: World) -> None:
    async with SandboxServer(world) as server, UpstreamClient.open(_config(server)) as client:
        for endpoint in Endpoint:
            sink = _Rows(endpoint)
            proof = await client.fetch(Request(endpoint), sink)
            assert proof.rows == len(sink.rows)
            if endpoint is Endpoint.CLOSED:
                assert proof.pages > 2
                assert proof.requests == proof.pages


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_with_a_fifth_of_the_answers_bad_the_rows_are_the_same(
    world: World, seed: int
) -> None:
    async with SandboxServer(world) as server, UpstreamClient.open(_config(server)) as client:
        for endpoint in Endpoint:
            server.set_faults(NO_FAULTS)
            truth = await _read(client, endpoint)
            server.set_faults(Faults.everything(0.2, seed, delay_seconds=0.02))
            reads = await asyncio.gather(
                *(_read(client, endpoint) for _ in range(3)), return_exceptions=True
            )
            whole = [read for read in reads if not isinstance(read, IncompleteFetch)]
            assert whole
            assert all(read == truth for read in whole)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.SHORT_PAGE,
        FaultKind.REPEATED_ROW,
        FaultKind.SHIFTING_TOTAL,
        FaultKind.SHIFTING_ROWS,
    ],
)
async def test_a_server_that_always_lies_about_its_rows_is_never_believed(
    world: World, kind: FaultKind
) -> None:
    async with SandboxServer(world) as server, UpstreamClient.open(_config(server)) as client:
        truth = await _read(client, Endpoint.CLOSED)
        server.set_faults(Faults.of(kind, seed=1))
        sink = _Rows(Endpoint.CLOSED)
        try:
            await client.fetch(Request(Endpoint.CLOSED), sink)
        except IncompleteFetch:
            assert sink.rows == []
        else:
            assert sink.rows == truth
