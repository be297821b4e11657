"""A warehouse of a chosen number of accounts, filled by SQL.

Each account trades on about 27 of 120 days, six trades a day: 162 closed trades, as 81 million of
500,000 accounts are. Hourly rows hold two trades each, daily rows the day's, alltime the total, and
amounts add up; a third of the columns between are filled, or fewer. The rule is that of
bench/world.py, which bench/computed.py plays as upstream. One account in a hundred has gaps: it
lacks daily rows, hourly rows or trades of every fourth settled day.

Each size has a database, filled a date at a time in one transaction: an interrupted one goes on,
and one of another rule or with other columns filled is made again. 20,000 accounts take 2.4 GB
(two thirds of it with every twelfth column filled), 500,000 about 59 GB, and 30 GB were measured
with hardly any column filled.
"""

import asyncio
from collections.abc import Iterator
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.domain.contract.tables import TABLES, Endpoint
from app.embedded_postgres.server import create_database
from app.store.schema.migrations.migrate import migrate
from app.telemetry import get_logger
from bench.world import (
    ACTIVE_SQL,
    DATES,
    DAYS,
    FILLED,
    HASH_SQL,
    LOTS_CENTS,
    PLACE_SQL,
    PROFIT_CENTS,
    SETTLED,
    TRADES_SQL,
    fillers,
)

_Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
SCHEMA = "prop_trading_model"
_LOADERS = 2
_log = get_logger(__name__)
_EACH, _OF_DAYS = 300, 4
"""An account in so many has gaps in a table, and in which part of the days."""
_PROFIT, _LOTS = PROFIT_CENTS / 100, LOTS_CENTS / 100
_ON_DAY = f"$2::bigint < {SETTLED} AND (n / {_EACH} + $2) % {_OF_DAYS} = 0"
_ACTIVE = f"""
WITH active AS (
    SELECT n, 'acc-' || lpad(n::text, 7, '0') AS account, n::text AS login, h, ({TRADES_SQL})::integer AS trades
    FROM (
        SELECT n, {HASH_SQL} AS h
        FROM (
            SELECT n, {PLACE_SQL.format(day="$2::bigint")} AS place
            FROM generate_series({{first}}, $1::bigint, {{step}}) AS n
            WHERE {{gaps}} (n % {_EACH} = {{lacks}} AND {_ON_DAY})
        ) AS placed
    ) AS hashed
    WHERE {ACTIVE_SQL}
)
"""
"""The accounts that trade on day $2 of $1 accounts, but those with a gap in this table, or only
those.
"""
_GAPS = f"""
DELETE FROM {{table}} WHERE {{date}} = $3 AND account_id IN (
    SELECT 'acc-' || lpad(n::text, 7, '0')
    FROM generate_series({{lacks}}, $1::bigint, {_EACH}) AS n
    WHERE {_ON_DAY}
)
"""
_STATEMENTS = {
    Endpoint.DAILY: (
        7,
        (
            "INSERT INTO {table} (date, account_id, login, platform, broker, num_trades,"
            " net_profit, total_lots{names}) SELECT $3::date, account, login, 1, 1, trades,"
            f" trades * {_PROFIT}, trades * {_LOTS}{{values}} FROM active ORDER BY n"
        ),
    ),
    Endpoint.HOURLY: (
        107,
        (
            "INSERT INTO {table} (date, hour, account_id, login, platform, broker, num_trades,"
            " net_profit, total_lots{names}) SELECT $3::date, k, account, login, 1, 1, least(2,"
            f" trades - 2 * k), least(2, trades - 2 * k) * {_PROFIT}, least(2, trades - 2 * k) *"
            f" {_LOTS}{{values}} FROM active CROSS JOIN LATERAL generate_series(0, (trades - 1) /"
            " 2) AS k ORDER BY n"
        ),
    ),
    Endpoint.CLOSED: (
        207,
        (
            "INSERT INTO {table} (trade_date, account_id, login, platform, broker, position,"
            " ticket, profit, lots{names}) SELECT $3::date, account, login, 1, 1, $2 * 100 + k,"
            f" $2 * 100 + k, {_PROFIT}, {_LOTS}{{values}} FROM active CROSS JOIN LATERAL"
            " generate_series(1, trades) AS k ORDER BY n"
        ),
    ),
}
"""By table: the first account with gaps, and what a day is filled with."""
_ALLTIME = f"""
INSERT INTO {{table}} (account_id, login, platform, broker, num_trades, net_profit, total_lots)
SELECT 'acc-' || lpad(n::text, 7, '0'), n::text, 1, 1, trades, trades * {_PROFIT}, trades * {_LOTS}
FROM (
    SELECT n, coalesce(sum({TRADES_SQL}) FILTER (WHERE {ACTIVE_SQL}), 0) AS trades
    FROM (
        SELECT n, {HASH_SQL} AS h
        FROM (
            SELECT n, {PLACE_SQL.format(day="day")} AS place
            FROM generate_series(1, $1::bigint) AS n
            CROSS JOIN generate_series(0, $2::bigint - 1) AS day
        ) AS placed
    ) AS hashed
    GROUP BY n
) AS traded
"""
_RULE = "rule 3, 1 of {filled} columns"
_WHOLE = "whole"
"""Steps, beside those of filling: by which rule the rows were made, and that gaps were filled."""
_STEPS = "SELECT step FROM public.bench_steps"


def table_of(endpoint: Endpoint) -> str:
    """The raw table, with its schema."""
    return f"{SCHEMA}.{TABLES[endpoint].name}"


def dsn_of(server_dsn: str, accounts: int) -> str:
    """The DSN of the database that holds a warehouse of this size."""
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name_of(accounts)}"))


def name_of(accounts: int) -> str:
    """The database that holds a warehouse of this size."""
    return f"bench_{accounts}"


async def ensure_warehouse(server_dsn: str, accounts: int, filled: int = FILLED) -> str:
    """A filled, migrated and vacuumed warehouse of so many accounts, made or completed; its DSN.

    Every `filled`-th column without meaning is filled.
    """
    dsn = dsn_of(server_dsn, accounts)
    rule = _RULE.format(filled=filled)
    await _drop_other(server_dsn, dsn, accounts, rule)
    await create_database(server_dsn, name_of(accounts))
    await migrate(dsn, SCHEMA)
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=_LOADERS, command_timeout=None)
    try:
        await pool.execute("CREATE TABLE IF NOT EXISTS public.bench_steps (step text PRIMARY KEY)")
        done = {row["step"] for row in await pool.fetch(_STEPS)}
        steps = (step for step in range(DAYS) if f"day {step}" not in done)
        if "partitions" not in done:
            await _make_partitions(pool, rule)
        async with asyncio.TaskGroup() as group:
            for _ in range(_LOADERS):
                group.create_task(_load_days(pool, accounts, filled, steps))
        if "alltime" not in done:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    _ALLTIME.format(table=table_of(Endpoint.ALLTIME)), accounts, DAYS
                )
                await _note(connection, "alltime")
        if "vacuum" not in done:
            await pool.execute("VACUUM (ANALYZE)")
            async with pool.acquire() as connection:
                await _note(connection, "vacuum")
        if _WHOLE in done:
            async with pool.acquire() as connection:
                await make_gaps(connection, accounts)
                await connection.execute("DELETE FROM public.bench_steps WHERE step = $1", _WHOLE)
    finally:
        await pool.close()
    return dsn


async def fill_gaps(connection: _Connection, accounts: int, filled: int = FILLED) -> None:
    """Give the accounts with gaps their rows, those that are there already stay."""
    await connection.execute(
        "INSERT INTO public.bench_steps VALUES ($1) ON CONFLICT DO NOTHING", _WHOLE
    )
    for endpoint, (lacks, statement) in _STATEMENTS.items():
        names, values = _filling(endpoint, filled)
        text = _ACTIVE.format(lacks=lacks, first=lacks, step=_EACH, gaps="") + statement.format(
            table=table_of(endpoint), names=names, values=values
        )
        for day, date in enumerate(DATES):
            await connection.execute(f"{text} ON CONFLICT DO NOTHING", accounts, day, date)


async def make_gaps(connection: _Connection, accounts: int) -> dict[Endpoint, int]:
    """Take the rows of all gaps away; how many they were."""
    removed = dict.fromkeys(_STATEMENTS, 0)
    for endpoint, (lacks, _) in _STATEMENTS.items():
        text = _GAPS.format(
            table=table_of(endpoint), date=TABLES[endpoint].date_column, lacks=lacks
        )
        for day, date in enumerate(DATES):
            done = await connection.execute(text, accounts, day, date)
            removed[endpoint] += int(done.rpartition(" ")[2])
    return removed


async def _drop_other(server_dsn: str, dsn: str, accounts: int, rule: str) -> None:
    """Drop a warehouse of this size that another rule filled."""
    server = await asyncpg.connect(server_dsn)
    try:
        if not await server.fetchval(
            "SELECT true FROM pg_database WHERE datname = $1", name_of(accounts)
        ):
            return
        warehouse = await asyncpg.connect(dsn)
        try:
            has_steps = await warehouse.fetchval(
                "SELECT to_regclass('public.bench_steps') IS NOT NULL"
            )
            done = {row["step"] for row in await warehouse.fetch(_STEPS)} if has_steps else set()
        finally:
            await warehouse.close()
        if done and rule not in done:
            print(
                f"The warehouse {name_of(accounts)} was filled in another way than is asked for"
                f" ({rule}). It is dropped and made again."
            )
            await server.execute(f'DROP DATABASE "{name_of(accounts)}"')
        elif done and "vacuum" not in done:
            print(f"The warehouse {name_of(accounts)} was not filled to the end. That goes on.")
    finally:
        await server.close()


async def _make_partitions(pool: "asyncpg.Pool[asyncpg.Record]", rule: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for endpoint in _STATEMENTS:
            await connection.execute(
                f"SELECT {SCHEMA}.recon_create_partitions($1, $2::date[])",
                TABLES[endpoint].name,
                DATES,
            )
        await _note(connection, rule)
        await _note(connection, "partitions")


async def _load_days(
    pool: "asyncpg.Pool[asyncpg.Record]", accounts: int, filled: int, days: Iterator[int]
) -> None:
    async with pool.acquire() as connection:
        for day in days:
            async with connection.transaction():
                for endpoint, (lacks, statement) in _STATEMENTS.items():
                    names, values = _filling(endpoint, filled)
                    text = _ACTIVE.format(
                        lacks=lacks, first=1, step=1, gaps="NOT"
                    ) + statement.format(table=table_of(endpoint), names=names, values=values)
                    await connection.execute(text, accounts, day, DATES[day])
                await _note(connection, f"day {day}")
            _log.info("A day is loaded.", action="bench.loaded", accounts=accounts, day=day)


def _filling(endpoint: Endpoint, filled: int) -> tuple[str, str]:
    """Names and values of the columns that carry no meaning here, as the ends of two lists."""
    chosen = fillers(endpoint, filled)
    return (
        "".join(f', "{each.column}"' for each in chosen),
        "".join(f", {each.sql}" for each in chosen),
    )


async def _note(connection: _Connection, step: str) -> None:
    await connection.execute("INSERT INTO public.bench_steps VALUES ($1)", step)
