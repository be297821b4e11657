"""The fault matrix: every step of a run meets every fault, and what must hold holds, in the run and after it."""

import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.sandbox.damage import damage
from app.sandbox.process import SandboxServer
from app.sandbox.server import create_sandbox
from app.sandbox.world import World
from app.sandbox.wrecking import DamageKind
from tests.conftest import SCHEMA, Database, Server
from tests.engine import fill
from tests.faults.disk import SmallDisks
from tests.faults.invariants import INVARIANTS, Played
from tests.faults.scene import BURST, MOVING_FROM, RATE, TODAY, Fault, Place, cells, ended, play, start_audit, stored_rows
from tests.faults.steps import FetchBell, FetchWatch, Step

_SEED = os.environ.get("RECON_FAULT_SEED") or secrets.token_hex(4)
_KINDS = (
    DamageKind.HOURLY_DAYS_MISSING,
    DamageKind.SOME_CLOSED_MISSING,
    DamageKind.SURPLUS_TRADE,
    DamageKind.WRONG_DAY,
    DamageKind.ALLTIME_COUNT,
    DamageKind.DRIFT_MONEY,
    DamageKind.NULL_CLOSED_IDS,
)

pytestmark = pytest.mark.faults


@pytest.fixture(scope="session")
def world() -> World:
    return World.generate(10, seed=11, today=TODAY, trades_per_account=14, days=15, contradictory=False)


@pytest.fixture(scope="session")
async def upstream(world: World) -> AsyncIterator[tuple[SandboxServer, FetchBell]]:
    app, bell = create_sandbox(world, rate=RATE * 1.02, burst=BURST + 5), FetchBell()
    app.add_middleware(FetchWatch, bell=bell)
    async with SandboxServer(world, app=app) as server:
        yield server, bell


@pytest.fixture(scope="session")
async def damaged(postgres: Server, template: str, world: World) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled and that was damaged then."""
    async with postgres.clone(template, "faults") as name:
        database = Database(postgres.database(name), SCHEMA)
        async with SandboxServer(world) as sandbox:
            await fill(database, sandbox)
        async with database.connect() as connection:
            done = await damage(connection, SCHEMA, seed=3, kinds=_KINDS, accounts_per_kind=1, settled_before=MOVING_FROM)
            assert len(done) == len(_KINDS)
        yield name


@dataclass(frozen=True, slots=True)
class Ground:
    """On what a cell is played."""

    postgres: Server
    damaged: str
    disks: SmallDisks
    sandbox: SandboxServer
    bell: FetchBell


@pytest.fixture(scope="session")
async def ground(postgres: Server, damaged: str, upstream: tuple[SandboxServer, FetchBell]) -> AsyncIterator[Ground]:
    async with SmallDisks(postgres) as disks:
        yield Ground(postgres, damaged, disks, *upstream)


@pytest.mark.parametrize(("step", "fault"), cells(), ids=lambda part: str(part).replace(" ", "-"))
async def test_what_must_hold_holds_when_a_fault_strikes_at_a_step(
    ground: Ground, tmp_path: Path, record_property: Callable[[str, object], None], step: Step, fault: Fault
) -> None:
    small = await ground.disks.get() if fault is Fault.DISK_FULL else None
    async with ground.postgres.clone(ground.damaged, "cell", small.tablespace if small else None) as name:
        database = Database(ground.postgres.database(name), SCHEMA)
        ground.sandbox.log.reset()
        print(f"RECON_FAULT_SEED={_SEED}")  # noqa: T201 - shown where a cell fails
        place = Place(database, ground.sandbox, ground.bell, tmp_path, small.folder if small else None)
        async with play(step, fault, place, seed=_SEED) as scene:
            before = await stored_rows(scene.connection)
            for is_well in (False, True):
                run = await ended(scene, await start_audit(scene))
                played = Played(scene, before, run, is_well)
                for check in INVARIANTS:
                    await check(played)
                if not is_well:
                    await scene.recovered()
                    scene.catch_up()
            assert await scene.worker.end() == 0
    record_property("held", 2 * len(INVARIANTS))
