"""Writing into tables with keys and constraints of their owner's: in parts, one row's refusal stops
no other, nothing is lost for it.
"""

import datetime as dt
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from pydantic import SecretStr

from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.database.pool import Database as Pool
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from tests.conftest import Database
from tests.support.clock import NOW, SETTLED, now
from tests.support.engine import TODAY, difference, engine, fill, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record]

_SOLE = f"""
    SELECT t.* FROM raw_trades_closed AS t
    WHERE trade_date < '{SETTLED}' AND account_id IS NOT NULL
      AND (SELECT count(*) FROM raw_trades_closed AS o WHERE o.account_id = t.account_id AND o.trade_date = t.trade_date) > 1
      AND (SELECT count(DISTINCT account_id) FROM raw_metrics_daily AS d WHERE d.login = t.login) = 1
      AND NOT EXISTS (SELECT FROM raw_trades_closed AS o WHERE o.position = t.position AND o.ticket <> t.ticket)
    ORDER BY account_id, trade_date, ticket LIMIT 1
"""


async def _narrow(connection: "Connection") -> None:
    """The key that existing warehouses have; a row of each group that it cannot hold is taken out
    first.
    """
    await connection.execute(
        "DELETE FROM raw_trades_closed AS t WHERE EXISTS (SELECT FROM raw_trades_closed AS o WHERE"
        " (o.platform, o.position, o.trade_date) = (t.platform, t.position, t.trade_date)"
        " AND (o.broker, o.login, o.ticket) < (t.broker, t.login, t.ticket))"
    )
    await connection.execute("ALTER TABLE raw_trades_closed DROP CONSTRAINT raw_trades_closed_pkey")
    await connection.execute(
        "ALTER TABLE raw_trades_closed ADD PRIMARY KEY (platform, position, trade_date)"
    )


async def _take_one(connection: "Connection", row: asyncpg.Record, *but: str) -> None:
    """Delete another trade of the row's account and date: something that a run sees, so that the
    date is read.
    """
    taken = await connection.execute(
        "DELETE FROM raw_trades_closed WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM"
        " raw_trades_closed WHERE account_id = $1 AND trade_date = $2 AND NOT ticket ="
        " ANY($3::text[]) LIMIT 1)",
        row["account_id"],
        row["trade_date"],
        list(but),
    )
    assert taken == "DELETE 1"


@asynccontextmanager
async def _paced(
    database: Database, sandbox: SandboxServer, rows_per_second: float
) -> "AsyncIterator[ReconService]":
    config = EngineConfig(workers=1, poll_seconds=0.05, guard=HoldLimits(row_share=1.0))
    upstream = UpstreamConfig(
        sandbox.base_url, SecretStr("sandbox"), rate=1000, burst=1000, timeout=5
    )
    async with (
        Pool.open(database.dsn, database.schema) as pool,
        UpstreamClient.open(upstream) as client,
    ):
        store = await Repositories.build(pool, config.lease_seconds, rows_per_second)
        yield ReconService(store, client, config, now)


async def test_a_large_account_is_written_in_transactions_of_bounded_size(
    database: Database,
) -> None:
    world = World.generate(
        1, seed=3, today=TODAY, trades_per_account=700, days=40, contradictory=False
    )
    async with SandboxServer(world) as sandbox, _paced(database, sandbox, 400) as service:
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "succeeded", state
        async with database.connect() as connection:
            written = await connection.fetch(
                "SELECT count(*) AS rows, count(DISTINCT trade_date) AS days FROM raw_trades_closed"
                " GROUP BY xmin::text"
            )
        # A date is never split: only a transaction of one date may have more.
        assert all(row["rows"] <= 400 or row["days"] == 1 for row in written)
        assert sum(row["rows"] for row in written) > 400
        assert (await _closed_difference(database, sandbox)) == 0
        # A stretch that someone else changed is told from those that we wrote.
        async with database.connect() as connection:
            await connection.execute("UPDATE raw_trades_closed SET profit = profit + 1")
            await connection.execute("UPDATE raw_metrics_alltime SET net_profit = net_profit + 1")
            await connection.execute("UPDATE raw_metrics_daily SET net_profit = net_profit + 1")
        await run(service, RunKind.AUDIT)
        assert (await _closed_difference(database, sandbox)) == 0


async def _closed_difference(database: Database, sandbox: SandboxServer) -> int:
    compared = await difference(database, sandbox)
    return sum(
        table.differences for table in compared.tables.values() if table.table != "raw_trades_open"
    )


async def test_a_stale_row_gives_way_to_the_row_that_needs_its_key(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        row = await connection.fetchrow(_SOLE)
        assert row is not None
        await _narrow(connection)
        key = (row["platform"], row["position"], row["trade_date"])
        await connection.execute(
            "UPDATE raw_trades_closed SET ticket = 'made-up' WHERE platform = $1 AND position = $2"
            " AND trade_date = $3",
            *key,
        )
        # Something that a run sees, so that the date is read.
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2",
            row["account_id"],
            row["trade_date"],
        )
        await _take_one(connection, row, row["ticket"], "made-up")
        async with engine(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        stored = (
            "SELECT ticket FROM raw_trades_closed WHERE platform = $1 AND position = $2 AND"
            " trade_date = $3"
        )
        assert await connection.fetchval(stored, *key) == row["ticket"]
        assert (
            await connection.fetchval(
                "SELECT row_data ->> 'ticket' FROM recon_removed_rows WHERE reason = 'removed'"
            )
            == "made-up"
        )


async def test_no_row_goes_on_a_date_on_which_a_row_of_upstream_cannot_be_held(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        row = await connection.fetchrow(_SOLE)
        assert row is not None
        await connection.execute(
            "UPDATE raw_trades_closed SET ticket = 'made-up' WHERE ticket = $1 AND login = $2",
            row["ticket"],
            row["login"],
        )
        await connection.execute(
            f"ALTER TABLE raw_trades_closed ADD CHECK (ticket <> '{row['ticket']}')"
        )
        await _take_one(connection, row, "made-up")
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE ticket = 'made-up'"
            )
            == 1
        )
        assert state["rows"]["removed"] == 0  # type: ignore[index]
        assert state["rows"]["inserted"] == 1  # type: ignore[index]
        assert state["rows"]["set_aside"] == 1  # type: ignore[index]
        detail = await connection.fetchval(
            "SELECT detail FROM recon_attempts WHERE account_id = $1", row["account_id"]
        )
        assert "refused by the table" in detail


async def test_two_rows_that_a_narrow_key_cannot_hold_are_both_named_and_the_stored_one_stays(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await _narrow(connection)
        before = await connection.fetch(
            "SELECT * FROM raw_trades_closed ORDER BY platform, position, trade_date"
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
            again = await run(service, RunKind.FULL)
        assert (
            await connection.fetch(
                "SELECT * FROM raw_trades_closed ORDER BY platform, position, trade_date"
            )
            == before
        )
        assert state["accounts"]["explained"] == state["accounts"]["total"] > 0  # type: ignore[index]
        assert again["requests"] == 0
        rows = await connection.fetch(
            "SELECT account_id, entry ->> 'key' AS key, entry -> 'held_by' ->> 'key' AS held_by,"
            " entry ->> 'unique_key' AS name FROM trade_recon, jsonb_array_elements(issues) AS"
            " issue, jsonb_array_elements(issue -> 'metadata' -> 'rows') AS entry WHERE issue ->>"
            " 'type' = 'key_too_narrow'"
        )
        assert rows
        for row in rows:
            held, kept_out = row["held_by"].split("|"), row["key"].split("|")
            # platform, broker, login, position, ticket, date
            assert (held[0], held[3], held[5]) == (kept_out[0], kept_out[3], kept_out[5])
            assert held != kept_out
            assert row["name"] == "raw_trades_closed_pkey"


async def test_rows_of_a_table_without_keys_that_are_stored_twice_are_stored_once_again(
    database: Database, sandbox: SandboxServer
) -> None:
    await fill(database, sandbox)
    tables = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")
    async with database.connect() as connection:
        for table in tables:
            await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
            await connection.execute(
                f"INSERT INTO {table} SELECT * FROM {table} WHERE login ~ '[13579]$'"
            )
        doubled = {
            table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables
        }
        # Some days later, when no date moves any more on which a row may not go.
        async with engine(database, sandbox, now=lambda: NOW + dt.timedelta(days=5)) as service:
            # Where every table holds an account twice they agree with each other: only upstream
            # tells.
            state = await run(service, RunKind.AUDIT)
            again = await run(service, RunKind.AUDIT)
        compared = await difference(database, sandbox)
        assert compared.is_equal, compared.sample
        removed = {
            row["table_name"]: row["rows"]
            for row in await connection.fetch(
                "SELECT table_name, count(*) AS rows FROM recon_removed_rows GROUP BY 1"
            )
        }
        left = {
            table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables
        }
        assert {table: doubled[table] - left[table] for table in tables} == removed
        assert sum(removed.values()) == state["rows"]["removed"] > 0  # type: ignore[index]
        assert sum(again["rows"].values()) == 0  # type: ignore[attr-defined]


async def test_a_lock_that_ingestion_holds_is_not_waited_for_while_rows_of_ours_are_locked(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, warehouse.connect() as ingestion:
        row = await connection.fetchrow(_SOLE)
        assert row is not None
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 5 WHERE account_id = $1",
            row["account_id"],
        )
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1", row["account_id"]
        )
        await _take_one(connection, row, row["ticket"])
        await ingestion.execute("BEGIN")
        await ingestion.execute(
            "SELECT FROM raw_trades_closed WHERE ticket = $1 AND login = $2 FOR UPDATE",
            row["ticket"],
            row["login"],
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
            assert state["accounts"]["partial"] + state["accounts"]["failed"] == 1  # type: ignore[index]
            failures = "SELECT failed_attempts FROM trade_recon WHERE account_id = $1"
            assert await connection.fetchval(failures, row["account_id"]) == 0
            await ingestion.execute("COMMIT")
            state = await run(service, RunKind.FULL)
            assert state["status"] == "succeeded"


async def test_a_place_that_the_same_write_frees_is_taken_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        row = await connection.fetchrow(_SOLE)
        assert row is not None
        other = await connection.fetchrow(
            "SELECT * FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2 AND ticket"
            " <> $3 AND open_time <> $4 LIMIT 1",
            row["account_id"],
            row["trade_date"],
            row["ticket"],
            row["open_time"],
        )
        assert other is not None
        # The stored row has the time of the one that is missing.
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE ticket = $1 AND login = $2",
            other["ticket"],
            other["login"],
        )
        await connection.execute(
            "UPDATE raw_trades_closed SET open_time = $1, close_time = $2 WHERE ticket = $3 AND"
            " login = $4",
            other["open_time"],
            other["close_time"],
            row["ticket"],
            row["login"],
        )
        await connection.execute(
            "CREATE UNIQUE INDEX by_time ON raw_trades_closed (login, platform, open_time,"
            " close_time, trade_date)"
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["rows"]["inserted"] == 1  # type: ignore[index]
        assert state["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).is_equal
