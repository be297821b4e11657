"""The ground on which the cells of the fault matrix are played; prints the matrix as a table, once
all were.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.sandbox.damage.damage import damage
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.app import create_sandbox
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.faults.disk import SmallDisks
from tests.faults.scene import BURST, MOVING_FROM, RATE, TODAY, Fault
from tests.faults.steps import FetchBell, FetchWatch, Step
from tests.support.engine import fill

_KINDS = (
    DamageKind.HOURLY_DAYS_MISSING,
    DamageKind.SOME_CLOSED_MISSING,
    DamageKind.SURPLUS_TRADE,
    DamageKind.WRONG_DAY,
    DamageKind.ALLTIME_COUNT,
    DamageKind.DRIFT_MONEY,
    DamageKind.NULL_CLOSED_IDS,
)

_CELL = re.compile(r"test_matrix\.py::.*\[([\w-]+?)-([\w-]+)\]$")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    held: dict[tuple[str, str], str] = {}
    checks = 0
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            cell = _CELL.search(report.nodeid)
            if cell is None:
                continue
            seen = dict(report.user_properties).get("held", 0)
            checks += int(str(seen))
            held[cell[1], cell[2]] = str(seen) if outcome == "passed" else outcome
    if checks:
        terminalreporter.section(
            "fault matrix: what was seen to hold, in the run that the fault met and in the next one"
        )
        terminalreporter.line("| | " + " | ".join(Fault) + " |")
        terminalreporter.line("|---|" + "--:|" * len(Fault))
        for step in Step:
            terminalreporter.line(
                f"| {step} | "
                + " | ".join(held.get((step, fault.replace(" ", "-")), "") for fault in Fault)
                + " |"
            )
        terminalreporter.line(f"{len(held)} cells, {checks} checks")


@pytest.fixture(scope="session")
def world() -> World:
    return World.generate(
        10, seed=11, today=TODAY, trades_per_account=14, days=15, contradictory=False
    )


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
            done = await damage(
                connection,
                SCHEMA,
                seed=3,
                kinds=_KINDS,
                accounts_per_kind=1,
                settled_before=MOVING_FROM,
            )
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
async def ground(
    postgres: Server, damaged: str, upstream: tuple[SandboxServer, FetchBell]
) -> AsyncIterator[Ground]:
    async with SmallDisks(postgres) as disks:
        yield Ground(postgres, damaged, disks, *upstream)
