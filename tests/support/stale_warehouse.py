"""A warehouse of 75 monthly partitions a table, with one account that trades on twenty days of each
month, filled by SQL; and what can happen to it after its last ANALYZE.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from tests.conftest import SCHEMA

FIRST_MONTH, MONTHS = dt.date(2020, 1, 1), 75
BIG, SMALL_DAYS, HOURS = 1, 6, 2
"""Number of the account that trades most; days of every other one."""
LAST_DAY = dt.date(2026, 3, 31)


@dataclass(frozen=True, slots=True)
class Size:
    """Accounts; days of a month on which the largest trades, and its trades of a day."""

    accounts: int
    days: int
    trades: int


def account(number: int) -> str:
    """The id of an account, whose login is its number."""
    return f"acc-{number:07}"


def _day(month: str, day: str) -> str:
    return f"(date '{FIRST_MONTH}' + make_interval(months => {month}) + make_interval(days => {day}))::date"


def _traded(size: Size) -> str:
    """Accounts, their dates, and trades of each."""
    return (
        f"(SELECT {BIG} AS n, {_day('m', 'd')} AS day, {size.trades} AS trades FROM"
        f" generate_series(0, {MONTHS - 1}) AS m CROSS JOIN generate_series(1, {size.days}) AS d"
        f" UNION ALL SELECT n, {_day(f'(n * 7 + j * 11) % {MONTHS}', '(n % 20) + 1')}, 2 FROM"
        f" generate_series({BIG + 1}, {size.accounts}) AS n CROSS JOIN generate_series(1,"
        f" {SMALL_DAYS}) AS j) AS traded"
    )


_KEYS = "'acc-' || lpad(n::text, 7, '0'), n::text, 1, 1"
_WIDE = "repeat('x', 150)"


def _fills(size: Size) -> tuple[str, ...]:
    traded = _traded(size)
    return (
        (
            "INSERT INTO raw_metrics_daily (account_id, login, platform, broker, date, num_trades,"
            f" source_api_endpoint) SELECT {_KEYS}, day, trades, {_WIDE} FROM {traded} ORDER BY day"
        ),
        (
            "INSERT INTO raw_metrics_hourly (account_id, login, platform, broker, date, hour,"
            f" num_trades, source_api_endpoint) SELECT {_KEYS}, day, hour, trades / {HOURS}, {_WIDE}"
            f" FROM {traded} CROSS JOIN generate_series(1, {HOURS}) AS hour ORDER BY day"
        ),
        (
            "INSERT INTO raw_trades_closed (account_id, login, platform, broker, trade_date, position,"
            f" ticket, comment) SELECT {_KEYS}, day, k, n || '-' || day || '-' || k, {_WIDE} FROM"
            f" {traded} CROSS JOIN LATERAL generate_series(1, trades) AS k ORDER BY day"
        ),
        (
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades,"
            f" source_api_endpoint) SELECT {_KEYS}, sum(trades), {_WIDE} FROM {traded} GROUP BY n"
        ),
    )


_PARTITIONS = tuple(
    f"SELECT recon_create_partitions('{table}', ARRAY(SELECT {_day('m', '0')} FROM"
    f" generate_series(0, {MONTHS - 1}) AS m))"
    for table in ("raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed", "raw_trades_open")
)

_MONTH = "BETWEEN '2023-05-01' AND '2023-05-31'"
DAMAGES: Mapping[str, tuple[str, ...]] = {
    "ids of an account lost": (
        f"UPDATE raw_trades_closed SET account_id = NULL WHERE login = '{BIG}'",
    ),
    "ids of all accounts lost": ("UPDATE raw_trades_closed SET account_id = NULL",),
    "trades of an account under a placeholder": (
        f"UPDATE raw_trades_closed SET account_id = md5('{BIG}|1|1') WHERE login = '{BIG}'",
    ),
    "metrics of an account under a placeholder": (
        f"UPDATE raw_metrics_hourly SET account_id = md5('{BIG}|1|1') WHERE login = '{BIG}'",
        (
            f"UPDATE raw_metrics_daily SET account_id = md5('{BIG}|1|1') WHERE login = '{BIG}' AND"
            " date > '2020-02-01'"
        ),
    ),
    "trades of an account under another's id": (
        f"UPDATE raw_trades_closed SET account_id = '{account(2)}' WHERE login = '{BIG}'",
    ),
    "a month of all accounts missing": (
        f"DELETE FROM raw_metrics_daily WHERE date {_MONTH}",
        f"DELETE FROM raw_trades_closed WHERE trade_date {_MONTH}",
    ),
    "a month written since, in a partition of its own": (
        "SELECT recon_create_partitions('raw_trades_closed', ARRAY[date '2026-04-01'])",
        (
            "INSERT INTO raw_trades_closed (account_id, login, platform, broker, trade_date, position,"
            f" ticket) SELECT NULL, '{BIG}', 1, 1, '2026-04-01', n, n FROM generate_series(1, 2000) AS"
            " n"
        ),
    ),
    "a table emptied": ("TRUNCATE raw_metrics_hourly",),
}


async def execute(dsn: str, *statements: str) -> None:
    """Run these with the schema in the search path."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": f"{SCHEMA}, public"})
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def make_partitions(dsn: str) -> None:
    """Of all months, empty."""
    await execute(dsn, *_PARTITIONS)


async def fill(dsn: str, size: Size) -> None:
    """Fill a migrated database, without statistics."""
    await make_partitions(dsn)
    await execute(dsn, *_fills(size))
