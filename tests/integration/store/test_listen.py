"""Wake-ups: a run that another process starts is taken up at once where somebody listens, and by
polling where nobody does.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.errors import ConfigurationError
from app.sandbox.server.serving import SandboxServer
from app.store.database.listen import WakeUps, wake_channel
from app.store.database.pool import Database as Pool
from app.store.runs.lifecycle import Runs
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database, Server
from tests.support.engine import engine
from tests.support.waiting import PATIENCE

_NEVER = EngineConfig(workers=2, poll_seconds=3600.0)
"""Workers that would look again after an hour."""
_NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
_LISTENERS = (
    "FROM pg_stat_activity WHERE application_name = 'trade-recon listener' AND datname ="
    " current_database()"
)


async def _finishes(starter: ReconService) -> bool:
    """Whether a run is done that a process starts which has no workers."""
    run_id = await starter.start_run(RunRequest(kind=RunKind.FULL))
    async with asyncio.timeout(PATIENCE):
        return await starter.wait_for_run(run_id) is RunStatus.SUCCEEDED


async def _until(database: Database, condition: str) -> None:
    async with database.connect() as connection, asyncio.timeout(PATIENCE):
        while not await connection.fetchval(f"SELECT {condition}"):  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _rings(pool: Pool, dsn: str) -> AsyncIterator[asyncio.Queue[None]]:
    """A queue that gets an item at each wake-up, once it is known that they come."""
    queue: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(WakeUps(pool, dsn).listen(lambda: queue.put_nowait(None)))
    try:
        async with asyncio.timeout(PATIENCE):
            await queue.get()  # the connection stands
            await queue.get()  # its own notification
        yield queue
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_run_that_another_process_starts_is_taken_up_at_once(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(filled, sandbox, config=_NEVER, direct_dsn=filled.dsn) as service,
        engine(filled, sandbox) as starter,
        service.pool.running(),
    ):
        for _ in range(3):
            assert await _finishes(starter)
    await _until(filled, f"NOT EXISTS (SELECT {_LISTENERS})")


async def test_a_listener_whose_connection_was_killed_listens_again_and_misses_nothing(
    filled: Database, sandbox: SandboxServer
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with (
            engine(filled, sandbox, config=_NEVER, direct_dsn=filled.dsn) as service,
            engine(filled, sandbox) as starter,
            filled.connect() as connection,
            service.pool.running(),
        ):
            for _ in range(3):
                await _until(filled, f"EXISTS (SELECT {_LISTENERS} AND query LIKE 'LISTEN%')")
                await connection.execute(f"SELECT pg_terminate_backend(pid, 10000) {_LISTENERS}")
                # While nobody listens.
                assert await _finishes(starter)
    said = [entry["action"] for entry in logs if entry.get("action", "").startswith("wake.")]
    assert "wake.lost" in said
    # Each outage is told once, and so is its end.
    assert all(one != next_one for one, next_one in itertools.pairwise(said))


async def test_where_nobody_listens_a_run_is_found_by_polling(
    filled: Database, sandbox: SandboxServer
) -> None:
    config = EngineConfig(workers=1, poll_seconds=0.2)
    async with (
        engine(filled, sandbox, config=config) as service,
        engine(filled, sandbox) as starter,
        service.pool.running(),
    ):
        assert await _finishes(starter)
        await _until(filled, f"NOT EXISTS (SELECT {_LISTENERS})")


async def test_a_direct_way_that_does_not_answer_is_told_once_and_the_service_polls(
    filled: Database, sandbox: SandboxServer
) -> None:
    config = EngineConfig(workers=1, poll_seconds=0.2)
    with structlog.testing.capture_logs() as logs:
        async with (
            engine(filled, sandbox, config=config, direct_dsn=_NOWHERE) as service,
            engine(filled, sandbox) as starter,
            service.pool.running(),
        ):
            for _ in range(3):
                assert await _finishes(starter)
    told = [entry for entry in logs if entry.get("action") == "wake.lost"]
    assert len(told) == 1
    assert "DATABASE_DIRECT_URL" in told[0]["reason"]


@pytest.mark.parametrize("elsewhere", ["postgres", "no_such_database"])
async def test_a_direct_way_to_another_database_stops_the_start(
    postgres: Server, filled: Database, sandbox: SandboxServer, elsewhere: str
) -> None:
    async with engine(filled, sandbox, direct_dsn=postgres.database(elsewhere)) as service:
        with pytest.raises(ConfigurationError, match="DATABASE_DIRECT_URL"):
            async with service.pool.running():
                pass


async def test_a_copy_of_the_database_is_not_taken_for_it(
    postgres: Server, database: Database
) -> None:
    copy = f"{urlsplit(database.dsn).path[1:]}_copy"
    await postgres.execute(f"CREATE DATABASE {copy} TEMPLATE {urlsplit(database.dsn).path[1:]}")
    try:
        async with Pool.open(database.dsn, database.schema) as pool:
            await WakeUps(pool, database.dsn).check()
            with pytest.raises(ConfigurationError, match="another database"):
                await WakeUps(pool, postgres.database(copy)).check()
    finally:
        await postgres.execute(f"DROP DATABASE {copy} WITH (FORCE)")


async def test_two_installations_in_one_database_do_not_wake_each_other_however_long_their_names(
    database: Database,
) -> None:
    name = "x" * 63
    await migrate(database.dsn, name)
    async with (
        Pool.open(database.dsn, database.schema) as first,
        Pool.open(database.dsn, name) as second,
        _rings(first, database.dsn) as first_rings,
        _rings(second, database.dsn) as second_rings,
        asyncio.timeout(PATIENCE),
    ):
        assert wake_channel(name) != wake_channel("x" * 62)
        await Runs(second).create(RunRequest())
        await second_rings.get()
        await Runs(first).create(RunRequest())
        await first_rings.get()
        # PostgreSQL tells each listener in the order of the commits: the first run would have been
        # heard of before.
        assert (first_rings.empty(), second_rings.empty()) == (True, True)


async def test_a_listener_whose_server_is_silent_ends_when_it_is_told_to(
    database: Database,
) -> None:
    host = parse_qs(urlsplit(database.dsn).query).get("host", [""])[0]
    if not host.startswith("/"):
        pytest.skip("the processes of the server of TEST_DATABASE_URL are out of reach")
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        async with _rings(pool, database.dsn) as rings:
            listener = await connection.fetchval(f"SELECT pid {_LISTENERS}")
            os.kill(listener, signal.SIGSTOP)
        # The context has ended although nobody answered.
        os.kill(listener, signal.SIGCONT)
        assert rings.empty()
        await _until(database, f"NOT EXISTS (SELECT {_LISTENERS})")
