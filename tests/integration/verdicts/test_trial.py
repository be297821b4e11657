"""A verdict needs two shapes: what still differs is asked for on single dates before upstream is
blamed, at a bounded cost.
"""

import datetime as dt

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.world.trades import Row
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import NOW, TODAY, issues_of, service_at, small_world, status_of, traders
from tests.support.sick import (
    Answer,
    Ask,
    Sick,
    caps_rows,
    clips_lists,
    clips_ranges,
    leaves_out_the_end,
    serving,
)

_DAY = dt.timedelta(days=1)
_SETTLED = TODAY - 3 * _DAY


async def _lose(warehouse: Database, table: str, accounts: list[str]) -> None:
    date = "trade_date" if table == "raw_trades_closed" else "date"
    async with warehouse.connect() as connection:
        await connection.execute(
            f"DELETE FROM {table} WHERE account_id = ANY($1) AND {date} < $2", accounts, _SETTLED
        )


@pytest.mark.parametrize(
    ("table", "ask", "answer", "accounts"),
    [
        ("raw_trades_closed", clips_ranges(8), None, 1),
        ("raw_trades_closed", clips_ranges(1), None, 3),
        ("raw_trades_closed", leaves_out_the_end, None, 1),
        ("raw_trades_closed", None, caps_rows({"trades/closed": 10}), 3),
        ("raw_metrics_hourly", clips_lists(3), None, 1),
        ("raw_metrics_hourly", None, caps_rows({"metrics/hourly": 6}), 3),
        ("raw_metrics_daily", clips_lists(2), None, 3),
        ("raw_metrics_daily", None, caps_rows({"metrics/daily": 4}), 1),
    ],
)
async def test_rows_that_upstream_has_are_read_though_it_cuts_its_answers(
    warehouse: Database, table: str, ask: Ask | None, answer: Answer | None, accounts: int
) -> None:
    world = small_world()
    chosen = traders(world)[:accounts]
    await _lose(warehouse, table, chosen)
    async with (
        serving(Sick(world, ask, answer), world) as sandbox,
        service_at(warehouse, sandbox) as service,
    ):
        state = await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).sample == ()
    assert state["accounts"]["healed"] == accounts  # type: ignore[index]


async def test_daily_rows_that_no_table_tells_of_are_found_though_upstream_caps_its_answers(
    warehouse: Database,
) -> None:
    world = small_world()
    account_id, *_ = traders(world)
    async with warehouse.connect() as connection:
        days = await connection.fetch(
            "SELECT date FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 ORDER"
            " BY 1",
            account_id,
        )
        lost = days[len(days) // 2]["date"]
        for table, date in (
            ("raw_metrics_daily", "date"),
            ("raw_metrics_hourly", "date"),
            ("raw_trades_closed", "trade_date"),
        ):
            await connection.execute(
                f"DELETE FROM {table} WHERE account_id = $1 AND {date} = $2", account_id, lost
            )
    async with (
        serving(Sick(world, None, caps_rows({"metrics/daily": 6})), world) as sandbox,
        service_at(warehouse, sandbox) as service,
    ):
        await run(service, RunKind.FULL)
        assert not {
            each.key
            for each in (await difference(warehouse, sandbox)).sample
            if f"{lost}" in each.key
        }


async def test_a_contradiction_is_tried_once_in_a_second_shape_and_not_again_every_night(
    warehouse: Database,
) -> None:
    world = small_world()
    chosen = traders(world)[:3]
    for account_id in chosen:
        for record in world.records(Endpoint.HOURLY, [account_id]):
            if record.day is not None and record.day < _SETTLED:
                _count_one_more(record.row)
                record._encoded = None
    await _lose(warehouse, "raw_metrics_hourly", chosen)
    asked = []
    async with serving(Sick(world), world) as sandbox, warehouse.connect() as connection:
        for _ in range(3):
            async with service_at(warehouse, sandbox) as service:
                asked.append(int(str((await run(service, RunKind.FULL))["requests"])))
            assert {await status_of(connection, account_id) for account_id in chosen} == {
                "explained"
            }
            assert "upstream_inconsistent" in await issues_of(connection, chosen[0])
        async with service_at(warehouse, sandbox, NOW + _DAY) as service:
            due = int(str((await run(service, RunKind.FULL))["requests"]))
    assert asked[0] > asked[1] == asked[2]
    assert due > asked[1]


def _count_one_more(row: Row) -> None:
    row["numTrades"] = int(float(str(row["numTrades"]))) + 1
