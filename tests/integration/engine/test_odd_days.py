"""An upstream that lost all trades of odd dates, alike at all levels and for everybody: nothing is
lowered, and each account is held.
"""

import datetime as dt
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import engine, fill, run

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_TODAY = dt.date(2026, 3, 10)
_NOW = dt.datetime(2026, 3, 10, 22, tzinfo=dt.UTC)
_MOVING_FROM = dt.date(2026, 3, 9)
_COUNTS = """
SELECT 'alltime' AS name, account_id, NULL::date AS day, num_trades::bigint AS trades FROM raw_metrics_alltime
UNION ALL SELECT 'daily', account_id, date, sum(num_trades)::bigint FROM raw_metrics_daily GROUP BY 2, 3
UNION ALL SELECT 'hourly', account_id, date, sum(num_trades)::bigint FROM raw_metrics_hourly GROUP BY 2, 3
UNION ALL SELECT 'closed', account_id, trade_date, count(*) FROM raw_trades_closed WHERE account_id IS NOT NULL GROUP BY 2, 3
"""
_Counts = dict[tuple[str, str, dt.date | None], int]


def _world(seed: int) -> World:
    return World.generate(
        30, seed=seed, today=_TODAY, trades_per_account=14, days=12, contradictory=False
    )


@pytest.fixture(scope="module", params=[1, 2])
async def whole(
    request: pytest.FixtureRequest, postgres: Server, template: str
) -> AsyncIterator[tuple[int, str]]:
    """A seed, and the name of a database that ingestion has filled from its world."""
    async with postgres.clone(template, f"odd_days_{request.param}") as name:
        async with SandboxServer(_world(request.param)) as sandbox:
            await fill(Database(postgres.database(name), SCHEMA), sandbox)
        yield request.param, name


async def _counts(connection: "Connection") -> _Counts:
    return {
        (row["name"], row["account_id"], row["day"]): row["trades"]
        for row in await connection.fetch(_COUNTS)
    }


async def _held(connection: "Connection") -> set[str]:
    rows = await connection.fetch(
        "SELECT account_id FROM trade_recon WHERE reconciliation_status = 'needs_confirmation'"
    )
    return {row["account_id"] for row in rows}


def _lose_days(world: World, parity: int) -> set[str]:
    """Upstream loses all trades of dates of this parity; the accounts that lose any of settled
    dates.
    """
    lost = [
        trade
        for account_id in world.account_ids
        for trade in world.trades(account_id)
        if not trade.is_open and trade.trade_date.day % 2 == parity
    ]
    holders = {
        account_id
        for account_id in world.account_ids
        for trade in world.trades(account_id)
        if not trade.is_open
        and trade.trade_date.day % 2 == parity
        and trade.trade_date < _MOVING_FROM
    }
    for trade in lost:
        world.remove_trade(trade)
    return holders


@pytest.mark.parametrize("parity", [1, 0], ids=["odd", "even"])
async def test_nothing_is_lowered_and_each_account_with_lower_settled_figures_is_held(
    whole: tuple[int, str], postgres: Server, parity: int
) -> None:
    seed, name = whole
    world = _world(seed)
    lowered = _lose_days(world, parity)
    async with postgres.clone(name, "test") as copy, SandboxServer(world) as sandbox:
        warehouse = Database(postgres.database(copy), SCHEMA)
        async with (
            warehouse.connect() as connection,
            engine(warehouse, sandbox, now=lambda: _NOW) as service,
        ):
            before = await _counts(connection)
            for night, kind in enumerate((RunKind.AUDIT, RunKind.FULL, RunKind.AUDIT)):
                state = await run(service, kind)
                if night == 0:
                    assert state["status"] == "needs_confirmation"
                    assert f"{len(lowered)} of the 30 accounts" in str(state["error"])
                assert state["accounts"]["needs_confirmation"] == len(lowered), kind  # type: ignore[index]
                after = await _counts(connection)
                assert {
                    key: (count, after.get(key, 0))
                    for key, count in before.items()
                    if after.get(key, 0) < count
                } == {}, kind
                assert await _held(connection) == lowered, kind
