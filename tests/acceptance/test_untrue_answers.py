"""Whole runs against an upstream whose answers cannot be trusted: nothing false is written or
closed, and nothing is lost.

The worlds end on a fixed day and the engine believes in a fixed time, so that a seed shows the same
faults on every day.
"""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.issues.detection import detect
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import difference, engine, fill, filled_copy, run
from tests.support.plain import plain

if TYPE_CHECKING:
    import asyncpg

    from app.sandbox.world.trades import Trade

_TODAY = dt.date(2026, 3, 10)
_ROUNDS = 2
_NOW = dt.datetime(2026, 3, 12, 9, tzinfo=dt.UTC)
_CONFIG = EngineConfig(
    workers=1,
    poll_seconds=0.05,
    postpone_seconds=0,
    postpone_named_seconds=0,
    settle_hours=0,
    batch_size=4,
)
_LIES = (
    FaultKind.SMALLER_TOTAL,
    FaultKind.LARGER_TOTAL,
    FaultKind.REPEATED_ROW,
    FaultKind.OTHERS_ROWS,
)


def _large_world() -> World:
    """One account, with more daily rows than a page holds."""
    return World.generate(
        1, seed=4, today=_TODAY, trades_per_account=3300, days=1300, contradictory=False
    )


@pytest.fixture(scope="module")
async def large_template(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database that ingestion has filled from the large account."""
    async with filled_copy(postgres, template, "large", _large_world()) as name:
        yield name


@pytest.fixture
async def large(postgres: Server, large_template: str) -> AsyncIterator[Database]:
    """A warehouse of one large account."""
    async with postgres.clone(large_template, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@asynccontextmanager
async def _service(database: Database, sandbox: SandboxServer) -> AsyncIterator[ReconService]:
    async with engine(database, sandbox, config=_CONFIG, now=lambda: _NOW) as service:
        yield service


async def _bytes(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """Every row of every raw table with its place and its version: a row that was only written anew
    shows too.
    """
    return {
        table.name: await connection.fetchval(
            "SELECT md5(string_agg(format('%s %s %s %s', tableoid, ctid, xmin, t), '' ORDER BY"
            f" tableoid, ctid)) FROM {table.name} AS t"
        )
        for table in TABLES.values()
    }


_HARM = {
    Endpoint.ALLTIME: (
        "UPDATE raw_metrics_alltime SET num_trades = num_trades + 5, net_profit = 0 WHERE"
        " account_id = $1"
    ),
    Endpoint.DAILY: "DELETE FROM raw_metrics_daily WHERE account_id = $1",
    Endpoint.HOURLY: "DELETE FROM raw_metrics_hourly WHERE account_id = $1",
    Endpoint.CLOSED: (
        "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date > '2026-01-20' AND"
        " right(position, 1) < '7'"
    ),
}


async def _assert_blamed(service: ReconService, account_id: str, failures: int) -> None:
    account = plain(await service.readings.account(account_id))
    assert "could not be proven whole" in account["attempts"][0]["detail"]
    assert account["failed_attempts"] == failures
    assert account["history"]
    assert all(entry["closed_at"] is None for entry in account["history"])


async def test_an_upstream_that_always_lies_about_rows_of_some_changes_no_byte_and_closes_nothing(
    database: Database,
) -> None:
    world = World.generate(
        6, seed=4, today=_TODAY, trades_per_account=20, days=60, contradictory=False
    )
    async with (
        SandboxServer(world) as sandbox,
        database.connect() as connection,
        _service(database, sandbox) as service,
    ):
        await fill(database, sandbox)
        victims = dict(zip(_HARM, world.account_ids, strict=False))
        for endpoint, account_id in victims.items():
            assert await connection.execute(_HARM[endpoint], account_id) not in {
                "DELETE 0",
                "UPDATE 0",
            }
        await service.maintain()
        before = await _bytes(connection)
        logins = await connection.fetch(
            "SELECT login FROM raw_metrics_alltime WHERE account_id = ANY($1)",
            list(victims.values()),
        )
        names = frozenset((*victims.values(), *(row["login"] for row in logins)))
        for failures, kind in enumerate(_LIES, 1):
            sandbox.set_faults(Faults(probabilities={kind: 1.0}, only_ids=names))
            state = await run(service, RunKind.RETRY)
            assert await _bytes(connection) == before
            assert (state["failed"], state["accounts"]["postponed"]) == (len(victims), len(victims))  # type: ignore[index]
            for account_id in victims.values():
                await _assert_blamed(service, account_id, failures)
        sandbox.set_faults(NO_FAULTS)
        healed = await run(service, RunKind.RETRY)
        assert (healed["status"], healed["accounts"]["healed"]) == ("succeeded", len(victims))  # type: ignore[index]
        assert (await difference(database, sandbox)).sample == ()


async def test_an_upstream_that_lies_about_rows_of_everybody_changes_no_byte_closes_nothing_and_charges_nobody(
    database: Database,
) -> None:
    world = World.generate(
        6, seed=4, today=_TODAY, trades_per_account=20, days=60, contradictory=False
    )
    async with (
        SandboxServer(world) as sandbox,
        database.connect() as connection,
        _service(database, sandbox) as service,
    ):
        await fill(database, sandbox)
        for endpoint, account_id in zip(_HARM, world.account_ids, strict=False):
            await connection.execute(_HARM[endpoint], account_id)
        await service.maintain()
        before = await _bytes(connection)
        for kind in _LIES:
            sandbox.set_faults(Faults.of(kind))
            state = await run(service, RunKind.FULL)
            assert await _bytes(connection) == before
            assert (state["status"], state["accounts"]["waiting"]) == ("failed", len(_HARM))  # type: ignore[index]
            assert "can be proven whole" in str(state["error"])
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        )
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_issue_history WHERE closed_at IS NOT NULL"
            )
            == 0
        )
        sandbox.set_faults(NO_FAULTS)
        healed = await run(service, RunKind.FULL)
        assert (healed["status"], healed["accounts"]["healed"]) == ("succeeded", len(_HARM))  # type: ignore[index]
        assert (await difference(database, sandbox)).sample == ()


async def test_rows_that_always_shift_between_pages_change_no_byte_and_close_nothing(
    large: Database,
) -> None:
    async with (
        SandboxServer(_large_world()) as sandbox,
        large.connect() as connection,
        _service(large, sandbox) as service,
    ):
        (account_id,) = sandbox.world.account_ids
        await connection.execute(_HARM[Endpoint.DAILY], account_id)
        await service.maintain()
        before = await _bytes(connection)
        sandbox.set_faults(Faults.of(FaultKind.SHIFTING_ROWS))
        state = await run(service, RunKind.FULL)
        assert any(request.skip for request in sandbox.log.requests)
        assert await _bytes(connection) == before
        assert (state["failed"], state["accounts"]["postponed"]) == (1, 1)  # type: ignore[index]
        await _assert_blamed(service, account_id, 1)
        sandbox.set_faults(NO_FAULTS)
        assert (await run(service, RunKind.RETRY))["status"] == "succeeded"
        assert (await difference(large, sandbox)).sample == ()


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_with_every_fault_at_once_a_run_ends_right_closes_nothing_falsely_and_loses_no_row(
    database: Database, seed: int
) -> None:
    world = World.generate(
        60, seed=seed, today=_TODAY, trades_per_account=25, days=60, contradictory=False
    )
    async with (
        SandboxServer(world) as sandbox,
        database.connect() as connection,
        _service(database, sandbox) as service,
    ):
        await fill(database, sandbox)
        await damage(
            connection, database.schema, seed=seed, kinds=HEALABLE_KINDS, accounts_per_kind=3
        )
        sandbox.set_faults(Faults.everything(0.3, seed))
        state = await run(service, RunKind.AUDIT)
        sandbox.set_faults(NO_FAULTS)
        assert sum(request.fault is not None for request in sandbox.log.requests) >= 5
        assert (await difference(database, sandbox)).sample == ()
        assert state["status"] == "succeeded"
        closed = await connection.fetch(
            "SELECT account_id, type FROM recon_issue_history WHERE closed_at IS NOT NULL"
        )
        views = await service.store.detection.look(world.account_ids, state["run_id"])  # type: ignore[arg-type]
        there = {
            (account_id, issue.code.value)
            for account_id, view in views.items()
            for issue in detect(replace(view, drift=None))
        }
        assert len(closed) > 20
        assert there.isdisjoint((row["account_id"], row["type"]) for row in closed)
        # What upstream has is stored, as the comparison says: so a row was lost only if one that
        # upstream has counts as removed.
        removed = await connection.fetch(
            "SELECT row_data ->> 'login', row_data ->> 'position', row_data ->> 'ticket', row_data"
            " ->> 'trade_date' FROM recon_removed_rows WHERE reason = 'removed' AND table_name ="
            " 'raw_trades_closed'"
        )
        trades = [trade for account_id in world.account_ids for trade in world.trades(account_id)]
        sent = {
            (trade.key.login, trade.position, trade.ticket, trade.trade_date.isoformat())
            for trade in trades
        }
        assert sent.isdisjoint(tuple(row) for row in removed)


class _Motion:
    """Trades of an account go and come back one by one, each on a date that it shares with others,
    and new ones come on other dates.
    """

    def __init__(self, world: World, account_id: str) -> None:
        self._world = world
        closed = [trade for trade in world.trades(account_id) if not trade.is_open]
        trades_on = Counter(trade.trade_date for trade in closed)
        several = [
            trade
            for day, trade in sorted({trade.trade_date: trade for trade in closed}.items())
            if trades_on[day] > 1
        ]
        self.passing, self._models = several[::5], several[2::5]
        self._out: Trade | None = None
        self.steps = 0

    def step(self) -> None:
        """Change something."""
        self.steps += 1
        if self._out is not None:
            self.settle()
        elif self.steps % 3 or not self._models:
            self._out = self.passing[self.steps % len(self.passing)]
            self._world.remove_trade(self._out)
        else:
            model = self._models.pop()
            self._world.add_trades(
                [replace(model, position=f"9{model.position}", ticket=f"9{model.ticket}")]
            )

    def settle(self) -> None:
        """Let the trade that went come back."""
        if self._out is not None:
            self._world.add_trades([self._out])
            self._out = None


@asynccontextmanager
async def _moving(sandbox: SandboxServer, motion: _Motion) -> AsyncIterator[None]:
    """Upstream's data moves after every request that arrives, and rests at the end."""

    async def go_on() -> None:
        seen = sandbox.log.total
        while True:
            if sandbox.log.total != seen:
                seen = sandbox.log.total
                motion.step()
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        motion.settle()


async def test_of_data_that_moves_while_it_is_read_nothing_false_stays_once_it_rests(
    large: Database,
) -> None:
    async with (
        SandboxServer(_large_world()) as sandbox,
        large.connect() as connection,
        _service(large, sandbox) as service,
    ):
        (account_id,) = sandbox.world.account_ids
        await connection.execute(_HARM[Endpoint.CLOSED], account_id)
        stored = {
            tuple(row)
            for row in await connection.fetch(
                "SELECT login, position, ticket FROM raw_trades_closed"
            )
        }
        motion = _Motion(sandbox.world, account_id)
        passing = {(trade.key.login, trade.position, trade.ticket) for trade in motion.passing}
        async with _moving(sandbox, motion):
            for _ in range(_ROUNDS):
                await connection.execute(_HARM[Endpoint.DAILY], account_id)
                await connection.execute(_HARM[Endpoint.CLOSED], account_id)
                await run(service, RunKind.RETRY)
        assert motion.steps > 3 * _ROUNDS
        assert any(request.skip for request in sandbox.log.requests)
        now = {
            tuple(row)
            for row in await connection.fetch(
                "SELECT login, position, ticket FROM raw_trades_closed"
            )
        }
        assert stored - passing <= now
        removed = await connection.fetch(
            "SELECT row_data ->> 'login', row_data ->> 'position', row_data ->> 'ticket' FROM"
            " recon_removed_rows WHERE reason = 'removed' AND table_name = 'raw_trades_closed'"
        )
        assert {tuple(row) for row in removed} <= passing
        await run(service, RunKind.RETRY)
        rested = await run(service, RunKind.AUDIT)
        assert (await difference(large, sandbox)).sample == ()
        assert rested["status"] == "succeeded"
