"""A warehouse on which PostgreSQL chooses as it would among 500,000 accounts, filled by SQL in
seconds.

60,000 accounts are known, of which 18,000 trade, on six days of 90 in three monthly partitions.
Rows are as wide as usual ones, by one long text in place of a hundred figures. Some trades carry no
account id or one that stands for it, as where ingestion does not know it.
"""

import asyncio
import datetime as dt
import uuid

import asyncpg

from app.domain.ids import RunId
from tests.conftest import SCHEMA

KNOWN, TRADING = 60_000, 18_000
FIRST_DAY, DAYS, APART = dt.date(2026, 1, 1), 90, 15
LAST_DAY = FIRST_DAY + dt.timedelta(days=DAYS - 1)
TRADING_DAYS = DAYS // APART
HOURS = (9, 10)
TRADES_A_DAY = 2
WITHOUT_ID, UNDER_PLACEHOLDER = 53, 499
"""One of so many trades, spread over all accounts since these are primes."""
PAST_RUN, RUN = RunId(uuid.UUID(int=1)), RunId(uuid.UUID(int=2))
WAITING = 2000
"""Accounts that wait in the run; none of them trades."""
FETCHES, FETCHED = 50, 1000
"""Fetches under way in staging, and the rows of each."""

_MONTHS = "ARRAY['2026-01-01', '2026-02-01', '2026-03-01']::date[]"
_ACCOUNT = "'acc-' || lpad(n::text, 7, '0')"
_KEYED = f"{_ACCOUNT}, n::text, 1, 1"
_WIDE = "day + interval '30 hours', repeat('x', {width})"
_TRADED = (
    f"(SELECT date '{FIRST_DAY}' + d AS day, {APART} * i - d % {APART} AS n FROM generate_series(0,"
    f" {DAYS - 1}) AS d CROSS JOIN generate_series(1, {TRADING // APART}) AS i) AS traded"
)
"""Dates and numbers of accounts: the accounts that trade on it for each date, as ingestion brings
them.
"""
_METRICS = (
    f"""
    INSERT INTO raw_metrics_daily (date, account_id, login, platform, broker, num_trades, ingestion_timestamp, source_api_endpoint)
    SELECT day, {_KEYED}, {TRADES_A_DAY}, {_WIDE.format(width=400)} FROM {_TRADED} ORDER BY day
    """,
    f"""
    INSERT INTO raw_metrics_hourly (date, hour, account_id, login, platform, broker, num_trades, ingestion_timestamp,
        source_api_endpoint)
    SELECT day, hour, {_KEYED}, 1, {_WIDE.format(width=400)}
    FROM {_TRADED} CROSS JOIN unnest(ARRAY{list(HOURS)}) AS hour ORDER BY day
    """,
    f"""
    INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades, ingestion_timestamp, source_api_endpoint)
    SELECT {_KEYED}, CASE WHEN n <= {TRADING} THEN {TRADES_A_DAY * TRADING_DAYS} ELSE 0 END,
        timestamp '{FIRST_DAY}' + n * interval '{DAYS} days' / {KNOWN}, repeat('x', 400) FROM generate_series(1, {KNOWN}) AS n
    """,
    # As maintenance leaves it.
    f"""
    INSERT INTO recon_identity (login, platform, broker, account_id, daily_from, daily_to, today, counts, valid_from, valid_to)
    SELECT n::text, '1', '1', {_ACCOUNT}, first, first + {DAYS - APART}, true, first IS NOT NULL, coalesce(first, '{LAST_DAY}'), 'infinity'
    FROM generate_series(1, {KNOWN}) AS n
    CROSS JOIN LATERAL (SELECT CASE WHEN n <= {TRADING} THEN date '{FIRST_DAY}' + ({APART} - n % {APART}) % {APART} END AS first) AS ranged
    """,
)
_TRADES = (
    f"""
    INSERT INTO raw_trades_closed (trade_date, account_id, login, platform, broker, position, ticket, ingestion_timestamp, comment)
    SELECT day, CASE WHEN trade % {WITHOUT_ID} = 0 THEN NULL WHEN trade % {UNDER_PLACEHOLDER} = 0 THEN md5(n || '|1|1')
        ELSE {_ACCOUNT} END,
        n::text, 1, 1, k, n || '-' || (day - date '{FIRST_DAY}') || '-' || k, {_WIDE.format(width=250)}
    FROM {_TRADED} CROSS JOIN generate_series(1, {TRADES_A_DAY}) AS k
    CROSS JOIN LATERAL (SELECT n + (day - date '{FIRST_DAY}') + k AS trade) AS numbered ORDER BY day
    """,
)
_STATE = (
    f"""
    INSERT INTO trade_recon (account_id, has_alltime, num_trades_alltime, has_daily, num_trades_daily, has_hourly, num_trades_hourly,
        has_raw_closed, num_trades_raw_closed, trades_recon_checksum)
    SELECT {_ACCOUNT}, true, trades, n <= {TRADING}, trades, n <= {TRADING}, trades, n <= {TRADING}, trades, true
    FROM generate_series(1, {KNOWN}) AS n
    CROSS JOIN LATERAL (SELECT CASE WHEN n <= {TRADING} THEN {TRADES_A_DAY * TRADING_DAYS} ELSE 0 END AS trades) AS counted
    """,
    f"""
    INSERT INTO recon_runs (run_id, kind, status, prepared_at, covers_until, finished_at)
    VALUES ('{PAST_RUN}', 'full', 'succeeded', now(), now(), now()), ('{RUN}', 'retry', 'running', now(), NULL, NULL)
    """,
    f"""
    INSERT INTO recon_attempts (run_id, account_id, position, outcome, finished_at)
    SELECT '{PAST_RUN}', {_ACCOUNT}, n, 'unchanged', now() - interval '30 days' + n * interval '1 second'
    FROM generate_series(1, {KNOWN}) AS n
    """,
    f"""
    INSERT INTO recon_attempts (run_id, account_id, position)
    SELECT '{RUN}', {_ACCOUNT}, n
    FROM generate_series({TRADING + 1}, {TRADING + WAITING}) AS n
    """,
    f"""
    INSERT INTO recon_issue_history (account_id, type, severity, evidence, closed_at)
    SELECT {_ACCOUNT}, 'upstream_drift', 2, '{{}}', CASE WHEN n % 20 > 0 THEN now() END
    FROM generate_series(1, {KNOWN}) AS n
    """,
    (
        f"INSERT INTO recon_descents (account_id, date) SELECT {_ACCOUNT}, '{FIRST_DAY}' FROM"
        f" generate_series(1, {TRADING}, 4) AS n"
    ),
    f"""
    INSERT INTO recon_drift (run_id, account_id, absent, evidence)
    SELECT '{RUN}', {_ACCOUNT}, false, '{{}}'
    FROM generate_series(1, {TRADING}, 4) AS n
    """,
    f"""
    INSERT INTO recon_identity_findings (table_name, login, platform, broker, holder, candidates, fits, rows, dates)
    SELECT 'raw_trades_closed', n::text, '1', '1', NULL, ARRAY[{_ACCOUNT}], md5({_ACCOUNT}), 1, ARRAY[date '{FIRST_DAY}']
    FROM generate_series(1, {TRADING}) AS n
    """,
    f"""
    INSERT INTO recon_changes (account_id, table_name, days, entries)
    SELECT {_ACCOUNT}, 'raw_metrics_daily', datemultirange(daterange('{FIRST_DAY}', '{FIRST_DAY}', '[]')), 1
    FROM generate_series(1, {TRADING}) AS n
    """,
)
_STAGED = (
    f"(SELECT md5('fetch ' || f)::uuid AS fetch_id, o, 9000 + ((f * {FETCHED} + o) /"
    f" {TRADING_DAYS}) % 9000 AS n, ((f * {FETCHED} + o) % {TRADING_DAYS}) AS j FROM"
    f" generate_series(1, {FETCHES}) AS f CROSS JOIN generate_series(1, {FETCHED}) AS o) AS fetched"
)
_STAGED_DAY = f"date '{FIRST_DAY}' + ({APART} - n % {APART}) % {APART} + {APART} * j"
_STAGING = (
    f"""
    INSERT INTO recon_stage_alltime (fetch_id, ordinal, account_id, login, platform, broker, num_trades)
    SELECT fetch_id, o, {_KEYED}, 12 FROM {_STAGED}
    """,
    f"""
    INSERT INTO recon_stage_daily (fetch_id, ordinal, date, account_id, login, platform, broker, num_trades)
    SELECT fetch_id, o, {_STAGED_DAY}, {_KEYED}, 2 FROM {_STAGED}
    """,
    f"""
    INSERT INTO recon_stage_hourly (fetch_id, ordinal, date, hour, account_id, login, platform, broker, num_trades)
    SELECT fetch_id, o, {_STAGED_DAY}, 9, {_KEYED}, 2 FROM {_STAGED}
    """,
    f"""
    INSERT INTO recon_stage_closed (fetch_id, ordinal, trade_date, account_id, login, platform, broker, position, ticket)
    SELECT fetch_id, o, {_STAGED_DAY}, {_KEYED}, 1, n || '-' || o FROM {_STAGED}
    """,
)

_SUMMARIES = """
    SELECT sum(brin_summarize_new_values(indexrelid)) FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'i' AND relam = (SELECT oid FROM pg_am WHERE amname = 'brin')
"""
"""The last range of each table too, so that what an index of ranges leads to is the same each
time.
"""


def account(number: int) -> str:
    """The id of an account, whose login is its number."""
    return f"acc-{number:07}"


def accounts(first: int, count: int, step: int = 1) -> list[str]:
    """Ids of accounts, from a number on."""
    return [account(first + step * number) for number in range(count)]


def trading_days(number: int) -> list[dt.date]:
    """The dates on which an account trades."""
    return [
        FIRST_DAY + dt.timedelta(days=-number % APART + APART * turn)
        for turn in range(TRADING_DAYS)
    ]


def ticket(number: int, day: dt.date, trade: int) -> str:
    """The ticket of an account's trade of a date, counted from 1; that is its position too."""
    return f"{number}-{(day - FIRST_DAY).days}-{trade}"


async def load(dsn: str) -> None:
    """Fill a migrated database, and let PostgreSQL know what is in it."""
    tables = ("raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed", "raw_trades_open")
    await _execute(
        dsn, *(f"SELECT recon_create_partitions('{table}', {_MONTHS})" for table in tables)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(_execute(dsn, *_METRICS))
        group.create_task(_execute(dsn, *_TRADES, *_STATE, *_STAGING))
    await _execute(dsn, "VACUUM (ANALYZE)", _SUMMARIES)


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": f"{SCHEMA}, public"})
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
