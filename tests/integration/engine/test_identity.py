"""Identity over time: an id is given only where exactly one account held the natural key on the date."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from app.engine.maintenance import MaintenanceResult, maintain
from app.engine.store import Store
from app.store.pool import Database as Pool
from tests.conftest import Database
from tests.engine import TODAY

if TYPE_CHECKING:
    import asyncpg

FIRST = dt.date(2025, 1, 1)
MD5 = "0123456789abcdef0123456789abcdef"


class Warehouse:
    """A hand-made warehouse: rows by hand, maintenance as the service does it."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", store: Store) -> None:
        self.connection = connection
        self.store = store
        self._tickets = 0

    async def alltime(self, account_id: str, login: str, *, broker: int = 1, trades: int = 0) -> None:
        await self.connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades) VALUES ($1, $2, 8, $3, $4)",
            account_id,
            login,
            broker,
            trades,
        )

    async def daily(self, account_id: str, login: str, first: dt.date, days: int, *, broker: int = 1) -> None:
        dates = [first + dt.timedelta(days=number) for number in range(days)]
        await self._partitions("raw_metrics_daily", dates)
        await self.connection.executemany(
            "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades) VALUES ($1, $2, $3, 8, $4, 1)",
            [(account_id, day, login, broker) for day in dates],
        )

    async def trade(self, account_id: str | None, login: str, day: dt.date, *, broker: int = 1, table: str = "raw_trades_closed") -> str:
        self._tickets += 1
        ticket = f"t{self._tickets}"
        await self._partitions(table, [day])
        await self.connection.execute(
            f"INSERT INTO {table} (platform, broker, login, position, ticket, trade_date, account_id) VALUES (8, $1, $2, 'p', $3, $4, $5)",
            broker,
            login,
            ticket,
            day,
            account_id,
        )
        return ticket

    async def owner(self, ticket: str, table: str = "raw_trades_closed") -> str | None:
        value: str | None = await self.connection.fetchval(f"SELECT account_id FROM {table} WHERE ticket = $1", ticket)
        return value

    async def maintain(self) -> MaintenanceResult:
        return await maintain(self.store)

    async def issues(self) -> set[tuple[str, str]]:
        rows = await self.connection.fetch("SELECT account_id, issue ->> 'type' FROM trade_recon, jsonb_array_elements(issues) AS issue")
        return {(row[0], row[1]) for row in rows}

    async def _partitions(self, table: str, dates: list[dt.date]) -> None:
        await self.connection.execute("SELECT recon_create_partitions($1, $2)", table, dates)


@pytest.fixture
async def made(database: Database) -> AsyncIterator[Warehouse]:
    """An empty warehouse to be filled by hand."""
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        store = await Store.build(pool, 60)
        await store.claims.beat()
        yield Warehouse(connection, store)


@pytest.mark.parametrize("table", ["raw_trades_closed", "raw_trades_open"])
async def test_a_trade_without_id_gets_the_one_account_of_its_natural_key(table: str, made: Warehouse) -> None:
    await made.alltime("a", "0100", trades=1)
    mine = await made.trade(None, "0100", FIRST, table=table)
    unknown = await made.trade(None, "100", FIRST, table=table)
    result = await made.maintain()
    assert await made.owner(mine, table) == "a"
    assert await made.owner(unknown, table) is None, "leading zeros count"
    assert (result.closed_trades_updated, result.open_trades_updated) == ((1, 0) if table == "raw_trades_closed" else (0, 1))
    assert result.unmatched_combinations == 1
    assert result.unmatched[0]["login"] == "100"
    code = "null_account_id_closed_trades" if table == "raw_trades_closed" else "null_account_id_open_trades"
    history = await made.connection.fetch(
        "SELECT account_id, type, closed_at IS NOT NULL AS closed FROM recon_issue_history WHERE account_id = 'a'"
    )
    assert (("a", code, True)) in [tuple(row) for row in history]


async def test_a_recycled_login_means_another_account_after_the_change(made: Warehouse) -> None:
    await made.alltime("old", "7", trades=10)
    await made.alltime("new", "7", trades=10)
    await made.daily("old", "7", FIRST, 10)
    await made.daily("new", "7", FIRST + dt.timedelta(days=40), 10)
    then = await made.trade(None, "7", FIRST + dt.timedelta(days=5))
    later = await made.trade(None, "7", FIRST + dt.timedelta(days=45))
    between = await made.trade(None, "7", FIRST + dt.timedelta(days=20))
    today = await made.trade(None, "7", TODAY)
    await made.maintain()
    assert [await made.owner(ticket) for ticket in (then, later, between, today)] == ["old", "new", None, "new"]
    assert not {code for _, code in await made.issues()} & {"ambiguous_identity", "foreign_account_id"}


async def test_a_key_that_two_accounts_hold_at_once_is_not_guessed_and_shown_with_both(made: Warehouse) -> None:
    for account_id in ("one", "two"):
        await made.alltime(account_id, "7", trades=5)
        await made.daily(account_id, "7", FIRST, 5)
    ticket = await made.trade(None, "7", FIRST)
    result = await made.maintain()
    assert await made.owner(ticket) is None
    assert {("one", "ambiguous_identity"), ("two", "ambiguous_identity")} <= await made.issues()
    assert result.ambiguous_combinations == 1


async def test_an_account_that_moved_to_another_broker_keeps_its_trades_of_before(made: Warehouse) -> None:
    await made.alltime("mover", "7", broker=2, trades=20)
    await made.daily("mover", "7", FIRST, 10, broker=1)
    await made.daily("mover", "7", FIRST + dt.timedelta(days=10), 10, broker=2)
    before = await made.trade(None, "7", FIRST + dt.timedelta(days=3), broker=1)
    after = await made.trade(None, "7", FIRST + dt.timedelta(days=15), broker=2)
    too_late = await made.trade(None, "7", FIRST + dt.timedelta(days=15), broker=1)
    await made.maintain()
    assert [await made.owner(ticket) for ticket in (before, after, too_late)] == ["mover", "mover", None]


@pytest.mark.parametrize("placeholder", [MD5, "7"])
async def test_a_placeholder_is_never_a_candidate_and_is_replaced(placeholder: str, made: Warehouse) -> None:
    await made.alltime("a", "7", trades=3)
    await made.alltime(placeholder, "7", trades=3)
    await made.daily("a", "7", FIRST, 2)
    await made.daily(placeholder, "7", FIRST + dt.timedelta(days=1), 2)
    ticket = await made.trade(placeholder, "7", FIRST)
    result = await made.maintain()
    assert await made.owner(ticket) == "a"
    daily = await made.connection.fetch("SELECT account_id, date FROM raw_metrics_daily ORDER BY date")
    assert [tuple(row) for row in daily] == [("a", FIRST + dt.timedelta(days=number)) for number in range(3)]
    assert await made.connection.fetchval("SELECT string_agg(account_id, ',') FROM raw_metrics_alltime") == "a"
    # The doubles went aside, a third row and the trade got their ids: a copy of each is kept.
    reasons = await made.connection.fetch("SELECT reason FROM recon_removed_rows ORDER BY 1")
    assert [row["reason"] for row in reasons] == ["overwritten", "placeholder", "placeholder", "placeholder"]
    assert await made.connection.fetchval("SELECT string_agg(account_id, ',') FROM trade_recon") == "a"
    assert result.md5_hashes_fixed == (4 if placeholder == MD5 else 0)


async def test_a_trade_under_another_accounts_id_is_given_back_and_a_right_one_is_left(made: Warehouse) -> None:
    for account_id, login in (("a", "7"), ("b", "8")):
        await made.alltime(account_id, login, trades=2)
        await made.daily(account_id, login, FIRST, 5)
    wrong = await made.trade("b", "7", FIRST)
    right = await made.trade("b", "8", FIRST)
    early = await made.trade("b", "8", FIRST - dt.timedelta(days=30))
    await made.maintain()
    assert [await made.owner(ticket) for ticket in (wrong, right, early)] == ["a", "b", "b"]


async def test_mending_is_done_in_bounded_transactions(made: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.identity.CHUNK_ROWS", 3)
    await made.alltime("a", "7", trades=10)
    for _ in range(10):
        await made.trade(None, "7", FIRST)
    result = await made.maintain()
    assert result.closed_trades_updated == 10
    writers = await made.connection.fetch("SELECT xmin, count(*) FROM raw_trades_closed GROUP BY 1")
    assert max(row["count"] for row in writers) == 3


async def test_maintenance_twice_writes_nothing_the_second_time(made: Warehouse) -> None:
    await made.alltime("a", "7", trades=1)
    await made.daily("a", "7", FIRST, 1)
    await made.trade(None, "7", FIRST)
    await made.maintain()
    versions = "SELECT sum(xmin::text::bigint) FROM trade_recon"
    before = await made.connection.fetchval(versions)
    result = await made.maintain()
    assert (result.closed_trades_updated, result.totals_changed, result.accounts_added) == (0, 0, 0)
    assert await made.connection.fetchval(versions) == before
