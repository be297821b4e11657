"""Identity over time: an id is given only where exactly one account held the natural key on the
date.
"""

import datetime as dt
import hashlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.ids import AccountId
from app.domain.states import RunKind
from app.engine.preparation.maintenance import MaintenanceResult, maintain, repair_ids
from app.engine.repositories import Repositories
from app.sandbox.server.serving import SandboxServer
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.support.engine import engine, run

if TYPE_CHECKING:
    import asyncpg

FIRST = dt.date(2025, 1, 1)
TODAY = dt.date(2025, 8, 15)


def md5_of(login: str, platform: object = 8, broker: object = 1) -> str:
    """The placeholder of a natural key, as ingestion's trigger writes it."""
    return hashlib.md5(f"{login}|{platform}|{broker}".encode(), usedforsecurity=False).hexdigest()


class Warehouse:
    """A hand-made warehouse: rows by hand, maintenance as the service does it."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", store: Repositories
    ) -> None:
        self.connection = connection
        self.store = store
        self._tickets = 0

    async def alltime(
        self,
        account_id: str,
        login: str,
        *,
        broker: int | None = 1,
        trades: int = 0,
        first_trade: dt.date | None = None,
    ) -> None:
        await self.connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades,"
            " first_trade_date) VALUES ($1, $2, 8, $3, $4, $5)",
            account_id,
            login,
            broker,
            trades,
            first_trade,
        )

    async def daily(
        self, account_id: str, login: str, first: dt.date, days: int, *, broker: int = 1
    ) -> None:
        dates = [first + dt.timedelta(days=number) for number in range(days)]
        await self.partitions("raw_metrics_daily", dates)
        await self.connection.executemany(
            "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
            " VALUES ($1, $2, $3, 8, $4, 1)",
            [(account_id, day, login, broker) for day in dates],
        )

    async def trade(
        self,
        account_id: str | None,
        login: str,
        day: dt.date,
        *,
        broker: int = 1,
        table: str = "raw_trades_closed",
    ) -> str:
        self._tickets += 1
        ticket = f"t{self._tickets}"
        await self.partitions(table, [day])
        await self.connection.execute(
            f"INSERT INTO {table} (platform, broker, login, position, ticket, trade_date,"
            " account_id) VALUES (8, $1, $2, 'p', $3, $4, $5)",
            broker,
            login,
            ticket,
            day,
            account_id,
        )
        return ticket

    async def owner(self, ticket: str, table: str = "raw_trades_closed") -> str | None:
        value: str | None = await self.connection.fetchval(
            f"SELECT account_id FROM {table} WHERE ticket = $1", ticket
        )
        return value

    async def maintain(self) -> MaintenanceResult:
        return await maintain(self.store, TODAY)

    async def accounts_known(self) -> set[str]:
        return {row[0] for row in await self.connection.fetch("SELECT account_id FROM trade_recon")}

    async def accounts(self) -> set[str]:
        known = await self.accounts_known()
        assert known == {
            row[0]
            for row in await self.connection.fetch("SELECT account_id FROM mv_all_account_ids")
        }
        return known

    async def issues(self) -> set[tuple[str, str]]:
        rows = await self.connection.fetch(
            "SELECT account_id, issue ->> 'type' FROM trade_recon, jsonb_array_elements(issues) AS"
            " issue"
        )
        return {(row[0], row[1]) for row in rows}

    async def partitions(self, table: str, dates: list[dt.date]) -> None:
        await self.connection.execute("SELECT recon_create_partitions($1, $2)", table, dates)


@pytest.fixture
async def made(database: Database) -> AsyncIterator[Warehouse]:
    """An empty warehouse to be filled by hand."""
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        store = await Repositories.build(pool, 60)
        await store.claims.beat()
        yield Warehouse(connection, store)


@pytest.mark.parametrize("table", ["raw_trades_closed", "raw_trades_open"])
async def test_a_trade_without_id_gets_the_one_account_of_its_natural_key(
    table: str, made: Warehouse
) -> None:
    await made.alltime("a", "0100", trades=1, first_trade=FIRST)
    mine = await made.trade(None, "0100", FIRST, table=table)
    unknown = await made.trade(None, "100", FIRST, table=table)
    result = await made.maintain()
    assert await made.owner(mine, table) == "a"
    assert await made.owner(unknown, table) is None, "leading zeros count"
    assert (result.closed_trades_updated, result.open_trades_updated) == (
        (1, 0) if table == "raw_trades_closed" else (0, 1)
    )
    assert result.unmatched_combinations == 1
    assert result.unmatched[0]["login"] == "100"
    code = (
        "null_account_id_closed_trades"
        if table == "raw_trades_closed"
        else "null_account_id_open_trades"
    )
    history = await made.connection.fetch(
        "SELECT account_id, type, closed_at IS NOT NULL AS closed FROM recon_issue_history WHERE"
        " account_id = 'a'"
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
    assert [await made.owner(ticket) for ticket in (then, later, between, today)] == [
        "old",
        "new",
        None,
        "new",
    ]
    assert not {code for _, code in await made.issues()} & {
        "ambiguous_identity",
        "foreign_account_id",
    }


async def test_a_key_that_two_accounts_hold_at_once_is_not_guessed_and_shown_with_both(
    made: Warehouse,
) -> None:
    for account_id in ("one", "two"):
        await made.alltime(account_id, "7", trades=5)
        await made.daily(account_id, "7", FIRST, 5)
    ticket = await made.trade(None, "7", FIRST)
    result = await made.maintain()
    assert await made.owner(ticket) is None
    assert {("one", "ambiguous_identity"), ("two", "ambiguous_identity")} <= await made.issues()
    assert result.ambiguous_combinations == 1


async def test_an_account_that_moved_to_another_broker_keeps_its_trades_of_before(
    made: Warehouse,
) -> None:
    await made.alltime("mover", "7", broker=2, trades=20)
    await made.daily("mover", "7", FIRST, 10, broker=1)
    await made.daily("mover", "7", FIRST + dt.timedelta(days=10), 10, broker=2)
    before = await made.trade(None, "7", FIRST + dt.timedelta(days=3), broker=1)
    after = await made.trade(None, "7", FIRST + dt.timedelta(days=15), broker=2)
    too_late = await made.trade(None, "7", FIRST + dt.timedelta(days=15), broker=1)
    await made.maintain()
    assert [await made.owner(ticket) for ticket in (before, after, too_late)] == [
        "mover",
        "mover",
        None,
    ]


@pytest.mark.parametrize("placeholder", [md5_of("7"), md5_of("7").upper(), "7"])
async def test_a_placeholder_is_never_a_candidate_and_is_replaced(
    placeholder: str, made: Warehouse
) -> None:
    await made.alltime("a", "7", trades=3)
    await made.alltime(placeholder, "7", trades=3)
    await made.daily("a", "7", FIRST, 2)
    await made.daily(placeholder, "7", FIRST + dt.timedelta(days=1), 2)
    ticket = await made.trade(placeholder, "7", FIRST)
    result = await made.maintain()
    assert await made.owner(ticket) == "a"
    daily = await made.connection.fetch(
        "SELECT account_id, date FROM raw_metrics_daily ORDER BY date"
    )
    assert [tuple(row) for row in daily] == [
        ("a", FIRST + dt.timedelta(days=number)) for number in range(3)
    ]
    assert (
        await made.connection.fetchval(
            "SELECT string_agg(account_id, ',') FROM raw_metrics_alltime"
        )
        == "a"
    )
    # The doubles went aside, a third row and the trade got their ids: a copy of each is kept.
    reasons = await made.connection.fetch("SELECT reason FROM recon_removed_rows ORDER BY 1")
    assert [row["reason"] for row in reasons] == [
        "overwritten",
        "placeholder",
        "placeholder",
        "placeholder",
    ]
    assert (
        await made.connection.fetchval("SELECT string_agg(account_id, ',') FROM trade_recon") == "a"
    )
    assert result.md5_hashes_fixed == (0 if placeholder == "7" else 4)


async def test_a_trade_under_another_accounts_id_is_given_back_and_a_right_one_is_left(
    made: Warehouse,
) -> None:
    for account_id, login in (("a", "7"), ("b", "8")):
        await made.alltime(account_id, login, trades=2)
        await made.daily(account_id, login, FIRST, 5)
    wrong = await made.trade("b", "7", FIRST)
    right = await made.trade("b", "8", FIRST)
    await made.maintain()
    assert [await made.owner(ticket) for ticket in (wrong, right)] == ["a", "b"]


async def test_mending_is_done_in_bounded_transactions(
    made: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.identity.repair.CHUNK_ROWS", 3)
    await made.alltime("a", "7", trades=10, first_trade=FIRST)
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


_IDS = st.one_of(
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text("0123456789ABCDEF", min_size=32, max_size=32),
    st.text("0123456789abcdef", min_size=24, max_size=24),
    # Another account's login, or its natural key's MD5.
    st.sampled_from(["1", "2", md5_of("1"), md5_of("2", 8, ""), "acc-1"]),
)


@settings(
    max_examples=20, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ids=st.lists(_IDS, min_size=1, max_size=6, unique_by=str.lower))
async def test_an_id_is_compared_with_its_own_natural_key_and_never_judged_by_its_look(
    ids: list[str], made: Warehouse
) -> None:
    for table in (
        "raw_metrics_alltime",
        "raw_metrics_daily",
        "raw_metrics_hourly",
        "trade_recon",
        "recon_identity",
    ):
        await made.connection.execute(f"DELETE FROM {table}")
    for number, account_id in enumerate(ids):
        await made.alltime(
            account_id, f"{900 + number}", broker=None if number % 2 else 3, trades=1
        )
        await made.daily(account_id, f"{900 + number}", FIRST, 1, broker=3)
    for _ in range(2):
        await made.maintain()
        assert await made.accounts() == set(ids)


@pytest.mark.parametrize("table", ["alltime", "daily", "hourly"])
async def test_a_firm_whose_ids_are_32_hex_digits_keeps_its_accounts(
    table: str, made: Warehouse
) -> None:
    account_id = md5_of("x")
    if table == "alltime":
        await made.alltime(account_id, "1")
    elif table == "daily":
        await made.daily(account_id, "1", FIRST, 1)
    else:
        await made.partitions("raw_metrics_hourly", [FIRST])
        await made.connection.execute(
            "INSERT INTO raw_metrics_hourly (account_id, date, hour, login, platform, broker)"
            " VALUES ($1, $2, 1, '1', 8, 1)",
            account_id,
            FIRST,
        )
    await made.connection.execute(
        "INSERT INTO trade_recon (account_id) VALUES ($1) ON CONFLICT DO NOTHING", md5_of("nowhere")
    )
    await made.maintain()
    # An entry of an earlier system of which no row is left stays: nothing says that it stands for
    # anything.
    assert await made.accounts_known() == {account_id, md5_of("nowhere")}


@pytest.mark.parametrize("spelling", ["{0}", "{1}", "7"])
async def test_a_placeholder_that_alone_holds_its_natural_key_is_the_account_of_that_key(
    spelling: str, made: Warehouse
) -> None:
    account_id = spelling.format(md5_of("7"), md5_of("7").upper())
    await made.alltime(account_id, "7", trades=2)
    await made.daily(account_id, "7", FIRST, 2)
    mine = [await made.trade(each, "7", FIRST) for each in (None, account_id, "somebody")]
    await made.alltime("somebody", "8", trades=1, first_trade=FIRST)
    await made.maintain()
    assert [await made.owner(ticket) for ticket in mine] == [account_id] * 3
    assert await made.accounts() == {account_id, "somebody"}
    assert not await made.issues() & {
        (account_id, "foreign_account_id"),
        (account_id, "ambiguous_identity"),
    }


async def test_of_two_placeholders_of_one_natural_key_the_md5_is_the_account(
    made: Warehouse,
) -> None:
    for account_id in (md5_of("7"), "7"):
        await made.daily(account_id, "7", FIRST, 2)
    await made.maintain()
    assert await made.accounts() == {md5_of("7")}
    assert (
        await made.connection.fetchval(
            "SELECT count(*) FROM raw_metrics_daily WHERE account_id = '7'"
        )
        == 0
    )


async def test_an_hourly_row_under_a_placeholder_is_repaired_by_its_own_natural_key(
    made: Warehouse,
) -> None:
    await made.daily("a", "7", FIRST, 3)
    await made.partitions("raw_metrics_hourly", [FIRST])
    await made.connection.executemany(
        "INSERT INTO raw_metrics_hourly (account_id, date, hour, login, platform, broker) VALUES"
        " ($1, $2, $3, '7', 8, $4)",
        [
            (md5_of("7"), FIRST, 1, 1),
            (md5_of("7", 8, ""), FIRST, 2, None),
            (md5_of("9"), FIRST, 3, 1),
        ],
    )
    await made.maintain()
    held = await made.connection.fetch(
        "SELECT hour, account_id FROM raw_metrics_hourly ORDER BY hour"
    )
    # The key without a broker is another one; the third id is no placeholder of its own row.
    assert [row["account_id"] for row in held] == ["a", md5_of("7", 8, ""), md5_of("9")]


async def test_a_login_that_trades_carry_as_an_id_is_no_account_whatever_trade_recon_lists(
    made: Warehouse,
) -> None:
    await made.alltime("a", "7", trades=0, first_trade=FIRST)
    tickets = [await made.trade("914", "914", FIRST) for _ in range(2)]
    # The MD5 of a key that is known, and a login that is: both were listed by an earlier system,
    # and no row is left of them.
    listed = ["914", md5_of("7"), md5_of("7").upper(), "7", ""]
    await made.connection.executemany(
        "INSERT INTO trade_recon (account_id) VALUES ($1)", [(each,) for each in listed]
    )
    result = await made.maintain()
    assert await made.accounts() == {"a"}
    assert [await made.owner(ticket) for ticket in tickets] == ["914", "914"]
    assert result.unmatched == [
        {
            "table": "raw_trades_closed",
            "login": "914",
            "platform": "8",
            "broker": "1",
            "account_id": "914",
            "candidates": [],
            "rows": 2,
        }
    ]


async def test_a_trade_of_before_its_holders_first_day_is_no_trade_of_its_own(
    made: Warehouse,
) -> None:
    await made.alltime("new", "7", trades=0)
    old = [await made.trade(None, "7", FIRST + dt.timedelta(days=number)) for number in range(15)]
    taken = await made.trade("new", "7", FIRST)
    result = await made.maintain()
    assert [await made.owner(ticket) for ticket in (*old, taken)] == [*[None] * 15, "new"]
    assert result.unmatched_combinations == 1
    assert ("new", "foreign_account_id") in await made.issues()
    # From today on the key is its own.
    assert await made.owner(await made.trade(None, "7", TODAY)) is None
    await made.maintain()
    assert (
        await made.connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE trade_date = $1 AND account_id = 'new'",
            TODAY,
        )
        == 1
    )


@pytest.mark.parametrize("known_by", ["daily", "first_trade_date"])
async def test_trades_get_their_id_as_soon_as_the_first_day_of_their_account_is_known(
    known_by: str, made: Warehouse
) -> None:
    await made.alltime("a", "7", trades=1)
    ticket = await made.trade(None, "7", FIRST)
    await made.maintain()
    assert await made.owner(ticket) is None
    if known_by == "daily":
        await made.daily("a", "7", FIRST, 1)
    else:
        await made.connection.execute("UPDATE raw_metrics_alltime SET first_trade_date = $1", FIRST)
    await repair_ids(made.store, [AccountId("a")], TODAY)
    assert await made.owner(ticket) == "a"
    kept = await made.connection.fetchrow("SELECT * FROM recon_removed_rows")
    assert kept is not None
    assert (kept["account_id"], kept["reason"]) == ("a", "overwritten")
    assert json.loads(kept["row_data"])["account_id"] is None


async def test_an_account_that_appears_takes_the_place_of_its_placeholder(made: Warehouse) -> None:
    """As a heal brings it in the middle of a run, whose sweep has seen the placeholder alone."""
    await made.daily(md5_of("7"), "7", FIRST, 3)
    await made.maintain()
    await made.daily("a", "7", FIRST + dt.timedelta(days=3), 1)
    await made.alltime("a", "7", trades=4, first_trade=FIRST)
    await repair_ids(made.store, [AccountId("a")], TODAY)
    assert {
        row[0] for row in await made.connection.fetch("SELECT account_id FROM raw_metrics_daily")
    } == {"a"}


@pytest.mark.parametrize("is_doubled", [True, False])
async def test_a_placeholder_row_that_ingestion_updates_at_that_moment_is_locked_before_it_is_read(
    *, is_doubled: bool, made: Warehouse, database: Database
) -> None:
    await made.daily("a", "7", FIRST + dt.timedelta(days=0 if is_doubled else 1), 2)
    await made.daily(md5_of("7"), "7", FIRST, 1)
    await made.alltime("a", "7", trades=4, first_trade=FIRST)
    async with database.connect() as ingestion:
        writing = ingestion.transaction()
        await writing.start()
        await ingestion.execute(
            "UPDATE raw_metrics_daily SET net_profit = 77 WHERE account_id = $1", md5_of("7")
        )
        await made.maintain()
        # It is being written: left for the next time.
        assert (
            await ingestion.fetchval(
                "SELECT count(*) FROM raw_metrics_daily WHERE account_id = $1", md5_of("7")
            )
            == 1
        )
        await writing.commit()
    await made.maintain()
    kept = await made.connection.fetchval(
        "SELECT row_data FROM recon_removed_rows WHERE reason = 'placeholder'"
    )
    assert json.loads(kept)["net_profit"] == 77
    stored = await made.connection.fetchval(
        "SELECT net_profit FROM raw_metrics_daily WHERE account_id = 'a' AND date = $1", FIRST
    )
    assert stored is None if is_doubled else stored == 77


async def test_a_finding_goes_with_the_next_look_at_either_account_once_the_rows_have_the_right_id(
    made: Warehouse,
) -> None:
    for account_id, login in (("a", "7"), ("b", "8")):
        await made.alltime(account_id, login, trades=1, first_trade=FIRST)
    await made.maintain()
    ticket = await made.trade("b", "7", FIRST)
    keys = await made.store.identity.refresh(["a"], TODAY)
    await made.store.identity.find(keys, ["a", "b"], TODAY)
    found = "SELECT count(*) FROM recon_identity_findings"
    assert await made.connection.fetchval(found) == 1
    # As the fetch of the right account does it.
    await made.connection.execute(
        "UPDATE raw_trades_closed SET account_id = 'a' WHERE ticket = $1", ticket
    )
    await repair_ids(made.store, [AccountId("b")], TODAY)
    assert await made.connection.fetchval(found) == 0


async def test_rows_that_go_in_under_no_account_are_counted_and_named(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account_id, day, trades = await connection.fetchrow(  # type: ignore[misc]
            "SELECT account_id, trade_date, count(*) FROM raw_trades_closed GROUP BY 1, 2 ORDER BY"
            " 3 DESC, 2, 1 LIMIT 1"
        )
        for table in ("raw_metrics_alltime", "raw_metrics_daily"):
            columns = "login, platform, broker, num_trades" + (
                ", date" if table.endswith("daily") else ""
            )
            await connection.execute(
                f"INSERT INTO {table} (account_id, {columns}) SELECT 'twin', {columns} FROM {table}"
                " WHERE account_id = $1",
                account_id,
            )
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2",
            account_id,
            day,
        )
        state = await run(service, RunKind.FULL)
        stored = await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE account_id IS NULL AND trade_date = $1",
            day,
        )
        assert stored == trades
        assert state["rows"]["inserted"] == trades  # type: ignore[index]
        findings, _, ambiguous = await service.store.identity.unresolved(10)
        assert ambiguous
        assert [set(finding.candidates) for finding in findings if finding.rows == trades] == [
            {account_id, "twin"}
        ]
