"""Retention is the owner's: what was dropped or detached stays away, and everything inside the
history is kept equal to upstream.
"""

import datetime as dt
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from app.adoption import history_notes
from app.domain.contract.tables import Endpoint
from app.domain.history import HistoryFrom
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.errors import ConfigurationError
from app.sandbox.server.faults import Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import Comparison, compare
from app.sandbox.world.world import World
from app.settings.model import Settings
from app.store.database.pool import Database as Pool
from app.store.database.queries import fill
from app.store.database.window import Window
from app.store.detect.money.statements import NO_LOOK
from tests.conftest import Database
from tests.support.clock import NOW
from tests.support.engine import TODAY, engine, run
from tests.support.plain import plain_report
from tests.support.worlds import world_fixtures

if TYPE_CHECKING:
    import asyncpg

THIS_MONTH = TODAY.replace(day=1)
PARTITIONED = ("raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")


def month(back: int) -> dt.date:
    """The first day of the month so many before the current one."""
    number = TODAY.year * 12 + TODAY.month - 1 - back
    return dt.date(number // 12, number % 12 + 1, 1)


FIRST = month(1)
NEXT_MONTH = NOW.replace(day=1) + dt.timedelta(days=31)
"""A day of the next month, whichever this is: a month after the 31st is none."""


def world() -> World:
    """Accounts of five months: some began long ago, none contradicts itself."""
    return World.generate(
        14, seed=5, today=TODAY, days=130, trades_per_account=24, contradictory=False
    )


filled, warehouse, sandbox = world_fixtures("history", world)


def config(said: str | None, **more: object) -> EngineConfig:
    """The engine with RECON_HISTORY_FROM."""
    history = None if said is None else HistoryFrom.read(said)
    quick = {"workers": 1, "poll_seconds": 0.02, "postpone_seconds": 0, "postpone_named_seconds": 0}
    return EngineConfig(history_from=history, **{**quick, **more})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(
    database: Database, sandbox: SandboxServer, said: str | None, now: dt.datetime = NOW
) -> AsyncIterator[ReconService]:
    async with engine(database, sandbox, config=config(said), now=lambda: now) as service:
        yield service


async def partitions(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
    """The partitions that are attached."""
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent ="
        " ANY($1::text[]::regclass[])",
        list(PARTITIONED),
    )
    return {row["name"] for row in rows}


async def end_of(connection: "asyncpg.Connection[asyncpg.Record]", way: str, first: dt.date) -> int:
    """Let the owner drop or detach what lies before a date, or leave it; how many months of tables
    that concerned.
    """
    if way == "left":
        return 0
    number = 0
    for name in sorted(await partitions(connection)):
        year, of_year = name.rsplit("_", 2)[1:]
        if dt.date(int(year), int(of_year), 1) < first:
            table = name.rsplit("_", 2)[0]
            await connection.execute(
                f"ALTER TABLE {table} DETACH PARTITION {name}"
                if way == "detached"
                else f"DROP TABLE {name}"
            )
            number += 1
    return number


async def damage(
    connection: "asyncpg.Connection[asyncpg.Record]", first: dt.date, last: dt.date
) -> int:
    """Lose rows of accounts between two dates, of each table some, and whole dates of one account
    in all tables; how many.
    """
    done = 0
    for statement in (
        (
            "DELETE FROM raw_metrics_hourly WHERE date BETWEEN $1 AND $2 AND hashtext(account_id ||"
            " date) % 5 = 0"
        ),
        (
            "DELETE FROM raw_metrics_daily WHERE date BETWEEN $1 AND $2 AND hashtext(account_id ||"
            " date) % 7 = 1"
        ),
        (
            "DELETE FROM raw_trades_closed WHERE trade_date BETWEEN $1 AND $2 AND hashtext(position"
            " || login) % 6 = 2"
        ),
        (
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 3 WHERE date BETWEEN $1 AND $2"
            " AND hashtext(account_id || date) % 11 = 3"
        ),
    ):
        done += int((await connection.execute(statement, first, last)).split()[-1])
    account_id = await connection.fetchval(
        "SELECT account_id FROM raw_trades_closed WHERE trade_date BETWEEN $1 AND $2 GROUP BY 1"
        " ORDER BY count(*) DESC, 1 LIMIT 1",
        first,
        last,
    )
    for table, column in zip(PARTITIONED, ("date", "date", "trade_date"), strict=True):
        await connection.execute(
            f"DELETE FROM {table} WHERE account_id = $1 AND {column} BETWEEN $2 AND $3",
            account_id,
            first,
            last,
        )
    return done


async def before(connection: "asyncpg.Connection[asyncpg.Record]", first: dt.date) -> list[object]:
    """All that is stored of before a date, with the versions of the rows."""
    return [
        (table, row["ctid"], row["xmin"])
        for table, column in zip(PARTITIONED, ("date", "date", "trade_date"), strict=True)
        for row in await connection.fetch(
            f"SELECT tableoid::regclass::text || ctid::text AS ctid, xmin::text FROM {table} WHERE"
            f" {column} < $1 ORDER BY 1",
            first,
        )
    ]


async def against(database: Database, sandbox: SandboxServer, first: dt.date | None) -> Comparison:
    """The warehouse against what upstream has from a date on, told by the witness."""
    rows = {
        endpoint: [
            record.row
            for record in sandbox.world.records(endpoint)
            if first is None
            or record.day is None
            or record.day >= first
            or endpoint is Endpoint.OPEN
        ]
        for endpoint in Endpoint
    }
    async with database.connect() as connection:
        return await compare(rows, connection, database.schema)


def asked_before(sandbox: SandboxServer, first: dt.date) -> dict[Endpoint, set[str]]:
    """What was asked of dates before one: dates that requests name, or `all` for a request that
    names none.
    """
    found: dict[Endpoint, set[str]] = {}
    for request in sandbox.log.requests:
        query = parse_qs(urlsplit(request.target).query)
        named = query.get("dates", query.get("trade-date-from", query.get("trade-date", ["all"])))[
            0
        ].split(",")
        if request.endpoint is not Endpoint.ALLTIME:
            early = {each for each in named if each == "all" or each < f"{first:%Y%m%d}"}
            found.setdefault(request.endpoint, set()).update(early)
    return {endpoint: days for endpoint, days in found.items() if days}


WAYS = [
    (way, said)
    for way in ("dropped", "detached", "left")
    for said in (f"{FIRST}", "1 month", "auto")
    if (way, said) != ("left", "auto")
]


@pytest.mark.parametrize(("way", "said"), WAYS)
async def test_what_lies_before_the_history_stays_as_it_is_and_what_lies_inside_is_healed(
    warehouse: Database, sandbox: SandboxServer, way: str, said: str
) -> None:
    async with warehouse.connect() as connection:
        assert (await end_of(connection, way, FIRST) > 0) is (way != "left")
        assert await damage(connection, FIRST, TODAY - dt.timedelta(days=4)) > 10
        kept, held = await before(connection, FIRST), await partitions(connection)
    async with serving(warehouse, sandbox, said) as service:
        state = await run(service, RunKind.FULL)
        assert (state["status"], state["history_from"]) == ("succeeded", FIRST), state["error"]
        # Of daily all is read once, where nothing else tells what alltime counts before the
        # history.
        assert asked_before(sandbox, FIRST) in ({}, {Endpoint.DAILY: {"all"}})
        again = await run(service, RunKind.FULL)
        assert (again["requests"], again["accounts"]["done"]) == (0, 0)  # type: ignore[index]
        audit = await run(service, RunKind.AUDIT)
        assert {name: rows for name, rows in audit["rows"].items() if rows} == {}  # type: ignore[attr-defined]
        report = plain_report(await service.readings.report())
    async with warehouse.connect() as connection:
        assert await before(connection, FIRST) == kept
        assert await partitions(connection) == held
        assert await connection.fetchval(
            "SELECT bool_and(trades_recon_checksum AND issues = '[]') FROM trade_recon"
        )
        assert (state["maintenance"]["rows_before_history"] > 0) is (way == "left")  # type: ignore[index]
    assert (await against(warehouse, sandbox, None if way == "left" else FIRST)).is_equal
    assert (report["history_from"], report["reconciled_through"]) == (
        FIRST.isoformat(),
        TODAY - dt.timedelta(days=2),
    )


async def test_when_the_history_moves_on_by_a_month_the_stored_rows_tell_what_comes_before_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with serving(warehouse, sandbox, "2 months") as service:
        state = await run(service, RunKind.FULL)
        assert (state["history_from"], state["requests"]) == (month(2), 0)
    sandbox.log.reset()
    async with serving(warehouse, sandbox, "2 months", NEXT_MONTH) as service:
        state = await run(service, RunKind.FULL)
    assert (state["history_from"], state["requests"], sandbox.log.total) == (FIRST, 0, 0)
    assert state["maintenance"]["rows_before_history"] > 0  # type: ignore[index]


async def test_when_the_owner_drops_one_more_month_only_its_daily_rows_are_asked_for_and_only_counted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with serving(warehouse, sandbox, "auto") as service:
        state = await run(service, RunKind.FULL)
        assert (state["requests"], state["history_from"] < month(3)) == (0, True)  # type: ignore[operator]
        async with warehouse.connect() as connection:
            await end_of(connection, "dropped", FIRST)
            held = await partitions(connection)
        sandbox.log.reset()
        state = await run(service, RunKind.FULL)
        assert (state["history_from"], state["status"], state["error"]) == (
            FIRST,
            "succeeded",
            None,
        )
        assert {name: rows for name, rows in state["rows"].items() if rows} == {}  # type: ignore[attr-defined]
        assert sandbox.log.counts[Endpoint.HOURLY] == sandbox.log.counts[Endpoint.CLOSED] == 0
        assert (await run(service, RunKind.FULL))["requests"] == 0
        assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"
    async with warehouse.connect() as connection:
        assert await partitions(connection) == held
    assert (await against(warehouse, sandbox, FIRST)).is_equal


async def test_when_it_moves_on_past_damage_what_comes_before_it_is_counted_upstream_and_stored_rows_there_are_left(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with serving(warehouse, sandbox, "2 months") as service:
        await run(service, RunKind.FULL)
    async with warehouse.connect() as connection:
        await damage(connection, month(2), TODAY - dt.timedelta(days=4))
        # Rows that upstream does not have, of before the new first date.
        made_up = await connection.execute(
            "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
            " SELECT account_id, day, login, platform, broker, 1 FROM (SELECT *, count(*) OVER"
            " (PARTITION BY login) AS holders FROM raw_metrics_alltime) AS a,"
            " generate_series($1::date, $1 + 9, '1 day') AS day WHERE holders = 1 ON CONFLICT DO"
            " NOTHING",
            month(2),
        )
        assert made_up != "INSERT 0 0"
        kept = await before(connection, FIRST)
    async with serving(warehouse, sandbox, "2 months", NEXT_MONTH) as service:
        state = await run(service, RunKind.FULL)
        async with warehouse.connect() as connection:
            left = await connection.fetch(
                "SELECT account_id, issues FROM trade_recon WHERE issues <> '[]'"
            )
        assert (state["history_from"], state["status"]) == (FIRST, "succeeded"), left
        # All of daily only where whole dates may be missing inside.
        assert asked_before(sandbox, month(2)) in ({}, {Endpoint.DAILY: {"all"}})
        assert asked_before(sandbox, FIRST).keys() == {Endpoint.DAILY}
        assert (await run(service, RunKind.FULL))["requests"] == 0
    async with warehouse.connect() as connection:
        assert await before(connection, FIRST) == kept
        assert await connection.fetchval(
            "SELECT bool_and(trades_recon_checksum AND issues = '[]') FROM trade_recon"
        )
        for table, column in zip(PARTITIONED, ("date", "date", "trade_date"), strict=True):
            await connection.execute(f"DELETE FROM {table} WHERE {column} < $1", FIRST)
    assert (await against(warehouse, sandbox, FIRST)).is_equal


@pytest.mark.parametrize("back", [1, 2])
async def test_what_upstream_forgot_before_the_history_is_told_by_alltime(
    warehouse: Database, sandbox: SandboxServer, back: int
) -> None:
    async with warehouse.connect() as connection:
        await end_of(connection, "dropped", FIRST)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 2 WHERE hashtext(account_id)"
            " % 3 = 0"
        )
        await damage(connection, FIRST, TODAY - dt.timedelta(days=4))
        for account_id in sandbox.world.account_ids:
            sandbox.world.forget(account_id, month(back))
    async with serving(warehouse, sandbox, "auto") as service:
        await run(service, RunKind.FULL)
        assert (await run(service, RunKind.FULL))["requests"] == 0
        assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"
    async with warehouse.connect() as connection:
        assert await connection.fetchval(
            "SELECT bool_and(trades_recon_checksum AND issues = '[]') FROM trade_recon"
        )
    assert (await against(warehouse, sandbox, FIRST)).is_equal


async def test_daily_rows_that_are_too_much_for_one_request_are_counted_in_parts(
    database: Database,
) -> None:
    old = World.generate(
        1, seed=1, today=TODAY, trades_per_account=1500, days=1500, contradictory=False
    )
    async with SandboxServer(old, faults=Faults(largest_skip=900)) as upstream:
        async with serving(database, upstream, f"{FIRST}") as service:
            state = await run(service, RunKind.AUDIT)
            assert state["status"] == "succeeded", state["error"]
            assert (await run(service, RunKind.FULL))["requests"] == 0
        tables = (await against(database, upstream, FIRST)).tables
        assert (
            sum(
                table.differences
                for endpoint, table in tables.items()
                if endpoint is not Endpoint.OPEN
            )
            == 0
        )
        async with database.connect() as connection:
            (account_id,) = old.account_ids
            trades = sum(trade.trade_date < FIRST for trade in old.trades(account_id))
            assert await connection.fetchval("SELECT trades FROM recon_history") == trades > 1000


async def test_a_history_that_reaches_further_back_is_compared_and_fetched(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await end_of(connection, "dropped", FIRST)
    async with serving(warehouse, sandbox, f"{FIRST}") as service:
        await run(service, RunKind.FULL)
    async with serving(warehouse, sandbox, f"{month(3)}") as service:
        state = await run(service, RunKind.FULL)
        assert state["history_from"] == month(3)
    assert (await against(warehouse, sandbox, month(3))).is_equal
    async with serving(warehouse, sandbox, None) as service:
        assert (await run(service, RunKind.FULL))["history_from"] is None
    assert (await against(warehouse, sandbox, None)).is_equal


async def test_without_the_setting_a_month_that_cannot_be_made_is_said_once_for_all_accounts(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await end_of(connection, "detached", FIRST)
    async with serving(warehouse, sandbox, None) as service:
        state = await run(service, RunKind.FULL)
        error = str(state["error"])
        assert error.count("RECON_HISTORY_FROM=auto") == 1
        assert (
            f"{month(4):%Y-%m}, {month(3):%Y-%m}, {month(2):%Y-%m}"
            in error.partition("raw_metrics_daily ")[2].partition(";")[0]
        )
        async with warehouse.connect() as connection:
            details = [
                str(row["detail"])
                for row in await connection.fetch(
                    "SELECT detail FROM recon_attempts WHERE outcome IN ('failed', 'partial')"
                )
            ]
        assert details
        assert all(
            "is detached" in each and "ATTACH PARTITION" in each and "CREATE TABLE" not in each
            for each in details
        )
    async with serving(warehouse, sandbox, "auto") as service:
        assert (await run(service, RunKind.RETRY))["error"] is None
        assert (await run(service, RunKind.FULL))["requests"] == 0
    async with warehouse.connect() as connection:
        assert await connection.fetchval(
            "SELECT bool_and(trades_recon_checksum AND issues = '[]') FROM trade_recon"
        )
        assert await connection.fetchval("SELECT count(*) FROM recon_set_aside_rows") == 0


async def test_where_no_partition_begins_at_a_date_auto_has_no_effect(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        for name in sorted(await partitions(connection)):
            await connection.execute(
                f"ALTER TABLE {name.rsplit('_', 2)[0]} DETACH PARTITION {name}"
            )
        for table in PARTITIONED:
            await connection.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    async with serving(warehouse, sandbox, "auto") as service:
        state = await run(service, RunKind.FULL)
        assert (state["history_from"], state["status"]) == (None, "succeeded")
    assert (await against(warehouse, sandbox, None)).is_equal


async def test_ids_of_rows_before_the_history_are_left_alone_and_what_waits_there_is_forgotten(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    day = FIRST - dt.timedelta(days=3)
    async with warehouse.connect() as connection:
        for where in ("trade_date < $1", "trade_date BETWEEN $1 AND $1::date + 5"):
            assert (
                await connection.execute(
                    f"UPDATE raw_trades_closed SET account_id = NULL WHERE {where}", FIRST
                )
                != "UPDATE 0"
            )
        account_id = await connection.fetchval("SELECT min(account_id) FROM raw_metrics_alltime")
        await connection.execute(
            "INSERT INTO recon_doubted_dates (account_id, date) VALUES ($1, $2), ($1, $3)",
            account_id,
            day,
            FIRST,
        )
        await connection.execute(
            "INSERT INTO recon_descents (account_id, date) VALUES ($1, $2)", account_id, day
        )
        kept = await before(connection, FIRST)
    async with serving(warehouse, sandbox, f"{FIRST}") as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    async with warehouse.connect() as connection:
        assert await before(connection, FIRST) == kept
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id IS NULL AND trade_date"
                " >= $1",
                FIRST,
            )
            == 0
        )
        assert await connection.fetchval("SELECT array_agg(date) FROM recon_doubted_dates") == [
            FIRST
        ]
        assert await connection.fetchval("SELECT count(*) FROM recon_descents") == 0
        assert (
            await connection.fetchval("SELECT max(cardinality(dates)) FROM recon_identity_findings")
            is None
        )


async def test_the_views_and_the_function_for_others_keep_to_the_history(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await end_of(connection, "dropped", FIRST)
    async with serving(warehouse, sandbox, "auto") as service:
        await run(service, RunKind.FULL)
    async with warehouse.connect() as connection:
        assert await connection.fetchval("SELECT min(date) FROM v_recon_days") >= FIRST
        counted = await connection.fetch(
            "SELECT account_id, num_trades_alltime, trades_recon_checksum FROM trade_recon ORDER"
            " BY 1"
        )
        await connection.execute(
            "SELECT update_trade_recon_stats(account_id::text) FROM trade_recon"
        )
        assert (
            await connection.fetch(
                "SELECT account_id, num_trades_alltime, trades_recon_checksum FROM trade_recon"
                " ORDER BY 1"
            )
            == counted
        )
        assert all(row["trades_recon_checksum"] for row in counted)


@pytest.mark.parametrize("more", [True, False])
async def test_a_correction_of_upstream_before_the_history_changes_alltime_alone(
    warehouse: Database, sandbox: SandboxServer, *, more: bool
) -> None:
    async with warehouse.connect() as connection:
        await end_of(connection, "dropped", FIRST)
    old = next(
        trade
        for account_id in sandbox.world.account_ids
        for trade in sandbox.world.trades(account_id)
        if trade.trade_date < FIRST and sandbox.world.trades(account_id)[-1].trade_date > FIRST
    )
    if more:
        sandbox.world.remove_trade(old)
    async with serving(warehouse, sandbox, "auto") as service:
        await run(service, RunKind.AUDIT)
        if more:
            sandbox.world.add_trades([old])
        else:
            sandbox.world.remove_trade(old)
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], state["rows"]["inserted"], state["rows"]["updated"]) == (  # type: ignore[index]
            "succeeded",
            0,
            1,
        )
        assert (await run(service, RunKind.FULL))["requests"] == 0
    assert (await against(warehouse, sandbox, FIRST)).is_equal


@pytest.mark.parametrize("said", ["0 months", f"{TODAY}", f"{TODAY - dt.timedelta(days=1)}"])
async def test_a_history_that_begins_on_dates_that_still_move_is_kept_like_any_other(
    warehouse: Database, sandbox: SandboxServer, said: str
) -> None:
    first = HistoryFrom.read(said).first_day(TODAY)
    assert first is not None
    async with warehouse.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE date >= $1", first)
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE trade_date >= $1 AND hashtext(position) % 2 = 0",
            first,
        )
        kept = await before(connection, first)
    async with serving(warehouse, sandbox, said) as service:
        await run(service, RunKind.AUDIT)
        state = await run(service, RunKind.FULL)
        assert (state["history_from"], state["requests"]) == (first, 0)
    async with warehouse.connect() as connection:
        assert await before(connection, first) == kept
    assert (await against(warehouse, sandbox, None)).is_equal


@pytest.mark.parametrize("seed", range(3))
async def test_with_any_history_and_damage_the_inside_becomes_equal_and_the_rest_stays(
    warehouse: Database, sandbox: SandboxServer, seed: int
) -> None:
    drawn = random.Random(f"{seed} {TODAY}")
    first = TODAY - dt.timedelta(days=drawn.randint(5, 125))
    way = drawn.choice(["left", "left", "dropped", "detached"])
    async with warehouse.connect() as connection:
        await end_of(connection, way, first.replace(day=1))
        # Also outside: what is wrong there is nobody's business.
        await damage(connection, month(5), TODAY - dt.timedelta(days=4))
        if drawn.random() < 0.5:
            await connection.execute(
                "UPDATE raw_metrics_alltime SET num_trades = num_trades + 2 WHERE"
                " hashtext(account_id) % 3 = 0"
            )
        kept, held = await before(connection, first), await partitions(connection)
    async with serving(warehouse, sandbox, f"{first}") as service:
        await run(service, RunKind.FULL)
        await run(service, RunKind.AUDIT)
        state = await run(service, RunKind.FULL)
        assert (state["requests"], state["error"]) == (0, None)
    async with warehouse.connect() as connection:
        assert await before(connection, first) == kept
        assert await partitions(connection) == held
        assert await connection.fetchval("SELECT bool_and(trades_recon_checksum) FROM trade_recon")
        for table, column in zip(PARTITIONED, ("date", "date", "trade_date"), strict=True):
            await connection.execute(f"DELETE FROM {table} WHERE {column} < $1", first)
    assert (await against(warehouse, sandbox, first)).is_equal


async def test_partitions_of_before_the_history_are_left_out_while_a_statement_is_planned(
    warehouse: Database,
) -> None:
    async with (
        Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool,
        warehouse.connect() as connection,
    ):
        older = {name for name in await partitions(connection) if name[-7:] < f"{FIRST:%Y_%m}"}
        assert len(older) > 6
        for window in (Window(FIRST), Window()):
            sql = pool.queries("detect/accounts", window)
            days = fill(sql["days_of_accounts"], accounts="account_id = ANY($1::text[])")
            look = fill(sql["look_at_accounts"], days=days, few_hours_trades="10", **NO_LOOK)
            await connection.execute("SET plan_cache_mode = force_generic_plan")
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {look}", ["x"]))
            named = {name for name in older if name in plan}
            assert named == (older if window.first is None else set())


async def test_migrate_and_the_doctor_say_from_which_date_on_is_compared(
    warehouse: Database,
) -> None:
    async with warehouse.connect() as connection:
        await end_of(connection, "dropped", FIRST)
    async with Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool:
        (note,) = await history_notes(Settings(recon_history_from="auto"), pool)
        assert f"RECON_HISTORY_FROM=auto dates from {FIRST} on" in note
        assert await history_notes(Settings(), pool) == []
        with pytest.raises(ConfigurationError, match="after today"):
            await history_notes(Settings(recon_history_from="2999-01-01"), pool)


async def test_a_month_that_is_detached_within_the_history_is_said_to_lie_there(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        name = f"raw_metrics_daily_{month(1):%Y_%m}"
        await connection.execute(f"ALTER TABLE raw_metrics_daily DETACH PARTITION {name}")
    async with serving(warehouse, sandbox, "auto") as service:
        state = await run(service, RunKind.FULL)
    error = str(state["error"])
    assert "RECON_HISTORY_FROM=auto" not in error
    assert f"They lie in the history, which begins on {state['history_from']}" in error
    async with warehouse.connect() as connection:
        details = [
            row[0]
            for row in await connection.fetch(
                "SELECT detail FROM recon_attempts WHERE outcome IN ('failed', 'partial')"
            )
        ]
    assert details
    assert all(
        f"set RECON_HISTORY_FROM={month(0)}" in each and "ATTACH PARTITION" in each
        for each in details
    )


@pytest.mark.parametrize("setting", [None, "0", f"{month(1)}"])
async def test_counts_of_alltime_that_only_the_warehouse_has_too_high_are_healed_without_a_question(
    warehouse: Database, sandbox: SandboxServer, setting: str | None
) -> None:
    async with serving(warehouse, sandbox, setting) as service:
        await run(service, RunKind.AUDIT)
        async with warehouse.connect() as connection:
            await connection.execute(
                "UPDATE raw_metrics_alltime SET num_trades = num_trades + 5 WHERE num_trades > 0"
            )
        state = await run(service, RunKind.FULL)
    # On the first day of a month a history of this month holds too little to tell accounts with one
    # natural key apart.
    assert (state["accounts"]["needs_confirmation"], state["error"]) == (0, None)  # type: ignore[index]
