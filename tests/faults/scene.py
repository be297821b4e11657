"""One cell of the fault matrix: a damaged warehouse, a run that heals it, and a fault that strikes
when the run reaches a step.
"""

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.contract.tables import TABLES
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.trades import Trade
from app.store.database.pool import Database as Pool
from app.store.runs.lifecycle import Runs
from tests.conftest import Database
from tests.faults.steps import Course, FetchBell, StatementWatch, Step
from tests.faults.worker import LEASE_SECONDS, LONGEST_LIE_SECONDS, Setup, Worker
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

TODAY = dt.date(2026, 3, 10)
NOW = dt.datetime(2026, 3, 10, 15, tzinfo=dt.UTC)
MOVING_FROM = dt.date(2026, 3, 9)
RATE, BURST = 150.0, 40
LONGEST_RUN_SECONDS = 120.0
"""A bound that is only met when something hangs."""


class Fault(StrEnum):
    """What happens there."""

    KILL = "kill"
    STOP = "stop"
    TERMINATED_BACKEND = "terminated backend"
    READ_ONLY_SERVER = "read-only server"
    FROZEN_CONNECTION = "frozen connection"
    DISK_FULL = "disk full"
    CLOCK_JUMP = "clock jump"
    UPSTREAM_DOWN = "upstream down"
    UPSTREAM_EMPTY = "upstream empty"
    UPSTREAM_LYING = "upstream lying"
    UPSTREAM_LAGGING = "upstream lagging"


_LIES = (
    FaultKind.SMALLER_TOTAL,
    FaultKind.LARGER_TOTAL,
    FaultKind.REPEATED_ROW,
    FaultKind.OTHERS_ROWS,
    FaultKind.SHORT_PAGE,
)


@dataclass(slots=True)
class Scene:
    """What a fault may touch; `chance` chooses its details by the cell's seed.

    `connection` is the one that looks on, `lever` the one over which faults are done, at any
    moment.
    """

    database: Database
    connection: "Connection"
    lever: "Connection"
    sandbox: SandboxServer
    proxy: TcpProxy
    setup: Setup
    workers: contextlib.ExitStack
    worker: Worker
    chance: random.Random
    disk: Path | None
    later: set[asyncio.Task[None]] = field(default_factory=set)
    lagging: list[Trade] = field(default_factory=list)
    has_struck: bool = False

    def do_later(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        async def do() -> None:
            await asyncio.sleep(seconds)
            await act()

        self.later.add(asyncio.create_task(do()))

    async def recovered(self) -> None:
        """All that was to happen later has happened, and the clock is right again: to a slow one,
        dates still move that are settled.
        """
        await self.set_clock(0)
        while self.later:
            await asyncio.gather(*self.later)
            self.later = {task for task in self.later if not task.done()}

    async def set_clock(self, hours: int) -> None:
        """Let the worker's clock be off."""
        # Whole at each moment: the worker reads it at any.
        written = self.setup.clock.with_suffix(".new")
        await asyncio.to_thread(written.write_text, str(hours * 3600), encoding="ascii")
        written.replace(self.setup.clock)

    def catch_up(self) -> None:
        """Upstream has the trades again that a lagging replica lacked."""
        self.sandbox.world.add_trades(self.lagging)
        self.lagging.clear()

    def start_worker(self) -> Worker:
        return self.workers.enter_context(Worker(self.setup))

    async def end_sessions(self) -> None:
        """End the sessions of the workers, as a failover does."""
        theirs = "datname = current_database() AND application_name LIKE 'trade-recon%'"
        await self.lever.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}"
        )


async def strike(fault: Fault, scene: Scene) -> None:
    """Let the fault happen now, and see to it that it passes."""
    await _STRIKES[fault](scene)


async def _kill(scene: Scene) -> None:
    scene.worker.kill()
    scene.worker = scene.start_worker()


async def _stop(scene: Scene) -> None:
    sleeper = scene.worker
    sleeper.stop()
    scene.worker = scene.start_worker()

    async def wake() -> None:
        sleeper.wake()

    scene.do_later(LEASE_SECONDS + scene.chance.uniform(0.5, 1.5), wake)


async def _terminate(scene: Scene) -> None:
    await scene.end_sessions()


async def _make_read_only(scene: Scene) -> None:
    name = await scene.lever.fetchval("SELECT quote_ident(current_database())")
    await scene.lever.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await scene.end_sessions()

    async def recover() -> None:
        await scene.lever.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    scene.do_later(scene.chance.uniform(1, 2), recover)


async def _freeze(scene: Scene) -> None:
    scene.proxy.freeze()

    async def recover() -> None:
        scene.proxy.drop()

    # As a firewall's time limit does at last; until then a heartbeat has to find another way.
    scene.do_later(LEASE_SECONDS + scene.chance.uniform(0.5, 1.5), recover)


async def _fill_disk(scene: Scene) -> None:
    assert scene.disk is not None
    filler = scene.disk / "filler"

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while stream.write(b"\0" * size):
                        pass

    await asyncio.to_thread(fill)

    async def recover() -> None:
        await asyncio.to_thread(filler.unlink)

    scene.do_later(scene.chance.uniform(0.5, 1.5), recover)


async def _jump_clock(scene: Scene) -> None:
    await scene.set_clock(scene.chance.choice((-100, -49, -2, 2, 49, 100)))


async def _break_upstream(scene: Scene, faults: Faults) -> None:
    scene.sandbox.set_faults(faults)

    async def recover() -> None:
        scene.sandbox.set_faults(NO_FAULTS)

    scene.do_later(scene.chance.uniform(0.5, LONGEST_LIE_SECONDS), recover)


async def _down(scene: Scene) -> None:
    await _break_upstream(scene, Faults(down=True))


async def _empty(scene: Scene) -> None:
    await _break_upstream(scene, Faults.of(FaultKind.EMPTY))


async def _lie(scene: Scene) -> None:
    shares = {kind: 0.8 / len(_LIES) for kind in _LIES}
    await _break_upstream(scene, Faults(probabilities=shares, seed=scene.chance.randrange(1000)))


async def _lag(scene: Scene) -> None:
    """Upstream answers from a replica that lacks the last trades, alike at all levels, until the
    run is over.
    """
    world = scene.sandbox.world
    for account_id in world.account_ids:
        for trade in world.trades(account_id):
            if trade.trade_date >= MOVING_FROM:
                world.remove_trade(trade)
                scene.lagging.append(trade)


_STRIKES: Mapping[Fault, Callable[[Scene], Awaitable[None]]] = {
    Fault.KILL: _kill,
    Fault.STOP: _stop,
    Fault.TERMINATED_BACKEND: _terminate,
    Fault.READ_ONLY_SERVER: _make_read_only,
    Fault.FROZEN_CONNECTION: _freeze,
    Fault.DISK_FULL: _fill_disk,
    Fault.CLOCK_JUMP: _jump_clock,
    Fault.UPSTREAM_DOWN: _down,
    Fault.UPSTREAM_EMPTY: _empty,
    Fault.UPSTREAM_LYING: _lie,
    Fault.UPSTREAM_LAGGING: _lag,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell is played; `folder` takes the worker's clock, `disk` is the file system that
    holds the database, if it may be filled.
    """

    database: Database
    sandbox: SandboxServer
    bell: FetchBell
    folder: Path
    disk: Path | None


@contextlib.asynccontextmanager
async def play(step: Step, fault: Fault, place: Place, *, seed: str) -> AsyncIterator[Scene]:
    """A worker whose run meets the fault once, when it first reaches the step."""

    async def reached(scene: Scene, where: Step) -> None:
        if where is step:
            scene.has_struck = True
            # By itself: a fault that ends the very connection on which it was called for must be
            # done to its end.
            striking = asyncio.create_task(strike(fault, scene))
            scene.later.add(striking)
            await asyncio.shield(striking)

    async with watched(place, random.Random(f"{seed}|{step}|{fault}"), reached) as scene:
        yield scene


@contextlib.asynccontextmanager
async def watched(
    place: Place, chance: random.Random, reached: Callable[[Scene, Step], Awaitable[None]]
) -> AsyncIterator[Scene]:
    """A worker that serves the database by way of a proxy; `reached` is awaited at each step of a
    run, once, before it goes on.
    """
    database, sandbox, bell = place.database, place.sandbox, place.bell
    clock = place.folder / "clock"
    clock.write_text("0", encoding="ascii")
    log = place.folder / "worker.log"
    log.touch()
    async with (
        database.connect() as connection,
        database.connect() as lever,
        TcpProxy.to_database(database.dsn) as (proxy, dsn),
    ):
        setup = Setup(dsn, database.schema, sandbox.base_url, RATE, BURST, NOW, clock, log)
        with contextlib.ExitStack() as workers:
            first = workers.enter_context(Worker(setup))
            scene = Scene(
                database,
                connection,
                lever,
                sandbox,
                proxy,
                setup,
                workers,
                first,
                chance,
                place.disk,
            )

            async def reached_here(where: Step) -> None:
                await reached(scene, where)

            course = Course(reached_here)
            proxy.watch = StatementWatch(course.seen)
            bell.reached = course.seen
            try:
                yield scene
            except BaseException:
                print(log.read_text(encoding="utf-8"))  # noqa: T201 - pytest shows it where a cell fails
                raise
            finally:
                bell.reached = None
                sandbox.set_faults(NO_FAULTS)
                for task in scene.later:
                    task.cancel()
                scene.catch_up()


async def start_audit(scene: Scene) -> str:
    """Queue an audit, as a scheduler does; its id."""
    async with Pool.open(scene.database.dsn, scene.database.schema) as pool:
        return str(await Runs(pool).create(RunRequest(RunKind.AUDIT)))


async def ended(scene: Scene, run_id: str) -> "asyncpg.Record":
    """The run, once it is over."""
    async with asyncio.timeout(LONGEST_RUN_SECONDS):
        while True:
            run = await scene.connection.fetchrow(
                "SELECT * FROM recon_runs WHERE run_id = $1", run_id
            )
            assert run is not None
            if run["finished_at"] is not None:
                return run
            await asyncio.sleep(0.03)


async def stored_rows(connection: "Connection") -> list[tuple[str, str]]:
    """Every row of the raw tables as JSON, without the columns that trade-recon stamps itself."""
    found: list[tuple[str, str]] = []
    for table in TABLES.values():
        own = [column.column for column in table.own_columns]
        rows = await connection.fetch(
            f"SELECT (to_jsonb(t) - $1::text[])::text AS content FROM {table.name} AS t", own
        )
        found += [(table.name, row["content"]) for row in rows]
    return found


async def copied_rows(connection: "Connection") -> list[tuple[str, str]]:
    """Every row of which a copy is kept."""
    found: list[tuple[str, str]] = []
    for table in TABLES.values():
        own = [column.column for column in table.own_columns]
        statement = (
            "SELECT (row_data - $2::text[])::text AS content FROM recon_removed_rows WHERE"
            " table_name = $1"
        )
        found += [
            (table.name, row["content"])
            for row in await connection.fetch(statement, table.name, own)
        ]
    return found


def cells(
    steps: Sequence[Step] = tuple(Step), faults: Sequence[Fault] = tuple(Fault)
) -> list[tuple[Step, Fault]]:
    """The whole matrix."""
    return [(step, fault) for step in steps for fault in faults]
