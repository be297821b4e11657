"""Faults on demand: each kind does what it says, over a real socket, and a run can be repeated."""

import datetime as dt
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec
import pytest

from app.domain.contract.tables import Endpoint
from app.errors import InvalidRequest
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults, FaultState
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[SandboxServer]:
    world = World.generate(
        20, seed=1, today=dt.date(2026, 3, 10), trades_per_account=10, contradictory=False
    )
    async with SandboxServer(world) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> SandboxServer:
    running.set_faults(NO_FAULTS)
    running.log.reset()
    return running


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=sandbox.base_url, headers={"apiKey": sandbox.api_key}
    ) as opened:
        yield opened


async def get(client: httpx2.AsyncClient, skip: int = 0, limit: int = 50) -> httpx2.Response:
    return await client.get(
        Endpoint.DAILY.path, params={"include-total": 1, "skip": skip, "limit": limit}
    )


async def page(client: httpx2.AsyncClient, skip: int = 0, limit: int = 50) -> dict[str, Any]:
    response = await get(client, skip, limit)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()["Data"]
    return found


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FaultKind.INTERNAL_ERROR, 500),
        (FaultKind.BAD_GATEWAY, 502),
        (FaultKind.SERVICE_UNAVAILABLE, 503),
    ],
)
async def test_a_server_error_has_its_status(
    sandbox: SandboxServer, client: httpx2.AsyncClient, kind: FaultKind, status: int
) -> None:
    sandbox.set_faults(Faults.of(kind))
    assert (await get(client)).status_code == status
    assert sandbox.log.requests[-1].fault is kind


async def test_429_names_the_wait_in_seconds_or_as_a_date(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults(probabilities={FaultKind.TOO_MANY_REQUESTS: 1}, retry_after=7))
    answer = await get(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    sandbox.set_faults(Faults(probabilities={FaultKind.TOO_MANY_REQUESTS_DATE: 1}, retry_after=90))
    wait = parsedate_to_datetime((await get(client)).headers["Retry-After"]) - dt.datetime.now(
        dt.UTC
    )
    assert 60 < wait.total_seconds() <= 90


async def test_a_dropped_connection_breaks_off_before_or_in_the_middle_of_the_answer(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults.of(FaultKind.DROPPED_CONNECTION))
    for skip in range(8):
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await get(client, skip)
    sandbox.set_faults(NO_FAULTS)
    assert (await get(client)).status_code == 200


async def test_a_sandbox_that_is_down_answers_nobody(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults(down=True))
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        await get(client)
    assert (sandbox.log.total, sandbox.log.requests[0].status) == (1, 0)


async def test_an_unauthorized_sandbox_refuses_the_right_key(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults(unauthorized=True))
    assert (await get(client)).status_code == 401


@pytest.mark.parametrize("kind", [FaultKind.INVALID_JSON, FaultKind.TRUNCATED_JSON])
async def test_spoiled_json_comes_with_200_and_cannot_be_read(
    sandbox: SandboxServer, client: httpx2.AsyncClient, kind: FaultKind
) -> None:
    sandbox.set_faults(Faults.of(kind))
    answer = await get(client)
    assert answer.status_code == 200
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(answer.content)


async def test_a_failed_status_comes_with_200(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults.of(FaultKind.FAILED_STATUS))
    answer = await get(client)
    assert (answer.status_code, answer.json()["Status"]) == (200, "fail")


async def test_a_short_page_leaves_rows_out_and_keeps_the_total(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    true = await page(client)
    sandbox.set_faults(Faults.of(FaultKind.SHORT_PAGE))
    short = await page(client)
    assert short["count"] == len(short["data"]) < len(true["data"])
    assert short["total"] == true["total"]
    assert all(row in true["data"] for row in short["data"])


async def test_a_repeated_row_stands_twice_and_the_page_does_not_grow_beyond_its_limit(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    true = await page(client, limit=1000)
    sandbox.set_faults(Faults.of(FaultKind.REPEATED_ROW))
    repeated = await page(client)
    assert len(repeated["data"]) == 50
    assert len({str(row) for row in repeated["data"]}) == 49
    assert repeated["total"] == true["total"]
    assert len((await page(client, limit=1000))["data"]) == true["total"] + 1


async def test_a_shifting_total_differs_from_page_to_page(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    true = await page(client)
    sandbox.set_faults(Faults.of(FaultKind.SHIFTING_TOTAL))
    found = await page(client)
    assert found["data"] == true["data"]
    assert found["total"] != true["total"]


@pytest.mark.parametrize(
    ("kind", "off"), [(FaultKind.SMALLER_TOTAL, -1), (FaultKind.LARGER_TOTAL, 1)]
)
async def test_a_wrong_total_is_the_same_on_every_page(
    sandbox: SandboxServer, client: httpx2.AsyncClient, kind: FaultKind, off: int
) -> None:
    true = [await page(client, skip) for skip in (0, 49, 98)]
    sandbox.set_faults(Faults.of(kind))
    found = [await page(client, skip) for skip in (0, 49, 98)]
    assert [each["data"] for each in found] == [each["data"] for each in true]
    assert [each["total"] for each in found] == [each["total"] + off for each in true]


async def test_shifting_rows_lose_the_first_row_of_a_page_without_a_change_of_the_total(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    true = await page(client, skip=10, limit=20)
    sandbox.set_faults(Faults.of(FaultKind.SHIFTING_ROWS))
    shifted = await page(client, skip=10, limit=20)
    assert shifted["data"][:-1] == true["data"][1:]
    assert (len(shifted["data"]), shifted["total"]) == (20, true["total"])


async def test_an_empty_answer_denies_all_rows(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults.of(FaultKind.EMPTY))
    found = await page(client)
    assert (found["data"], found["total"]) == ([], 0)


@pytest.mark.parametrize("kind", [FaultKind.SLOW, FaultKind.DRIP])
async def test_a_late_answer_is_whole(
    sandbox: SandboxServer, client: httpx2.AsyncClient, kind: FaultKind
) -> None:
    true = await page(client)
    sandbox.set_faults(Faults(probabilities={kind: 1}, delay_seconds=0.2))
    started = time.monotonic()
    assert await page(client) == true
    assert time.monotonic() - started >= 0.2


async def test_a_drip_never_lets_a_single_read_wait_long(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults(probabilities={FaultKind.DRIP: 1}, delay_seconds=1))
    # Longer than any single pause, shorter than the whole answer takes.
    assert (
        await client.get(Endpoint.DAILY.path, timeout=httpx2.Timeout(5, read=0.5))
    ).status_code == 200


async def test_faults_can_be_set_over_the_socket(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    faults = {
        "probabilities": {"internal_error": 1.0},
        "only_endpoints": ["metrics/daily"],
        "first_n": 1,
    }
    assert (await client.put("_control/faults", json=faults)).status_code == 204
    assert (await client.get(Endpoint.ALLTIME.path)).status_code == 200
    assert [(await get(client)).status_code for _ in range(2)] == [500, 200]
    assert (
        await client.put("_control/faults", json={"probabilities": {"unheard": 1.0}})
    ).status_code == 400
    assert (
        await client.put("_control/faults", json={"probabilities": {"empty": 2.0}})
    ).status_code == 400
    assert sandbox.log.total == 3


def test_the_same_seed_shows_the_same_faults_in_whatever_order_requests_come() -> None:
    targets = [f"/v2/metrics/daily?skip={number % 40}" for number in range(400)]

    def shown(order: list[str]) -> dict[str, list[FaultKind | None]]:
        state = FaultState(Faults.everything(0.5, seed=3))
        found: dict[str, list[FaultKind | None]] = {}
        for target in order:
            found.setdefault(target, []).append(state.draw(Endpoint.DAILY, target).kind)
        return found

    first = shown(targets)
    assert first == shown(sorted(targets))
    kinds = [kind for each in first.values() for kind in each]
    assert set(kinds) == {None, *FaultKind}
    assert 120 < sum(kind is not None for kind in kinds) < 280


def test_probabilities_beyond_one_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        Faults(probabilities={FaultKind.EMPTY: 0.6, FaultKind.SLOW: 0.6})
    with pytest.raises(InvalidRequest):
        Faults(probabilities={FaultKind.EMPTY: -0.1})
    with pytest.raises(InvalidRequest):
        Faults(first_n=-1)


async def test_faults_of_scans_spare_requests_that_name_ids_and_those_for_a_row(
    sandbox: SandboxServer, client: httpx2.AsyncClient
) -> None:
    sandbox.set_faults(Faults(probabilities={FaultKind.INTERNAL_ERROR: 1.0}, only_scans=True))
    assert (await get(client)).status_code == 500
    assert (await get(client, limit=1)).status_code == 200
    for endpoint, name, value in (
        (Endpoint.DAILY, "accountIds", "acc-00001"),
        (Endpoint.CLOSED, "logins", "400007"),
    ):
        response = await client.get(endpoint.path, params={name: value, "limit": 50})
        assert response.status_code == 200
