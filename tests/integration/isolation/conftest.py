"""A warehouse filled once from a world of a fixed date whose upstream rejects requests by rules;
each test gets its own copy of both.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from app.domain.contract.tables import Endpoint
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import engine, filled_copy

TODAY = dt.date(2026, 3, 18)
"""Upstream's date; the service believes in noon of the third day after, so that all dates are
settled.
"""
NOW = dt.datetime(2026, 3, 21, 12, tzinfo=dt.UTC)
ACCOUNTS = 90


def world() -> World:
    """The same world each time, in which upstream does not contradict itself."""
    return World.generate(
        ACCOUNTS, seed=5, today=TODAY, trades_per_account=8, days=40, contradictory=False
    )


class Engine(Protocol):
    """Opens a service on the warehouse and its upstream, at a fixed time."""

    def __call__(self, **settings: object) -> AbstractAsyncContextManager[ReconService]: ...


@pytest.fixture(scope="session")
async def isolation_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled."""
    async with filled_copy(postgres, template, "isolation", world()) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, isolation_template: str) -> AsyncIterator[Database]:
    """A filled warehouse of the test's own."""
    async with postgres.clone(isolation_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    """Upstream of the filled warehouse, in perfect health."""
    async with SandboxServer(world()) as server:
        yield server


@pytest.fixture
def service_of(warehouse: Database, sandbox: SandboxServer) -> Engine:
    """Opens a service, with changes of its settings."""

    def opened(**settings: object) -> AbstractAsyncContextManager[ReconService]:
        return engine(warehouse, sandbox, config=quick(**settings), now=lambda: NOW)

    return opened


def quick(**settings: object) -> EngineConfig:
    """Settings for tests, which wait for nothing."""
    waits = {"workers": 1, "poll_seconds": 0.02, "postpone_seconds": 0, "postpone_named_seconds": 0}
    return EngineConfig(**{**waits, **settings})  # type: ignore[arg-type]


async def lose(
    database: Database,
    endpoint: Endpoint,
    accounts: int | None = None,
    *,
    but: Callable[[str], bool] | None = None,
) -> list[str]:
    """Delete all rows of a table but those of some accounts; who lost any, of those whose login is
    theirs alone.
    """
    table = {
        Endpoint.HOURLY: "raw_metrics_hourly",
        Endpoint.CLOSED: "raw_trades_closed",
        Endpoint.DAILY: "raw_metrics_daily",
    }[endpoint]
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT a.account_id FROM raw_metrics_alltime AS a WHERE num_trades > 0 AND NOT EXISTS"
            " (SELECT FROM raw_metrics_alltime AS b WHERE b.login = a.login AND b.account_id <>"
            " a.account_id) AND (SELECT count(DISTINCT login) FROM raw_metrics_daily AS d WHERE"
            " d.account_id = a.account_id) = 1 ORDER BY md5(account_id) LIMIT $1",
            accounts,
        )
        losers = sorted(
            row["account_id"] for row in rows if but is None or not but(row["account_id"])
        )
        await connection.execute(f"DELETE FROM {table} WHERE account_id = ANY($1)", losers)
    return losers


async def names_of(database: Database, account_ids: list[str]) -> frozenset[str]:
    """All ids by which the accounts are named in requests: account ids and logins."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT login FROM raw_metrics_alltime WHERE account_id = ANY($1)", account_ids
        )
    return frozenset((*account_ids, *(row["login"] for row in rows)))


async def blamed(database: Database) -> dict[str, int]:
    """The accounts with failed attempts, and how many."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT account_id, failed_attempts FROM trade_recon WHERE failed_attempts > 0"
        )
    return {row["account_id"]: row["failed_attempts"] for row in rows}


async def let_a_day_pass(database: Database) -> None:
    """Make all that waits for a time due."""
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE trade_recon SET next_attempt_at = next_attempt_at - interval '25 hours',"
            " last_failed_attempt = last_failed_attempt - interval '25 hours'"
        )
