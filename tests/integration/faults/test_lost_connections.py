"""Connections that die without FIN: nothing waits for them for long, and new ones are used at
once.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from app.domain.ids import WorkerId
from app.domain.runs.request import RunRequest
from app.engine.config import EngineConfig
from app.errors import DatabaseUnavailable
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.store.claims.claims import Claims
from app.store.database.pool import Database as Pool
from tests.conftest import Database, Server
from tests.support.commands import served, settings_for
from tests.support.engine import engine
from tests.support.replicas import until
from tests.support.tcp_proxy import TcpProxy

_STUCK = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=60.0)


@asynccontextmanager
async def _through_a_network(database: Database) -> AsyncIterator[tuple[TcpProxy, Pool]]:
    async with (
        TcpProxy.to_database(database.dsn) as (proxy, dsn),
        Pool.open(dsn, database.schema, pool_size=4) as pool,
    ):
        yield proxy, pool


async def _hold(pool: Pool, connections: int) -> None:
    """Open so many connections at the same time, which rest in the pool afterwards."""
    await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.2)") for _ in range(connections)))


async def test_a_frozen_session_that_rested_is_replaced_before_it_is_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.sessions._RESTED_SECONDS", 0.0)
    async with _through_a_network(database) as (proxy, pool):
        await _hold(pool, 4)
        assert proxy.freeze() == 4
        begun = time.monotonic()
        assert await pool.fetch_value("SELECT 7") == 7
        assert await asyncio.gather(*(pool.fetch_value("SELECT 8") for _ in range(4))) == [8] * 4
        assert time.monotonic() - begun < 4, "one of them is tried, not each"


async def test_a_statement_whose_answer_is_lost_ends_and_its_session_is_not_used_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.transaction.LATE_SECONDS", 0.5)
    async with _through_a_network(database) as (proxy, pool):

        async def ask() -> None:
            async with pool.transaction(statement_seconds=1) as connection:
                proxy.freeze()
                await connection.fetch_value("SELECT 1")

        begun = time.monotonic()
        # Not slow: PostgreSQL itself would have ended it.
        with pytest.raises(DatabaseUnavailable):
            await ask()
        assert time.monotonic() - begun < 3
        assert await pool.fetch_value("SELECT 2") == 2


async def test_a_long_statement_whose_connection_died_is_missed_at_the_server(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.sessions._LONG_SECONDS", 1.0)
    monkeypatch.setattr("app.store.database.sessions._CHECK_SECONDS", 0.2)
    async with _through_a_network(database) as (proxy, pool):

        async def sweep() -> None:
            async with pool.transaction(statement_seconds=7200) as connection:
                await connection.execute("SELECT 1")
                proxy.freeze()
                await connection.execute("SELECT 2")

        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await sweep()
        assert time.monotonic() - begun < 5
        # One that the server works on is left to it.
        assert await pool.fetch_value("SELECT pg_sleep(2.5) IS NOT NULL", seconds=10)


async def test_a_long_statement_of_a_role_that_acts_as_another_is_left_to_the_server(
    postgres: Server, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.sessions._LONG_SECONDS", 0.3)
    monkeypatch.setattr("app.store.database.sessions._CHECK_SECONDS", 0.1)
    role = f"acting_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE ROLE {role} LOGIN IN ROLE postgres")
    try:
        # Then current_user is the owner, and the server lists the session under the role that
        # logged in.
        await postgres.execute(f"ALTER ROLE {role} SET role = 'postgres'")
        async with Pool.open(
            urlunsplit(urlsplit(database.dsn)._replace(netloc=f"{role}:@")), database.schema
        ) as pool:
            assert (
                await pool.fetch_value("SELECT current_user FROM pg_sleep(1)", seconds=10)
                == "postgres"
            )
    finally:
        await postgres.execute(f"DROP ROLE {role}")


async def test_heartbeats_go_on_over_a_new_connection_also_while_the_whole_pool_is_frozen(
    database: Database,
) -> None:
    async with _through_a_network(database) as (proxy, pool):
        claims = Claims(pool, WorkerId(uuid.uuid4()), lease_seconds=6)
        await claims.beat()
        held = [asyncio.create_task(pool.fetch("SELECT pg_sleep(30)")) for _ in range(4)]
        await asyncio.sleep(0.3)
        proxy.freeze()
        for _ in range(2):
            begun = time.monotonic()
            assert await claims.beat() == 0
            assert time.monotonic() - begun < 3
            proxy.freeze()
        async with database.connect() as connection:
            assert await connection.fetchval(
                "SELECT now() - heartbeat_at < interval '4 s' FROM recon_workers"
            )
        await claims.leave()
        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_a_pool_whose_connections_are_frozen_is_closed_at_once(database: Database) -> None:
    async with TcpProxy.to_database(database.dsn) as (proxy, dsn):
        async with Pool.open(dsn, database.schema, pool_size=4) as pool:
            await _hold(pool, 4)
            proxy.freeze()
            begun = time.monotonic()
        assert time.monotonic() - begun < 4


async def test_a_probe_is_answered_in_time_whatever_became_of_the_connections(
    database: Database, sandbox: SandboxServer
) -> None:
    async with (
        TcpProxy.to_database(database.dsn) as (proxy, dsn),
        served(settings_for(dsn, sandbox.base_url)) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        for swallows, status in ((False, 200), (False, 200), (True, 503), (True, 503)):
            proxy.swallows = swallows
            proxy.freeze()
            begun = time.monotonic()
            answer = await client.get("/readyz")
            assert time.monotonic() - begun < 3
            assert (answer.status_code, answer.text.count("cannot be reached")) == (
                status,
                swallows,
            ), answer.text
        proxy.swallows = False
        proxy.drop()
        assert (await client.get("/readyz")).status_code == 200


async def test_a_service_in_the_middle_of_work_ends_within_7_seconds_of_its_grace_when_its_connections_are_frozen(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection, TcpProxy.to_database(filled.dsn) as (proxy, dsn):
        await connection.execute("DELETE FROM raw_metrics_hourly")
        sandbox.set_faults(_STUCK)
        config = EngineConfig(workers=2, poll_seconds=0.05, batch_size=5, grace_seconds=0.5)
        async with (
            engine(filled, sandbox, config=config, dsn=dsn, direct_dsn=dsn) as service,
            service.pool.running(),
        ):
            await service.start_run(RunRequest())
            await until(
                connection, "SELECT count(*) >= 10 FROM trade_recon WHERE claimed_by IS NOT NULL"
            )
            proxy.swallows = True
            assert proxy.freeze() > 0
            begun = time.monotonic()
            service.pool.stop()
        # 17 seconds of grace and these are what a process takes at most.
        assert time.monotonic() - begun < 7
