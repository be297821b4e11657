"""Changes of the world: trades that come and go, and what upstream forgets."""

import datetime as dt
from dataclasses import replace

import pytest

from app.domain.contract.tables import Endpoint
from app.errors import InvalidRequest
from app.sandbox.world.world import World

TODAY = dt.date(2026, 3, 10)


def test_a_trade_that_exists_or_has_no_account_is_refused_and_none_is_added() -> None:
    world = World.generate(3, seed=4, today=TODAY, contradictory=False)
    trade = world.trades("acc-00001")[0]
    new = replace(trade, ticket="new")
    with pytest.raises(InvalidRequest, match="already"):
        world.add_trades([new, trade])
    with pytest.raises(InvalidRequest, match="no account nobody"):
        world.add_trades([new, replace(trade, account_id="nobody")])
    assert new not in world.trades("acc-00001")


def test_upstream_forgets_the_rows_before_a_date_and_alltime_counts_on() -> None:
    world = World.generate(10, seed=4, today=TODAY, trades_per_account=20, contradictory=False)
    alltime, limit = world.rows(Endpoint.ALLTIME), TODAY - dt.timedelta(days=20)
    world.forget("acc-00001", limit)
    for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        days = [record.day for record in world.records(endpoint, ["acc-00001"])]
        assert days
        assert all(known is not None and known >= limit for known in days)
    assert world.rows(Endpoint.ALLTIME) == alltime


def test_upstream_forgets_an_account_altogether() -> None:
    world = World.generate(10, seed=4, today=TODAY, trades_per_account=20)
    account_id = next(iter(world.contradictions))
    world.forget(account_id)
    assert all(
        record.account_id != account_id
        for endpoint in Endpoint
        for record in world.records(endpoint)
    )
    assert account_id not in {*world.account_ids, *world.contradictions}
    with pytest.raises(KeyError):
        world.forget(account_id)
