"""What most accounts of a run lack alike is read once for all of its batches and replicas; whatever
befalls such a read, its accounts are asked by id, and the warehouse ends equal to upstream.
"""

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.contract.tables import PAGE_ROWS, TABLES, Endpoint
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, difference, engine, run
from tests.support.replicas import Replicas, until, until_nothing_is_left
from tests.support.waiting import PATIENCE
from tests.support.weekly import DATED, DAYS, lose, weekly_warehouse, weekly_world

_ACCOUNTS, _BATCH = 120, 10
_DAY = DAYS[-2]
_CONFIG = EngineConfig(
    workers=1, batch_size=_BATCH, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0
)
_LARGE_DAY = TODAY - dt.timedelta(days=7)
# Until today: thousands also have rows without trades on some dates, which would be seen to end.
_LARGE = {TODAY - dt.timedelta(days=14): 1, _LARGE_DAY: 3, TODAY: 1}
_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.1)
_READERS = """
SELECT w.pid FROM recon_shared_reads AS r JOIN recon_workers AS w ON w.worker_id = r.read_by WHERE r.state = $1
"""


@pytest.fixture(scope="module")
def world() -> World:
    """Upstream's data; tests leave them as they are."""
    return weekly_world(_ACCOUNTS)


@pytest.fixture(scope="module")
async def filled(postgres: Server, template: str, world: World) -> AsyncIterator[str]:
    async with weekly_warehouse(postgres, template, world) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, filled: str) -> AsyncIterator[Database]:
    async with postgres.clone(filled, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world) as server:
        yield server


async def _reads(database: Database) -> dict[tuple[str, dt.date], str]:
    """What became of the runs' reads."""
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT table_name, day, state FROM recon_shared_reads")
    return {(row["table_name"], row["day"]): row["state"] for row in rows}


def _all(
    state: str, *days: dt.date, tables: tuple[Endpoint, ...] = DATED
) -> dict[tuple[str, dt.date], str]:
    return {(TABLES[endpoint].name, day): state for endpoint in tables for day in days}


def _scans(sandbox: SandboxServer) -> Counter[Endpoint]:
    """How often dates were read without ids."""
    return Counter(
        each.endpoint
        for each in sandbox.log.requests
        if not each.ids and not each.skip and each.endpoint in DATED
    )


def _floor(lost: Mapping[Endpoint, int]) -> int:
    """The requests that bring so many rows."""
    return sum(-(-rows // PAGE_ROWS) for rows in lost.values())


def _names(target: str, table: str) -> bool:
    """Whether a request is for a table."""
    return any(TABLES[each].name == table and each.value in target for each in DATED)


async def _staged(database: Database) -> int:
    """Rows in staging, and fetches."""
    async with database.connect() as connection:
        return int(
            await connection.fetchval(
                "SELECT (SELECT count(*) FROM recon_fetches) + (SELECT count(*) FROM"
                " recon_stage_daily) + (SELECT count(*) FROM recon_stage_hourly) + (SELECT count(*)"
                " FROM recon_stage_closed)"
            )
        )


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
async def test_dates_that_everybody_lacks_are_read_once(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind
) -> None:
    days = (DAYS[1], DAYS[4], DAYS[-1])
    await lose(warehouse, days)
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        state = await run(service, kind)
        assert state["status"] == "succeeded"
        assert await _reads(warehouse) == _all("proven", *days)
        assert _scans(sandbox) == dict.fromkeys(DATED, 3)
        assert not [each.target for each in sandbox.log.requests if each.ids]
        await service.store.staging.purge_dead(60)
    assert await _staged(warehouse) == 0
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.mark.parametrize(
    "tables",
    [(Endpoint.HOURLY,), (Endpoint.CLOSED,), (Endpoint.DAILY, Endpoint.HOURLY), (Endpoint.DAILY,)],
)
async def test_tables_that_lack_a_date_are_read_once_and_no_others(
    warehouse: Database, sandbox: SandboxServer, tables: tuple[Endpoint, ...]
) -> None:
    await lose(warehouse, [_DAY], tables)
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        state = await run(service, RunKind.FULL)
    assert state["status"] == "succeeded"
    assert await _reads(warehouse) == _all("proven", _DAY, tables=tables)
    assert _scans(sandbox) == dict.fromkeys(tables, 1)
    assert not [each.target for each in sandbox.log.requests if each.ids]
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_accounts_whose_slice_is_there_in_part_are_healed_by_the_read(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_trades_closed AS t USING (SELECT login, platform, max(ticket) AS"
            " ticket FROM raw_trades_closed WHERE trade_date = $1 GROUP BY 1, 2) AS lost WHERE"
            " t.login = lost.login AND t.platform = lost.platform AND t.ticket = lost.ticket AND"
            " t.trade_date = $1",
            _DAY,
        )
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert _scans(sandbox) == {Endpoint.CLOSED: 1}
    assert not [each.target for each in sandbox.log.requests if each.ids]
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.fixture(scope="module")
def large_world() -> World:
    """3,000 accounts, of which each trades on three dates."""
    return weekly_world(3000, _LARGE)


@pytest.fixture(scope="module")
async def large_filled(
    postgres: Server, template: str, large_world: World
) -> AsyncIterator[str]:
    async with weekly_warehouse(postgres, template, large_world) as name:
        yield name


@pytest.fixture
async def large_warehouse(postgres: Server, large_filled: str) -> AsyncIterator[Database]:
    async with postgres.clone(large_filled, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def large_sandbox(large_world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(large_world) as server:
        yield server


async def test_a_date_that_thousands_lack_costs_little_more_than_its_pages(
    large_warehouse: Database, large_sandbox: SandboxServer
) -> None:
    lost = await lose(large_warehouse, [_LARGE_DAY])
    config = replace(_CONFIG, batch_size=100)
    async with engine(large_warehouse, large_sandbox, config=config) as service:
        state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded"
        assert large_sandbox.log.total <= 1.2 * _floor(lost)
        await service.store.staging.purge_dead(60)
    assert await _staged(large_warehouse) == 0
    assert (await difference(large_warehouse, large_sandbox)).sample == ()


@pytest.mark.parametrize("state", ["planned", "proven"])
async def test_a_replica_that_is_killed_costs_no_read_but_those_that_it_makes(
    large_warehouse: Database, large_sandbox: SandboxServer, tmp_path: Path, state: str
) -> None:
    lost = await lose(large_warehouse, [_LARGE_DAY])
    large_sandbox.set_faults(_SLOW)
    async with (
        Replicas(tmp_path, large_warehouse, large_sandbox, RECON_BATCH_SIZE="100") as replicas,
        large_warehouse.connect() as connection,
    ):
        started = [await replicas.start() for _ in range(3)]
        run_id = await started[0].start_run("full")
        await until(connection, f"SELECT EXISTS ({_READERS})", state)
        pid = await connection.fetchval(_READERS, state)
        await next(each for each in started if each.pid == pid).kill()
        proven = await connection.fetchval(
            "SELECT array_agg(table_name) FROM recon_shared_reads WHERE state = 'proven'"
        )
        large_sandbox.set_faults(NO_FAULTS)
        await until(
            connection, "SELECT status = 'succeeded' FROM recon_runs WHERE run_id = $1", run_id
        )
        asked = Counter(each.target for each in large_sandbox.log.requests)
        await until_nothing_is_left(connection, PATIENCE)
    assert len(asked) <= 1.2 * _floor(lost)
    # What a killed replica had read without a proof is asked for once more.
    twice = {target for target, times in asked.items() if times > 1}
    assert max(asked.values()) <= 2
    assert not {target for target in twice for name in proven or () if _names(target, name)}
    assert (await difference(large_warehouse, large_sandbox)).sample == ()
