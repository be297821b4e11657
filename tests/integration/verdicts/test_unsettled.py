"""Dates that still move only grow: what a replica of upstream that lags does not send yet is
neither removed nor lowered.
"""

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import (
    CONFIG,
    NOW,
    TODAY,
    TRADES_TODAY,
    add_trades,
    alltime,
    closed_on,
    counts_on,
    issues_of,
    lose,
    service_at,
    traders,
)

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_SETTLED = NOW + dt.timedelta(days=3)
_DAY = dt.timedelta(days=1)


async def _stored(connection: "Connection", account_id: str) -> list[object]:
    """Every value of the rows that today and alltime have of an account."""
    tables = (
        ("raw_metrics_alltime", ""),
        ("raw_metrics_daily", "date"),
        ("raw_metrics_hourly", "date"),
        ("raw_trades_closed", "trade_date"),
    )
    return [
        await connection.fetch(
            f"SELECT to_jsonb(t) AS row FROM {table} AS t WHERE account_id = $1 AND"
            f" {column or '$2::date'} = $2 ORDER BY t::text",
            account_id,
            TODAY,
        )
        for table, column in tables
    ]


@pytest.mark.parametrize(
    ("table", "behind", "kind"),
    [
        ("raw_metrics_hourly", 3, RunKind.FULL),
        ("raw_metrics_hourly", 4, RunKind.AUDIT),
        ("raw_metrics_daily", 1, RunKind.RETRY),
        ("raw_metrics_daily", 4, RunKind.FULL),
        ("raw_trades_closed", 3, RunKind.AUDIT),
        ("raw_trades_closed", 4, RunKind.FULL),
    ],
)
async def test_nothing_of_today_is_removed_or_lowered_when_upstream_lags_alike_at_all_levels(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind, behind: int, table: str
) -> None:
    account_id = traders(sandbox.world)[0]
    late = closed_on(sandbox.world, account_id, TODAY)[-behind:]
    async with warehouse.connect() as connection:
        before = await alltime(connection, account_id)
        date = "trade_date" if table == "raw_trades_closed" else "date"
        await connection.execute(
            f"DELETE FROM {table} WHERE account_id = $1 AND {date} = $2", account_id, TODAY
        )
        lost = await counts_on(connection, account_id, TODAY)
        lose(sandbox.world, late)
        async with service_at(warehouse, sandbox) as service:
            for _ in range(4 if behind < TRADES_TODAY else 1):
                state = await run(service, kind)
                assert (state["rows"]["removed"], state["accounts"]["healed"]) == (0, 0)  # type: ignore[index]
                assert await issues_of(connection, account_id) == {"unsettled"}
        grown = tuple(max(count, TRADES_TODAY - behind) for count in lost)
        assert await counts_on(connection, account_id, TODAY) == grown
        assert await alltime(connection, account_id) == before
        # The replica caught up: the next run reads again and heals, whether the date is settled by
        # then or not.
        sandbox.world.add_trades(late)
        async with service_at(warehouse, sandbox, NOW + _DAY) as service:
            state = await run(service, RunKind.FULL)
            assert state["accounts"]["healed"] == 1  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_once_the_date_is_settled_a_correction_of_upstream_is_taken_over(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2", account_id, TODAY
        )
        lose(sandbox.world, closed_on(sandbox.world, account_id, TODAY)[1:])
        async with service_at(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
            assert await counts_on(connection, account_id, TODAY) == (4, 1, 4)
        async with service_at(warehouse, sandbox, _SETTLED) as service:
            state = await run(service, RunKind.FULL)
            assert state["accounts"]["healed"] == 1  # type: ignore[index]
        assert await counts_on(connection, account_id, TODAY) == (1, 1, 1)
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_settled_dates_of_an_account_are_healed_while_others_of_it_wait(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[1]
    async with warehouse.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", account_id)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 2 WHERE account_id = $1",
            account_id,
        )
        stated = await alltime(connection, account_id)
        lose(sandbox.world, closed_on(sandbox.world, account_id, TODAY)[1:])
        async with service_at(warehouse, sandbox) as service:
            await run(service, RunKind.AUDIT)
        assert await issues_of(connection, account_id) == {"unsettled"}
        assert await counts_on(connection, account_id, TODAY) == (4, 1, 4)
        assert await alltime(connection, account_id) == stated
        unequal = (
            "SELECT count(*) FROM v_recon_days WHERE account_id = $1 AND (daily <> hourly OR daily"
            " <> closed) AND date < $2"
        )
        assert await connection.fetchval(unequal, account_id, TODAY) == 0


async def test_an_alltime_row_that_counts_too_much_of_settled_dates_is_lowered_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    one, other = traders(sandbox.world)[:2]
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 9 WHERE account_id = ANY($1)",
            [one, other],
        )
        # Here the totals do not tell alone: another table lacks rows of settled dates, too.
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date < $2",
            other,
            TODAY - 9 * _DAY,
        )
        async with service_at(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["accounts"]["healed"] == 2  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_an_alltime_row_keeps_its_count_where_all_else_of_today_was_lost_and_upstream_lags(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[2]
    late = closed_on(sandbox.world, account_id, TODAY)[1:]
    async with warehouse.connect() as connection:
        before = await alltime(connection, account_id)
        for table, column in (
            ("raw_metrics_daily", "date"),
            ("raw_metrics_hourly", "date"),
            ("raw_trades_closed", "trade_date"),
        ):
            await connection.execute(
                f"DELETE FROM {table} WHERE account_id = $1 AND {column} = $2", account_id, TODAY
            )
        lose(sandbox.world, late)
        async with service_at(warehouse, sandbox) as service:
            for _ in range(3):
                await run(service, RunKind.FULL)
                assert await alltime(connection, account_id) == before
                assert await issues_of(connection, account_id) == {"unsettled"}
        sandbox.world.add_trades(late)
        async with service_at(warehouse, sandbox, NOW + _DAY) as service:
            await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_trade_leaves_no_date_that_still_moves(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[3]
    settled = TODAY - 9 * _DAY
    trade = closed_on(sandbox.world, account_id, TODAY)[0]
    sandbox.world.remove_trade(trade)
    sandbox.world.add_trades([replace(trade, trade_date=settled)])
    async with warehouse.connect() as connection:
        before = (
            await counts_on(connection, account_id, TODAY),
            await counts_on(connection, account_id, settled),
        )
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = ANY($2)",
            account_id,
            [TODAY, settled],
        )
        async with service_at(warehouse, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
            assert (state["rows"]["moved"], state["rows"]["removed"]) == (0, 0)  # type: ignore[index]
            assert (await counts_on(connection, account_id, TODAY))[2] == before[0][2]
            assert (await counts_on(connection, account_id, settled))[2] == before[1][2], (
                "it would stand twice"
            )
            assert await issues_of(connection, account_id) == {"unsettled"}
            assert await connection.fetchval("SELECT count(*) FROM recon_set_aside_rows") == 0
        async with service_at(warehouse, sandbox, _SETTLED) as service:
            state = await run(service, RunKind.FULL)
            assert state["rows"]["moved"] == 1  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_values_of_rows_whose_count_does_not_fall_are_taken_over_and_rows_come_in(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[4]
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = $1 AND trade_date"
            " = $2",
            account_id,
            TODAY,
        )
        await connection.execute(
            "UPDATE raw_metrics_hourly SET net_profit = 0 WHERE account_id = $1 AND date = $2",
            account_id,
            TODAY,
        )
        add_trades(sandbox.world, account_id, TODAY - _DAY, 2)
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2", account_id, TODAY
        )
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2 AND ctid = (SELECT"
            " max(ctid) FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2)",
            account_id,
            TODAY,
        )
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2 AND ctid ="
            " (SELECT max(ctid) FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2)",
            account_id,
            TODAY,
        )
        async with service_at(warehouse, sandbox) as service:
            state = await run(service, RunKind.AUDIT)
        assert state["accounts"]["healed"] == 1  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.mark.parametrize(
    ("zone", "now", "counts"),
    [
        ("America/New_York", dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC), (4, 1, 4)),
        ("UTC", dt.datetime(2026, 3, 12, 0, 30, tzinfo=dt.UTC), (1, 1, 1)),
        ("Asia/Tokyo", dt.datetime(2026, 3, 11, 14, 59, tzinfo=dt.UTC), (4, 1, 4)),
        ("Asia/Tokyo", dt.datetime(2026, 3, 11, 15, tzinfo=dt.UTC), (1, 1, 1)),
    ],
)
async def test_a_date_moves_until_the_settling_hours_after_its_end_in_the_zone_of_its_days(
    warehouse: Database,
    sandbox: SandboxServer,
    zone: str,
    now: dt.datetime,
    counts: tuple[int, int, int],
) -> None:
    account_id = traders(sandbox.world)[5]
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2", account_id, TODAY
        )
        lose(sandbox.world, closed_on(sandbox.world, account_id, TODAY)[1:])
        async with service_at(warehouse, sandbox, now, replace(CONFIG, day_zone=zone)) as service:
            await run(service, RunKind.FULL)
        assert await counts_on(connection, account_id, TODAY) == counts


async def test_stored_rows_of_dates_that_never_come_keep_no_alltime_row_from_falling(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection:
        await connection.execute(
            "SELECT recon_create_partitions('raw_metrics_hourly', ARRAY[date '2027-05-01'])"
        )
        await connection.execute(
            'INSERT INTO raw_metrics_hourly SELECT (jsonb_populate_record(h, \'{"date":'
            ' "2027-05-03"}\')).* FROM raw_metrics_hourly AS h WHERE account_id = $1 AND date = $2',
            account_id,
            TODAY,
        )
        before = await alltime(connection, account_id)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 9 WHERE account_id = $1",
            account_id,
        )
        # The totals do not tell alone: daily lacks dates that alltime counts.
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date < $2",
            account_id,
            TODAY - 9 * _DAY,
        )
        async with service_at(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        assert await alltime(connection, account_id) == before
