"""A warehouse filled once from a small perfect world of a fixed date; each test gets its own copy
and its own upstream.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import engine, filled_copy

TODAY = dt.date(2026, 3, 18)
"""Upstream's date; the service believes in noon of the day after, so that settled dates are before
this one.
"""
NOW = dt.datetime(2026, 3, 19, 12, tzinfo=dt.UTC)

Engine = Callable[[], AbstractAsyncContextManager[ReconService]]


def small_world() -> World:
    """The same world each time, in which upstream does not contradict itself."""
    return World.generate(
        30, seed=11, today=TODAY, trades_per_account=12, days=40, contradictory=False
    )


@pytest.fixture(scope="session")
async def values_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled."""
    async with filled_copy(postgres, template, "values", small_world()) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, values_template: str) -> AsyncIterator[Database]:
    """A filled warehouse of the test's own."""
    async with postgres.clone(values_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    """Upstream of the filled warehouse, in perfect health."""
    async with SandboxServer(small_world()) as server:
        yield server


@pytest.fixture
def service_of(warehouse: Database, sandbox: SandboxServer) -> Engine:
    """Opens a service on the warehouse and its upstream, at a fixed time."""
    return lambda: engine(warehouse, sandbox, now=lambda: NOW)
