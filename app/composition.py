"""The composition root: builds the parts from the settings, and the app that serves them.

For a server that makes the app itself: `uvicorn --factory app.composition:create_app`. The command `trade-recon serve` calls `serve`.
"""

import asyncio
import contextlib
import ctypes
import datetime as dt
import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from app.clock import now
from app.domain.contract.tables import Endpoint, Request
from app.domain.holds import HoldLimits
from app.domain.wording.counts import choose, counted
from app.embedded_postgres.server import EmbeddedPostgres, create_database, was_made
from app.engine.config import EngineConfig
from app.engine.preparation.history import begin_history
from app.engine.report.views import Readings
from app.engine.repositories import Store
from app.engine.service import ReconService
from app.errors import ConfigurationError, MissingRight, UpstreamError, UpstreamRefused, UpstreamUnavailable
from app.settings import Settings, foreign_dsns, load_settings, misnamed_databases
from app.store.database.listen import require_same_database
from app.store.database.pool import Database
from app.store.database.queries import quote
from app.store.dba_script.column_limits import Sample, Samples, advise_fit
from app.store.dba_script.script import advise
from app.store.dba_script.uninstall import write_uninstall
from app.store.quota import Quota
from app.store.schema.caps import proposed_caps, unused_rules, unused_sentence
from app.store.schema.history import Histories
from app.store.schema.introspect import survey
from app.store.schema.migrate import migrate, pending_migrations
from app.store.schema.preflight import misplaced, notes
from app.store.schema.raw_tables import Catalogue
from app.telemetry import configure_logging, get_logger
from app.upstream.client import UpstreamClient, UpstreamConfig
from app.version import version
from app.web.app import build_app

_EMBEDDED_DATABASE = "trade_recon"
_ANSWER_SECONDS = 5
"""How long requests under way may take to end after the signal to stop."""
_GRACE_SECONDS = 17.0
"""How long batches may take to their next safe point, from the same moment: with what follows it the process ends within 25 seconds, well
before orchestrators kill it after 30."""
_WAITING_CONNECTIONS = 512
_SAMPLE_ROWS = 500
_SAMPLE_WAIT = 5.0
"""Seconds that are waited for an API that is down, where all that is asked for is a page of each endpoint."""
_TURN_SECONDS = 0.0002
_COLLECTIONS = (5_000, 4, 500)
_ALLOCATION = ((-8, 2), (-3, 256 * 1024))
"""M_ARENA_MAX and M_MMAP_THRESHOLD of mallopt(3): two heaps for all threads, and what is large goes back to the system when it is freed."""
_OTHER_THREADS = 2
"""Beside those for batches: for the worker of named accounts, and for looking up names of hosts."""
_NO_UPSTREAM = UpstreamConfig("http://upstream.invalid/", SecretStr("no-key-is-sent"))
"""For work that asks nothing of the API: an address that leads nowhere, by its name."""
_log = get_logger(__name__)


def create_app(settings: Settings | None = None, clock: Callable[[], dt.datetime] | None = None) -> FastAPI:
    """The app with its workers, which start and end with it; without `settings` it reads them itself and sends logs to stderr.

    `clock` tells the date instead of the machine's own clock.

    Raises ConfigurationError, and its start that or DatabaseUnavailable. Later it outlives a database that goes away.
    """
    if settings is None:
        configure_logging()
        settings = load_settings()
    chosen = settings

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _share_the_interpreter(chosen.recon_workers)
        async with open_service(chosen, clock) as service, service.pool.running():
            app.state.service = service
            yield

    return build_app(lifespan)


async def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT comes, then end in order; a second SIGINT ends at once.

    Raises ConfigurationError if a setting is missing, or the address cannot be had or is reached from elsewhere; DatabaseUnavailable if
    PostgreSQL does not answer.
    """
    address = _loopback(host, port)
    # Opened here and not in a lifespan: there an error of ours would end as a traceback of the framework's.
    async with open_service(settings) as service:
        with _listener(address, port) as listener:
            app = build_app()
            app.state.service = service
            config = uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=_ANSWER_SECONDS,
            )
            _share_the_interpreter(settings.recon_workers)
            async with service.pool.running():
                address = listener.getsockname()
                shown = f"[{address[0]}]" if ":" in address[0] else address[0]
                _log.info("trade-recon serves.", action="http.serving", url=f"http://{shown}:{address[1]}")
                await _Server(config, service.pool.stop).serve(sockets=[listener])


@contextlib.asynccontextmanager
async def open_service(settings: Settings, clock: Callable[[], dt.datetime] | None = None) -> AsyncIterator[ReconService]:
    """The engine on the warehouse and the API of the settings; its pool serves runs once the caller lets it.

    `clock` tells the date instead of the machine's own clock.

    An API that is down is no error. Raises ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    upstream = _upstream_config(settings)
    async with open_store(settings) as store:
        # From the warehouse: whoever works on it, with whatever command, draws from the same quota.
        quota = Quota(store.database, settings.risk_api_rate, settings.risk_api_burst)
        async with UpstreamClient.open(upstream, quota) as client:
            yield ReconService(store, client, engine_config(settings), clock or now)


@contextlib.asynccontextmanager
async def open_local_service(settings: Settings) -> AsyncIterator[ReconService]:
    """The engine for work that asks nothing of the API, which need not be set: inspections.

    Raises ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    async with open_store(settings) as store, UpstreamClient.open(_NO_UPSTREAM) as client:
        yield ReconService(store, client, engine_config(settings), now)


def _upstream_config(settings: Settings) -> UpstreamConfig:
    access = settings.require_upstream()
    return UpstreamConfig(
        access.base_url,
        access.key,
        rate=settings.risk_api_rate,
        burst=settings.risk_api_burst,
        timeout=settings.risk_api_timeout,
        account_timeout=settings.recon_account_timeout,
        outage_wait=settings.recon_outage_wait,
        breaker_failures=settings.risk_api_breaker_failures,
        breaker_seconds=settings.risk_api_breaker_seconds,
        max_ids=settings.risk_api_max_ids,
    )


@contextlib.asynccontextmanager
async def open_store(settings: Settings, *, only_reads: bool = False) -> AsyncIterator[Store]:
    """The warehouse of the settings: the embedded one is brought to its newest schema, another one must be.

    With `only_reads` what was recorded is read and nothing else is done, for which a role with SELECT alone will do, and a standby.

    Raises ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    async with (
        _told_what_reading_needs(settings.recon_schema) if only_reads else contextlib.nullcontext(),
        open_dsn(settings) as dsn,
        Database.open(
            dsn,
            settings.recon_schema,
            pool_size=settings.recon_pool_size,
            statement_cache=settings.statement_cache,
            direct_dsn=dsn if settings.database_url is None else _direct_dsn(settings),
            # Below the lease: whoever takes over the accounts of a stopped process finds their rows unlocked.
            idle_seconds=settings.recon_lease_seconds / 2,
        ) as database,
    ):
        if settings.database_url is None:
            await migrate(dsn, settings.recon_schema, statement_cache=settings.statement_cache)
        pending = await pending_migrations(database)
        if pending:
            raise ConfigurationError(
                f"The schema {settings.recon_schema} lacks {counted(len(pending), 'migration')} of trade-recon ({pending[0]} first):"
                " run `trade-recon migrate`, or set RECON_SCHEMA. Nothing was changed."
            )
        store = await Store.build(
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


@contextlib.asynccontextmanager
async def _told_what_reading_needs(schema: str) -> AsyncIterator[None]:
    """Around what only reads: a role that lacks a right is told the few that this takes, not all that runs take."""
    try:
        yield
    except MissingRight as error:
        role, place = "ROLE" if error.role is None else quote(error.role), quote(schema)
        raise MissingRight(
            f"{error.lack} To read what was recorded a role needs no more than: GRANT USAGE ON SCHEMA {place} TO {role};"
            f" GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {role}; Nothing was changed.",
            lack=error.lack,
            role=error.role,
        ) from error


async def compared_store(settings: Settings, store: Store) -> Store:
    """The store, for which there are only the dates that are compared now. Raises ConfigurationError if there is none."""
    return store.within(await begin_history(store, engine_config(settings), now()))


async def warehouse_notes(settings: Settings) -> list[str]:
    """What is worth knowing of the raw tables that trade-recon works on; none of a warehouse of its own.

    Raises ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    async with open_warehouse(settings) as database:
        found = await survey(database, settings.recon_schema)
        catalogue = await Catalogue.read(database, found)
        caps, unused = await proposed_caps(database, catalogue, settings.recon_caps), unused_rules(catalogue, settings.recon_caps)
        said = (
            f"Values of the metrics tables stop at round amounts. If your ingestion caps them, set RECON_CAPS={caps}"
            f"{''.join(f',{rule}' for rule in settings.recon_caps.written)}: otherwise each run writes upstream's values over them."
        )
        samples = await sample_upstream(settings, database) if settings.has_upstream else {}
        unread = [
            f"The API gives no rows of {endpoint.value} to see whether the tables can hold them: {sample.error}"
            for endpoint, sample in samples.items()
            if sample.error is not None
        ]
        unfit = await advise_fit(database, found, samples, settings.recon_caps, is_brief=True)
        history = await history_notes(settings, database)
        said_of_caps = [*([unused_sentence(unused)] if unused else []), *([said] if caps else [])]
        return [*notes(found), *said_of_caps, *history, *unread, *(each.text for each in unfit)]


async def history_notes(settings: Settings, database: Database) -> list[str]:
    """From which date on the warehouse is compared, and which months look as if they were to be left alone and are not."""
    setting, histories = settings.recon_history_from, Histories(database)
    held_from = await histories.held_from()
    first = None if setting is None else setting.first_day(engine_config(settings).today(now()), held_from)
    if first is not None:
        said = [
            f"By RECON_HISTORY_FROM={setting} dates from {first} on are compared; rows of earlier dates are neither asked for nor touched."
        ]
    elif setting is not None:
        said = [f"RECON_HISTORY_FROM={setting} has no effect: no table has partitions that begin at a date. All dates are compared."]
    elif held_from is not None and await histories.is_adopted():
        beginning = (
            f"The partitions begin at {held_from}, and RECON_HISTORY_FROM is not set: what upstream has of earlier dates is fetched,"
        )
        said = [f"{beginning} and gets partitions. If you dropped those, set RECON_HISTORY_FROM=auto before the first run."]
    else:
        said = []
    return said + [
        f"{each.name} stands beside {each.parent} like a detached partition: rows of {each.month:%Y-%m} are asked for, and have no place"
        " there. Attach it, or let RECON_HISTORY_FROM begin behind it."
        for each in await histories.detached()
        if first is None or each.month >= first
    ]


@contextlib.asynccontextmanager
async def open_warehouse(settings: Settings) -> AsyncIterator[Database]:
    """The warehouse of the settings over one connection."""
    async with (
        open_dsn(settings) as dsn,
        Database.open(dsn, settings.recon_schema, pool_size=1, statement_cache=settings.statement_cache) as database,
    ):
        yield database


async def sample_upstream(settings: Settings, database: Database | None) -> Samples:
    """A page of each endpoint, to see what it sends; within the quota of all, where a migrated `database` keeps that.

    Raises ConfigurationError if the API's address or key is missing or cannot be used.
    """
    config = replace(_upstream_config(settings), outage_wait=_SAMPLE_WAIT)
    quota = None if database is None else Quota(database, settings.risk_api_rate, settings.risk_api_burst)
    found: dict[Endpoint, Sample] = {}
    async with UpstreamClient.open(config, quota) as client:
        for endpoint in Endpoint:
            try:
                found[endpoint] = Sample((await client.sample(Request(endpoint), rows=_SAMPLE_ROWS)).rows)
            except UpstreamError as error:
                found[endpoint] = Sample(error=_sampled_in_vain(error))
                if isinstance(error, UpstreamRefused | UpstreamUnavailable):
                    # It would say the same of the others.
                    break
    return found


def _sampled_in_vain(error: UpstreamError) -> str:
    """Why there is no sample; what is said of an outage to a run says nothing here."""
    if not isinstance(error, UpstreamUnavailable):
        return str(error)
    return f"no answer within {_SAMPLE_WAIT:g} s.{'' if error.last is None else f' Last: {error.last}'}"


async def migrate_warehouse(settings: Settings, tell: Callable[[str], None]) -> list[str]:
    """Bring the schema to its newest state, past a pooler where the settings name a way; the migrations that were applied now.

    `tell` gets a sentence on what will be put aside or altered, and on what was.

    Raises ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    schema, statement_cache = settings.recon_schema, settings.statement_cache
    async with open_warehouse(settings) as database:
        found = await survey(database, schema)
        if not found.schema.exists and (strange := misplaced(found, schema)):
            raise ConfigurationError(f"{strange} Nothing was changed.")
    async with open_dsn(settings) as dsn:
        direct_dsn = _direct_dsn(settings)
        if direct_dsn is None:
            return await migrate(dsn, schema, statement_cache=statement_cache, tell=tell)
        # Before anything is changed: tables made in a wrong database would be hard to tell from those of another installation.
        async with Database.open(dsn, schema, pool_size=1, statement_cache=statement_cache) as database:
            await require_same_database(database, direct_dsn)
        return await migrate(direct_dsn, schema, statement_cache=statement_cache, variable="DATABASE_DIRECT_URL", tell=tell)


def _direct_dsn(settings: Settings) -> str | None:
    return None if settings.database_direct_url is None else settings.database_direct_url.text.get_secret_value()


async def print_advice(settings: Settings, role: str) -> str:
    """The SQL that the owner of the warehouse's tables may run for a role of trade-recon's own and for speed; nothing is changed.

    Raises InvalidRequest if no role can have the name, ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    if settings.database_url is None:
        return "-- Without DATABASE_URL the warehouse is the embedded PostgreSQL, which is trade-recon's own: there is nothing to run.\n"
    async with Database.open(
        settings.database_url.text.get_secret_value(), settings.recon_schema, pool_size=1, statement_cache=settings.statement_cache
    ) as database:
        return await advise(database, role)


async def print_uninstall(settings: Settings, role: str) -> str:
    """The SQL that takes trade-recon away and gives back what stood before it; nothing is changed.

    Raises InvalidRequest where it is not installed, ConfigurationError, DatabaseUnavailable, DatabaseError.
    """
    async with open_warehouse(settings) as database:
        return await write_uninstall(database, role)


@contextlib.asynccontextmanager
async def open_dsn(settings: Settings) -> AsyncIterator[str]:
    """The DSN of the warehouse; without DATABASE_URL that of an embedded server, which runs as long as the context lasts.

    Raises ConfigurationError if there is neither, and nothing says that an embedded one is to be made.
    """
    if settings.database_url is not None:
        left_out = list(settings.database_url.left_out)
        _tell_start("database.chosen", settings, place=settings.database_url.place)
        if left_out:
            _log.info("Parameters of DATABASE_URL have no effect here.", action="database.parameters", left_out=left_out)
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
    """The one line that says what the process works on, with what."""
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
        f"DATABASE_URL is not set, but {' and '.join(names)} {is_set}: is DATABASE_URL meant? No embedded PostgreSQL is used as long as"
        " that is not clear: correct the name, or take the variable away. Nothing was changed."
    )


def _no_database(others: Sequence[str], data_dir: Path) -> str:
    hint = f" {' and '.join(others)} {'look' if len(others) > 1 else 'looks'} like a DSN: is that the warehouse's?" if others else ""
    return (
        f"DATABASE_URL is not set, so it is not known which database is the warehouse.{hint} Set DATABASE_URL, or make a PostgreSQL of"
        f" trade-recon's own in {data_dir} with `trade-recon migrate --embedded`. Nothing was changed."
    )


def open_readings(settings: Settings, store: Store) -> Readings:
    """What the record tells, for faces that need no API."""
    return Readings(store, engine_config(settings), now)


def engine_config(settings: Settings) -> EngineConfig:
    """What the settings say of the flow."""
    return EngineConfig(
        batch_size=settings.recon_batch_size,
        workers=settings.recon_workers,
        lease_seconds=settings.recon_lease_seconds,
        account_seconds=settings.recon_account_timeout,
        settle_hours=settings.recon_settle_hours,
        day_zone=settings.recon_day_zone,
        max_attempts=settings.recon_max_attempts,
        search_requests=settings.recon_search_requests,
        grace_seconds=_GRACE_SECONDS,
        retention_days=settings.recon_retention_days,
        overlap_seconds=settings.recon_changed_overlap,
        history=settings.recon_history_from,
        guard=HoldLimits(
            row_share=settings.recon_guard_row_share,
            rows=settings.recon_guard_rows,
            account_share=settings.recon_guard_account_share,
            accounts=settings.recon_guard_accounts,
            run_rows=settings.recon_guard_run_rows,
            run_row_share=settings.recon_guard_run_row_share,
        ),
    )


def _share_the_interpreter(workers: int) -> None:
    """Keep requests from waiting for the work on batches, and memory from growing with it.

    Batches are judged in threads, at which Python looks every 5 ms by itself, and a request takes several turns. Its garbage collector
    looks through all objects of all batches, for a quarter of a second each time, to find cycles that there are hardly any of: it looks
    at the young ones, and seldom at the rest. Threads are as few as can be used, and share what glibc would give each of them for itself.
    """
    sys.setswitchinterval(_TURN_SECONDS)
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(workers + _OTHER_THREADS))
    with contextlib.suppress(AttributeError):  # only glibc has it, and only glibc needs it
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _ALLOCATION:
            mallopt(parameter, value)


class _Server(uvicorn.Server):
    """uvicorn that lets the work end from the signal on, and does not send itself the signal once more when it has ended itself."""

    def __init__(self, config: uvicorn.Config, stop_work: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop_work = stop_work
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal: batches stop beside the requests, not after them."""
        if not self.should_exit:
            _log.info("A signal came: trade-recon ends its work.", action="http.stopping")
            self._loop.call_soon_threadsafe(self._stop_work)
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listener(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_WAITING_CONNECTIONS
        )
    except OSError as error:
        raise ConfigurationError(f"trade-recon cannot listen on {host}:{port}: {error.strerror}. Choose another host or port.") from error
    # asyncio does so for sockets that it makes; without it each small answer waits some 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _loopback(host: str, port: int) -> str:
    """The address to listen on, which only this machine reaches: any caller may do everything, since there is no authentication."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"trade-recon cannot listen on {host}:{port}: the host is not known. Choose another host or port."
        ) from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ConfigurationError(
            f"trade-recon does not listen on {host or 'all addresses'}, since it does not authenticate its callers: let it listen on"
            " 127.0.0.1, and put a proxy that authenticates beside it, in a container's network as a sidecar. Nothing was changed."
        )
    return addresses[0]
