"""The composition root: builds the parts from the settings.

What opens a warehouse raises ConfigurationError, DatabaseUnavailable, DatabaseError.
"""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from app.clock import now
from app.domain.wording.counts import choose, counted
from app.embedded_postgres.server import EmbeddedPostgres, create_database, was_made
from app.engine.config import EngineConfig
from app.engine.preparation.history import begin_history
from app.engine.report.views import Readings
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.errors import ConfigurationError, MissingRight
from app.settings.model import Settings, UpstreamAccess
from app.settings.variables import foreign_dsns, misnamed_databases
from app.store.database.pool import Database
from app.store.database.queries import quote
from app.store.quota import Quota
from app.store.schema.migrations.migrate import migrate, pending_migrations, told_newer
from app.store.schema.raw.caps import unused_rules, unused_sentence
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.config import NO_UPSTREAM, UpstreamConfig
from app.version import version

_EMBEDDED_DATABASE = "trade_recon"
_FRESH_SCHEMA = "prop_trading_model"
_GRACE_SECONDS = 17.0
"""Time for batches to reach a checkpoint: orchestrators kill the process after 30 seconds."""
_log = get_logger(__name__)


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings, clock: Callable[[], dt.datetime] | None = None
) -> AsyncIterator[ReconService]:
    """The engine on warehouse and API, which may be down; the caller starts its pool.

    `clock` replaces the machine's.
    """
    upstream = settings.upstream_config()
    async with open_store(settings) as store:
        # In the warehouse, so that all processes and commands on it share one quota.
        quota = Quota(store.database, settings.risk_api_rate, settings.risk_api_burst)
        async with UpstreamClient.open(upstream, quota) as client:
            yield ReconService(store, client, engine_config(settings), clock or now)


@contextlib.asynccontextmanager
async def open_local_service(settings: Settings) -> AsyncIterator[ReconService]:
    """The engine without an API, for inspections."""
    async with open_store(settings) as store, UpstreamClient.open(NO_UPSTREAM) as client:
        yield ReconService(store, client, engine_config(settings), now)


@contextlib.asynccontextmanager
async def open_fresh_service(
    dsn: str,
    access: UpstreamAccess,
    clock: Callable[[], dt.datetime],
    *,
    rate: float,
    burst: int,
) -> AsyncIterator[ReconService]:
    """The engine on an empty database, which it migrates, without settings."""
    await migrate(dsn, _FRESH_SCHEMA)
    upstream = UpstreamConfig(access.base_url, access.key, rate=rate, burst=burst)
    async with (
        Database.open(dsn, _FRESH_SCHEMA) as database,
        UpstreamClient.open(upstream) as client,
    ):
        engine = EngineConfig()
        store = await Repositories.build(database, engine.lease_seconds)
        yield ReconService(store, client, engine, clock)


@contextlib.asynccontextmanager
async def open_store(
    settings: Settings, *, only_reads: bool = False
) -> AsyncIterator[Repositories]:
    """The settings' warehouse; an embedded one is migrated, another must be.

    `only_reads` needs no right but SELECT, so a standby will do.
    """
    async with (
        _told_what_reading_needs(settings.recon_schema) if only_reads else contextlib.nullcontext(),
        open_dsn(settings) as dsn,
        Database.open(
            dsn,
            settings.recon_schema,
            pool_size=settings.recon_pool_size,
            statement_cache=settings.statement_cache,
            direct_dsn=dsn if settings.database_url is None else direct_dsn_of(settings),
            # Below the lease, so that a stopped process's rows are unlocked before its accounts are
            # claimed again.
            idle_seconds=settings.recon_lease_seconds / 2,
        ) as database,
    ):
        if settings.database_url is None:
            await migrate(dsn, settings.recon_schema, statement_cache=settings.statement_cache)
        await _require_migrated(database)
        if said := await told_newer(database):
            _log.warning(said, action="schema.newer")
        store = await Repositories.build(
            database,
            settings.recon_lease_seconds,
            settings.recon_write_rate,
            settings.recon_caps,
            money=settings.recon_money,
            only_reads=only_reads,
        )
        if unused := unused_rules(store.catalogue, settings.recon_caps):
            _log.warning(unused_sentence(unused), action="settings.unused")
        yield store


async def _require_migrated(database: Database) -> None:
    pending = await pending_migrations(database)
    if pending:
        raise ConfigurationError(
            f"The schema {database.schema} lacks {counted(len(pending), 'migration')} of"
            f" trade-recon ({pending[0]} first): run `trade-recon migrate`, or set RECON_SCHEMA."
            " Nothing was changed."
        )


@contextlib.asynccontextmanager
async def _told_what_reading_needs(schema: str) -> AsyncIterator[None]:
    """Name only reading's rights where one is missing."""
    try:
        yield
    except MissingRight as error:
        role, place = "ROLE" if error.role is None else quote(error.role), quote(schema)
        raise MissingRight(
            f"{error.lack} To read what was recorded a role needs no more than: GRANT USAGE ON"
            f" SCHEMA {place} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {role};"
            " Nothing was changed.",
            lack=error.lack,
            role=error.role,
        ) from error


async def compared_store(settings: Settings, store: Repositories) -> Repositories:
    """The store limited to the dates compared; ConfigurationError if there are none."""
    return store.within(await begin_history(store, engine_config(settings), now()))


@contextlib.asynccontextmanager
async def open_warehouse(settings: Settings) -> AsyncIterator[Database]:
    """The settings' warehouse over one connection."""
    async with (
        open_dsn(settings) as dsn,
        Database.open(
            dsn, settings.recon_schema, pool_size=1, statement_cache=settings.statement_cache
        ) as database,
    ):
        yield database


def direct_dsn_of(settings: Settings) -> str | None:
    """The DSN past a pooler, if set."""
    return (
        None
        if settings.database_direct_url is None
        else settings.database_direct_url.text.get_secret_value()
    )


@contextlib.asynccontextmanager
async def open_dsn(settings: Settings) -> AsyncIterator[str]:
    """The warehouse's DSN; without DATABASE_URL an embedded server's, run for the context.

    Raises ConfigurationError if neither is asked for.
    """
    if settings.database_url is not None:
        left_out = list(settings.database_url.left_out)
        _tell_start("database.chosen", settings, place=settings.database_url.place)
        if left_out:
            _log.info(
                "Parameters of DATABASE_URL have no effect here.",
                action="database.parameters",
                left_out=left_out,
            )
        yield settings.database_url.text.get_secret_value()
        return
    folder = settings.recon_data_dir.absolute()
    if misnamed := misnamed_databases():
        raise ConfigurationError(_misnamed_database(misnamed))
    if not (settings.recon_embedded or was_made(settings.recon_data_dir)):
        raise ConfigurationError(_no_database(foreign_dsns(), settings.recon_data_dir))
    _tell_start("database.embedded", settings, place="embedded PostgreSQL", folder=str(folder))
    server = await EmbeddedPostgres.start(settings.recon_data_dir)
    try:
        await create_database(server.dsn(), _EMBEDDED_DATABASE)
        yield server.dsn(_EMBEDDED_DATABASE)
    finally:
        await server.stop()


def _tell_start(action: str, settings: Settings, **place: str) -> None:
    _log.info(
        "trade-recon starts.",
        action=action,
        version=version(),
        **place,
        schema=settings.recon_schema,
        upstream=settings.risk_api_base_url,
        rate=settings.risk_api_rate,
        workers=settings.recon_workers,
    )


def _misnamed_database(names: Sequence[str]) -> str:
    is_set = choose(len(names), "is", "are")
    return (
        f"DATABASE_URL is not set, but {' and '.join(names)} {is_set}: is DATABASE_URL meant? No"
        " embedded PostgreSQL is used as long as that is not clear: correct the name, or take the"
        " variable away. Nothing was changed."
    )


def _no_database(others: Sequence[str], data_dir: Path) -> str:
    hint = (
        f" {' and '.join(others)} {'look' if len(others) > 1 else 'looks'} like a DSN: is that the"
        " warehouse's?"
        if others
        else ""
    )
    return (
        f"DATABASE_URL is not set, so it is not known which database is the warehouse.{hint} Set"
        f" DATABASE_URL, or make a PostgreSQL of trade-recon's own in {data_dir} with `trade-recon"
        " migrate --embedded`. Nothing was changed."
    )


def open_readings(settings: Settings, store: Repositories) -> Readings:
    """Read models for faces without an API."""
    return Readings(store, engine_config(settings), now)


def engine_config(settings: Settings) -> EngineConfig:
    """The engine's settings."""
    return settings.engine_config(_GRACE_SECONDS)
