"""An upstream and a warehouse equal to it, for tests of the faces; others bring their own."""

from collections.abc import AsyncIterator

import pytest

from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.engine import TODAY, fill


@pytest.fixture(scope="session")
def world() -> World:
    """Upstream's data; tests leave them as they are."""
    return World.generate(
        20, seed=5, today=TODAY, trades_per_account=12, days=30, contradictory=False
    )


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world) as server:
        yield server


@pytest.fixture
async def filled(database: Database, sandbox: SandboxServer) -> Database:
    """A warehouse equal to upstream."""
    await fill(database, sandbox)
    return database
