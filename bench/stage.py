"""The stage of a benchmark: an upstream, a warehouse filled from it, and the service; all
temporary.
"""

import contextlib
import datetime as dt
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from app.embedded_postgres.server import EmbeddedPostgres
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.ingestion import ingest
from app.sandbox.world.world import World
from app.store.database.pool import Database
from app.store.schema.migrations.migrate import migrate
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig

SCHEMA = "prop_trading_model"
_DISPOSABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_UNLIMITED = 10_000


@dataclass(frozen=True, slots=True)
class Stage:
    """One upstream and one warehouse; `warehouse` is a connection of the warehouse's user,
    `service` works on both.
    """

    sandbox: SandboxServer
    warehouse: "asyncpg.Connection[asyncpg.Record]"
    service: ReconService
    max_ids: int


@dataclass(frozen=True, slots=True)
class Filled:
    """An upstream and the name of a database filled from it, of which each stage gets a copy."""

    server: EmbeddedPostgres
    sandbox: SandboxServer
    database: str

    @contextlib.asynccontextmanager
    async def stage(
        self, config: EngineConfig | None = None, *, max_ids: int = 100
    ) -> AsyncIterator[Stage]:
        """A copy of the filled warehouse, and a service whose quota does not bind: requests are
        counted here, not timed.

        The service believes that it is noon of upstream's last day.
        """
        noon = dt.datetime.combine(self.sandbox.world.today, dt.time(12), dt.UTC)
        name = await _create(self.server, template=self.database)
        dsn = _dsn(self.server, name)
        access = UpstreamConfig(
            self.sandbox.base_url,
            SecretStr(self.sandbox.api_key),
            rate=_UNLIMITED,
            burst=_UNLIMITED,
            max_ids=max_ids,
            retry_wait=0.02,
        )
        async with Database.open(dsn, SCHEMA) as database, UpstreamClient.open(access) as client:
            engine = config or EngineConfig()
            store = await Repositories.build(database, engine.lease_seconds)
            warehouse = await asyncpg.connect(dsn)
            try:
                yield Stage(
                    self.sandbox,
                    warehouse,
                    ReconService(store, client, engine, lambda: noon),
                    max_ids,
                )
            finally:
                await warehouse.close()


@contextlib.asynccontextmanager
async def filled(world: World) -> AsyncIterator[Filled]:
    """An upstream of `world`, and a warehouse that the user's ingestion filled from it."""
    with tempfile.TemporaryDirectory(prefix="trade-recon-bench-") as folder:
        server = await EmbeddedPostgres.start(Path(folder), _DISPOSABLE)
        try:
            async with SandboxServer(world) as sandbox:
                name = await _create(server)
                await migrate(_dsn(server, name), SCHEMA)
                connection = await asyncpg.connect(_dsn(server, name))
                try:
                    await ingest(sandbox.base_url, sandbox.api_key, connection, SCHEMA)
                    await connection.execute("ANALYZE")
                finally:
                    await connection.close()
                yield Filled(server, sandbox, name)
        finally:
            await server.stop()


async def _create(server: EmbeddedPostgres, template: str | None = None) -> str:
    name = f"bench_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(
            f"CREATE DATABASE {name}"
            + (f" TEMPLATE {template} STRATEGY FILE_COPY" if template else "")
        )
    finally:
        await connection.close()
    return name


def _dsn(server: EmbeddedPostgres, database: str) -> str:
    return urlunsplit(urlsplit(server.dsn())._replace(path=f"/{database}"))
