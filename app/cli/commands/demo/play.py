"""The demonstration: a warehouse is filled, damaged, healed and compared.

PostgreSQL runs in a temporary folder, the sandbox in its own process.
"""

import contextlib
import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx2
from pydantic import SecretStr
from rich.console import Console

from app.cli.commands.demo.causes import Cause, causes
from app.cli.commands.demo.output import NamedAccount, Output, unexplained
from app.cli.follow import serve_run
from app.composition import open_fresh_service
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.embedded_postgres.server import EmbeddedPostgres
from app.engine.report.models.runs import RunState
from app.engine.service import ReconService
from app.errors import ReconError
from app.sandbox.damage.damage import HEALABLE_KINDS, Damage, damage, damage_amounts
from app.sandbox.server.process import SandboxProcess, WorldArguments
from app.sandbox.witness.comparison import Comparison, DifferenceKind, compare
from app.sandbox.witness.ingestion import ingest
from app.sandbox.witness.reading import read_upstream
from app.sandbox.world.world import World
from app.settings.model import UpstreamAccess

if TYPE_CHECKING:
    import datetime as dt


_SCHEMA = "prop_trading_model"
_RATE = 15.0
_BURST = 20
_FORGOTTEN = 2
_FOREVER = 10**9
_DISPOSABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Its data may be lost."""

_OPEN_ISSUES = """
SELECT account_id,
       array(SELECT issue ->> 'type' FROM jsonb_array_elements(issues) AS issue) AS types
FROM prop_trading_model.trade_recon
WHERE issues <> '[]'
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Upstream with its `world`, the warehouse, and trade-recon."""

    output: Output
    upstream: SandboxProcess
    key: str
    world: World
    warehouse: "asyncpg.Connection[asyncpg.Record]"
    service: ReconService


async def run(
    arguments: WorldArguments,
    console: Console,
    clock: "Callable[[], dt.datetime]",
    *,
    is_verbose: bool = False,
) -> bool:
    """Play; whether every difference has a named reason. InvalidRequest, ConfigurationError."""
    begun = time.monotonic()
    world = arguments.world()
    output = Output(console, is_verbose)
    output.opened(len(world.account_ids), is_real=arguments.trades_file is not None)
    async with _stage(arguments, world, output, clock) as stage:
        await _fill(stage)
        done, forgotten = await _damage(stage)
        output.damaged(done, forgotten)
        await stage.service.inspect()
        before = await stage.service.readings.report()
        output.inspected(before)
        state = await _audit(stage)
        after = await stage.service.readings.report()
        with _busy("Comparing every row with upstream ..."):
            upstream = await read_upstream(stage.upstream.base_url, stage.key)
            comparison = await compare(upstream, stage.warehouse, _SCHEMA, sample=_FOREVER)
        output.compared(after, comparison)
        output.issues(done, forgotten, before, after)
        is_equal = await _judge(stage, causes(world, done, forgotten), state, comparison)
    output.closed(time.monotonic() - begun)
    return is_equal


@contextlib.asynccontextmanager
async def _stage(
    arguments: WorldArguments, world: World, output: Output, clock: "Callable[[], dt.datetime]"
) -> AsyncIterator[Stage]:
    key = secrets.token_hex(16)
    with SandboxProcess(arguments, api_key=key, rate=_RATE, burst=_BURST) as upstream:
        async with _postgres() as dsn:
            access = UpstreamAccess(upstream.base_url, SecretStr(key))
            async with open_fresh_service(dsn, access, clock, rate=_RATE, burst=_BURST) as service:
                warehouse = await asyncpg.connect(dsn)
                try:
                    yield Stage(output, upstream, key, world, warehouse, service)
                finally:
                    await warehouse.close()


@contextlib.asynccontextmanager
async def _postgres() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="trade-recon-demo-") as folder:
        server = await EmbeddedPostgres.start(Path(folder), _DISPOSABLE)
        try:
            yield server.dsn()
        finally:
            await server.stop()


async def _fill(stage: Stage) -> None:
    begun = time.monotonic()
    with _busy("Filling the warehouse from upstream ..."):
        rows = await ingest(stage.upstream.base_url, stage.key, stage.warehouse, _SCHEMA)
    stage.output.filled(rows, time.monotonic() - begun)


async def _damage(stage: Stage) -> tuple[list[Damage], list[str]]:
    """The damage, and accounts forgotten; real trades suffer only healable damage."""
    arguments = stage.upstream.arguments
    if arguments.trades_file is not None:
        return await damage(stage.warehouse, _SCHEMA, seed=arguments.seed, kinds=HEALABLE_KINDS), []
    done = await damage(stage.warehouse, _SCHEMA, seed=arguments.seed)
    hit = {
        account_id for each in done for account_id in each.account_ids
    } | stage.world.contradictions.keys()
    done += await damage_amounts(stage.warehouse, _SCHEMA, seed=arguments.seed, spared=hit)
    return done, await _forget(
        stage, {account_id for each in done for account_id in each.account_ids}
    )


async def _forget(stage: Stage, spared: Collection[str]) -> list[str]:
    """Let upstream forget undamaged accounts that share no login; their ids."""
    world = stage.world
    fit = [
        account_id
        for account_id in world.account_ids
        if account_id not in spared
        and account_id not in world.contradictions
        and world.trades(account_id)
        and all(world.holders(key.login) == {account_id} for key in world.natural_keys(account_id))
    ]
    chosen = fit[:_FORGOTTEN]
    async with httpx2.AsyncClient(
        base_url=stage.upstream.base_url, headers={"apiKey": stage.key}
    ) as control:
        for account_id in chosen:
            answer = await control.post("_control/forget", json={"account_id": account_id})
            if answer.status_code != HTTPStatus.NO_CONTENT:
                raise ReconError(
                    f"The sandbox did not forget the account {account_id}: it answered"
                    f" {answer.status_code}."
                )
    return chosen


async def _audit(stage: Stage) -> RunState:
    run_id = await stage.service.start_run(RunRequest(RunKind.AUDIT))
    state = await serve_run(stage.service, run_id)
    if RunStatus(state.status) not in (RunStatus.SUCCEEDED, RunStatus.COMPLETED_WITH_ISSUES):
        raise ReconError(f"The run ended as {state.status}: {state.error}")
    if (api := stage.service.readings.api_use()) is not None:
        stage.output.repaired(state, api, _RATE)
    return state


async def _judge(
    stage: Stage, known: Mapping[str, Cause], state: RunState, comparison: Comparison
) -> bool:
    """Compare differences with known causes."""
    open_issues = await stage.warehouse.fetch(_OPEN_ISSUES)
    left = {account_id: frozenset(map(IssueCode, types)) for account_id, types in open_issues}
    rows: dict[str, list[DifferenceKind]] = defaultdict(list)
    for each in comparison.sample:
        for account_id in each.account_ids:
            rows[account_id].append(each.kind)
    named: list[NamedAccount] = []
    without_reason: list[str] = []
    for account_id in sorted({*rows, *left}):
        codes, cause = left.get(account_id, frozenset()), known.get(account_id)
        if cause is not None and cause.explains(codes, rows[account_id]):
            named.append(NamedAccount(account_id, len(rows[account_id]), codes, cause.reason))
        else:
            without_reason.append(unexplained(account_id, rows[account_id], codes))
    nameless = [each for each in comparison.sample if not each.account_ids]
    stage.output.named(named)
    stage.output.judged(state, without_reason, nameless, has_named=bool(named))
    return not without_reason and not nameless


@contextlib.contextmanager
def _busy(text: str) -> Iterator[None]:
    with Console(stderr=True).status(text):
        yield
