"""Nights on a fixed calendar: a small world, runs at a given time, and what the warehouse says of
an account.
"""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.holds.limits import HoldLimits
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.trades import Trade
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import engine

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

TODAY = dt.date(2026, 3, 10)
NOW = dt.datetime(2026, 3, 10, 22, tzinfo=dt.UTC)
CONFIG = EngineConfig(
    workers=1,
    poll_seconds=0.05,
    postpone_seconds=0,
    postpone_named_seconds=0,
    guard=HoldLimits(account_share=1.0, rows=100_000),
)
TRADES_TODAY = 4
_ENOUGH = 8


def small_world() -> World:
    """The same world each time: each account that trades has four trades on the last day."""
    world = World.generate(
        12, seed=3, today=TODAY, trades_per_account=15, days=40, contradictory=False
    )
    for account_id in world.account_ids:
        lose(world, closed_on(world, account_id, TODAY))
    for account_id in traders(world):
        add_trades(world, account_id, TODAY, TRADES_TODAY)
    return world


def traders(world: World) -> list[str]:
    """The accounts with at least eight closed trades, of which each belongs to one natural key that
    it always had and shares with none.
    """
    return [
        account_id
        for account_id in world.account_ids
        if sum(not trade.is_open for trade in world.trades(account_id)) >= _ENOUGH
        and len(world.natural_keys(account_id)) == 1
        and len(world.holders(world.natural_keys(account_id)[0].login)) == 1
    ]


def add_trades(world: World, account_id: str, day: dt.date, count: int) -> list[Trade]:
    """Let upstream know `count` more closed trades of an account on a day."""
    model = max(
        (trade for trade in world.trades(account_id) if not trade.is_open),
        key=lambda trade: trade.trade_key,
    )
    moment = dt.datetime.combine(day, dt.time(9), dt.UTC)
    made = [
        replace(
            model,
            key=world.account(account_id).key_on(day),
            position=f"{day:%y%m%d}{number}{model.position}",
            ticket=f"{day:%y%m%d}{number}{model.ticket}",
            trade_date=day,
            open_time=moment,
            close_time=moment + dt.timedelta(hours=number, minutes=5),
        )
        for number in range(count)
    ]
    world.add_trades(made)
    return made


def closed_on(world: World, account_id: str, day: dt.date) -> list[Trade]:
    """The closed trades that upstream has of an account on a day."""
    return sorted(
        (
            trade
            for trade in world.trades(account_id)
            if not trade.is_open and trade.trade_date == day
        ),
        key=lambda each: each.trade_key,
    )


def lose(world: World, trades: Sequence[Trade]) -> None:
    """Upstream answers from a replica that has not heard of these trades, alike at all levels."""
    for trade in trades:
        world.remove_trade(trade)


@asynccontextmanager
async def service_at(
    database: Database,
    sandbox: SandboxServer,
    now: dt.datetime = NOW,
    config: EngineConfig = CONFIG,
) -> AsyncIterator[ReconService]:
    """A service that believes in the time `now`."""
    async with engine(database, sandbox, config=config, now=lambda: now) as service:
        yield service


async def counts_on(
    connection: "Connection", account_id: str, day: dt.date
) -> tuple[int, int, int]:
    """What daily, hourly and closed trades count on a date."""
    row = await connection.fetchrow(
        "SELECT (SELECT coalesce(sum(num_trades), 0) FROM raw_metrics_daily WHERE account_id = $1"
        " AND date = $2), (SELECT coalesce(sum(num_trades), 0) FROM raw_metrics_hourly WHERE"
        " account_id = $1 AND date = $2), (SELECT count(*) FROM raw_trades_closed WHERE account_id"
        " = $1 AND trade_date = $2)",
        account_id,
        day,
    )
    assert row is not None
    return row[0], row[1], row[2]


async def alltime(connection: "Connection", account_id: str) -> int:
    return int(
        await connection.fetchval(
            "SELECT num_trades FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
    )


async def issues_of(connection: "Connection", account_id: str) -> set[str]:
    rows = await connection.fetch(
        "SELECT issue ->> 'type' AS type FROM trade_recon, jsonb_array_elements(issues) AS issue"
        " WHERE account_id = $1",
        account_id,
    )
    return {row["type"] for row in rows}


async def status_of(connection: "Connection", account_id: str) -> str:
    return str(
        await connection.fetchval(
            "SELECT reconciliation_status FROM trade_recon WHERE account_id = $1", account_id
        )
    )
