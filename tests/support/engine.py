"""An engine on a test's own database and sandbox, the way the composition root builds it."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from app.domain.accounts.money import AUTO, MoneyMode
from app.domain.contract.caps import NO_CAPS, Caps
from app.domain.contract.tables import Endpoint
from app.domain.runs.request import RunRequest
from app.domain.states import Depth, RunKind, RunStatus
from app.engine.config import EngineConfig
from app.engine.report.models.accounts import RunUnderWay
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import Comparison, compare
from app.sandbox.witness.ingestion import ingest
from app.sandbox.world.world import World
from app.store.database.pool import Database as Pool
from app.upstream.client import UpstreamClient
from app.upstream.config import UpstreamConfig
from tests.conftest import SCHEMA, Database, Server
from tests.support.clock import TODAY
from tests.support.clock import now as now_of_tests
from tests.support.plain import plain

Past = Callable[[Database, SandboxServer], Awaitable[None]]

__all__ = ["TODAY", "Past", "difference", "engine", "fill", "filled_copy", "reconcile", "run"]


@asynccontextmanager
async def engine(
    database: Database,
    sandbox: SandboxServer,
    *,
    config: EngineConfig | None = None,
    api_key: str = "sandbox",
    outage_wait: float = 10.0,
    timeout: float = 5,  # noqa: ASYNC109 - of a request to the API
    dsn: str | None = None,
    statement_cache: int = 100,
    direct_dsn: str | None = None,
    now: Callable[[], dt.datetime] = now_of_tests,
    caps: Caps = NO_CAPS,
    money: MoneyMode = AUTO,
    limits: Mapping[str, float] | None = None,
) -> AsyncIterator[ReconService]:
    """A service on the database and the sandbox, with a quota that a test need not wait for.

    `timeout` is the deadline of one request, `dsn` another way to the database, `direct_dsn` the
    one on which the service may listen, `now` the clock that tells it the date, `limits` are other
    fields of the upstream's configuration.
    """
    quick: dict[str, Any] = {
        "rate": 1000,
        "burst": 1000,
        "timeout": timeout,
        "outage_wait": outage_wait,
        "breaker_seconds": 0.5,
        "retry_wait": 0.02,
        "longest_retry_wait": 0.2,
    }
    upstream = UpstreamConfig(sandbox.base_url, SecretStr(api_key), **{**quick, **(limits or {})})
    config = config or EngineConfig(
        workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0
    )
    async with (
        Pool.open(
            dsn or database.dsn,
            database.schema,
            statement_cache=statement_cache,
            direct_dsn=direct_dsn,
        ) as pool,
        UpstreamClient.open(upstream) as client,
    ):
        store = await Repositories.build(pool, config.lease_seconds, caps=caps, money=money)
        yield ReconService(store, client, config, now)


async def fill(database: Database, sandbox: SandboxServer) -> None:
    """Let the user's ingestion fill the warehouse."""
    async with database.connect() as connection:
        await ingest(sandbox.base_url, "sandbox", connection, database.schema)


@asynccontextmanager
async def filled_copy(
    postgres: Server, template: str, kind: str, world: World, since: Past | None = None
) -> AsyncIterator[str]:
    """The name of a copy of a migrated database that the user's ingestion has filled from a world,
    as long as the context lasts.

    `since` is what happened there before any test.
    """
    async with postgres.clone(template, kind) as name:
        database = Database(postgres.database(name), SCHEMA)
        async with SandboxServer(world) as sandbox:
            await fill(database, sandbox)
            if since is not None:
                await since(database, sandbox)
        yield name


async def run(service: ReconService, kind: RunKind, **request: object) -> dict[str, object]:
    """Run to the end; the run's state."""
    run_id = await service.start_run(RunRequest(kind=kind, **request))  # type: ignore[arg-type]
    await service.pool.run_until_finished(run_id)
    state = plain(await service.readings.run_state(run_id))
    assert RunStatus(str(state["status"])).is_end
    return dict(state)


async def reconcile(
    service: ReconService, account_id: str, depth: Depth | None = None
) -> Mapping[str, object]:
    """Reconcile one account, however long it takes; what came of it."""
    result = await service.reconcile_account(account_id, depth=depth)
    assert not isinstance(result, RunUnderWay)
    return dict(plain(result))


async def difference(database: Database, sandbox: SandboxServer) -> Comparison:
    """Every row of the warehouse against upstream, told by the witness."""
    async with database.connect() as connection:
        return await compare(
            {endpoint: sandbox.world.rows(endpoint) for endpoint in Endpoint},
            connection,
            database.schema,
        )
