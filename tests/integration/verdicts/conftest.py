"""A warehouse that ingestion has filled from a small perfect world that ends on a fixed day; each
test gets its own copy.
"""

from collections.abc import AsyncIterator

import pytest

from app.sandbox.server.serving import SandboxServer
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import filled_copy
from tests.support.nights import small_world


@pytest.fixture(scope="module")
async def small_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled."""
    async with filled_copy(postgres, template, "verdicts", small_world()) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, small_template: str) -> AsyncIterator[Database]:
    """A filled warehouse of the test's own."""
    async with postgres.clone(small_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    """Upstream of the filled warehouse, in perfect health."""
    async with SandboxServer(small_world()) as server:
        yield server
