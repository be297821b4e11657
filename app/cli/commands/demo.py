"""The demonstration: a warehouse of its own is filled, damaged in every way, healed, and compared
with upstream row by row.

Its PostgreSQL lives in a temporary folder and its upstream is the sandbox, in a process of its own:
nothing of the user's is touched.
"""

import contextlib
import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
from pydantic import SecretStr
from rich.console import Console

from app.cli.output import issues_table, plain_table, run_seconds, serve_run
from app.domain.contract.tables import TABLES
from app.domain.issues.codes import IssueCode
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.domain.wording.counts import counted
from app.embedded_postgres.server import EmbeddedPostgres
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.engine.service import ReconService
from app.errors import ReconError
from app.sandbox.damage.damage import HEALABLE_KINDS, Damage, damage, damage_amounts
from app.sandbox.server.process import SandboxProcess, WorldArguments
from app.sandbox.witness.comparison import Comparison, DifferenceKind, compare
from app.sandbox.witness.ingestion import ingest
from app.sandbox.witness.reading import read_upstream
from app.sandbox.world.world import World
from app.store.database.pool import Database
from app.store.schema.migrate import migrate
from app.upstream.client import UpstreamClient, UpstreamConfig

if TYPE_CHECKING:
    import datetime as dt


_SCHEMA = "prop_trading_model"
_RATE = 15.0
_BURST = 20
_FORGOTTEN = 2
_FOREVER = 10**9
_DIFFERENCES_SHOWN = 10
_DISPOSABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings of a server whose data nobody misses after a crash."""

_OPEN_ISSUES = """
SELECT account_id,
       array(SELECT issue ->> 'type' FROM jsonb_array_elements(issues) AS issue) AS types
FROM prop_trading_model.trade_recon
WHERE issues <> '[]'
"""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an account may keep an issue at the end: known here beforehand, and told by the service
    as one of `codes`.

    `keeps_rows`: upstream has no such rows, and the warehouse keeps them by rule. No cause excuses
    a row that is missing or differs.
    """

    reason: str
    codes: frozenset[IssueCode]
    keeps_rows: bool

    def explains(
        self, codes: Collection[IssueCode], differences: Collection[DifferenceKind]
    ) -> bool:
        """Whether these issues and rows are what the cause brings about."""
        allowed = {DifferenceKind.SURPLUS} if self.keeps_rows else set[DifferenceKind]()
        return bool(codes) and self.codes.issuperset(codes) and allowed.issuperset(differences)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demonstration plays: `upstream` and its `world`, the warehouse as its user sees it,
    and trade-recon on both.
    """

    console: Console
    upstream: SandboxProcess
    key: str
    world: World
    warehouse: "asyncpg.Connection[asyncpg.Record]"
    service: ReconService
    client: UpstreamClient


async def run(
    arguments: WorldArguments, console: Console, clock: "Callable[[], dt.datetime]"
) -> bool:
    """Play the demonstration; whether in the end nothing differs from upstream without a reason
    that is named.

    `clock` tells the service the date.

    Raises InvalidRequest if the trades file cannot be read, ConfigurationError if PostgreSQL or the
    sandbox does not start.
    """
    begun = time.monotonic()
    world = arguments.world()
    async with _stage(arguments, world, console, clock) as stage:
        source = "real trades" if arguments.trades_file else "a made-up world"
        console.print(
            f"PostgreSQL and the upstream stand after {time.monotonic() - begun:.1f} s: {source},"
            f" {counted(len(world.account_ids), 'account')}, "
            f"{_RATE:.0f} requests a second allowed, {_BURST} at once.\n"
        )
        await _fill(stage)
        done, forgotten = await _damage(stage)
        _show_damage(console, done, forgotten)
        await stage.service.inspect()
        before = await stage.service.readings.report()
        console.print(
            issues_table("Before: what trade-recon sees without asking upstream", _issues(before))
        )
        console.print()
        state = await _audit(stage)
        after = await stage.service.readings.report()
        console.print(issues_table("After: the issues that are left", _issues(after)))
        console.print()
        is_equal = await _judge(stage, _causes(world, done, forgotten), state)
    console.print(f"\nThe demonstration took {time.monotonic() - begun:.1f} s.")
    return is_equal


@contextlib.asynccontextmanager
async def _stage(
    arguments: WorldArguments, world: World, console: Console, clock: "Callable[[], dt.datetime]"
) -> AsyncIterator[Stage]:
    key = secrets.token_hex(16)
    with SandboxProcess(arguments, api_key=key, rate=_RATE, burst=_BURST) as upstream:
        async with _postgres() as dsn:
            await migrate(dsn, _SCHEMA)
            config = UpstreamConfig(upstream.base_url, SecretStr(key), rate=_RATE, burst=_BURST)
            async with (
                Database.open(dsn, _SCHEMA) as database,
                UpstreamClient.open(config) as client,
            ):
                engine = EngineConfig()
                store = await Repositories.build(database, engine.lease_seconds)
                service = ReconService(store, client, engine, clock)
                warehouse = await asyncpg.connect(dsn)
                try:
                    yield Stage(console, upstream, key, world, warehouse, service, client)
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
    held = ", ".join(f"{TABLES[endpoint].name} {count}" for endpoint, count in rows.items())
    stage.console.print(
        f"The warehouse was filled in {time.monotonic() - begun:.1f} s, rows by table: {held}.\n"
    )


async def _damage(stage: Stage) -> tuple[list[Damage], list[str]]:
    """What was done to the warehouse, and the accounts that upstream forgot.

    Real trades suffer only what can be healed, so that in the end not one row may differ.
    """
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
    """Let upstream forget some accounts that nothing else happened to, and that share no login;
    their ids.
    """
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


def _show_damage(console: Console, done: Sequence[Damage], forgotten: Sequence[str]) -> None:
    by_kind: dict[str, list[Damage]] = {}
    for each in done:
        by_kind.setdefault(each.kind, []).append(each)
    table = plain_table("Damage", "shows as", "#accounts", "for example", "what was done there")
    for damages in by_kind.values():
        first = damages[0]
        table.add_row(first.code.value, str(len(damages)), first.account_ids[0], first.description)
    if forgotten:
        table.add_row(
            IssueCode.ABSENT_UPSTREAM.value,
            str(len(forgotten)),
            forgotten[0],
            "upstream has forgotten the account",
        )
    console.print(table)
    console.print()


async def _audit(stage: Stage) -> Mapping[str, Any]:
    run_id = await stage.service.start_run(RunRequest(RunKind.AUDIT))
    state = await serve_run(stage.service, run_id)
    if RunStatus(state["status"]) not in (RunStatus.SUCCEEDED, RunStatus.COMPLETED_WITH_ISSUES):
        raise ReconError(f"The run ended as {state['status']}: {state['error']}")
    accounts, rows, figures = state["accounts"], state["rows"], stage.client.statistics.snapshot()
    asked = ", ".join(f"{endpoint} {values['requests']}" for endpoint, values in figures.items())
    throttled = sum(int(str(values["throttled"])) for values in figures.values())
    table = plain_table(f"The audit run: {state['status']}", "", "")
    table.add_row("seconds", run_seconds(state))
    table.add_row(
        "accounts",
        f"{accounts['total']}: {accounts['unchanged']} were equal, {accounts['healed']} healed,"
        f" {accounts['explained']} explained, {accounts['partial']} partly healed,"
        f" {accounts['failed']} failed, {accounts['needs_confirmation']} held for somebody's word",
    )
    ids = state["maintenance"]
    mended = sum(
        ids.get(name, 0)
        for name in ("closed_trades_updated", "open_trades_updated", "metrics_rows_updated")
    )
    table.add_row("account ids mended", f"{counted(mended, 'row')}, without asking upstream")
    table.add_row(
        "rows from upstream",
        f"{rows['inserted']} inserted, {rows['updated']} updated, {rows['moved']} moved,"
        f" {rows['removed']} removed",
    )
    table.add_row("rows set aside", str(rows["set_aside"]))
    table.add_row(
        "requests",
        f"{stage.client.statistics.requests} ({asked}), {throttled} of them above the quota",
    )
    stage.console.print(table)
    stage.console.print()
    return state


async def _judge(stage: Stage, causes: Mapping[str, Cause], state: Mapping[str, Any]) -> bool:
    """Compare every row with upstream and hold each account that differs, or has an issue left,
    against the known causes.
    """
    with _busy("Comparing every row with upstream ..."):
        upstream = await read_upstream(stage.upstream.base_url, stage.key)
        comparison = await compare(upstream, stage.warehouse, _SCHEMA, sample=_FOREVER)
    console = stage.console
    _show_comparison(console, comparison)
    left = {
        row["account_id"]: frozenset(map(IssueCode, row["types"]))
        for row in await stage.warehouse.fetch(_OPEN_ISSUES)
    }
    rows: dict[str, list[DifferenceKind]] = defaultdict(list)
    for each in comparison.sample:
        for account_id in each.account_ids:
            rows[account_id].append(each.kind)
    named, unexplained = (
        plain_table("Accounts that are named", "account", "#rows kept", "issues left", "reason"),
        [],
    )
    for account_id in sorted({*rows, *left}):
        codes, cause = left.get(account_id, frozenset()), causes.get(account_id)
        if cause is not None and cause.explains(codes, rows[account_id]):
            named.add_row(
                account_id, str(len(rows[account_id])), ", ".join(sorted(codes)), cause.reason
            )
        else:
            unexplained.append(
                f"{account_id}: {counted(len(rows[account_id]), 'differing row')}, issues left:"
                f" {', '.join(sorted(codes)) or 'none'}"
            )
    if named.row_count:
        console.print(named)
        console.print()
    nameless = [each for each in comparison.sample if not each.account_ids]
    for line in unexplained:
        console.print(f"NOT EXPLAINED  {line}", markup=False)
    for each in nameless[:_DIFFERENCES_SHOWN]:
        console.print(
            f"NOT EXPLAINED  {each.table}: {each.kind.value} row {each.key} of no account",
            markup=False,
        )
    is_equal = not unexplained and not nameless
    if is_equal:
        console.print(
            f"Equal: after {run_seconds(state)} s and {counted(state['requests'], 'request')} no"
            " row of the warehouse differs from upstream, "
            + (
                "but for the accounts named above, which are not the warehouse's to heal."
                if named.row_count
                else "without exception."
            )
        )
    else:
        console.print(
            f"NOT EQUAL: {counted(len(unexplained), 'account')} and {counted(len(nameless), 'row')}"
            " differ without a known reason."
        )
    return is_equal


def _show_comparison(console: Console, comparison: Comparison) -> None:
    table = plain_table(
        "Every row compared",
        "table",
        "#upstream",
        "#warehouse",
        "#missing",
        "#surplus",
        "#differing",
    )
    for each in comparison.tables.values():
        counts = (
            each.upstream_rows,
            each.warehouse_rows,
            each.missing,
            each.surplus,
            each.differing,
        )
        table.add_row(each.table, *(str(count) for count in counts))
    console.print(table)
    console.print()


def _causes(world: World, done: Sequence[Damage], forgotten: Sequence[str]) -> dict[str, Cause]:
    """The accounts that may differ or keep an issue, for a reason that was there before the run."""
    told = frozenset(
        {IssueCode.UPSTREAM_INCONSISTENT, IssueCode.UNSETTLED, IssueCode.AMBIGUOUS_IDENTITY}
    )
    causes = {
        account_id: Cause(f"upstream: {contradiction.value}", told, keeps_rows=False)
        for account_id, contradiction in world.contradictions.items()
    }
    absent = Cause(
        "upstream has forgotten it: kept", frozenset({IssueCode.ABSENT_UPSTREAM}), keeps_rows=True
    )
    causes |= dict.fromkeys(forgotten, absent)
    shared = Cause(
        "two accounts with one natural key: not guessed",
        frozenset({IssueCode.AMBIGUOUS_IDENTITY, IssueCode.ABSENT_UPSTREAM}),
        keeps_rows=True,
    )
    for each in done:
        if not each.is_healable:
            causes |= dict.fromkeys(each.account_ids, shared)
    return causes


def _issues(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = report["issues_by_type"]
    return found


@contextlib.contextmanager
def _busy(text: str) -> Iterator[None]:
    with Console(stderr=True).status(text):
        yield
