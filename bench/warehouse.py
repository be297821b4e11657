"""A warehouse of a chosen number of accounts, filled by SQL.

Each account trades on about 27 of 120 days, six trades a day: 162 closed trades, as 81 million of
500,000 accounts are. Hourly rows hold two trades each, daily rows the day's, alltime the total, and
amounts add up; a third of the columns between are filled. One account in a hundred lacks daily
rows, hourly rows or trades of every fourth day.

Each size has a database, filled a date at a time in one transaction: an interrupted one goes on.
20,000 accounts take 2.2 GB, 500,000 about 55 GB.
"""

import asyncio
import datetime as dt
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.embedded_postgres.server import create_database
from app.store.schema.migrations.migrate import migrate
from app.telemetry import get_logger

SCHEMA = "prop_trading_model"
DAYS = 120
LAST_DAY = dt.date(2026, 3, 31)
_LOADERS = 2
_log = get_logger(__name__)
_KEYS = frozenset(
    {
        "date",
        "hour",
        "account_id",
        "login",
        "platform",
        "broker",
        "num_trades",
        "trade_date",
        "position",
        "ticket",
    }
)
_AMOUNTS = frozenset({"net_profit", "total_lots", "profit", "lots"})
_PROFIT, _LOTS = 12.34, 0.13
"""Of each trade, so that the sums of all tables agree."""
_FILLED = 3
"""Of the other columns every third is filled."""
_FILLERS = {
    "integer": "(h >> 8) % 1000",
    "numeric": "((h >> 8) % 100000) / 100.0",
    "character varying": "'US'",
    "date": "date '2026-01-01'",
    "timestamp without time zone": "timestamp '2026-01-01 09:30'",
}
_ACTIVE = """
WITH active AS (
    SELECT n, 'acc-' || lpad(n::text, 7, '0') AS account, n::text AS login, h, (1 + (h / 1000) % 11)::integer AS trades
    FROM (SELECT n, abs(hashint8extended(n, $2)) AS h FROM generate_series(1, $1::bigint) AS n) AS hashed
    WHERE h % 1000 < 225 AND NOT (n % 300 = {lacks} AND (n / 300 + $2) % 4 = 0)
)
"""
"""The accounts that trade on day $2 of $1 accounts, but those that lack it in this table."""
_STATEMENTS = {
    "raw_metrics_daily": (
        7,
        (
            "INSERT INTO {table} (date, account_id, login, platform, broker, num_trades,"
            " net_profit, total_lots{names}) SELECT $3::date, account, login, 1, 1, trades,"
            f" trades * {_PROFIT}, trades * {_LOTS}{{values}} FROM active ORDER BY n"
        ),
    ),
    "raw_metrics_hourly": (
        107,
        (
            "INSERT INTO {table} (date, hour, account_id, login, platform, broker, num_trades,"
            " net_profit, total_lots{names}) SELECT $3::date, k, account, login, 1, 1, least(2,"
            f" trades - 2 * k), least(2, trades - 2 * k) * {_PROFIT}, least(2, trades - 2 * k) *"
            f" {_LOTS}{{values}} FROM active CROSS JOIN LATERAL generate_series(0, (trades - 1) /"
            " 2) AS k ORDER BY n"
        ),
    ),
    "raw_trades_closed": (
        207,
        (
            "INSERT INTO {table} (trade_date, account_id, login, platform, broker, position,"
            " ticket, profit, lots{names}) SELECT $3::date, account, login, 1, 1, $2 * 100 + k,"
            f" $2 * 100 + k, {_PROFIT}, {_LOTS}{{values}} FROM active CROSS JOIN LATERAL"
            " generate_series(1, trades) AS k ORDER BY n"
        ),
    ),
}
_ALLTIME = f"""
INSERT INTO {{table}} (account_id, login, platform, broker, num_trades, net_profit, total_lots)
SELECT 'acc-' || lpad(n::text, 7, '0'), n::text, 1, 1, trades, trades * {_PROFIT}, trades * {_LOTS}
FROM (
    SELECT n, coalesce(sum(1 + (h / 1000) % 11) FILTER (WHERE h % 1000 < 225), 0) AS trades
    FROM (
        SELECT n, abs(hashint8extended(n, day)) AS h
        FROM generate_series(1, $1::bigint) AS n CROSS JOIN generate_series(0, $2::bigint - 1) AS day
    ) AS hashed
    GROUP BY n
) AS traded
"""


def dsn_of(server_dsn: str, accounts: int) -> str:
    """The DSN of the database that holds a warehouse of this size."""
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name_of(accounts)}"))


def name_of(accounts: int) -> str:
    """The database that holds a warehouse of this size."""
    return f"bench_{accounts}"


async def ensure_warehouse(server_dsn: str, accounts: int) -> str:
    """A filled, migrated and vacuumed warehouse of so many accounts, made or completed; its DSN."""
    dsn = dsn_of(server_dsn, accounts)
    await create_database(server_dsn, name_of(accounts))
    await migrate(dsn, SCHEMA)
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=_LOADERS, command_timeout=None)
    try:
        await pool.execute("CREATE TABLE IF NOT EXISTS public.bench_steps (step text PRIMARY KEY)")
        done = {row["step"] for row in await pool.fetch("SELECT step FROM public.bench_steps")}
        steps = (step for step in range(DAYS) if f"day {step}" not in done)
        if "partitions" not in done:
            await _make_partitions(pool)
        async with asyncio.TaskGroup() as group:
            for _ in range(_LOADERS):
                group.create_task(_load_days(pool, accounts, steps))
        if "alltime" not in done:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    _ALLTIME.format(table=f"{SCHEMA}.raw_metrics_alltime"), accounts, DAYS
                )
                await _note(connection, "alltime")
        if "vacuum" not in done:
            await pool.execute("VACUUM (ANALYZE)")
            async with pool.acquire() as connection:
                await _note(connection, "vacuum")
    finally:
        await pool.close()
    return dsn


async def _make_partitions(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    days = [LAST_DAY - dt.timedelta(days=number) for number in range(DAYS)]
    async with pool.acquire() as connection, connection.transaction():
        for table in _STATEMENTS:
            await connection.execute(
                f"SELECT {SCHEMA}.recon_create_partitions($1, $2::date[])", table, days
            )
        await _note(connection, "partitions")


async def _load_days(
    pool: "asyncpg.Pool[asyncpg.Record]", accounts: int, days: Iterator[int]
) -> None:
    async with pool.acquire() as connection:
        fillers = {table: await _fillers(connection, table) for table in _STATEMENTS}
        for day in days:
            async with connection.transaction():
                for table, (lacks, statement) in _STATEMENTS.items():
                    names, values = fillers[table]
                    text = _ACTIVE.format(lacks=lacks) + statement.format(
                        table=f"{SCHEMA}.{table}", names=names, values=values
                    )
                    await connection.execute(
                        text, accounts, day, LAST_DAY - dt.timedelta(days=DAYS - 1 - day)
                    )
                await _note(connection, f"day {day}")
            _log.info("A day is loaded.", action="bench.loaded", accounts=accounts, day=day)


async def _fillers(
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", table: str
) -> tuple[str, str]:
    """Names and values of the columns that carry no meaning here, as the ends of two lists."""
    rows = await connection.fetch(
        "SELECT column_name::text AS name, data_type::text AS type FROM information_schema.columns"
        " WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
        SCHEMA,
        table,
    )
    filled = [row for row in rows if row["name"] not in _KEYS and row["type"] in _FILLERS][
        ::_FILLED
    ]
    filled = [row for row in filled if row["name"] not in _AMOUNTS]
    return "".join(f', "{row["name"]}"' for row in filled), "".join(
        f", {_FILLERS[row['type']]}" for row in filled
    )


async def _note(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", step: str) -> None:
    await connection.execute("INSERT INTO public.bench_steps VALUES ($1)", step)
