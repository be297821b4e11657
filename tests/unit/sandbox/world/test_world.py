"""The world behind the sandbox: what follows from trades is true, what contradicts itself is
named.
"""

import datetime as dt
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.contract.tables import TABLES, Endpoint
from app.sandbox.witness.columns import rows_for_columns
from app.sandbox.world.generation import Contradictions
from app.sandbox.world.rows import Contradiction
from app.sandbox.world.trades import Row
from app.sandbox.world.world import World

TODAY = dt.date(2026, 3, 10)


@pytest.fixture(scope="module")
def perfect() -> World:
    return World.generate(60, seed=1, today=TODAY, trades_per_account=15, contradictory=False)


@pytest.fixture(scope="module")
def contradictory() -> World:
    return World.generate(60, seed=1, today=TODAY, trades_per_account=15)


def number(row: Row, name: str) -> Decimal:
    return Decimal(str(row[name]))


def day(row: Row, name: str) -> str:
    return str(row[name]).replace("-", "")[:8]


def sums(
    world: World, endpoint: Endpoint, *, by_day: bool
) -> dict[tuple[str, str], tuple[Decimal, Decimal, Decimal]]:
    """Trades, net profit and lots by account and date, without what is empty."""
    found: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for row in world.rows(endpoint):
        if endpoint is Endpoint.CLOSED:
            account_id, figures = (
                world.owner_of_trade(row),
                (Decimal(1), number(row, "profit"), number(row, "lots")),
            )
        else:
            account_id, figures = (
                str(row["accountId"]),
                (number(row, "numTrades"), number(row, "netProfit"), number(row, "totalLots")),
            )
        date = day(row, "tradeDate" if endpoint is Endpoint.CLOSED else "date") if by_day else ""
        found[account_id, date] = [
            a + b for a, b in zip(found[account_id, date], figures, strict=True)
        ]
    return {key: (counts[0], counts[1], counts[2]) for key, counts in found.items() if any(counts)}


def disagreeing(world: World) -> set[str]:
    """The accounts whose levels do not add up."""
    closed, daily = (
        sums(world, Endpoint.CLOSED, by_day=True),
        sums(world, Endpoint.DAILY, by_day=True),
    )
    hourly = sums(world, Endpoint.HOURLY, by_day=True)
    by_account = [
        sums(world, endpoint, by_day=False) for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY)
    ]
    found = {
        key[0]
        for one in (closed, hourly)
        for key in daily.keys() | one.keys()
        if daily.get(key) != one.get(key)
    }
    return found | {
        key[0]
        for key in by_account[0].keys() | by_account[1].keys()
        if by_account[0].get(key) != by_account[1].get(key)
    }


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    accounts=st.integers(0, 45),
    seed=st.integers(),
    trades=st.integers(1, 20),
    days=st.integers(1, 40),
)
def test_alltime_daily_hourly_and_trades_add_up_exactly_in_a_perfect_world(
    accounts: int, seed: int, trades: int, days: int
) -> None:
    world = World.generate(
        accounts, seed=seed, today=TODAY, trades_per_account=trades, days=days, contradictory=False
    )
    assert disagreeing(world) == set()
    assert world.contradictions == {}


def test_only_accounts_named_as_contradictions_disagree(contradictory: World) -> None:
    own = {
        account_id
        for account_id, kind in contradictory.contradictions.items()
        if kind is not Contradiction.SAME_NATURAL_KEY
    }
    assert disagreeing(contradictory) == own
    assert set(contradictory.contradictions.values()) == set(Contradiction)


def test_the_number_of_contradictions_can_be_chosen() -> None:
    chosen = Contradictions(
        alltime_count=2, daily_count=0, same_natural_key_pairs=2, lagging_today=0
    )
    world = World.generate(60, seed=1, today=TODAY, trades_per_account=5, contradictions=chosen)
    assert Counter(world.contradictions.values()) == {
        Contradiction.ALLTIME_COUNT: 2,
        Contradiction.SAME_NATURAL_KEY: 4,
    }


def test_a_lagging_account_lags_today_alone(contradictory: World) -> None:
    lagging = next(
        account_id
        for account_id, kind in contradictory.contradictions.items()
        if kind is Contradiction.LAGGING_TODAY
    )
    closed, daily = (
        sums(contradictory, endpoint, by_day=True) for endpoint in (Endpoint.CLOSED, Endpoint.DAILY)
    )
    off = [key for key in closed if key[0] == lagging and closed[key] != daily.get(key)]
    assert off == [(lagging, TODAY.strftime("%Y%m%d"))]
    assert (
        sums(contradictory, Endpoint.ALLTIME, by_day=False)[lagging, ""]
        == sums(contradictory, Endpoint.DAILY, by_day=False)[lagging, ""]
    )


@pytest.mark.parametrize("endpoint", Endpoint)
def test_every_row_carries_every_field_of_its_endpoint(perfect: World, endpoint: Endpoint) -> None:
    wanted = [field.api_name for field in TABLES[endpoint].fields]
    assert all(list(row) == wanted for row in perfect.rows(endpoint))


@pytest.mark.parametrize("endpoint", Endpoint)
def test_rows_are_ordered_by_a_unique_key(contradictory: World, endpoint: Endpoint) -> None:
    keys = [record.key for record in contradictory.records(endpoint)]
    assert keys == sorted(set(keys))


def test_checked_columns_stay_in_their_bounds(contradictory: World) -> None:
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY):
        for row in contradictory.rows(endpoint):
            assert number(row, "grossLoss") <= 0 <= number(row, "grossProfit")
            assert 1 <= number(row, "phase") <= 4
            assert row["successRate"] is None or 0 <= number(row, "successRate") <= 100
    assert {row["side"] for row in contradictory.rows(Endpoint.CLOSED)} == {"Buy", "Sell"}


def test_only_a_few_known_metrics_leave_their_columns_range(perfect: World) -> None:
    lost = Counter[str]()
    for endpoint in (Endpoint.ALLTIME, Endpoint.DAILY, Endpoint.HOURLY):
        columns = {field.column: field.api_name for field in TABLES[endpoint].fields}
        for row in perfect.rows(endpoint):
            lost.update(
                column
                for column, value in rows_for_columns(endpoint, row).items()
                if value is None and row[columns[column]] is not None
            )
    sent_out_of_range = {"profit_factor", "multiple_win_loss_lots", "days_since_initial_deposit"}
    assert sent_out_of_range <= set(lost) <= {*sent_out_of_range, "multiple_win_loss_volume"}


def test_the_same_seed_gives_the_same_rows() -> None:
    made = [World.generate(30, seed=9, today=TODAY, trades_per_account=8) for _ in range(2)]
    assert all(made[0].rows(endpoint) == made[1].rows(endpoint) for endpoint in Endpoint)
    other = World.generate(30, seed=10, today=TODAY, trades_per_account=8)
    assert made[0].rows(Endpoint.DAILY) != other.rows(Endpoint.DAILY)


def test_a_generated_world_holds_what_makes_reconciling_hard() -> None:
    world = World.generate(120, seed=2, today=TODAY, trades_per_account=20)
    trades = {account_id: world.trades(account_id) for account_id in world.account_ids}
    sizes = sorted(len(own) for own in trades.values())
    assert sizes[0] == 0
    assert sizes[-1] >= 600
    logins = Counter(
        login
        for account_id in trades
        for login in {key.login for key in world.natural_keys(account_id)}
    )
    assert max(logins.values()) > 1
    assert any(login.startswith("00") for login in logins)
    closed = [trade for own in trades.values() for trade in own if not trade.is_open]
    assert any(
        count > 1 for count in Counter((trade.key, trade.position) for trade in closed).values()
    )
    assert any(
        trade.open_time and trade.close_time and trade.open_time.date() < trade.close_time.date()
        for trade in closed
    )
    assert any(trade.close_time and trade.close_time.date() != trade.trade_date for trade in closed)
    assert any(trade.comment and not trade.comment.isascii() for trade in closed)
    by_position = defaultdict(set)
    for trade in closed:
        by_position[trade.position].add(trade.key)
    assert any(len(keys) > 1 for keys in by_position.values()), (
        "positions are unique at one broker only"
    )


def test_an_account_that_moved_has_its_new_broker_from_then_on(perfect: World) -> None:
    old, new = perfect.natural_keys("acc-00006")
    assert old.broker != new.broker
    since = perfect.account("acc-00006").tenures[1].since
    for record in perfect.records(Endpoint.DAILY, ["acc-00006"]):
        assert record.day is not None
        assert record.natural_key == (new if record.day >= since else old)


def test_a_recycled_login_belongs_to_its_accounts_at_different_times(perfect: World) -> None:
    assert perfect.natural_keys("acc-00011") == perfect.natural_keys("acc-00012")
    former, later = (
        [record.day for record in perfect.records(Endpoint.DAILY, [account_id]) if record.day]
        for account_id in ("acc-00011", "acc-00012")
    )
    assert max(former) < min(later)


def test_numbers_and_dates_come_in_all_their_shapes(perfect: World) -> None:
    rows = perfect.rows(Endpoint.DAILY)
    assert {type(row["numTrades"]) for row in rows} == {int, str, Decimal}
    assert {len(str(row["date"])) for row in rows} == {8, 10, 24}
    assert {type(row["ticket"]) for row in perfect.rows(Endpoint.CLOSED)} == {int, str}


def test_some_days_and_hours_without_trades_have_rows() -> None:
    world = World.generate(100, seed=3, today=TODAY, trades_per_account=10, contradictory=False)
    for endpoint in (Endpoint.DAILY, Endpoint.HOURLY):
        empty = [row for row in world.rows(endpoint) if number(row, "numTrades") == 0]
        assert 0 < len(empty) < len(world.rows(endpoint)) / 5


def test_removing_a_trade_changes_its_own_date_and_alltime_alone() -> None:
    world = World.generate(10, seed=4, today=TODAY, trades_per_account=20, contradictory=False)
    trade = next(trade for trade in world.trades("acc-00001") if not trade.is_open)
    before = {endpoint: world.records(endpoint) for endpoint in Endpoint}
    world.remove_trade(trade)
    for endpoint in (Endpoint.DAILY, Endpoint.HOURLY, Endpoint.CLOSED):
        rows = {record.key: record.row for record in world.records(endpoint)}
        changed = [record for record in before[endpoint] if rows.get(record.key) != record.row]
        assert changed
        assert {(record.account_id, record.day) for record in changed} == {
            ("acc-00001", trade.trade_date)
        }
    world.add_trades([trade])
    assert {
        endpoint: [record.row for record in records] for endpoint, records in before.items()
    } == {endpoint: world.rows(endpoint) for endpoint in Endpoint}


def test_real_trades_add_up(shared_trades: Path) -> None:
    world = World.from_csv(shared_trades)
    assert len(world.rows(Endpoint.CLOSED)) == 2201
    assert disagreeing(world) == set()
