"""A small world that never contradicts itself, and a warehouse that ingestion filled from it; each test gets a copy."""

from collections.abc import AsyncIterator

import pytest

from app.sandbox.process import SandboxServer
from app.sandbox.world import World
from tests.clock import TODAY
from tests.conftest import SCHEMA, Database, Server
from tests.engine import filled_copy


def world() -> World:
    """The same world each time."""
    return World.generate(12, seed=16, today=TODAY, trades_per_account=12, days=30, contradictory=False)


@pytest.fixture(scope="module")
async def filled(postgres: Server, template: str) -> AsyncIterator[str]:
    async with filled_copy(postgres, template, "rows", world()) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, filled: str) -> AsyncIterator[Database]:
    async with postgres.clone(filled, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world()) as server:
        yield server
