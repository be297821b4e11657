"""Fixtures of all tests: a real PostgreSQL, a database of its own for each test, and the shared
trades.
"""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest

from app.embedded_postgres.server import EmbeddedPostgres
from app.store.schema.migrations.migrate import migrate
from tests.support.memory import keep_files_in_memory
from tests.support.processes import end_all
from tests.support.reaper import Reaper
from tests.support.scheduling import LongestFirst, rank

SCHEMA = "prop_trading_model"
_SHARED_TRADES = Path(__file__).parents[2] / "shared" / "data" / "closed_trades.csv"

_FAST_AND_UNSAFE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_wal_size": "256MB",  # of memory, where the data lie there
    "autovacuum": (
        "off"
        # an ANALYZE at some moment keeps old versions of rows, and changes what is measured of
        # pages
    ),
}
"""Settings for a server whose data nobody misses after a crash."""


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

_REAPER = pytest.StashKey[Reaper]()


def pytest_configure(config: pytest.Config) -> None:
    """From here on nothing that the tests start outlives them, however they end."""
    reaper = config.stash[_REAPER] = Reaper()
    keep_files_in_memory(reaper)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:  # noqa: ANN401 - a part of xdist's
    return LongestFirst(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_REAPER].finish()


@pytest.fixture(autouse=True)
async def _processes() -> AsyncIterator[None]:
    """What a test started ends with it."""
    yield
    await end_all()


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL on which tests may create databases."""

    dsn: str

    def database(self, name: str) -> str:
        return urlunsplit(urlsplit(self.dsn)._replace(path=f"/{name}"))

    @asynccontextmanager
    async def clone(
        self, template: str, kind: str, tablespace: str | None = None
    ) -> AsyncIterator[str]:
        """The name of a copy of a database, dropped afterwards whoever is still connected."""
        name = f"recon_{kind}_{secrets.token_hex(4)}"
        place = f" TABLESPACE {tablespace}" if tablespace else ""
        # A file copy of a small template takes a fraction of what its pages take through the WAL.
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY{place}")
        try:
            yield name
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database that belongs to one test alone."""

    dsn: str
    schema: str

    @asynccontextmanager
    async def connect(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """A connection of its own whose search path begins with the schema."""
        connection = await asyncpg.connect(
            self.dsn, server_settings={"search_path": f"{self.schema}, public"}
        )
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def open_folder(pytestconfig: pytest.Config) -> Iterator[Path]:
    """A folder that every account can enter: as root the server runs as another one. pytest's own
    are private.
    """
    with tempfile.TemporaryDirectory(prefix="recon-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        pytestconfig.stash[_REAPER].remove(name)
        yield folder


@pytest.fixture(scope="session")
async def postgres(open_folder: Path) -> AsyncIterator[Server]:
    """The server of TEST_DATABASE_URL (its user must be allowed to create databases), else an
    embedded one for this session.
    """
    if dsn := os.environ.get("TEST_DATABASE_URL"):
        yield Server(dsn)
        return
    server = await EmbeddedPostgres.start(open_folder / "session", _FAST_AND_UNSAFE)
    try:
        yield Server(server.dsn())
    finally:
        await server.stop()


@pytest.fixture(scope="session")
async def template(postgres: Server) -> AsyncIterator[str]:
    """The name of a migrated database from which each test's own is cloned."""
    name = f"recon_template_{secrets.token_hex(4)}"
    await postgres.execute(f"CREATE DATABASE {name}")
    await migrate(postgres.database(name), SCHEMA)
    yield name
    await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(postgres: Server, template: str) -> AsyncIterator[Database]:
    """A database of the test's own."""
    async with postgres.clone(template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture(scope="session")
def shared_trades() -> Path:
    """Real closed trades, which lie beside the project where it is developed."""
    if not _SHARED_TRADES.exists():
        pytest.skip(
            f"the real trades are not here: {_SHARED_TRADES.name} is not part of the project"
        )
    return _SHARED_TRADES
