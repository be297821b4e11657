"""The shared quota: whoever draws, stops, dies or meets a broken clock, no window holds more than
burst + rate x time.
"""

import asyncio
import contextlib
import random
import signal
import sys
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence

import pytest

from app.errors import DatabaseError, DatabaseUnavailable
from app.store.database.pool import Database as Pool
from app.store.quota import Quota
from tests.conftest import Database
from tests.support.commands import ROOT
from tests.support.processes import start as start_process
from tests.support.waiting import PATIENCE

_WINDOWS = (0.01, 0.1, 0.5, 1.0, 3.0)
_SECONDS = PATIENCE
_ROW = "prop_trading_model.recon_quota"

_CALLER = """
import asyncio, sys, time
from app.store.database.pool import Database
from app.store.quota import Quota

async def call(dsn, schema, rate, burst):
    async with Database.open(dsn, schema, pool_size=2) as pool:
        quota = Quota(pool, float(rate), int(burst))
        while True:
            await quota.acquire()
            print(time.monotonic(), flush=True)

asyncio.run(call(*sys.argv[1:]))
"""
"""Calls without end and says when; the monotonic clock is the same in all processes of a
machine.
"""

_CLOCK = """
CREATE SCHEMA shifted;
CREATE TABLE shifted.shift (by interval NOT NULL);
INSERT INTO shifted.shift VALUES ('0');
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    RETURN pg_catalog.clock_timestamp() + (SELECT by FROM shifted.shift);
"""
"""A clock that can be set, found before PostgreSQL's own."""


@contextlib.asynccontextmanager
async def _quota(database: Database, rate: float, burst: int) -> AsyncIterator[Quota]:
    """What one replica has: a pool of its own."""
    async with Pool.open(database.dsn, database.schema, pool_size=3) as pool:
        yield Quota(pool, rate, burst)


@contextlib.asynccontextmanager
async def _held_row(database: Database) -> AsyncIterator[None]:
    """Somebody has the quota's row locked and does not let go."""
    async with database.connect() as holder, holder.transaction():
        await holder.execute("UPDATE recon_quota SET permits = 0")
        yield


@contextlib.asynccontextmanager
async def _calling(quota: Quota, times: list[float], callers: int = 4) -> AsyncIterator[None]:
    """Callers who take every permit that they get, and note when."""

    async def call() -> None:
        while True:
            await quota.acquire()
            times.append(asyncio.get_running_loop().time())

    calling = [asyncio.create_task(call()) for _ in range(callers)]
    try:
        yield
    finally:
        for caller in calling:
            caller.cancel()
        ends = await asyncio.gather(*calling, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def _more(times: Sequence[float], count: int) -> None:
    """Wait for so many more permits."""
    wanted = len(times) + count
    async with asyncio.timeout(_SECONDS):
        while len(times) < wanted:  # noqa: ASYNC110 - an event for each permit would be in their way
            await asyncio.sleep(0.01)


async def _somebody_waits(database: Database) -> None:
    """Wait until a session waits for a lock."""
    async with database.connect() as connection, asyncio.timeout(_SECONDS):
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - a session's event
            await asyncio.sleep(0.01)


def _most(times: Sequence[float], seconds: float) -> int:
    ordered = sorted(times)
    return max(
        (bisect_right(ordered, begin + seconds) - first for first, begin in enumerate(ordered)),
        default=0,
    )


def _assert_kept(times: Sequence[float], rate: float, burst: int) -> None:
    assert [
        (seconds, most)
        for seconds in _WINDOWS
        if (most := _most(times, seconds)) > burst + rate * seconds
    ] == []


@pytest.mark.parametrize(
    ("rate", "burst", "permits"),
    [(200, 50, 400), (1000, 1000, 2000), (40, 4, 60), (30, 2, 15), (30, 1, 15), (0.5, 20, 4)],
)
async def test_replicas_on_one_database_stay_together_within_burst_and_rate(
    database: Database, rate: float, burst: int, permits: int
) -> None:
    times: list[float] = []
    async with (
        _quota(database, rate, burst) as one,
        _quota(database, rate, burst) as two,
        _quota(database, rate, burst) as three,
        _calling(one, times),
        _calling(two, times),
        _calling(three, times),
    ):
        await _more(times, permits)
    _assert_kept(times, rate, burst)


async def test_processes_of_which_one_starts_late_and_one_is_killed_stay_together_within_burst_and_rate(
    database: Database,
) -> None:
    rate, burst = 60.0, 30

    async def start() -> asyncio.subprocess.Process:
        words = (database.dsn, database.schema, str(rate), str(burst))
        return await start_process(
            sys.executable,
            "-c",
            _CALLER,
            *words,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def read(process: asyncio.subprocess.Process, count: int) -> list[float]:
        assert process.stdout is not None
        async with asyncio.timeout(_SECONDS):
            return [float(await process.stdout.readline()) for _ in range(count)]

    processes = [await start(), await start()]
    times = [time for process in processes for time in await read(process, 20)]
    late = await start()
    times += await read(late, 20)
    processes[0].send_signal(signal.SIGKILL)
    times += await read(processes[1], 30) + await read(late, 30)
    for process in (*processes[1:], late):
        process.kill()
    for process in (*processes, late):
        said, _ = await process.communicate()
        # The last line may be torn.
        times += [float(line) for line in said.split(b"\n")[:-1]]
    _assert_kept(times, rate, burst)


async def test_idle_time_gives_a_start_at_once_but_never_more_than_the_burst(
    database: Database,
) -> None:
    rate, burst = 100.0, 60
    times: list[float] = []
    async with _quota(database, rate, burst) as one, _quota(database, rate, burst) as two:
        for idle in (0.0, 1.5):
            await asyncio.sleep(idle)
            async with _calling(one, times), _calling(two, times):
                await _more(times, 100)
    _assert_kept(times, rate, burst)


async def test_what_a_replica_draws_ahead_is_a_quarter_of_a_second(database: Database) -> None:
    rate = 100.0
    times: list[float] = []
    async with (
        _quota(database, rate, 100) as quota,
        database.connect() as connection,
        _calling(quota, times),
    ):
        for _ in range(5):
            await _more(times, 20)
            ahead = await connection.fetchval(
                "SELECT extract(epoch FROM spent_until - drawn_at)::float8 FROM recon_quota"
            )
            assert ahead <= 0.25 + 2 / rate


async def test_a_replica_that_asks_rarely_draws_single_permits(database: Database) -> None:
    async with _quota(database, 100, 10) as quota, database.connect() as connection:
        for _ in range(4):
            await quota.acquire()
            assert await connection.fetchval("SELECT permits FROM recon_quota") == 1
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "loss",
    [
        f"TRUNCATE {_ROW}",
        f"UPDATE {_ROW} SET spent_until = clock_timestamp() + interval '1 hour'",
        f"UPDATE {_ROW} SET spent_until = 'infinity'",
    ],
    ids=["the row is gone", "the clock was set back", "never"],
)
async def test_a_row_that_tells_nothing_stops_nobody_for_long_and_lets_nobody_through_early(
    database: Database, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.quota._AHEAD_SECONDS", 0.5)
    rate, burst = 100.0, 12
    times: list[float] = []
    async with contextlib.AsyncExitStack() as replicas, database.connect() as connection:
        for _ in range(4):
            quota = await replicas.enter_async_context(_quota(database, rate, burst))
            await replicas.enter_async_context(_calling(quota, times))
        await _more(times, 80)
        await connection.execute(loss)
        await _more(times, 80)
    _assert_kept(times, rate, burst)


async def test_a_clock_that_was_set_does_not_open_the_quota_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.quota._AHEAD_SECONDS", 0.5)
    rate, burst = 100.0, 20
    times: list[float] = []
    async with database.connect() as connection:
        await connection.execute(_CLOCK)
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = shifted, pg_catalog")
        async with (
            _quota(database, rate, burst) as one,
            _quota(database, rate, burst) as two,
            _quota(database, rate, burst) as three,
            _calling(one, times),
            _calling(two, times),
            _calling(three, times),
        ):
            for shift in ("1 minute", "1 hour", "-1 hour"):
                await _more(times, 60)
                await connection.execute(
                    "UPDATE shifted.shift SET by = by + $1::text::interval", shift
                )
            await _more(times, 60)
    _assert_kept(times, rate, burst)


async def test_the_clock_is_read_when_the_row_is_ours(database: Database) -> None:
    async with _quota(database, 10, 10) as quota, database.connect() as onlooker:
        async with _held_row(database):
            caller = asyncio.create_task(quota.acquire())
            await _somebody_waits(database)
            waited = await onlooker.fetchval("SELECT clock_timestamp()")
        await caller
        assert await onlooker.fetchval("SELECT drawn_at > $1 FROM recon_quota", waited)


async def test_callers_who_are_cancelled_hold_up_nobody(database: Database) -> None:
    rate, burst = 100.0, 20
    times: list[float] = []
    chance = random.Random(3)
    async with _quota(database, rate, burst) as quota:

        async def call() -> None:
            await quota.acquire()
            times.append(asyncio.get_running_loop().time())

        async with asyncio.timeout(_SECONDS):
            for _ in range(8):
                callers = [asyncio.create_task(call()) for _ in range(20)]
                await asyncio.sleep(chance.uniform(0, 0.05))
                for caller in chance.sample(callers, 10):
                    caller.cancel()
                ends = await asyncio.gather(*callers, return_exceptions=True)
                assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
    assert len(times) >= 80
    _assert_kept(times, rate, burst)


async def test_a_connection_that_is_lost_is_our_error_and_the_next_caller_gets_another(
    database: Database,
) -> None:
    async with _quota(database, 100, 10) as quota, database.connect() as onlooker:
        async with _held_row(database):
            caller = asyncio.create_task(quota.acquire())
            await _somebody_waits(database)
            await onlooker.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
            )
            with pytest.raises(DatabaseUnavailable):
                await caller
        await quota.acquire()


async def test_a_row_that_somebody_holds_is_a_database_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.quota._DRAW_SECONDS", 0.1)
    async with _quota(database, 10, 10) as quota:
        async with _held_row(database):
            with pytest.raises(DatabaseUnavailable, match="Nothing was sent"):
                await quota.acquire()
        await quota.acquire()


async def test_a_missing_right_is_said_at_once(database: Database) -> None:
    async with _quota(database, 10, 10) as quota, database.connect() as connection:
        await connection.execute("ALTER TABLE recon_quota RENAME TO elsewhere")
        with pytest.raises(DatabaseError, match="recon_quota"):
            await quota.acquire()


async def test_a_database_that_is_always_too_slow_ends_in_an_error_and_not_in_an_endless_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.connect() as connection:
        # Slower than any lateness that can be made up for.
        await connection.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM"
            " pg_sleep(0.3); RETURN NEW; END'"
        )
        await connection.execute(
            "CREATE TRIGGER dawdle BEFORE UPDATE ON recon_quota FOR EACH ROW EXECUTE FUNCTION"
            " dawdle()"
        )
        async with _quota(database, 20, 2) as quota, asyncio.timeout(_SECONDS):
            for _ in range(3):
                await quota.acquire()
            monkeypatch.setattr("app.store.quota._LONGEST_PATIENCE", 0.1)
            monkeypatch.setattr("app.store.quota._MOST_DRAWS", 3)
            with pytest.raises(DatabaseUnavailable, match="too late to be used"):
                await asyncio.gather(*(quota.acquire() for _ in range(3)))
