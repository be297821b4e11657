"""Memory of the service: `python -m bench.memory`. Needs Linux.

A `trade-recon serve` process repairs, over HTTP, one account whose trades are all missing, and a
run of many accounts that lack a row each; at two sizes a factor 10 apart, each in a process and
database of its own. Counted is the peak of resident memory (VmHWM) of the process alone.
"""

import argparse
import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from app.embedded_postgres.server import EmbeddedPostgres, create_database
from app.store.schema.migrations.migrate import migrate
from bench.endless import FIRST_DAY, Answering, Crowd, Giant, served
from bench.service import SCHEMA, Service, serve
from bench.table import Ratio, at_most, figure, show

_MOST_MEGABYTES = 300.0
_DAYS = 250
DISPOSABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
_STEPS = 10


async def measure(trades: int, accounts: int) -> list[Ratio]:
    """Heal both cases at a tenth and at all of their size; the peaks, and how they grow."""
    found: list[Ratio] = []
    with tempfile.TemporaryDirectory(prefix="trade-recon-bench-") as folder:
        server = await EmbeddedPostgres.start(Path(folder) / "postgres", DISPOSABLE)
        try:
            small = await _giant(server, Path(folder), trades // _STEPS, found)
            large = await _giant(server, Path(folder), trades, found)
            found.append(
                at_most(
                    "memory: growth from a tenth of the trades to all", large / small, 1.25, "x"
                )
            )
            small = await _crowd(server, Path(folder), accounts // _STEPS, found)
            large = await _crowd(server, Path(folder), accounts, found)
            found.append(
                at_most(
                    "memory: growth from a tenth of the accounts to all", large / small, 1.25, "x"
                )
            )
        finally:
            await server.stop()
    return found


async def _giant(server: EmbeddedPostgres, folder: Path, trades: int, found: list[Ratio]) -> float:
    giant = Giant(trades, min(_DAYS, trades))
    async with serving(
        server,
        folder,
        giant.answer,
        _GIANT_ROWS,
        giant.account_id,
        giant.login,
        giant.trades,
        giant.days,
    ) as service:
        return await _run(
            service,
            f"one account of {trades:,} trades",
            "SELECT count(*) FROM raw_trades_closed",
            trades,
            found,
        )


async def _crowd(
    server: EmbeddedPostgres, folder: Path, accounts: int, found: list[Ratio]
) -> float:
    crowd = Crowd(accounts)
    async with serving(server, folder, crowd.answer, CROWD_ROWS, accounts) as service:
        return await _run(
            service,
            f"{accounts:,} accounts in one run",
            "SELECT count(*) FROM raw_metrics_daily",
            accounts,
            found,
        )


async def _run(service: Service, name: str, count: str, rows: int, found: list[Ratio]) -> float:
    idle = service.peak
    begun = time.perf_counter()
    state = await service.reconcile()
    seconds = time.perf_counter() - begun
    stored = await service.warehouse.fetchval(count)
    if stored != rows or state["status"] != "succeeded":
        raise SystemExit(
            f"{name}: {stored} of {rows} rows came in, and the run {state['status']}: {state}"
        )
    found.append(at_most(f"memory: {name}", service.peak, _MOST_MEGABYTES, "MB"))
    found.append(figure(f"memory: {name}, before the run", idle, "MB"))
    found.append(figure(f"memory: {name}, the run took", seconds, "s"))
    for line in found[-3:]:
        print(show(line), flush=True)
    return service.peak


_GIANT_ROWS = """
INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades) VALUES ('{0}', '{1}', 5, 1, {2});
SELECT prop_trading_model.recon_create_partitions(name, ARRAY(SELECT DATE '{first}' + n FROM generate_series(0, {3} - 1) AS n))
FROM unnest(ARRAY['raw_metrics_daily', 'raw_metrics_hourly', 'raw_trades_closed']) AS name;
INSERT INTO raw_metrics_daily (account_id, login, platform, broker, date, num_trades)
SELECT '{0}', '{1}', 5, 1, DATE '{first}' + n, greatest(0, least(ceil({2} / {3}::numeric), {2} - n * ceil({2} / {3}::numeric)))
FROM generate_series(0, {3} - 1) AS n;
INSERT INTO raw_metrics_hourly (account_id, login, platform, broker, date, hour, num_trades)
SELECT account_id, login, platform, broker, date, 9, num_trades FROM raw_metrics_daily;
"""
CROWD_ROWS = """
SELECT prop_trading_model.recon_create_partitions(name, ARRAY[DATE '{first}'])
FROM unnest(ARRAY['raw_metrics_daily', 'raw_metrics_hourly', 'raw_trades_closed']) AS name;
INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades)
SELECT 'acc-' || lpad(n::text, 7, '0'), lpad(n::text, 7, '0'), 5, 1, 1 FROM generate_series(0, {0} - 1) AS n;
INSERT INTO raw_metrics_hourly (account_id, login, platform, broker, date, hour, num_trades)
SELECT account_id, login, 5, 1, '{first}', 9, 1 FROM raw_metrics_alltime;
INSERT INTO raw_trades_closed (account_id, login, platform, broker, trade_date, position, ticket)
SELECT account_id, login, 5, 1, '{first}', login, login FROM raw_metrics_alltime;
"""


@contextlib.asynccontextmanager
async def serving(
    server: EmbeddedPostgres,
    folder: Path,
    answering: Answering,
    rows: str,
    *values: object,
    rate: int = 1000,
) -> AsyncIterator[Service]:
    """A service on a database with `rows` and on an upstream that answers, `rate` times a second at
    most.
    """
    name = f"bench_{secrets.token_hex(4)}"
    await create_database(server.dsn(), name)
    dsn = server.dsn(name)
    await migrate(dsn, SCHEMA)
    warehouse = await asyncpg.connect(dsn, server_settings={"search_path": SCHEMA})
    try:
        await warehouse.execute(rows.format(*values, first=FIRST_DAY))
        await warehouse.execute("VACUUM ANALYZE")
    finally:
        await warehouse.close()
    async with served(answering) as address, serve(folder, dsn, address, rate) as service:
        yield service


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trades", type=int, default=200_000, help="trades of the one account (200000)"
    )
    parser.add_argument("--accounts", type=int, default=20_000, help="accounts of the run (20000)")
    chosen = parser.parse_args()
    measured = asyncio.run(measure(chosen.trades, chosen.accounts))
    print()
    for line in measured:
        print(show(line))
    raise SystemExit(any(line.is_met is False for line in measured))
