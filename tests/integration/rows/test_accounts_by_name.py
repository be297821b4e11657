"""An account asked for by name is compared whole: every row and column of its tables, whatever the
counts say.
"""

import datetime as dt
import json
import uuid
from decimal import Decimal
from random import Random

import pytest

from app.domain.contract.caps import Caps
from app.domain.contract.tables import TABLES, Endpoint
from app.domain.history import HistoryFrom
from app.domain.holds.limits import HoldLimits
from app.domain.states import Depth, Outcome, RunKind, RunStatus
from app.engine.batch.outcome import COMPARED
from app.engine.config import EngineConfig
from app.sandbox.server.faults import Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.web.schemas.accounts import AccountOutcome
from app.web.schemas.runs import Run
from tests.conftest import SCHEMA, Database
from tests.support.clock import SETTLED
from tests.support.engine import difference, engine, reconcile, run
from tests.support.plain import plain, plain_report

_MOST_REQUESTS = 6


def traded(sandbox: SandboxServer) -> str:
    """An account with trades, hourly and daily rows on settled dates."""
    return max(
        sandbox.world.account_ids,
        key=lambda each: len(
            [r for r in sandbox.world.records(Endpoint.CLOSED) if r.account_id == each]
        ),
    )


ERRORS = {
    "a trade's profit": ("raw_trades_closed", "profit", "trade_date"),
    "a trade's lots": ("raw_trades_closed", "lots", "trade_date"),
    "an hourly net profit": ("raw_metrics_hourly", "net_profit", "date"),
    "a daily net profit": ("raw_metrics_daily", "net_profit", "date"),
    "alltime's gross profit": ("raw_metrics_alltime", "gross_profit", None),
    "alltime's net profit": ("raw_metrics_alltime", "net_profit", None),
}


async def spoil(
    database: Database,
    account_id: str,
    table: str,
    column: str,
    day: str | None,
    by: int = 500,
    skip: int = 0,
) -> tuple[dt.date | None, object]:
    """Change one figure of one row; its date and the right value."""
    where = f"account_id = $1 AND {column} IS NOT NULL" + (
        f" AND {day} <= '{SETTLED}'" if day else ""
    )
    async with database.connect() as connection:
        row = await connection.fetchrow(
            f"UPDATE {table} AS t SET {column} = t.{column} + $2 FROM (SELECT *, tableoid AS part,"
            f" ctid AS place FROM {table} WHERE {where} ORDER BY 1, 2 OFFSET $3 LIMIT 1) AS old"
            f" WHERE (t.tableoid, t.ctid) = (old.part, old.place) RETURNING old.{column} AS value,"
            f" {f'old.{day}' if day else 'NULL::date'} AS day",
            account_id,
            by,
            skip,
        )
    assert row is not None
    return row["day"], row["value"]


@pytest.mark.parametrize("name", ERRORS)
async def test_a_money_error_that_no_count_shows_is_found_healed_and_shown_with_old_and_new(
    name: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    table, column, date_column = ERRORS[name]
    account_id = traded(sandbox)
    day, right = await spoil(warehouse, account_id, table, column, date_column)
    async with engine(warehouse, sandbox) as service, service.pool.running():
        sandbox.log.reset()
        result = await reconcile(service, account_id)
        assert len(sandbox.log.requests) <= _MOST_REQUESTS
    assert (result["outcome"], result["issues"]) == (Outcome.HEALED, [])
    assert "value_drift" in result["issues_found"]  # type: ignore[operator]
    assert (await difference(warehouse, sandbox)).is_equal
    async with warehouse.connect() as connection:
        issue = await connection.fetchrow(
            "SELECT * FROM recon_issue_history WHERE account_id = $1 AND type = 'value_drift'",
            account_id,
        )
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_removed_rows WHERE account_id = $1", account_id
            )
            == 1
        )
    assert issue is not None
    assert json.loads(issue["closing_evidence"])["closed_as"] == "healed"
    evidence = json.loads(issue["evidence"])
    assert evidence["affected"] == [table]
    assert evidence["dates"] == ([day.isoformat()] if day else [])
    (shown,) = evidence["metadata"]["differences"]
    assert set(shown["columns"]) == {column}
    assert isinstance(right, Decimal)
    assert Decimal(str(shown["columns"][column]["new"])) == right
    assert Decimal(str(shown["columns"][column]["old"])) == right + 500


async def test_an_equal_account_by_name_is_unchanged_and_says_what_was_compared(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traded(sandbox)
    async with engine(warehouse, sandbox) as service, service.pool.running():
        sandbox.log.reset()
        result = await reconcile(service, account_id)
        sent = len(sandbox.log.requests)
    shown = AccountOutcome.model_validate(result)
    assert (shown.outcome, shown.issues_found, shown.issues) == (Outcome.UNCHANGED, [], [])
    assert shown.compared is not None
    assert shown.compared.requests == sent - 2, (
        "the audit's look at alltime and the open trades are not the account's alone"
    )
    assert sent <= _MOST_REQUESTS
    rows = {
        TABLES[each].name: sum(r.account_id == account_id for r in sandbox.world.records(each))
        for each in COMPARED
    }
    assert {each.table: each.rows for each in shown.compared.tables} == rows
    assert all(
        each.columns == len(TABLES[_endpoint(each.table)].fields) for each in shown.compared.tables
    )
    assert (shown.compared.rows, shown.compared.differing) == (sum(rows.values()), 0)
    opened = sum(record.account_id == account_id for record in sandbox.world.records(Endpoint.OPEN))
    assert shown.open_trades is not None
    assert (shown.open_trades.upstream, shown.open_trades.stored, shown.open_trades.dates) == (
        opened,
        opened,
        [],
    )


def _endpoint(table: str) -> Endpoint:
    return next(endpoint for endpoint, each in TABLES.items() if each.name == table)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_differs_in_named_accounts_is_found_and_healed_by_each_kind_of_run_in_shared_requests(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    random = Random(seed)
    kind = random.choice([kind for kind in RunKind if kind is not RunKind.INSPECT])
    async with warehouse.connect() as connection:
        # Whose a trade is of a key that two accounts had, their daily rows tell: without some it is
        # another's.
        lone = await connection.fetch(
            "SELECT min(account_id) AS account_id FROM raw_metrics_daily GROUP BY login, platform,"
            " broker HAVING count(DISTINCT account_id) = 1"
        )
        named = random.sample(sorted({row["account_id"] for row in lone}), 8)
        numbers = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = $1"
            " AND table_name = ANY($2) AND data_type = 'numeric' AND column_name <> 'num_trades'",
            SCHEMA,
            [TABLES[each].name for each in COMPARED],
        )
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE num_trades = 0 AND account_id = ANY($1) AND date"
            " <= $2",
            named,
            SETTLED,
        )
        for account_id in random.sample(named, 5):
            for each in random.sample(numbers, 4):
                table, column = each["table_name"], each["column_name"]
                # Of a row that has the figure, and one that lost it.
                await connection.execute(
                    f"UPDATE {table} SET {column} ="
                    f" {random.choice(['NULL', '0', f'coalesce({column}, 0) + 1'])} WHERE"
                    f" (tableoid, ctid) IN (SELECT tableoid, ctid FROM {table} WHERE account_id ="
                    " $1 ORDER BY random() LIMIT 2)",
                    account_id,
                )
    before = await difference(warehouse, sandbox)
    assert not before.is_equal
    async with engine(warehouse, sandbox) as service:
        sandbox.log.reset()
        state = await run(service, kind, account_ids=tuple(named))
    assert (await difference(warehouse, sandbox)).is_equal, kind
    assert state["status"] == RunStatus.SUCCEEDED
    shown = Run.model_validate(state)
    assert shown.compared is not None
    assert (
        shown.compared.differing
        >= len({each.key for table in before.tables.values() for each in table.sample})
        > 0
    )
    assert len(sandbox.log.requests) <= _MOST_REQUESTS


async def test_depth_counts_leaves_to_a_named_run_what_it_was_and_depth_rows_gives_it_to_all(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traded(sandbox)
    await spoil(warehouse, account_id, "raw_metrics_daily", "net_profit", "date")
    async with engine(warehouse, sandbox) as service:
        sandbox.log.reset()
        state = await run(service, RunKind.FULL, account_ids=(account_id,), depth=Depth.COUNTS)
        assert (state["compared"], state["open_trades"], sandbox.log.requests) == (None, None, [])
        assert not (await difference(warehouse, sandbox)).is_equal
        state = await run(service, RunKind.AUDIT, depth=Depth.ROWS)
    assert (await difference(warehouse, sandbox)).is_equal
    accounts = state["accounts"]
    assert isinstance(accounts, dict)
    assert (accounts["total"], accounts["healed"], accounts["unchanged"]) == (12, 1, 11)


async def test_what_differs_is_held_by_the_guards_stays_open_whatever_other_runs_see_and_heals_once_it_is_confirmed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traded(sandbox)
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = $1", account_id
        )
    strict = EngineConfig(workers=1, poll_seconds=0.05, guard=HoldLimits(row_share=0.1, rows=3))
    async with engine(warehouse, sandbox, config=strict) as service:
        state = await run(service, RunKind.FULL, account_ids=(account_id,))
        assert state["status"] == RunStatus.NEEDS_CONFIRMATION
        assert not (await difference(warehouse, sandbox)).is_equal
        for kind in (RunKind.FULL, RunKind.AUDIT):
            await run(service, kind)
            account = plain(await service.readings.account(account_id))
            (issue,) = account["issues"]
            assert (issue["type"], account["status"]) == (
                "value_drift",
                Outcome.NEEDS_CONFIRMATION,
            ), kind
            assert issue["metadata"]["columns"]["raw_trades_closed"].keys() == {"profit"}
        run_id = uuid.UUID(str(state["run_id"]))
        await service.confirm(run_id)
        await service.pool.run_until_finished(run_id)
        assert plain(await service.readings.account(account_id))["issues"] == []
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("endpoint", [Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED])
async def test_an_account_of_which_a_table_cannot_be_read_is_not_called_equal(
    endpoint: Endpoint, warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traded(sandbox)
    login = sandbox.world.account(account_id).current_key[0]
    refused = Rejection(
        status=400, endpoints=frozenset({endpoint}), ids=frozenset({account_id, login})
    )
    sandbox.set_faults(Faults(rejections=(refused,)))
    async with engine(warehouse, sandbox) as service, service.pool.running():
        result = await reconcile(service, account_id)
        assert result["outcome"] == Outcome.FAILED
        assert "400" in str(result["detail"])
        sandbox.set_faults(Faults())
        assert (await reconcile(service, account_id))["outcome"] == Outcome.UNCHANGED


async def test_capped_values_are_equal(warehouse: Database, sandbox: SandboxServer) -> None:
    account_id = traded(sandbox)
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = greatest(-1, least(1, net_profit)),"
            " total_lots = total_lots + 1 WHERE account_id = $1 AND date = (SELECT min(date) FROM"
            " raw_metrics_daily WHERE account_id = $1 AND num_trades > 0)",
            account_id,
        )
    async with (
        engine(warehouse, sandbox, caps=Caps.read("net_profit=1")) as service,
        service.pool.running(),
    ):
        result = await reconcile(service, account_id)
        assert result["outcome"] == Outcome.HEALED
        assert (await reconcile(service, account_id))["outcome"] == Outcome.UNCHANGED
        async with warehouse.connect() as connection:
            evidence = json.loads(
                await connection.fetchval(
                    "SELECT evidence FROM recon_issue_history WHERE type = 'value_drift'"
                )
            )
    assert evidence["metadata"]["columns"] == {"raw_metrics_daily": {"total_lots": 1}}


async def test_rows_before_the_history_are_not_compared(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traded(sandbox)
    first = SETTLED - dt.timedelta(days=10)
    config = EngineConfig(
        workers=1, poll_seconds=0.05, history_from=HistoryFrom.read(first.isoformat())
    )
    async with warehouse.connect() as connection:
        for table in ("raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed"):
            column = "profit" if "trades" in table else "net_profit"
            await connection.execute(
                f"UPDATE {table} SET {column} = {column} + 1 WHERE account_id = $1", account_id
            )
        async with engine(warehouse, sandbox, config=config) as service, service.pool.running():
            result = await reconcile(service, account_id)
        assert result["outcome"] == Outcome.HEALED
        left = await difference(warehouse, sandbox)
        days = {each.key.split()[-1] for table in left.tables.values() for each in table.sample}
        assert left.tables
        assert await connection.fetchval("SELECT min(date) >= $1 FROM recon_removed_rows", first)
    assert days


async def test_an_accounts_open_trades_are_compared_and_shown(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = next(
        record.account_id for record in sandbox.world.records(Endpoint.OPEN) if record.account_id
    )
    async with warehouse.connect() as connection:
        stored = await connection.fetchval(
            "SELECT count(*) FROM raw_trades_open WHERE account_id = $1", account_id
        )
        await connection.execute(
            "DELETE FROM raw_trades_open WHERE ticket = (SELECT min(ticket) FROM raw_trades_open"
            " WHERE account_id = $1)",
            account_id,
        )
    async with engine(warehouse, sandbox) as service, service.pool.running():
        shown = AccountOutcome.model_validate(await reconcile(service, account_id)).open_trades
        assert shown is not None
        assert (shown.upstream, shown.stored, shown.dates_that_differ) == (stored, stored - 1, 1)
        assert plain_report(await service.readings.report())["open_trades"] is None, (
            "the report tells of audits over all accounts"
        )
