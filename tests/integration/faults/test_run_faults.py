"""Faults of the surroundings, drawn at random, at moments drawn at random: a run ends or waits and
goes on, and harms nothing else.

The rules that hold whatever happens: every run ends once the fault is over, its accounts are all
accounted for, no account is blamed, no claim and no fetch stays, runs of others are not blocked,
and the next run leaves the warehouse equal to upstream.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.errors import Conflict, DatabaseUnavailable, ReconError
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.store.database.pool import Database as Pool
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from tests.conftest import Database, Server
from tests.support.clock import now
from tests.support.engine import difference
from tests.support.plain import plain
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    import uuid

    import asyncpg

_CONFIG = EngineConfig(
    workers=2,
    poll_seconds=0.05,
    batch_size=4,
    postpone_seconds=0,
    postpone_named_seconds=0,
    grace_seconds=1,
)
_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.05)
_FULL_DISK = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$;
CREATE FUNCTION no_room_for_tables() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER no_room BEFORE UPDATE ON recon_runs FOR EACH STATEMENT EXECUTE FUNCTION no_room();
CREATE EVENT TRIGGER no_room ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS') EXECUTE FUNCTION no_room_for_tables();
"""
_ROOM = (
    "DROP EVENT TRIGGER no_room; DROP FUNCTION no_room() CASCADE; DROP FUNCTION"
    " no_room_for_tables()"
)


@dataclass(slots=True)
class _World:
    """What a fault may reach."""

    server: Server
    database: Database
    proxy: TcpProxy
    connection: "asyncpg.Connection[asyncpg.Record]"
    drawn: random.Random

    @property
    def name(self) -> str:
        return urlsplit(self.database.dsn).path[1:]

    async def end_sessions(self) -> None:
        await self.server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
            " AND application_name = 'trade-recon'"
        )

    async def pass_time(self) -> None:
        await asyncio.sleep(self.drawn.uniform(0.1, 1.0))


async def _freeze(world: _World) -> None:
    world.proxy.freeze()
    await world.pass_time()


async def _freeze_all(world: _World) -> None:
    world.proxy.swallows = True
    world.proxy.freeze()
    await world.pass_time()
    world.proxy.swallows = False


async def _drop(world: _World) -> None:
    for _ in range(3):
        world.proxy.drop()
        await asyncio.sleep(0.1)


async def _refuse(world: _World) -> None:
    world.proxy.refuses = True
    world.proxy.drop()
    await world.pass_time()
    world.proxy.refuses = False


async def _delay(world: _World) -> None:
    world.proxy.delay = 0.05
    await world.pass_time()
    world.proxy.delay = 0.0


async def _end_sessions(world: _World) -> None:
    for _ in range(3):
        await world.end_sessions()
        await asyncio.sleep(0.1)


async def _turn_read_only(world: _World) -> None:
    await world.server.execute(
        f"ALTER DATABASE {world.name} SET default_transaction_read_only = on"
    )
    await world.end_sessions()
    await world.pass_time()
    await world.server.execute(f"ALTER DATABASE {world.name} RESET default_transaction_read_only")


async def _limit(world: _World) -> None:
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        await world.server.execute(f"ALTER DATABASE {world.name} SET {setting} = '5ms'")
    await world.end_sessions()
    await world.pass_time()


async def _fill_disk(world: _World) -> None:
    await world.connection.execute(_FULL_DISK)
    await world.pass_time()
    await world.connection.execute(_ROOM)


async def _delete_accounts(world: _World) -> None:
    await world.connection.execute(
        "DELETE FROM trade_recon WHERE account_id IN (SELECT account_id FROM trade_recon ORDER BY"
        " md5(account_id || $1) LIMIT $2)",
        str(world.drawn.random()),
        world.drawn.choice([1, 3, 1000]),
    )


async def _add_later_run(world: _World) -> None:
    await world.connection.execute(
        "INSERT INTO recon_runs (run_id, kind, request, status, created_at)"
        """ VALUES (gen_random_uuid(), 'audit', '{"a_later_field": 1}', 'queued', now() - interval '1 day')"""
    )


_FAULTS: Mapping[str, Callable[[_World], Awaitable[None]]] = {
    "freeze": _freeze,
    "freeze_all": _freeze_all,
    "drop": _drop,
    "refuse": _refuse,
    "delay": _delay,
    "end_sessions": _end_sessions,
    "read_only": _turn_read_only,
    "limit": _limit,
    "full_disk": _fill_disk,
    "delete_accounts": _delete_accounts,
    "later_run": _add_later_run,
}


@asynccontextmanager
async def _served(
    database: Database, sandbox: SandboxServer, dsn: str
) -> AsyncIterator[ReconService]:
    """A service whose transactions PostgreSQL ends soon when they are left idle."""
    upstream = UpstreamConfig(
        sandbox.base_url,
        SecretStr("sandbox"),
        rate=1000,
        burst=1000,
        timeout=5,
        outage_wait=30,
        breaker_seconds=0.5,
    )
    async with (
        Pool.open(dsn, database.schema, idle_seconds=2) as pool,
        UpstreamClient.open(upstream) as client,
    ):
        service = ReconService(
            await Repositories.build(pool, _CONFIG.lease_seconds), client, _CONFIG, now
        )
        async with service.pool.running():
            yield service


async def _start(service: ReconService, request: RunRequest) -> "uuid.UUID":
    """Start a run, as a caller does who repeats what was answered with an outage."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await service.start_run(request)
            except Conflict as error:
                return error.run_id
            except ReconError:
                await asyncio.sleep(0.1)


async def _ended(connection: "asyncpg.Connection[asyncpg.Record]", run_id: "uuid.UUID") -> None:
    async with asyncio.timeout(60):
        while not await connection.fetchval(  # noqa: ASYNC110
            "SELECT finished_at IS NOT NULL FROM recon_runs WHERE run_id = $1", run_id
        ):
            await asyncio.sleep(0.05)


async def _state_of(service: ReconService, run_id: "uuid.UUID") -> dict[str, Any]:
    """The run, as a caller reads it who repeats what was answered with an outage: sessions may be
    lost or limited still.
    """
    async with asyncio.timeout(40):
        while True:
            try:
                return dict(plain(await service.readings.run_state(run_id)))
            except DatabaseUnavailable:
                await asyncio.sleep(0.1)


async def _accounted_for(service: ReconService, run_id: "uuid.UUID") -> dict[str, Any]:
    state = await _state_of(service, run_id)
    accounts: dict[str, int] = state["accounts"]
    assert (state["status"] in ("succeeded", "completed_with_issues"), state["error"]) == (
        True,
        None,
    ), state
    assert accounts["total"] == accounts["done"]
    assert (accounts["waiting"], accounts["failed"], accounts["partial"]) == (0, 0, 0), state
    return state


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_fails_in_the_surroundings_every_run_ends_and_nothing_is_lost_or_blamed(
    postgres: Server,
    filled: Database,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr("app.store.database.sessions._LONG_SECONDS", 1.0)
    monkeypatch.setattr("app.store.database.sessions._CHECK_SECONDS", 0.2)
    monkeypatch.setattr("app.store.database.sessions._RESTED_SECONDS", 0.5)
    monkeypatch.setattr("app.engine.runs.workers._LONGEST_PAUSE", 1.0)
    drawn = random.Random(seed)
    faults = [drawn.choice(list(_FAULTS)) for _ in range(3)]
    # Each is played at least once over the seeds.
    faults[0] = list(_FAULTS)[(seed * 2) % len(_FAULTS)]
    faults[1] = list(_FAULTS)[(seed * 2 + 1) % len(_FAULTS)]
    async with filled.connect() as connection, TcpProxy.to_database(filled.dsn) as (proxy, dsn):
        await damage(
            connection, filled.schema, seed=seed, kinds=HEALABLE_KINDS, accounts_per_kind=1
        )
        sandbox.set_faults(_SLOW)
        async with _served(filled, sandbox, dsn) as service:
            run_id = await _start(
                service, RunRequest(RunKind.AUDIT if drawn.random() < 0.5 else RunKind.FULL)
            )
            world = _World(postgres, filled, proxy, connection, drawn)
            for fault in faults:
                await asyncio.sleep(drawn.uniform(0, 1.5))
                await _FAULTS[fault](world)
            sandbox.set_faults(Faults())
            beside = await _start(service, RunRequest(RunKind.RETRY))
            for each in (run_id, beside):
                await _ended(connection, each)
                await _accounted_for(service, each)
            last = await _start(service, RunRequest(RunKind.AUDIT))
            await _ended(connection, last)
            assert (await _accounted_for(service, last))["accounts"]["gone"] == 0, faults
            async with asyncio.timeout(10):
                while await connection.fetchval(  # noqa: ASYNC110
                    "SELECT count(*) FROM trade_recon WHERE claimed_by IS NOT NULL"
                ):
                    await asyncio.sleep(0.05)
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        ), faults
        assert await connection.fetchval(
            "SELECT count(*) FROM recon_runs WHERE finished_at IS NULL"
        ) == faults.count("later_run")
        await connection.execute(f"ALTER DATABASE {world.name} RESET ALL")
    assert (await difference(filled, sandbox)).is_equal, faults
