"""A world in which every account trades on every date of two weekdays, so that a date without rows
is seen to be lost, in a warehouse of few columns.
"""

import datetime as dt
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.trade_book import TradeBook
from app.sandbox.world.trades import Account, NaturalKey, Tenure
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.clock import SETTLED
from tests.support.engine import fill

DATED = (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
DAYS = tuple(SETTLED - dt.timedelta(days=ago) for ago in (22, 21, 15, 14, 8, 7, 1, 0))
"""Where each account trades."""
_SHARES_LOGIN = 10
"""One account in ten has the login of the one before, on another platform."""
_KEPT = frozenset(
    [
        "date",
        "hour",
        "trade_date",
        "account_id",
        "login",
        "platform",
        "broker",
        "position",
        "ticket",
        "open_time",
        "close_time",
        "lots",
        "profit",
        "num_trades",
        "net_profit",
        "total_lots",
        "ingestion_timestamp",
    ]
)


def weekly_world(
    accounts: int, trades: Mapping[dt.date, int] | None = None, *, seed: int = 1
) -> World:
    """Accounts with so many trades each on these dates; without `trades` one or two on all of
    `DAYS`.
    """
    days = sorted(trades or DAYS)
    known = [_account(number, days[0]) for number in range(accounts)]
    made = [
        trade
        for number, account in enumerate(known)
        for position, day in enumerate(days)
        for trade in TradeBook(
            account,
            number,
            random.Random(f"{seed}|{number}|{day}"),
            day,
            day,
            first_position=1000 * position + 1,
        ).closed(1 + (number + position) % 2 if trades is None else trades[day])
    ]
    return World(known, made, seed=seed, today=days[-1])


def _account(number: int, opened: dt.date) -> Account:
    shares = number % _SHARES_LOGIN == _SHARES_LOGIN - 1
    login = str(400_000 + 7 * (number - shares))
    key = NaturalKey(login, 5 if shares else 4, 1)
    return Account(f"acc-{number + 1:05d}", (Tenure(opened, key),), 100, opened)


@asynccontextmanager
async def weekly_warehouse(postgres: Server, template: str, world: World) -> AsyncIterator[str]:
    """The name of a database of few columns that the user's ingestion has filled."""
    async with postgres.clone(template, "weekly") as name:
        database = Database(postgres.database(name), SCHEMA)
        await _narrow(database)
        async with SandboxServer(world) as sandbox:
            await fill(database, sandbox)
        yield name


async def _narrow(database: Database) -> None:
    """Rows of hundreds of columns cost more time than all else."""
    async with database.connect() as connection:
        for table in TABLES.values():
            columns = await connection.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND"
                " NOT attisdropped",
                table.name,
            )
            dropped = ", ".join(
                f"DROP COLUMN {row['attname']} CASCADE"
                for row in columns
                if row["attname"] not in _KEPT
            )
            await connection.execute(f"ALTER TABLE {table.name} {dropped}")


async def lose(
    database: Database, days: Sequence[dt.date], tables: Sequence[Endpoint] = DATED
) -> dict[Endpoint, int]:
    """Delete dates of tables; the number of rows by table."""
    lost = {}
    async with database.connect() as connection:
        for endpoint in tables:
            table = TABLES[endpoint]
            status = await connection.execute(
                f"DELETE FROM {table.name} WHERE {table.date_column} = ANY($1::date[])", days
            )
            lost[endpoint] = int(status.split()[-1])
    return lost
