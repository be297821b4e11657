"""The sandbox keeps the API's contract, over a real socket."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest

from app.domain.contract.tables import Endpoint
from app.sandbox.server.answers import Envelope
from app.sandbox.server.app import create_sandbox
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.rows import Record
from app.sandbox.world.world import World

TODAY = dt.date(2026, 3, 10)
DECODER = msgspec.json.Decoder(float_hook=Decimal)


@pytest.fixture(scope="module")
def world() -> World:
    return World.generate(30, seed=1, today=TODAY, trades_per_account=12)


@pytest.fixture(scope="module")
async def sandbox(world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world) as server:
        yield server


@pytest.fixture(scope="module")
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=sandbox.base_url, headers={"apiKey": sandbox.api_key}
    ) as opened:
        yield opened


async def data(
    client: httpx2.AsyncClient, endpoint: Endpoint, **params: str | int
) -> dict[str, Any]:
    response = await client.get(
        endpoint.path, params={name.replace("_", "-"): value for name, value in params.items()}
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = DECODER.decode(response.content)
    assert body["Status"] == "ok"
    found: dict[str, Any] = body["Data"]
    return found


@pytest.mark.parametrize("endpoint", Endpoint)
async def test_pages_hold_all_rows_once_in_order_without_losing_digits(
    client: httpx2.AsyncClient, world: World, endpoint: Endpoint
) -> None:
    wanted = [DECODER.decode(bytes(record.encoded)) for record in world.records(endpoint)]
    found: list[object] = []
    while len(found) < len(wanted):
        page = await data(client, endpoint, limit=97, skip=len(found), include_total=1)
        assert page["total"] == len(wanted)
        assert (page["count"], page["skip"], page["limit"]) == (len(page["data"]), len(found), 97)
        found.extend(page["data"])
    assert found == wanted
    assert (await data(client, endpoint, skip=len(wanted)))["data"] == []


async def test_decimals_are_numbers_with_all_their_digits(
    client: httpx2.AsyncClient, world: World
) -> None:
    rows = (await data(client, Endpoint.CLOSED))["data"]
    for sent, row in zip(rows, world.rows(Endpoint.CLOSED)[:1000], strict=True):
        assert sent["openPrice"] == row["openPrice"]
        assert isinstance(sent["openPrice"], Decimal | int)


async def test_the_total_comes_only_when_asked_for(client: httpx2.AsyncClient) -> None:
    assert "total" not in await data(client, Endpoint.ALLTIME)
    assert (await data(client, Endpoint.ALLTIME, include_total=1, limit=1))["total"] == 30


def _opened(record: Record) -> dt.date:
    return record.trade.open_time.date() if record.trade and record.trade.open_time else dt.date.max


def _closed(record: Record) -> dt.date:
    return (
        record.trade.close_time.date() if record.trade and record.trade.close_time else dt.date.max
    )


DAY, EARLIER = dt.date(2026, 2, 20), dt.date(2026, 2, 10)
FILTERS: list[tuple[Endpoint, dict[str, str], Callable[[Record], bool]]] = [
    (
        Endpoint.ALLTIME,
        {"accountIds": "acc-00002,acc-00005,unheard"},
        lambda r: r.account_id in ("acc-00002", "acc-00005"),
    ),
    (Endpoint.DAILY, {"accountIds": "acc-00002"}, lambda r: r.account_id == "acc-00002"),
    (Endpoint.DAILY, {"logins": "00400007"}, lambda r: r.natural_key.login == "00400007"),
    (Endpoint.DAILY, {"logins": "400007"}, lambda _: False),
    (
        Endpoint.HOURLY,
        {"types": "2", "phases": "1,2"},
        lambda r: r.profile.type == 2 and r.profile.phase in (1, 2),
    ),
    (
        Endpoint.HOURLY,
        {"platforms": "5,8", "hours": "0,7,23"},
        lambda r: r.natural_key.platform in (5, 8) and r.hour in (0, 7, 23),
    ),
    (Endpoint.DAILY, {"providers": "1,2,3"}, lambda r: r.natural_key.broker in (1, 2, 3)),
    (Endpoint.DAILY, {"dates": "20260220,20260210"}, lambda r: r.day in (DAY, EARLIER)),
    (
        Endpoint.HOURLY,
        {"dates": "20260220", "accountIds": "acc-00001,acc-00003"},
        lambda r: r.day == DAY and r.account_id in ("acc-00001", "acc-00003"),
    ),
    (
        Endpoint.CLOSED,
        {"logins": "00400007,400028"},
        lambda r: r.natural_key.login in ("00400007", "400028"),
    ),
    (
        Endpoint.CLOSED,
        {"symbols": "EURUSD,US30"},
        lambda r: r.trade is not None and r.trade.symbol in ("EURUSD", "US30"),
    ),
    (Endpoint.CLOSED, {"trade-date": "20260220"}, lambda r: r.day == DAY),
    (
        Endpoint.CLOSED,
        {"trade-date-from": "20260210", "trade-date-to": "20260220"},
        lambda r: r.day is not None and EARLIER <= r.day <= DAY,
    ),
    (
        Endpoint.CLOSED,
        {"open-time-from": "20260210", "open-time-to": "20260220"},
        lambda r: EARLIER <= _opened(r) <= DAY,
    ),
    (
        Endpoint.CLOSED,
        {"close-time-from": "20260210", "close-time-to": "20260220"},
        lambda r: EARLIER <= _closed(r) <= DAY,
    ),
    (
        Endpoint.OPEN,
        {"trade-date-from": "20260301"},
        lambda r: r.day is not None and r.day >= dt.date(2026, 3, 1),
    ),
]


@pytest.mark.parametrize(("endpoint", "params", "chosen"), FILTERS)
async def test_a_filter_gives_the_rows_that_match_it(
    client: httpx2.AsyncClient,
    world: World,
    endpoint: Endpoint,
    params: dict[str, str],
    chosen: Callable[[Record], bool],
) -> None:
    wanted = [record for record in world.records(endpoint) if chosen(record)]
    found = await data(client, endpoint, include_total=1, **params)
    assert found["total"] == len(wanted)
    assert found["data"] == [DECODER.decode(bytes(record.encoded)) for record in wanted[:1000]]


@pytest.mark.parametrize(
    ("endpoint", "query"),
    [
        (Endpoint.DAILY, "limit=0"),
        (Endpoint.DAILY, "limit=1001"),
        (Endpoint.DAILY, "skip=-1"),
        (Endpoint.DAILY, "limit=²"),
        (Endpoint.DAILY, "include-total=2"),
        (Endpoint.DAILY, "hours=3"),
        (Endpoint.HOURLY, "hours=24"),
        (Endpoint.DAILY, "dates=2026-02-20"),
        (Endpoint.DAILY, "dates=20260230"),
        (Endpoint.DAILY, "accountIds="),
        (Endpoint.DAILY, "accountIds=a,,b"),
        (Endpoint.DAILY, "accountIds=a&accountIds=b"),
        (Endpoint.DAILY, "unheard=1"),
        (Endpoint.DAILY, "nothing"),
        (Endpoint.ALLTIME, "dates=20260220"),
        (Endpoint.CLOSED, "accountIds=acc-00001"),
        (Endpoint.OPEN, "close-time-from=20260220"),
    ],
)
async def test_wrong_parameters_are_refused(
    client: httpx2.AsyncClient, endpoint: Endpoint, query: str
) -> None:
    response = await client.get(f"{endpoint.path}?{query}")
    assert response.status_code == 400
    assert response.json()["Message"]


async def test_a_wrong_or_missing_key_is_refused(sandbox: SandboxServer) -> None:
    async with httpx2.AsyncClient(base_url=sandbox.base_url) as stranger:
        assert (await stranger.get(Endpoint.DAILY.path)).status_code == 401
        assert (
            await stranger.get(Endpoint.DAILY.path, headers={"apiKey": "wrong"})
        ).status_code == 401
        assert (await stranger.get("_control/log")).status_code == 401
        assert (await stranger.put("_control/faults", json={"down": True})).status_code == 401


async def test_a_url_that_is_too_long_is_refused_with_414(client: httpx2.AsyncClient) -> None:
    ids = ",".join(f"acc-{number:05d}" for number in range(900))
    assert (await client.get(Endpoint.DAILY.path, params={"accountIds": ids})).status_code == 414
    assert (
        await client.get(Endpoint.DAILY.path, params={"accountIds": ids[:4999]})
    ).status_code == 200


async def test_other_paths_and_methods_are_refused(client: httpx2.AsyncClient) -> None:
    assert (await client.get("v2/metrics/weekly")).status_code == 404
    assert (await client.get("v3/anything")).status_code == 404
    assert (await client.post(Endpoint.DAILY.path)).status_code == 405


async def test_the_log_counts_requests_and_names_the_ids_asked_for(
    client: httpx2.AsyncClient, sandbox: SandboxServer
) -> None:
    assert (await client.post("_control/log/reset")).status_code == 204
    await data(client, Endpoint.DAILY, accountIds="acc-00001,acc-00002")
    await data(client, Endpoint.CLOSED, logins="400028")
    assert sandbox.log.counts[Endpoint.DAILY] == 1
    assert sandbox.log.ids(Endpoint.DAILY) == {"acc-00001", "acc-00002"}
    summary = (await client.get("_control/log")).json()
    assert summary["total"] == summary["max_in_second"] == 2
    assert summary["ids"]["trades/closed"] == ["400028"]
    assert [request.rows > 0 for request in sandbox.log.requests] == [True, True]


async def test_the_quota_refuses_with_a_wait_that_suffices() -> None:
    world = World.generate(1, seed=1, today=TODAY)
    async with (
        SandboxServer(world, rate=10, burst=3) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, headers={"apiKey": "sandbox"}) as client,
    ):
        answers = [await client.get(Endpoint.ALLTIME.path) for _ in range(6)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert answers[2].status_code == 200
        assert refused
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert sandbox.log.max_in_window(60) == 6


@pytest.mark.parametrize(
    ("envelope", "read"),
    [
        (Envelope(bare=True), lambda body: body["Data"]),
        (Envelope(legacy_key=True), lambda body: body["data"]["data"]),
        (Envelope(bare=True, legacy_key=True, status=False), lambda body: body["data"]),
        (Envelope(total=False), lambda body: body["Data"]["data"]),
    ],
)
async def test_answers_come_in_every_envelope(
    world: World, envelope: Envelope, read: Callable[[dict[str, Any]], list[object]]
) -> None:
    app = create_sandbox(world, envelope=envelope)
    async with (
        SandboxServer(world, app=app) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, headers={"apiKey": "sandbox"}) as client,
    ):
        body = (await client.get(Endpoint.ALLTIME.path, params={"include-total": 1})).json()
        assert len(read(body)) == 30
        assert ("Status" in body) == envelope.status
        content = body.get("Data", body.get("data"))
        assert ("total" in content) == (envelope.total and not envelope.bare)


async def test_a_mutation_of_the_world_shows_in_the_next_page() -> None:
    world = World.generate(3, seed=1, today=TODAY, contradictory=False)
    async with (
        SandboxServer(world) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, headers={"apiKey": "sandbox"}) as client,
    ):
        before = (await data(client, Endpoint.CLOSED, include_total=1))["total"]
        world.remove_trade(next(trade for trade in world.trades("acc-00001") if not trade.is_open))
        assert (await data(client, Endpoint.CLOSED, include_total=1))["total"] == before - 1
        assert (
            await client.post("_control/forget", json={"account_id": "acc-00001"})
        ).status_code == 204
        assert [row["accountId"] for row in (await data(client, Endpoint.ALLTIME))["data"]] == [
            "acc-00002",
            "acc-00003",
        ]
        assert (
            await client.post(
                "_control/forget", json={"account_id": "acc-00002", "before": TODAY.isoformat()}
            )
        ).status_code == 204
        assert (
            await client.post("_control/forget", json={"account_id": "unheard"})
        ).status_code == 404
        assert (await client.post("_control/forget", content=b"{")).status_code == 400
