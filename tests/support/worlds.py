"""The fixtures of a module that plays on one world: a warehouse that ingestion filled once, a copy
of it for each test, and upstream.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest

from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import Past, filled_copy


class WorldFixtures(NamedTuple):
    """Fixtures to be named in a module as they are here: each asks for the others by these
    names.
    """

    filled: Any
    warehouse: Any
    sandbox: Any


def world_fixtures(
    kind: str, world: Callable[[], World], since: Past | None = None
) -> WorldFixtures:
    """The fixtures of a world, which `world` makes the same each time; `kind` is in the names of
    its databases.

    `since` is what happened to the warehouse, on its upstream, before any test.
    """

    @pytest.fixture(scope="module")
    async def filled(postgres: Server, template: str) -> AsyncIterator[str]:
        """The name of a warehouse that ingestion has filled."""
        async with filled_copy(postgres, template, kind, world(), since) as name:
            yield name

    @pytest.fixture
    async def warehouse(postgres: Server, filled: str) -> AsyncIterator[Database]:
        """A warehouse of the test's own."""
        async with postgres.clone(filled, "test") as name:
            yield Database(postgres.database(name), SCHEMA)

    @pytest.fixture
    async def sandbox() -> AsyncIterator[SandboxServer]:
        """Upstream of it."""
        async with SandboxServer(world()) as server:
            yield server

    return WorldFixtures(filled, warehouse, sandbox)
