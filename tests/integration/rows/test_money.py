"""Amounts that disagree though all counts agree are found by local evidence alone, healed, and
shown with both amounts.
"""

import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from app.domain.accounts.money import BY_DATE, BY_NAME, OFF, MoneyMode
from app.domain.contract.tables import Endpoint
from app.domain.history import HistoryFrom
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.report.inspection import Listing
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.rows import Record
from app.sandbox.world.world import World
from app.store.restore.restore import RemovedRows
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database
from tests.support.altered import altering
from tests.support.clock import SETTLED, TODAY
from tests.support.engine import difference, engine, run
from tests.support.plain import plain_report
from tests.support.scripted import Arrival
from tests.support.worlds import world_fixtures

_METRICS = {"net_profit": "net_profit", "total_lots": "total_lots"}
ERRORS = {
    "daily": ("raw_metrics_daily", _METRICS, "date"),
    "hourly": ("raw_metrics_hourly", _METRICS, "date"),
    "closed": ("raw_trades_closed", {"net_profit": "profit", "total_lots": "lots"}, "trade_date"),
    "alltime": ("raw_metrics_alltime", _METRICS, None),
}


def world() -> World:
    """Enough accounts that those that are damaged are fewer than one in twenty."""
    return World.generate(
        90, seed=161, today=TODAY, trades_per_account=8, days=20, contradictory=False
    )


filled, warehouse, _ = world_fixtures("money", world)


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world()) as server:
        yield server


@pytest.fixture
def sandbox(upstream: SandboxServer) -> SandboxServer:
    upstream.log.reset()
    return upstream


def traders(sandbox: SandboxServer) -> list[str]:
    """Accounts with trades on settled dates, those with most first."""
    trades: dict[str, int] = {}
    for row in sandbox.world.records(Endpoint.CLOSED):
        if row.day is not None and row.day <= SETTLED:
            trades[row.account_id] = trades.get(row.account_id, 0) + 1
    return sorted(trades, key=lambda account_id: (-trades[account_id], account_id))


async def spoil(
    database: Database,
    account_id: str,
    table: str,
    column: str,
    day: str | None,
    change: str = "+ 500",
    order: str = "ASC",
) -> dt.date | None:
    """Change one amount of one row; its date."""
    where = f"account_id = $1 AND {column} IS NOT NULL" + (
        f" AND {day} <= '{SETTLED}'" if day else ""
    )
    trades = " AND num_trades > 0" if table.startswith("raw_metrics") else ""
    async with database.connect() as connection:
        rows = await connection.fetch(
            f"UPDATE {table} AS t SET {column} = t.{column} {change} FROM (SELECT tableoid AS part,"
            f" ctid AS place FROM {table} WHERE {where}{trades} ORDER BY {day or 'account_id'}"
            f" {order} LIMIT 1) AS old WHERE (t.tableoid, t.ctid) = (old.part, old.place) RETURNING"
            f" {f't.{day}' if day else 'NULL::date'} AS day",
            account_id,
        )
    assert len(rows) == 1
    day_of: dt.date | None = rows[0]["day"]
    return day_of


async def issues_of(database: Database, code: str = "money_mismatch") -> dict[str, dict[str, Any]]:
    """The evidence of all issues of a code that ever were, by account, with how each was closed."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT account_id, evidence, closing_evidence FROM recon_issue_history WHERE type"
            " = $1",
            code,
        )
    return {
        row["account_id"]: {
            **json.loads(row["evidence"]),
            "closing": json.loads(row["closing_evidence"] or "null"),
        }
        for row in rows
    }


async def relations(database: Database) -> dict[str, tuple[int, int, bool]]:
    """What the last sweep learned: accounts that tell of each relation, those for which it holds,
    and whether it is used.
    """
    async with database.connect() as connection:
        rows = await connection.fetch("SELECT * FROM recon_money_relations")
    return {row["relation"]: (row["accounts"], row["holding"], row["is_used"]) for row in rows}


@pytest.mark.parametrize("figure", ["net_profit", "total_lots"])
async def test_amounts_that_no_count_shows_are_found_and_healed_by_a_full_run_without_names(
    figure: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    wrong = {}
    for account_id, (table, columns, date_column) in zip(
        traders(sandbox), ERRORS.values(), strict=False
    ):
        wrong[account_id] = (
            table,
            await spoil(warehouse, account_id, table, columns[figure], date_column),
        )
    async with engine(warehouse, sandbox) as service, service.pool.running():
        state = await run(service, RunKind.FULL)
    assert state["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).is_equal
    found = await issues_of(warehouse)
    assert found.keys() == wrong.keys()
    for account_id, (table, day) in wrong.items():
        evidence = found[account_id]
        assert evidence["dates"] == ([] if day is None else [day.isoformat()])
        assert evidence["closing"]["closed_as"] == "healed"
        totals = evidence["metadata"]["totals"][figure]
        (right,) = {amount for each, amount in totals.items() if each != table}
        assert totals[table] == pytest.approx(right + 500)
    # Of three tables that are read by date the one that stands alone is asked for, and nothing
    # else.
    assert len(sandbox.log.requests) == 4
    shown = await issues_of(warehouse, "value_drift")
    assert shown.keys() == wrong.keys()
    async with warehouse.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == len(wrong)
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE mismatched_money > 0")
            == 0
        )


async def test_a_healthy_warehouse_asks_nothing_and_has_no_issue(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, service.pool.running():
        state = await run(service, RunKind.FULL)
    assert (state["status"], sandbox.log.requests) == ("succeeded", [])
    assert await issues_of(warehouse) == {}
    learned = await relations(warehouse)
    assert learned.keys() == BY_NAME.keys() | {BY_DATE}
    assert all(
        is_used and holding == accounts > 50 for accounts, holding, is_used in learned.values()
    )


async def test_amounts_that_are_exchanged_between_two_dates_are_found_though_every_total_agrees(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox)[0]
    first = await spoil(warehouse, account_id, "raw_metrics_hourly", "net_profit", "date", "+ 40")
    last = await spoil(
        warehouse, account_id, "raw_metrics_hourly", "net_profit", "date", "- 40", order="DESC"
    )
    async with engine(warehouse, sandbox) as service, service.pool.running():
        await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).is_equal
    assert (await issues_of(warehouse))[account_id]["dates"] == [str(first), str(last)]


async def test_values_that_are_no_amounts_cost_only_their_own_account(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    nothing, missing, huge = traders(sandbox)[:3]
    await spoil(warehouse, nothing, "raw_metrics_hourly", "net_profit", "date", "* 'NaN'::numeric")
    await spoil(warehouse, missing, "raw_metrics_daily", "net_profit", "date", "* NULL::numeric")
    await spoil(
        warehouse, huge, "raw_trades_closed", "profit", "trade_date", "* 0 + 9999999999999999.99"
    )
    async with engine(warehouse, sandbox) as service, service.pool.running():
        state = await run(service, RunKind.FULL)
    assert state["status"] == "succeeded"
    assert (await issues_of(warehouse)).keys() == {nothing, missing, huge}
    assert (await difference(warehouse, sandbox)).is_equal


async def test_what_upstream_itself_says_is_its_own_and_asked_once_until_something_changes(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox)[0]
    await set_alltime(warehouse, account_id, "1234.5")

    def alter(arrival: Arrival, body: bytes) -> bytes:
        if not arrival.path.endswith("metrics/alltime"):
            return body
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            if row["accountId"] == account_id:
                row["netProfit"] = 1234.5
        return json.dumps(answer).encode()

    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox) as service,
        service.pool.running(),
    ):
        api.alter = alter
        first = await run(service, RunKind.FULL)
        asked = len(api.arrivals)
        assert (first["accounts"]["explained"], asked) == (1, 2)  # type: ignore[index]
        assert (await issues_of(warehouse))[account_id]["closing"]["closed_as"] == "relabelled"
        assert (await issues_of(warehouse, "upstream_inconsistent"))[account_id]["closing"] is None
        await run(service, RunKind.FULL)
        assert len(api.arrivals) == asked
        await set_alltime(warehouse, account_id, "777")
        await run(service, RunKind.FULL)
        assert len(api.arrivals) > asked
    async with warehouse.connect() as connection:
        assert await connection.fetchval(
            "SELECT net_profit FROM raw_metrics_alltime WHERE account_id = $1", account_id
        ) == Decimal("1234.5")


async def set_alltime(database: Database, account_id: str, amount: str) -> None:
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = $2 WHERE account_id = $1",
            account_id,
            Decimal(amount),
        )


async def test_a_relation_that_holds_for_fewer_than_nineteen_in_twenty_is_not_used_and_one_that_is_named_is(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        # Fees that stand in daily alone, at every tenth account.
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = net_profit - 7.5 WHERE num_trades > 0 AND"
            " account_id = ANY(SELECT account_id FROM (SELECT account_id, row_number() OVER (ORDER"
            " BY account_id) AS n FROM raw_metrics_alltime WHERE num_trades > 0) AS numbered WHERE"
            " n % 10 = 0)"
        )
    async with engine(warehouse, sandbox) as service, service.pool.running():
        await run(service, RunKind.FULL)
    assert (await issues_of(warehouse), sandbox.log.requests) == ({}, [])
    learned = await relations(warehouse)
    unused = {name for name, (_, _, is_used) in learned.items() if not is_used}
    assert unused == {
        "alltime_daily_net_profit",
        "daily_hourly_net_profit",
        "daily_closed_net_profit",
        BY_DATE,
    }
    named = MoneyMode.read("daily_hourly_net_profit")
    async with engine(warehouse, sandbox, money=named) as service, service.pool.running():
        await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).is_equal


async def break_daily(database: Database, share: float) -> list[str]:
    """Spoil net profit on the newest settled date of this share of all accounts with trades."""
    async with database.connect() as connection:
        accounts = await connection.fetch(
            "SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 0 ORDER BY 1"
        )
        spoilt = [row["account_id"] for row in accounts[: round(len(accounts) * share)]]
        await connection.execute(
            "UPDATE raw_metrics_daily AS d SET net_profit = net_profit + 77.7 WHERE (account_id,"
            " date) IN (SELECT account_id, max(date) FROM raw_metrics_daily WHERE num_trades > 0"
            " AND account_id = ANY($1) AND date <= $2 GROUP BY 1)",
            spoilt,
            SETTLED,
        )
    return spoilt


async def test_damage_at_many_accounts_does_not_switch_off_what_finds_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service:
        await service.inspect()
        spoilt = await break_daily(warehouse, 0.3)
        inspected = await service.readings.inspection(await service.inspect(), Listing(0))
        assert (await issues_of(warehouse)).keys() == set(spoilt)
        assert "not compared" not in inspected.message
        assert all(is_used for _, _, is_used in (await relations(warehouse)).values())


async def test_a_relation_that_most_accounts_break_is_dropped_in_words(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await service.inspect()
        await break_daily(warehouse, 0.7)
        for _ in range(2):
            state = await run(service, RunKind.FULL)
            assert "Amounts were not compared in" in state["rests_on"]  # type: ignore[operator]
            assert "daily_hourly_net_profit" in state["rests_on"]  # type: ignore[operator]
        reason = await connection.fetchval(
            "SELECT reason FROM recon_money_relations WHERE relation = 'daily_hourly_net_profit'"
        )
        assert "learned before" in reason
        assert "less than 50%" in reason
        inspected = await service.readings.inspection(await service.inspect(), Listing(0))
        assert "Amounts were not compared in" in inspected.message


async def test_nothing_is_compared_where_it_is_switched_off(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await spoil(warehouse, traders(sandbox)[0], "raw_metrics_daily", "net_profit", "date")
    async with engine(warehouse, sandbox, money=OFF) as service, service.pool.running():
        await run(service, RunKind.FULL)
    assert (await issues_of(warehouse), await relations(warehouse)) == ({}, {})


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_amounts_are_damaged_a_full_run_makes_the_warehouse_equal(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    chance = Random(seed)
    changes = ("+ 0.75", "- 12.34", "* -1 - 1", "* 0 + 3", "* 1000 + 1", "+ 100000")
    for account_id in chance.sample(traders(sandbox)[:40], 3):
        for table, columns, date_column in ERRORS.values():
            if chance.random() < 0.5:
                column = columns[chance.choice(["net_profit", "total_lots"])]
                await spoil(
                    warehouse,
                    account_id,
                    table,
                    column,
                    date_column,
                    chance.choice(changes),
                    chance.choice(["ASC", "DESC"]),
                )
    async with engine(warehouse, sandbox) as service, service.pool.running():
        state = await run(service, RunKind.FULL)
    assert state["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).is_equal


async def test_amounts_of_a_large_table_are_left_out_until_an_index_holds_them_beside_the_counts(
    warehouse: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.detect.money.terms._LARGE_TABLE", 0)
    key = (
        "ALTER TABLE raw_metrics_hourly DROP CONSTRAINT raw_metrics_hourly_pkey,"
        " ADD PRIMARY KEY (account_id, date, hour) INCLUDE (num_trades, login{})"
    )
    async with warehouse.connect() as connection:
        await connection.execute(key.format(""))
    async with engine(warehouse, sandbox) as service, service.pool.running():
        await run(service, RunKind.FULL)
    assert (await relations(warehouse)).keys() == {name for name in BY_NAME if "hourly" not in name}
    async with warehouse.connect() as connection:
        await connection.execute(key.format(", net_profit, total_lots"))
    async with engine(warehouse, sandbox) as service, service.pool.running():
        await run(service, RunKind.FULL)
    assert (await relations(warehouse)).keys() == BY_NAME.keys() | {BY_DATE}


async def test_nothing_is_told_of_alltime_where_it_is_not_known_what_comes_before_the_history(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    first = TODAY - dt.timedelta(days=10)
    config = EngineConfig(
        workers=1,
        poll_seconds=0.05,
        postpone_seconds=0,
        postpone_named_seconds=0,
        history_from=HistoryFrom.read(str(first)),
    )
    async with engine(warehouse, sandbox, config=config) as service, service.pool.running():
        await run(service, RunKind.FULL)
        account_id = next(
            each
            for each in traders(sandbox)
            if any(row.day and first <= row.day <= SETTLED for row in hours_of(sandbox, each))
        )
        day = await spoil(
            warehouse, account_id, "raw_metrics_hourly", "net_profit", "date", order="DESC"
        )
        await spoil(warehouse, account_id, "raw_metrics_hourly", "net_profit", "date", order="ASC")
        await run(service, RunKind.FULL)
    found = await issues_of(warehouse)
    assert found.keys() == {account_id}
    assert found[account_id]["dates"] == [str(day)]
    assert day is not None
    assert day >= first


def hours_of(sandbox: SandboxServer, account_id: str) -> list[Record]:
    return [
        row for row in sandbox.world.records(Endpoint.HOURLY, [account_id]) if row.row["numTrades"]
    ]


@pytest.mark.parametrize("value", ["1e400", "9" * 400, "-1e309"])
async def test_a_text_that_is_too_large_a_number_costs_only_itself(
    value: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "ALTER TABLE raw_trades_closed ALTER COLUMN profit TYPE text USING profit::text"
        )
        await migrate(warehouse.dsn, warehouse.schema)
        account = traders(sandbox)[0]
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = $2 WHERE account_id = $1 AND trade_date ="
            " (SELECT max(trade_date) FROM raw_trades_closed WHERE account_id = $1 AND trade_date"
            " <= $3)",
            account,
            value,
            SETTLED,
        )
        async with engine(warehouse, sandbox) as service:
            for names in (None, (account,)):
                assert (await run(service, RunKind.FULL, account_ids=names))[
                    "status"
                ] == "succeeded"
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE profit = $1", value
            )
            == 0
        )


async def test_a_pin_hides_no_other_wrong_amount(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account = traders(sandbox)[0]
    # What is pinned is a balance, of which no sum is made.
    await spoil(warehouse, account, "raw_metrics_daily", "current_balance", "date")
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL, account_ids=(account,))
        waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
            state["run_id"]  # type: ignore[arg-type]
        )
        assert all(
            [
                each.is_there
                async for each in Restoring(service.store).restore(
                    waiting, pins=True, reason="it was right"
                )
            ]
        )
        await run(service, RunKind.FULL)
        right = await connection.fetchval(
            "SELECT net_profit FROM raw_metrics_alltime WHERE account_id = $1", account
        )
        await spoil(warehouse, account, "raw_metrics_alltime", "net_profit", None, "+ 777")
        await run(service, RunKind.FULL)
        assert (
            await connection.fetchval(
                "SELECT net_profit FROM raw_metrics_alltime WHERE account_id = $1", account
            )
            == right
        )


async def test_alltime_of_accounts_that_rest_since_before_the_history_is_compared(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    first = TODAY - dt.timedelta(days=9)
    config = EngineConfig(
        workers=1,
        poll_seconds=0.05,
        postpone_seconds=0,
        postpone_named_seconds=0,
        history_from=HistoryFrom.read(first.isoformat()),
    )
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=config) as service,
    ):
        await run(service, RunKind.AUDIT)
        last = (
            "SELECT account_id FROM raw_metrics_daily WHERE num_trades > 0 GROUP BY 1 HAVING"
            " max(date) {} $1 ORDER BY 1 LIMIT 1"
        )
        resting, active = [
            await connection.fetchval(last.format(sign), first) for sign in ("<", ">")
        ]
        for account in (resting, active):
            await spoil(warehouse, account, "raw_metrics_alltime", "net_profit", None)
        await run(service, RunKind.INSPECT)
        found = {
            row["account_id"]
            for row in await connection.fetch(
                "SELECT account_id FROM trade_recon WHERE issues <> '[]'"
            )
        }
        assert found == {resting, active}


@pytest.mark.parametrize("code", ["money_mismatch", "value_drift"])
async def test_a_wrong_amount_that_names_no_date_holds_all_dates_of_its_account_back(
    code: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    account = traders(sandbox)[0]
    await spoil(warehouse, account, "raw_metrics_alltime", "net_profit", None, "+ 777")
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        await service.inspect()
        issues = await connection.fetchval(
            "SELECT issues FROM trade_recon WHERE account_id = $1", account
        )
        assert [issue["type"] for issue in json.loads(issues)] == ["money_mismatch"]
        await connection.execute(
            "UPDATE trade_recon SET issues = $2 WHERE account_id = $1",
            account,
            issues.replace('"money_mismatch"', f'"{code}"'),
        )
        report: Mapping[str, Any] = plain_report(await service.readings.report())
        assert (
            report["reconciled_through"],
            [each["account_id"] for each in report["held_back_by"]],
        ) == (None, [account])
        assert code in report["reconciled_through_reason"]
