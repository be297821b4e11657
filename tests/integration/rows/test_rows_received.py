"""Rows without trades that upstream sent are stored, whoever they were asked for: no count tells
that they are lacking.
"""

import random
import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import Depth, RunKind
from app.engine.service import ReconService
from app.sandbox.server.filters import matching, read_query
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.clock import SETTLED, TODAY
from tests.support.engine import engine, run
from tests.support.worlds import world_fixtures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

_METRICS = (Endpoint.DAILY, Endpoint.HOURLY)
_FEW_IDS = {"max_ids": 2}
"""So few ids in a request that what half of the accounts lack is read without ids."""
_OK = 200
_Key = tuple[object, ...]


def _world() -> World:
    return World.generate(24, seed=4, today=TODAY, contradictory=False)


filled, warehouse, sandbox = world_fixtures("received", _world)


@pytest.fixture
async def connection(warehouse: Database) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    async with warehouse.connect() as connected:
        yield connected


def _sent(sandbox: SandboxServer) -> set[_Key]:
    """The keys of daily and hourly rows that upstream sent since its log began."""
    keys: set[_Key] = set()
    for request in sandbox.log.requests:
        if request.endpoint in _METRICS and request.status == _OK:
            query = read_query(request.endpoint, parse_qsl(urlsplit(request.target).query))
            keys |= {
                (request.endpoint, each.account_id, each.day, each.hour)
                for each in matching(sandbox.world, query)
            }
    return keys


async def _stored(connection: "asyncpg.Connection[asyncpg.Record]") -> set[_Key]:
    daily = await connection.fetch("SELECT account_id, date, NULL AS hour FROM raw_metrics_daily")
    hourly = await connection.fetch("SELECT account_id, date, hour FROM raw_metrics_hourly")
    return {
        (endpoint, *row.values())
        for endpoint, rows in ((Endpoint.DAILY, daily), (Endpoint.HOURLY, hourly))
        for row in rows
    }


async def _lose_quiet_rows(connection: "asyncpg.Connection[asyncpg.Record]") -> set[_Key]:
    """Delete every row without trades."""
    daily = await connection.fetch(
        "DELETE FROM raw_metrics_daily WHERE num_trades = 0 AND date <= $1 RETURNING account_id,"
        " date",
        SETTLED,
    )
    hourly = await connection.fetch(
        "DELETE FROM raw_metrics_hourly WHERE num_trades = 0 AND date <= $1 RETURNING account_id,"
        " date, hour",
        SETTLED,
    )
    return {(Endpoint.DAILY, *row.values(), None) for row in daily} | {
        (Endpoint.HOURLY, *row.values()) for row in hourly
    }


async def _lose_daily_of_most(
    connection: "asyncpg.Connection[asyncpg.Record]", but: str = ""
) -> None:
    """Delete the daily rows of most accounts, so that the table is read as a whole."""
    rows = await connection.fetch(
        "SELECT account_id FROM raw_metrics_alltime WHERE account_id <> $1 ORDER BY 1", but
    )
    accounts = [row["account_id"] for row in rows]
    await connection.execute(
        "DELETE FROM raw_metrics_daily WHERE account_id = ANY($1)",
        accounts[: len(accounts) * 2 // 3],
    )


@pytest.mark.parametrize("seed", range(3))
async def test_all_rows_that_were_received_stand_in_the_warehouse(
    connection: "asyncpg.Connection[asyncpg.Record]",
    warehouse: Database,
    sandbox: SandboxServer,
    seed: int,
) -> None:
    chance = random.Random(seed)
    lost = await _lose_quiet_rows(connection)
    for endpoint in chance.sample(_METRICS, chance.randint(1, 2)):
        table = TABLES[endpoint].name
        nights = await connection.fetch(
            f"SELECT date FROM {table} WHERE date <= $1 GROUP BY date ORDER BY count(*) DESC"
            " LIMIT 4",
            SETTLED,
        )
        for row in chance.sample(nights, 2):
            await connection.execute(
                f"DELETE FROM {table} WHERE date = $1 AND num_trades > 0", row["date"]
            )
    if seed == 0:
        await _lose_daily_of_most(connection)
    async with engine(warehouse, sandbox, limits=_FEW_IDS) as service:
        state = await run(service, RunKind.FULL)
    sent, stored = _sent(sandbox), await _stored(connection)
    assert any("accountIds" not in request.target for request in sandbox.log.requests)
    assert sent <= stored
    assert state["requests"] == len(sandbox.log.requests)
    if seed == 0:
        assert {key for key in lost if key[0] is Endpoint.DAILY} <= stored


async def _losing_rows_of_one_that_agrees(
    service: ReconService, connection: "asyncpg.Connection[asyncpg.Record]"
) -> tuple[str, set[_Key]]:
    """Lose daily rows of most accounts and all rows without trades; one account that agrees, and
    its rows that are lacking.
    """
    lost = await _lose_quiet_rows(connection)
    other = min(str(account_id) for endpoint, account_id, *_ in lost if endpoint is Endpoint.DAILY)
    await _lose_daily_of_most(connection, but=other)
    await service.maintain()
    assert await connection.fetchval(
        "SELECT trades_recon_checksum FROM trade_recon WHERE account_id = $1", other
    )
    return other, {key for key in lost if key[:2] == (Endpoint.DAILY, other)}


async def test_rows_of_an_account_that_another_process_works_on_are_left_to_it_and_read_again_by_the_next_audit(
    connection: "asyncpg.Connection[asyncpg.Record]", warehouse: Database, sandbox: SandboxServer
) -> None:
    worker, claim = uuid.uuid4(), uuid.uuid4()
    async with engine(warehouse, sandbox, limits=_FEW_IDS) as service:
        other, lost = await _losing_rows_of_one_that_agrees(service, connection)
        await connection.execute(
            "INSERT INTO recon_workers (worker_id, host, pid) VALUES ($1, 'elsewhere', 1)", worker
        )
        await connection.execute(
            "UPDATE trade_recon SET claim_id = $2, claimed_by = $3, claimed_at = now() WHERE"
            " account_id = $1",
            other,
            claim,
            worker,
        )
        await run(service, RunKind.FULL)
        assert lost <= _sent(sandbox)
        assert not lost & await _stored(connection)
        assert (
            await connection.fetchval(
                "SELECT claim_id FROM trade_recon WHERE account_id = $1", other
            )
            == claim
        )
        await connection.execute(
            "UPDATE trade_recon SET claim_id = NULL, claimed_by = NULL, claimed_at = NULL"
        )
        await run(service, RunKind.AUDIT)
    assert lost <= await _stored(connection)


async def test_a_run_of_named_accounts_stores_rows_of_no_others(
    connection: "asyncpg.Connection[asyncpg.Record]", warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox, limits=_FEW_IDS) as service:
        other, lost = await _losing_rows_of_one_that_agrees(service, connection)
        named = tuple(account_id for account_id in sandbox.world.account_ids if account_id != other)
        await run(service, RunKind.FULL, account_ids=named, depth=Depth.COUNTS)
    assert lost <= _sent(sandbox)
    assert not lost & await _stored(connection)


async def test_rows_of_held_accounts_are_not_stored_and_those_of_others_count_for_the_run(
    connection: "asyncpg.Connection[asyncpg.Record]", warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox, limits=_FEW_IDS) as service:
        held, lost = await _losing_rows_of_one_that_agrees(service, connection)
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = 'needs_confirmation' WHERE account_id"
            " = $1",
            held,
        )
        before = await _stored(connection)
        state = await run(service, RunKind.FULL)
        stored = await _stored(connection)
        assert not lost & stored
        assert state["rows"]["inserted"] == len(stored - before)  # type: ignore[index]
