"""A warehouse filled once by ingestion from a small perfect world; each test gets its own copy and
its own upstream.
"""

from collections.abc import AsyncIterator

import pytest

from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, filled_copy

_ACCOUNTS = 30


def perfect_world() -> World:
    """The same world each time: one that never contradicts itself."""
    return World.generate(
        _ACCOUNTS, seed=11, today=TODAY, trades_per_account=15, contradictory=False
    )


@pytest.fixture(scope="session")
async def filled_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled."""
    async with filled_copy(postgres, template, "filled", perfect_world()) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, filled_template: str) -> AsyncIterator[Database]:
    """A filled warehouse of the test's own."""
    async with postgres.clone(filled_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    """Upstream of the filled warehouse, in perfect health."""
    async with SandboxServer(perfect_world()) as server:
        yield server
