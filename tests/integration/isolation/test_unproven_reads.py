"""An API whose answers do not add up: what cannot be proven whole is held against an account only
if it can be for others.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.integration.isolation.conftest import (
    NOW,
    TODAY,
    Engine,
    blamed,
    let_a_day_pass,
    lose,
    names_of,
    quick,
)
from tests.support.engine import difference, engine, filled_copy, run
from tests.support.plain import plain

_ENDPOINTS = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
_LIES = (FaultKind.LARGER_TOTAL, FaultKind.SMALLER_TOTAL, FaultKind.OTHERS_ROWS)
_SMALL_NUMBER = 40
"""Requests that an API may cost that lies to everybody, however many accounts need it."""

_BEFORE = {0: 58, 11: 58, 22: 68}
"""Requests of a night with one bad account, by its place, before controls were read and second
passes took fewer readings.
"""


def _lying(kind: FaultKind, endpoint: Endpoint, ids: frozenset[str] | None = None) -> Faults:
    return Faults(probabilities={kind: 1.0}, only_endpoints=frozenset({endpoint}), only_ids=ids)


def _accounts(state: dict[str, Any]) -> dict[str, int]:
    figures: dict[str, int] = state["accounts"]
    return figures


@pytest.mark.parametrize(("endpoint", "kind"), list(zip(_ENDPOINTS, _LIES, strict=True)))
async def test_an_endpoint_that_lies_to_everybody_costs_nobody_an_attempt_and_few_requests(
    endpoint: Endpoint,
    kind: FaultKind,
    warehouse: Database,
    sandbox: SandboxServer,
    service_of: Engine,
) -> None:
    losers = await lose(warehouse, endpoint, 50)
    async with service_of() as service:
        for night, run_kind in enumerate((RunKind.FULL, RunKind.AUDIT, RunKind.RETRY)):
            sandbox.set_faults(_lying(kind, endpoint))
            sandbox.log.reset()
            state = await run(service, run_kind)
            assert (state["status"], _accounts(state)["waiting"]) == ("failed", len(losers)), night
            assert f"{endpoint.value} can be proven whole" in str(state["error"])
            assert "held against" in str(state["error"])
            assert await blamed(warehouse) == {}
            assert sandbox.log.total < _SMALL_NUMBER, night
            await let_a_day_pass(warehouse)
        sandbox.set_faults(NO_FAULTS)
        state = await run(service, RunKind.FULL)
    assert (state["status"], _accounts(state)["healed"]) == ("succeeded", len(losers))
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("endpoint", _ENDPOINTS)
async def test_where_no_account_is_well_those_of_the_batch_speak_for_each_other(
    endpoint: Endpoint, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, endpoint)
    async with warehouse.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly")
        await connection.execute("DELETE FROM raw_trades_closed")
    bad = losers[7]
    async with service_of() as service:
        sandbox.set_faults(_lying(FaultKind.LARGER_TOTAL, endpoint))
        await run(service, RunKind.FULL)
        assert await blamed(warehouse) == {}
        sandbox.set_faults(
            _lying(FaultKind.LARGER_TOTAL, endpoint, await names_of(warehouse, [bad]))
        )
        await run(service, RunKind.FULL)
    assert set(await blamed(warehouse)) <= {bad}
    assert (await difference(warehouse, sandbox)).account_ids <= {bad}


async def test_an_account_alone_waits_without_blame_while_nothing_shows_that_reads_can_be_whole(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    (loser,) = await lose(warehouse, Endpoint.HOURLY, 1)
    async with service_of() as service:
        for _ in range(2):
            sandbox.set_faults(_lying(FaultKind.SMALLER_TOTAL, Endpoint.HOURLY))
            sandbox.log.reset()
            state = await run(service, RunKind.FULL, account_ids=(loser,))
            account = plain(await service.readings.account(loser))
            assert (state["status"], account["attempts"][0]["outcome"]) == ("failed", None)
            assert "can be proven whole" in str(account["attempts"][0]["detail"])
            assert account["failed_attempts"] == 0
            assert sandbox.log.total < _SMALL_NUMBER
        sandbox.set_faults(NO_FAULTS)
        state = await run(service, RunKind.FULL)
    assert _accounts(state)["healed"] == 1


@pytest.fixture(scope="module")
async def lone_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled from a single account."""
    async with filled_copy(postgres, template, "lone", _lone_world()) as name:
        yield name


def _lone_world() -> World:
    return World.generate(
        1, seed=6, today=TODAY, trades_per_account=12, days=30, contradictory=False
    )


async def test_the_only_account_of_a_warehouse_is_not_charged_for_an_api_that_lies_about_each_date(
    postgres: Server, lone_template: str
) -> None:
    async with (
        postgres.clone(lone_template, "test") as name,
        SandboxServer(_lone_world()) as sandbox,
    ):
        database = Database(postgres.database(name), SCHEMA)
        async with (
            database.connect() as connection,
            engine(database, sandbox, config=quick(), now=lambda: NOW) as service,
        ):
            await connection.execute("DELETE FROM raw_metrics_daily")
            sandbox.set_faults(_lying(FaultKind.LARGER_TOTAL, Endpoint.DAILY))
            for _ in range(2):
                state = await run(service, RunKind.FULL)
                assert "there is no other account" in str(state["error"])
                assert await blamed(database) == {}
            sandbox.set_faults(NO_FAULTS)
            assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        assert (await difference(database, sandbox)).is_equal


@pytest.mark.parametrize("place", [0, 11, 22])
async def test_one_bad_account_costs_no_more_than_before_controls_were_read_and_none_costs_no_control(
    place: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 23)
    bad = losers[place]
    sandbox.set_faults(_lying(FaultKind.SMALLER_TOTAL, Endpoint.HOURLY, frozenset({bad})))
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
        assert (_accounts(state)["healed"], await blamed(warehouse)) == (len(losers) - 1, {bad: 1})
        strangers = {each for request in sandbox.log.requests for each in request.ids} - set(losers)
        assert len(strangers) <= 1
        assert sandbox.log.total <= _BEFORE[place]
        # A night without a bad account asks for nobody but those that lack something.
        sandbox.set_faults(NO_FAULTS)
        sandbox.log.reset()
        again = await lose(warehouse, Endpoint.HOURLY, 23)
        await let_a_day_pass(warehouse)
        await run(service, RunKind.RETRY)
    assert {each for request in sandbox.log.requests for each in request.ids} <= set(again)
    assert sandbox.log.total <= 2
