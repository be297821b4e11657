"""A request for one account that is too much for upstream is cut by dates until it can be read; the
parts prove what the whole would.
"""

import datetime as dt
from typing import Any

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.faults import FaultKind, Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.isolation.conftest import NOW, TODAY, blamed, names_of, quick
from tests.support.engine import difference, engine, run
from tests.support.plain import plain
from tests.support.worlds import world_fixtures

_TABLES = {
    Endpoint.DAILY: "raw_metrics_daily",
    Endpoint.HOURLY: "raw_metrics_hourly",
    Endpoint.CLOSED: "raw_trades_closed",
}


def _world() -> World:
    return World.generate(
        4, seed=2, today=TODAY, trades_per_account=120, days=50, contradictory=False
    )


filled, warehouse, sandbox = world_fixtures("cutting", _world)


async def _lose(database: Database, endpoint: Endpoint, every: int = 1) -> str:
    """Delete rows of the account with most trades, of each nth date; its id."""
    table, day = _TABLES[endpoint], "trade_date" if endpoint.is_trades else "date"
    async with database.connect() as connection:
        account_id = await connection.fetchval(
            "SELECT account_id FROM raw_metrics_alltime ORDER BY num_trades DESC, account_id"
            " LIMIT 1"
        )
        where = f"account_id = $1 AND extract(doy FROM {day})::int % $2 = 0"
        assert (
            await connection.execute(f"DELETE FROM {table} WHERE {where}", account_id, every)
            != "DELETE 0"
        )
    return str(account_id)


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("endpoint", _TABLES)
@pytest.mark.parametrize("every", [1, 2])
async def test_an_answer_with_too_many_rows_is_asked_for_in_parts(
    every: int, endpoint: Endpoint, status: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    await _lose(warehouse, endpoint, every)
    sandbox.set_faults(
        Faults(rejections=(Rejection(status=status, endpoints=frozenset({endpoint}), rows=9),))
    )
    async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
        state = await run(service, RunKind.FULL)
    assert (state["status"], state["accounts"]["healed"]) == ("succeeded", 1)  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).is_equal
    assert await blamed(warehouse) == {}


async def test_an_answer_that_takes_longer_than_the_deadline_is_asked_for_in_parts(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await _lose(warehouse, Endpoint.CLOSED)
    sandbox.set_faults(
        Faults(
            rejections=(
                Rejection(endpoints=frozenset({Endpoint.CLOSED}), rows=70, delay_seconds=60),
            )
        )
    )
    async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW, timeout=1) as service:
        state = await run(service, RunKind.FULL)
    assert (state["status"], state["accounts"]["healed"]) == ("succeeded", 1)  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_date_that_upstream_cannot_answer_costs_that_date_alone(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _lose(warehouse, Endpoint.HOURLY)
    async with warehouse.connect() as connection:
        days = [
            row["date"]
            for row in await connection.fetch(
                "SELECT date FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 ORDER"
                " BY 1",
                account_id,
            )
        ]
        bad = days[len(days) // 2]
        rule = Rejection(
            ids=frozenset({account_id}),
            endpoints=frozenset({Endpoint.HOURLY}),
            kind=FaultKind.INVALID_JSON,
            dates=frozenset({bad}),
        )
        sandbox.set_faults(Faults(rejections=(rule,)))
        async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
            state = await run(service, RunKind.FULL)
            account = plain(await service.readings.account(account_id))
        stored = {
            row["date"]
            for row in await connection.fetch(
                "SELECT DISTINCT date FROM raw_metrics_hourly WHERE account_id = $1", account_id
            )
        }
    assert stored >= set(days) - {bad}
    assert bad not in stored
    assert state["status"] == "completed_with_issues"
    assert f"metrics/hourly on {bad}" in account["attempts"][0]["detail"]
    assert await blamed(warehouse) == {account_id: 1}


def _beyond(skip: int, status: int) -> Faults:
    return Faults(largest_skip=skip, beyond_skip=status)


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_rows_behind_the_largest_skip_are_asked_for_by_dates(
    status: int, database: Database
) -> None:
    world = World.generate(
        2, seed=1, today=TODAY, trades_per_account=3020, days=20, contradictory=False
    )
    async with SandboxServer(
        world, faults=_beyond(1500, 200 if status == 200 else status)
    ) as sandbox:
        async with engine(database, sandbox, config=quick(), now=lambda: NOW) as service:
            state: dict[str, Any] = await run(service, RunKind.AUDIT)
        assert (state["status"], state["accounts"]["healed"]) == ("succeeded", 2)
        tables = (await difference(database, sandbox)).tables
        for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
            assert (
                tables[endpoint].missing,
                tables[endpoint].surplus,
                tables[endpoint].differing,
            ) == (0, 0, 0)


async def test_surplus_rows_are_removed_as_if_the_account_had_been_read_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _lose(warehouse, Endpoint.CLOSED, 3)
    async with warehouse.connect() as connection:
        day = dt.date(2026, 2, 20)
        await connection.execute(
            "INSERT INTO raw_trades_closed (account_id, platform, broker, login, position, ticket,"
            " trade_date) SELECT account_id, platform, broker, login, 'made-up', 'made-up',"
            " trade_date FROM raw_trades_closed WHERE account_id = $1 AND trade_date >= $2 ORDER BY"
            " trade_date LIMIT 1",
            account_id,
            day,
        )
        sandbox.set_faults(
            Faults(
                rejections=(Rejection(status=413, endpoints=frozenset({Endpoint.CLOSED}), rows=9),)
            )
        )
        async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded"
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == 1
        )
    assert (await difference(warehouse, sandbox)).is_equal


async def _lose_one_date(database: Database) -> tuple[str, dt.date, int]:
    """Delete the hourly rows of one date of an account that has several there; whose, when, and how
    many.
    """
    async with database.connect() as connection:
        row = await connection.fetchrow(
            "SELECT account_id, date, count(*) AS rows FROM raw_metrics_hourly GROUP BY 1, 2 ORDER"
            " BY 3 DESC, 1, 2 LIMIT 1"
        )
        assert row is not None
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2",
            row["account_id"],
            row["date"],
        )
    return row["account_id"], row["date"], row["rows"]


@pytest.mark.parametrize(("status", "most"), [(413, 1), (400, 1), (422, 2), (500, 1), (400, 3)])
async def test_one_date_of_hourly_rows_that_is_too_much_is_asked_for_by_hours(
    status: int, most: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    _, _, rows = await _lose_one_date(warehouse)
    assert rows > most
    sandbox.set_faults(
        Faults(
            rejections=(
                Rejection(status=status, endpoints=frozenset({Endpoint.HOURLY}), rows=most),
            )
        )
    )
    async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
        state = await run(service, RunKind.FULL)
    assert (state["status"], state["accounts"]["healed"]) == ("succeeded", 1), state  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).is_equal
    assert sandbox.log.total < 90


async def test_surplus_hours_go_as_if_the_date_had_been_read_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id, day, _ = await _lose_one_date(warehouse)
    async with warehouse.connect() as connection:
        await connection.execute(
            "INSERT INTO raw_metrics_hourly (account_id, date, hour, num_trades, login, platform,"
            " broker) SELECT account_id, date, hour, 1, login, platform, broker FROM"
            " raw_metrics_daily, generate_series(0, 23) AS hour WHERE account_id = $1 AND date"
            " = $2",
            account_id,
            day,
        )
    sandbox.set_faults(
        Faults(rejections=(Rejection(status=413, endpoints=frozenset({Endpoint.HOURLY}), rows=1),))
    )
    async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
        await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("endpoint", [Endpoint.HOURLY, Endpoint.CLOSED])
async def test_one_date_that_cannot_be_read_in_any_part_is_told_so(
    endpoint: Endpoint, warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id, day, _ = await _lose_one_date(warehouse)
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2",
            account_id,
            day,
        )
    ids = await names_of(warehouse, [account_id])
    sandbox.set_faults(
        Faults(
            rejections=(Rejection(status=413, endpoints=frozenset({endpoint}), rows=0, ids=ids),)
        )
    )
    async with engine(warehouse, sandbox, config=quick(), now=lambda: NOW) as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(account_id))
    assert state["status"] == "completed_with_issues"
    assert "no smaller request can be made" in account["attempts"][0]["detail"]
    assert sandbox.log.total < 40
    assert await blamed(warehouse) == {account_id: 1}
