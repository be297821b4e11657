"""Rows of upstream without a date that any calendar has: set aside while upstream sends them, and
taken off once it does not.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.contract.tables import TABLES, Endpoint
from app.domain.states import RunKind
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.engine.guards.test_losses import (
    _SETTLED,
    _config,
    _world,
    filled,  # noqa: F401
    warehouse,  # noqa: F401
)
from tests.support.engine import engine, run
from tests.support.sick import Sick, serving

_ENDS = {Endpoint.DAILY: "date", Endpoint.HOURLY: "date", Endpoint.CLOSED: "tradeDate"}


def _account_of_its_own(world: World) -> str:
    """An account with trades whose login nobody else has."""
    return next(
        each
        for each in world.account_ids[2:]
        if len(world.natural_keys(each)) == 1
        and sum(not trade.is_open for trade in world.trades(each)) > 8
        and len(world.holders(world.natural_keys(each)[0].login)) == 1
    )


def _adding_a_row_of(world: World, account_id: str, endpoint: Endpoint) -> Sick:
    login = world.natural_keys(account_id)[0].login

    def answer(path: str, _query: Mapping[str, Any], data: dict[str, Any]) -> None:
        rows = [
            row
            for row in data["data"]
            if row["login"] == login and row.get("accountId", account_id) == account_id
        ]
        if path.endswith(endpoint.value) and rows:
            data["data"].append({**rows[0], _ENDS[endpoint]: "2026-02-30"})
            data["total"] = data.get("total", 0) + 1
            data["count"] = len(data["data"])

    return Sick(world, None, answer)


@pytest.mark.parametrize("endpoint", _ENDS)
@pytest.mark.parametrize("reads", [1, 2])
async def test_rows_that_upstream_stopped_sending_are_in_doubt_no_more_once_their_dates_were_read(
    warehouse: Database,  # noqa: F811
    endpoint: Endpoint,
    reads: int,
) -> None:
    world = _world()
    account_id = _account_of_its_own(world)
    table = TABLES[endpoint].name
    date = "trade_date" if endpoint is Endpoint.CLOSED else "date"
    sick = _adding_a_row_of(world, account_id, endpoint)
    async with (
        warehouse.connect() as c,
        serving(sick, world) as upstream,
        engine(warehouse, upstream, config=_config()) as service,
    ):

        async def lose(first: dt.date, last: dt.date) -> None:
            await c.execute(
                f"DELETE FROM {table} WHERE {date} BETWEEN $1 AND $2 AND account_id = $3",
                first,
                last,
                account_id,
            )

        async def left() -> int:
            return int(
                await c.fetchval(
                    "SELECT count(*) FROM recon_set_aside_rows WHERE account_id = $1", account_id
                )
            )

        days = [
            row["date"]
            for row in await c.fetch(
                f"SELECT DISTINCT {date} AS date FROM {table} WHERE {date} <= $1 AND account_id ="
                " $2 ORDER BY 1",
                _SETTLED,
                account_id,
            )
        ]
        middle = days[len(days) // 2]
        await lose(days[0], days[-1])
        await run(service, RunKind.AUDIT)
        assert await left() == 1
        sick.is_well = True
        if reads > 1:
            await lose(days[0], middle)
            await run(service, RunKind.FULL)
            assert await left() == 1, "it may come with the other dates"
            await lose(middle, days[-1])
        else:
            await lose(days[0], days[-1])
        await run(service, RunKind.FULL)
        assert await left() == 0


@pytest.mark.parametrize("endpoint", _ENDS)
async def test_audits_look_whether_upstream_still_sends_a_row_without_a_date(
    warehouse: Database,  # noqa: F811
    endpoint: Endpoint,
) -> None:
    world = _world()
    account_id = _account_of_its_own(world)
    table, date = TABLES[endpoint].name, "trade_date" if endpoint is Endpoint.CLOSED else "date"
    sick = _adding_a_row_of(world, account_id, endpoint)
    async with (
        warehouse.connect() as c,
        serving(sick, world) as upstream,
        engine(warehouse, upstream, config=_config()) as service,
    ):
        left = "SELECT count(*) FROM recon_set_aside_rows WHERE account_id = $1"
        await c.execute(
            f"DELETE FROM {table} WHERE account_id = $1 AND {date} <= $2", account_id, _SETTLED
        )
        await run(service, RunKind.FULL)
        assert await c.fetchval(left, account_id) == 1
        await run(service, RunKind.AUDIT)
        assert await c.fetchval(left, account_id) == 1
        sick.is_well = True
        state = await run(service, RunKind.AUDIT)
        assert await c.fetchval(left, account_id) == 0
        assert state["status"] == "succeeded"
