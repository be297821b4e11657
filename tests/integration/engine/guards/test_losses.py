"""Upstream is judged before it is believed: what a run may take from accounts, and from one account
night after night.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.batch.run_guards import RunGuards
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.trades import Row
from app.sandbox.world.world import World
from app.store.restore.restore import RemovedRows
from app.store.write_pace import WritePace
from tests.conftest import Database
from tests.integration.engine.test_truth import edit, issues_of
from tests.support.engine import TODAY, difference, engine, fill, reconcile, run
from tests.support.plain import plain
from tests.support.worlds import world_fixtures

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_ACCOUNTS = 28
_TRADES = 15
_MANY = 500
_LIMITS = HoldLimits()
_STAGED = (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED)
_RAW = [TABLES[endpoint].name for endpoint in _STAGED]
_SETTLED = TODAY - dt.timedelta(days=3)


def _world() -> World:
    return World.generate(
        _ACCOUNTS, seed=14, today=TODAY, trades_per_account=_TRADES, contradictory=False
    )


def _large_account() -> World:
    """One account whose trades take several transactions."""
    return World.generate(
        1, seed=3, today=TODAY, trades_per_account=_MANY, days=20, contradictory=False
    )


filled, warehouse, sandbox = world_fixtures("losses", _world)


def _config(batch_size: int = 5000, workers: int = 1, guard: HoldLimits = _LIMITS) -> EngineConfig:
    return EngineConfig(
        workers=workers,
        poll_seconds=0.05,
        postpone_seconds=0,
        postpone_named_seconds=0,
        batch_size=batch_size,
        guard=guard,
    )


async def _confirm(service: ReconService, state: Mapping[str, object]) -> dict[str, object]:
    run_id = uuid.UUID(str(state["run_id"]))
    await service.confirm(run_id)
    await service.pool.run_until_finished(run_id)
    return dict(plain(await service.readings.run_state(run_id)))


async def _statuses(connection: "Connection") -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT account_id, reconciliation_status AS status FROM trade_recon"
    )
    return {row["account_id"]: row["status"] for row in rows}


async def _content(connection: "Connection") -> dict[str, list[str]]:
    """Every value of every row that upstream fills, whenever it was written."""
    return {
        table: [
            row["content"]
            for row in await connection.fetch(
                f"SELECT (to_jsonb(t) - 'ingestion_timestamp')::text AS content FROM {table} AS t"
                " ORDER BY 1"
            )
        ]
        for table in _RAW
    }


async def _lost_rows(connection: "Connection") -> int:
    """Rows that are not stored any more, or that count less, all nights together."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM recon_removed_rows WHERE restored_at IS NULL"
        )
    )


async def _lose_hourly_day(
    connection: "Connection", account_ids: Sequence[str] | None = None
) -> list[str]:
    """The first settled date with trades of each account loses its hourly rows; the accounts."""
    rows = await connection.fetch(
        "DELETE FROM raw_metrics_hourly AS h USING ( SELECT account_id, min(date) AS date FROM"
        " raw_metrics_daily WHERE num_trades > 0 AND date <= $2 GROUP BY 1) AS d WHERE d.account_id"
        " = h.account_id AND d.date = h.date AND ($1::text[] IS NULL OR h.account_id = ANY($1))"
        " RETURNING h.account_id",
        account_ids,
        _SETTLED,
    )
    return sorted({row["account_id"] for row in rows})


def _halve(world: World, account_ids: Iterable[str]) -> None:
    """Upstream loses every second settled trade of the accounts, alike at all levels."""
    for account_id in account_ids:
        settled = sorted(
            (
                trade
                for trade in world.trades(account_id)
                if not trade.is_open and trade.trade_date <= _SETTLED
            ),
            key=str,
        )
        for trade in settled[::2]:
            world.remove_trade(trade)


async def test_one_forgotten_account_is_held_alone_and_the_others_are_healed_night_after_night(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        lost, *others = sandbox.world.account_ids
        sandbox.world.forget(lost)
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], state["accounts"]["needs_confirmation"]) == (  # type: ignore[index]
            "completed_with_issues",
            1,
        )
        for night in range(4):
            hurt = await _lose_hourly_day(connection, others[night * 6 : night * 6 + 6])
            state = await run(service, RunKind.FULL)
            assert state["status"] == "completed_with_issues"
            accounts: Mapping[str, int] = state["accounts"]  # type: ignore[assignment]
            assert (accounts["healed"], accounts["needs_confirmation"], accounts["waiting"]) == (
                len(hurt),
                1,
                0,
            )
            assert (await _statuses(connection))[lost] == "needs_confirmation"
        confirmed = await _confirm(service, state)
        assert (confirmed["status"], confirmed["accounts"]["explained"]) == ("succeeded", 1)  # type: ignore[index]
        assert await issues_of(connection, lost) == {"absent_upstream"}
        assert await _lost_rows(connection) == 0


async def test_an_account_that_upstream_lacks_stays_held_run_after_run_until_it_is_confirmed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        lost = sandbox.world.account_ids[3]
        sandbox.world.forget(lost)
        await _lose_hourly_day(connection, [lost])
        state: dict[str, object] = {}
        for _ in range(5):
            state = await run(service, RunKind.FULL)
            assert (state["status"], (await _statuses(connection))[lost]) == (
                "needs_confirmation",
                "needs_confirmation",
            )
        confirmed = await _confirm(service, state)
        assert confirmed["accounts"]["explained"] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "batch_size", "workers"),
    [
        (RunKind.AUDIT, 5000, 1),
        (RunKind.RETRY, 5000, 1),
        (RunKind.AUDIT, 4, 2),
        (RunKind.FULL, 4, 2),
        (RunKind.FULL, 1, 1),
    ],
)
async def test_an_upstream_that_lost_every_second_trade_of_everybody_stops_the_run_and_what_was_written_is_undone_by_one_command(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind, batch_size: int, workers: int
) -> None:
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_config(batch_size, workers)) as service,
    ):
        before = await _content(connection)
        if kind is not RunKind.AUDIT:
            await _lose_hourly_day(connection)
        _halve(sandbox.world, sandbox.world.account_ids)
        state = await run(service, kind)
        assert state["status"] == "needs_confirmation"
        assert "Upstream is suspect" in str(state["error"])
        touched = await connection.fetchval(
            "SELECT count(DISTINCT account_id) FROM recon_removed_rows"
        )
        assert touched < _LIMITS.accounts
        if batch_size > 1:
            assert state["accounts"]["needs_confirmation"] > 0  # type: ignore[index]
        # Another night asks again, and takes no more.
        lost = await _lost_rows(connection)
        again = await run(service, kind)
        assert again["status"] != "succeeded"
        assert again["accounts"]["needs_confirmation"] > 0  # type: ignore[index]
        assert await _lost_rows(connection) == lost
        assert f"trade-recon removed restore --all-of-run {state['run_id']}" in str(state["error"])
        rows = RemovedRows(service.store.database, service.store.feed)
        async for restored in rows.restore(
            await rows.waiting_of_run(uuid.UUID(str(state["run_id"])))
        ):
            assert restored.is_there, restored.sentence
        after = await _content(connection)
        for table in _RAW:
            missing = set(before[table]) - set(after[table])
            assert not missing or (table == "raw_metrics_hourly" and kind is not RunKind.AUDIT)


async def _stored(connection: "Connection", account_id: str) -> int:
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
        )
    )


async def test_confirming_lets_through_what_was_shown_and_no_account_that_nobody_was_shown(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    """While somebody looks at what is held, upstream loses trades of other accounts, and more of
    one that was shown.
    """
    world = sandbox.world
    async with warehouse.connect() as connection:
        first, later = world.account_ids[:4], world.account_ids[14:20]
        await _lose_hourly_day(connection, [*first, *later])
        await connection.execute("UPDATE raw_metrics_alltime SET num_trades = num_trades + 1")
        _halve(world, first)
        guard = HoldLimits(accounts=1, account_share=0.0)
        async with engine(warehouse, sandbox, config=_config(batch_size=4, guard=guard)) as strict:
            state = await run(strict, RunKind.AUDIT)
            assert state["status"] == "needs_confirmation"
            shown = [
                account_id
                for account_id, status in (await _statuses(connection)).items()
                if status == "needs_confirmation"
            ]
            worse, *unchanged = shown
            assert set(shown) <= set(first)
            _halve(world, [worse, *later])
            confirmed = await _confirm(strict, state)
        assert confirmed["status"] == "needs_confirmation"
        assert {(await _statuses(connection))[account_id] for account_id in unchanged} <= {
            "reconciled",
            "explained",
        }
        for account_id in unchanged:
            assert await _stored(connection, account_id) < _TRADES
        for account_id in later:
            assert await _stored(connection, account_id) == _TRADES
        assert await _stored(connection, worse) == _TRADES
        assert (await _statuses(connection))[worse] == "needs_confirmation"


def _empty_dates(world: World, account_id: str) -> int:
    """Upstream loses the trades of every second settled date of an account; the number of these
    dates that still have a row in daily.
    """
    trades = [
        trade
        for trade in world.trades(account_id)
        if not trade.is_open and trade.trade_date <= _SETTLED
    ]
    emptied = set(sorted({trade.trade_date for trade in trades})[1::2])
    for trade in trades:
        if trade.trade_date in emptied:
            world.remove_trade(trade)
    return sum(record.day in emptied for record in world.records(Endpoint.DAILY, [account_id]))


async def test_a_loss_that_was_confirmed_goes_through_with_the_dates_that_lose_their_last_trade(
    database: Database,
) -> None:
    """What was shown is alltime's count; the figures of such dates become zero, and that is no
    second question.
    """
    world = World.generate(16, seed=14, today=TODAY, trades_per_account=80, contradictory=False)
    async with SandboxServer(world) as sandbox, database.connect() as connection:
        await fill(database, sandbox)
        lost = [account_id for account_id in world.account_ids if _empty_dates(world, account_id)]
        assert lost, "the world has no date with a row and without trades"
        guard = HoldLimits(accounts=1, account_share=0.0)
        async with engine(database, sandbox, config=_config(batch_size=4, guard=guard)) as strict:
            state = await run(strict, RunKind.AUDIT)
            assert state["status"] == "needs_confirmation"
            shown = [
                account_id
                for account_id, status in (await _statuses(connection)).items()
                if status == "needs_confirmation"
            ]
            assert set(shown) & set(lost)
            await _confirm(strict, state)
        statuses = await _statuses(connection)
        assert {statuses[account_id] for account_id in shown} <= {"reconciled", "explained"}


async def test_an_account_that_lost_half_loses_a_fifth_at_most_however_many_nights_ask(
    database: Database,
) -> None:
    world = _large_account()
    async with SandboxServer(world) as sandbox, database.connect() as connection:
        await fill(database, sandbox)
        (account_id,) = world.account_ids
        _halve(world, [account_id])
        config = _config(guard=HoldLimits(rows=40))
        first: int | None = None
        state: dict[str, object] = {}
        for night in range(4):
            # Each night another process: nothing is remembered but what the database knows.
            async with engine(database, sandbox, config=config) as service:
                service.store.applier._pace = WritePace(100_000)
                service.store.applier._pace._most = 50
                kind = (RunKind.AUDIT, RunKind.FULL, RunKind.RETRY, RunKind.AUDIT)[night]
                state = await run(service, kind)
                assert state["status"] == "needs_confirmation", night
                lost = await _lost_rows(connection)
                assert lost <= 0.2 * 3 * _MANY + 2 * 50
                first = lost if first is None else first
                assert lost == first, "what was let through once is not let through again"
                result = await reconcile_by_name(service, account_id)
                assert result["outcome"] == "needs_confirmation"
                assert await _lost_rows(connection) == first
        async with engine(database, sandbox, config=config) as service:
            confirmed = await _confirm(service, state)
            assert (confirmed["status"], confirmed["accounts"]["healed"]) == ("succeeded", 1)  # type: ignore[index]
            assert (await difference(database, sandbox)).is_equal
            # It was whole: what follows is counted from zero.
            await connection.execute("UPDATE raw_metrics_alltime SET net_profit = net_profit + 1")
            assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"


async def reconcile_by_name(service: ReconService, account_id: str) -> Mapping[str, object]:
    async with service.pool.running():
        return await reconcile(service, account_id)


async def test_an_account_that_was_eroded_heals_by_itself_when_upstream_is_well_again(
    database: Database,
) -> None:
    world = _large_account()
    async with SandboxServer(world) as sandbox, database.connect() as connection:
        await fill(database, sandbox)
        _halve(world, world.account_ids)
        async with engine(database, sandbox, config=_config(guard=HoldLimits(rows=40))) as service:
            service.store.applier._pace._most = 50
            assert (await run(service, RunKind.AUDIT))["status"] == "needs_confirmation"
            assert await _lost_rows(connection) > 0
    async with (
        SandboxServer(_large_account()) as well,
        engine(database, well, config=_config(guard=HoldLimits(rows=40))) as service,
    ):
        assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"
        assert (await difference(database, well)).is_equal


@pytest.mark.parametrize(
    ("kind", "stored"),
    [(RunKind.FULL, True), (RunKind.RETRY, True), (RunKind.AUDIT, True), (RunKind.FULL, False)],
)
async def test_an_account_without_an_alltime_row_upstream_is_not_taken_for_one_that_upstream_lost(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind, *, stored: bool
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id = sandbox.world.account_ids[5]
        sandbox.world._records[Endpoint.ALLTIME, account_id] = []
        if not stored:
            await connection.execute(
                "DELETE FROM raw_metrics_alltime WHERE account_id = $1", account_id
            )
        await _lose_hourly_day(connection, [account_id])
        for _ in range(2):
            state = await run(service, kind)
            assert state["accounts"]["needs_confirmation"] == 0  # type: ignore[index]
        compared = await difference(warehouse, sandbox)
        assert compared.tables[Endpoint.HOURLY].missing == 0
        if kind is RunKind.AUDIT or not stored:
            assert account_id in sandbox.log.ids(Endpoint.DAILY), "alltime alone does not tell"


def _null(*fields: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        row.update(dict.fromkeys(fields))

    return change


def _zero(row: Row) -> None:
    row.update(netProfit=0, totalLots=0)


def _lower(row: Row) -> None:
    row.update(numTrades=int(float(str(row["numTrades"]))) // 2)


@pytest.mark.parametrize(
    ("endpoint", "change"),
    [
        (Endpoint.ALLTIME, _null("netProfit")),
        (Endpoint.ALLTIME, _null("numTrades")),
        (Endpoint.ALLTIME, _zero),
        (Endpoint.ALLTIME, _lower),
        (Endpoint.DAILY, _null("netProfit", "totalLots")),
        (Endpoint.DAILY, _lower),
        (Endpoint.HOURLY, _null("totalLots")),
        (Endpoint.HOURLY, _lower),
        (Endpoint.CLOSED, _null("profit")),
    ],
    ids=lambda value: getattr(value, "name", None) or getattr(value, "__qualname__", ""),
)
async def test_an_upstream_that_lowers_or_blanks_one_level_of_everybody_stops_the_run(
    warehouse: Database, sandbox: SandboxServer, endpoint: Endpoint, change: Callable[[Row], None]
) -> None:
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_config(batch_size=7)) as service,
    ):
        if endpoint is Endpoint.ALLTIME:
            await connection.execute("UPDATE raw_metrics_alltime SET total_lots = total_lots + 1")
        else:
            # Something is wrong on each account, so that each level is read.
            await connection.execute(
                "UPDATE raw_metrics_daily SET num_trades = num_trades + 1, net_profit ="
                " net_profit + 1"
            )
            await connection.execute(
                "UPDATE raw_metrics_hourly SET num_trades = num_trades + 1 WHERE num_trades > 0"
            )
            await connection.execute(
                "DELETE FROM raw_trades_closed WHERE ticket IN (SELECT DISTINCT ON (account_id)"
                " max(ticket) FROM raw_trades_closed WHERE trade_date <= $1 GROUP BY account_id,"
                " trade_date ORDER BY account_id, count(*) DESC)",
                _SETTLED,
            )
        for account_id in sandbox.world.account_ids:
            edit(sandbox.world, endpoint, account_id, change)
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "needs_confirmation"
        assert "Upstream is suspect" in str(state["error"])
        columns = {Endpoint.CLOSED: ("profit",)}.get(
            endpoint, ("num_trades", "net_profit", "total_lots")
        )
        name = TABLES[endpoint].name
        for column in columns:
            changed = await connection.fetchval(
                f"SELECT count(DISTINCT t.account_id) FROM {name} AS t JOIN recon_removed_rows AS r"
                f" ON r.table_name = '{name}' AND r.account_id = t.account_id WHERE t.{column} IS"
                f" NULL AND r.row_data ->> '{column}' IS NOT NULL"
            )
            assert changed < _LIMITS.accounts


_SURPLUS = (
    "INSERT INTO raw_trades_closed SELECT (jsonb_populate_record(t, jsonb_build_object('ticket',"
    " '9' || ticket, 'position', '9' || position))).* FROM raw_trades_closed AS t WHERE trade_date"
    f" <= '{_SETTLED}'"
)
_EARLIER = (
    # But for the first date, before which there may be no partition.
    f"UPDATE raw_trades_closed SET trade_date = trade_date - 1 WHERE trade_date <= '{_SETTLED}' AND"
    " trade_date > (SELECT min(trade_date) FROM raw_trades_closed)"
)


@pytest.mark.parametrize(
    "damage",
    [
        [_SURPLUS],
        [
            _SURPLUS,
            f"UPDATE raw_metrics_hourly SET num_trades = num_trades * 2 WHERE date <= '{_SETTLED}'",
        ],
        [f"UPDATE raw_metrics_hourly SET num_trades = num_trades * 2 WHERE date <= '{_SETTLED}'"],
        [
            (
                f"UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE date <= '{_SETTLED}'"
                " AND num_trades > 0"
            )
        ],
        ["UPDATE raw_metrics_alltime SET num_trades = num_trades * 2 + 1"],
        [_EARLIER],
    ],
    ids=["surplus", "surplus and hourly", "hourly", "daily", "alltime", "other dates"],
)
async def test_what_the_warehouse_alone_has_too_much_is_healed_without_a_question_however_much_it_is(
    warehouse: Database, sandbox: SandboxServer, damage: list[str]
) -> None:
    """As after an ingestion that ran twice: the other tables agree with upstream, so nothing is
    lost.
    """
    guard = HoldLimits(run_rows=10, run_row_share=0.01)
    async with warehouse.connect() as connection:
        for statement in damage:
            await connection.execute(statement)
        async with engine(warehouse, sandbox, config=_config(batch_size=9, guard=guard)) as service:
            state = await run(service, RunKind.FULL)
        assert (state["status"], state["accounts"]["needs_confirmation"]) == (  # type: ignore[index]
            "succeeded",
            0,
        ), state["error"]
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") >= _ACCOUNTS - 4
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("gap", [True, False])
async def test_an_upstream_that_has_all_trades_of_everybody_under_other_dates_stops_the_run(
    warehouse: Database, sandbox: SandboxServer, *, gap: bool
) -> None:
    """Its totals are as before; daily rows that come in by the run itself are no witness."""
    world = sandbox.world
    async with warehouse.connect() as connection:
        if gap:
            await connection.execute("DELETE FROM raw_metrics_daily WHERE date <= $1", _SETTLED)
        else:
            await connection.execute("DELETE FROM raw_metrics_hourly WHERE date <= $1", _SETTLED)
        for account_id in world.account_ids:
            settled = [
                trade
                for trade in world.trades(account_id)
                if not trade.is_open and trade.trade_date <= _SETTLED
            ]
            for trade in settled:
                world.remove_trade(trade)
            world.add_trades(
                [
                    replace(trade, trade_date=trade.trade_date - dt.timedelta(days=1))
                    for trade in settled
                ]
            )
        guard = HoldLimits(run_rows=30, run_row_share=0.05)
        async with engine(warehouse, sandbox, config=_config(batch_size=4, guard=guard)) as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "needs_confirmation"
        assert "Upstream is suspect" in str(state["error"])
        assert await _lost_rows(connection) < 150


async def test_what_is_held_when_some_levels_were_lowered_already_is_not_let_through_by_the_next_night(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    """The first night lowers alltime and daily of some accounts until the limit of rows is reached:
    with these the rest agrees by then.
    """
    async with warehouse.connect() as connection:
        _halve(sandbox.world, sandbox.world.account_ids)
        lost = []
        for kind in (RunKind.AUDIT, RunKind.FULL, RunKind.RETRY, RunKind.FULL):
            guard = HoldLimits(accounts=1000, run_rows=40, run_row_share=0.01)
            async with engine(warehouse, sandbox, config=_config(guard=guard)) as service:
                state = await run(service, kind)
            assert state["status"] != "succeeded"
            lost.append(await _lost_rows(connection))
        assert len(set(lost)) == 1, lost


async def test_batches_that_begin_at_once_judge_upstream_together(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service:
        run_id = await service.start_run(RunRequest(kind=RunKind.FULL))
        (active,) = await service.store.active_runs.active(run_id)
        guards = RunGuards(service.store.runs, HoldLimits())
        first, *others = await asyncio.gather(*(guards.of(active) for _ in range(4)))
        assert all(guard is first for guard in others)
