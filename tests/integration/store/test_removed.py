"""Bringing rows back from their copies: as they were, once, and never over a row that is somebody
else's.
"""

import asyncio
import datetime as dt
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import pytest

from app.domain.copies import Reason, Wanted
from app.domain.runs.orders import Way
from app.errors import NotFound
from app.store.change_feed import ChangeFeed
from app.store.database.pool import Database as Pool
from app.store.restore.copies import Restored
from app.store.restore.restore import RemovedRows
from app.store.restore.row_restore import RowRestore
from app.store.restore.shape import Shape
from tests.conftest import Database
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CLOSED, _DAILY = "raw_trades_closed", "raw_metrics_daily"
_FIRST, _SECOND, _THIRD = dt.date(2024, 1, 30), dt.date(2024, 2, 2), dt.date(2024, 3, 3)
_INGESTED = dt.datetime(2024, 4, 1)  # noqa: DTZ001 - the column has no zone
_TRADE: Mapping[str, object] = {
    "trade_date": _FIRST,
    "broker": 1,
    "platform": 8,
    "login": "007",
    "position": "55",
    "ticket": "56",
    "account_id": "a",
    "close_price": Decimal("1.500000"),
    "open_price": Decimal("123456789012.123456"),
    "open_time": dt.datetime(2024, 1, 30, 1, 2, 3, 456_789),  # noqa: DTZ001 - the column has no zone
    "comment": 'a "quoted" é \\ text',
}
_ODD_TABLE = """
DROP TABLE raw_trades_open CASCADE;
CREATE TABLE raw_trades_open (
    row_number bigint GENERATED ALWAYS AS IDENTITY, trade_date date, broker text, platform text, login text, position text, ticket text,
    account_id text, lots numeric(18,6), doubled numeric GENERATED ALWAYS AS (lots * 2) STORED
)
"""
_ODD = {
    "trade_date": _FIRST,
    "platform": "8",
    "login": "7",
    "position": "5",
    "ticket": "6",
    "account_id": "a",
    "lots": Decimal("0.100000"),
}


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with Pool.open(database.dsn, database.schema) as pool:
        yield pool


@pytest.fixture
def removed(pool: Pool) -> RemovedRows:
    return RemovedRows(pool, ChangeFeed(pool))


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.connect() as connection:
        for table in (_CLOSED, _DAILY):
            await connection.fetchval(
                "SELECT recon_create_partitions($1, $2)", table, [_FIRST, _SECOND, _THIRD]
            )
        yield connection


async def _store(
    connection: Connection,
    table: str = _CLOSED,
    row: Mapping[str, object] = _TRADE,
    **values: object,
) -> None:
    full = {**row, **values}
    places = ", ".join(f"${place}" for place in range(1, len(full) + 1))
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(full)}) VALUES ({places})", *full.values()
    )


async def _keep(
    connection: Connection,
    reason: str,
    table: str = _CLOSED,
    *,
    account_id: str | None = "a",
    run_id: uuid.UUID | None = None,
) -> int:
    """Copies of all rows of a table, as the flow keeps them; the newest copy."""
    date = {"raw_metrics_daily": "date", "raw_metrics_alltime": "NULL::date"}.get(
        table, "trade_date"
    )
    kept = await connection.fetch(
        "INSERT INTO recon_removed_rows (run_id, account_id, table_name, date, reason, row_data)"
        f" SELECT $1, $2, $3, {date}, $4, to_jsonb(t) FROM {table} AS t RETURNING removed_id",
        run_id,
        account_id,
        table,
        reason,
    )
    return int(kept[-1]["removed_id"])


async def _rows(connection: Connection, table: str = _CLOSED) -> list[str]:
    return [
        row["row"]
        for row in await connection.fetch(f"SELECT t::text AS row FROM {table} AS t ORDER BY 1")
    ]


async def _copies(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM recon_removed_rows"))


async def _changes(connection: Connection) -> set[tuple[str, str, str]]:
    found = await connection.fetch(
        "SELECT account_id, table_name, days::text, run_id FROM recon_changes"
    )
    assert all(row["run_id"] is None for row in found)
    return {(row["account_id"], row["table_name"], row["days"] or "") for row in found}


async def _restore(removed: RemovedRows, *ids: int) -> list[Restored]:
    return [result async for result in removed.restore(ids)]


async def _restored(removed: RemovedRows, removed_id: int) -> str:
    [result] = await _restore(removed, removed_id)
    assert result.is_there, result.sentence
    return result.sentence


async def _refused(removed: RemovedRows, connection: Connection, removed_id: int) -> str:
    """What a refusal says; it changes nothing at all."""
    before = (await _rows(connection), await _copies(connection), await _changes(connection))
    [result] = await _restore(removed, removed_id)
    assert not result.is_there, result.sentence
    assert (
        await _rows(connection),
        await _copies(connection),
        await _changes(connection),
    ) == before
    return result.sentence


@pytest.mark.parametrize("reason", ["removed", "overwritten", "moved"])
async def test_a_row_that_is_gone_is_stored_again_with_every_digit(
    connection: Connection, removed: RemovedRows, reason: str
) -> None:
    await _store(connection)
    before = await _rows(connection)
    removed_id = await _keep(connection, reason)
    await connection.execute("DELETE FROM raw_trades_closed")
    assert (
        await _restored(removed, removed_id)
        == "raw_trades_closed 8/1/007/55/56 of 2024-01-30 is stored again."
    )
    assert await _rows(connection) == before
    assert await _changes(connection) == {("a", _CLOSED, "{[2024-01-30,2024-01-31)}")}
    [listed] = await removed.page(Wanted(), 10)
    assert listed.restored_at is not None


async def test_metrics_that_were_put_aside_under_a_placeholder_come_back_under_it(
    connection: Connection, removed: RemovedRows
) -> None:
    table = "raw_metrics_alltime"
    await _store(
        connection, table, {"account_id": "0" * 32, "login": "7", "net_profit": Decimal("-0.10")}
    )
    before = await _rows(connection, table)
    removed_id = await _keep(connection, "placeholder", table)
    await connection.execute("DELETE FROM raw_metrics_alltime")
    assert (
        await _restored(removed, removed_id) == f"raw_metrics_alltime {'0' * 32} is stored again."
    )
    assert await _rows(connection, table) == before
    assert await _changes(connection) == {("0" * 32, table, "")}


@pytest.mark.parametrize("reason", ["removed", "moved", "placeholder"])
async def test_a_key_that_another_row_has_now_is_left_to_it(
    connection: Connection, removed: RemovedRows, reason: str
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, reason)
    await connection.execute("UPDATE raw_trades_closed SET close_price = 2")
    assert "another row has its key now" in await _refused(removed, connection, removed_id)


@pytest.mark.parametrize("reason", list(Reason))
async def test_a_row_that_stands_just_so_is_left_and_the_copy_can_still_be_used(
    connection: Connection, removed: RemovedRows, reason: Reason
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, reason)
    assert "already stored like this" in await _restored(removed, removed_id)
    assert (await _copies(connection), await _changes(connection)) == (1, set())
    [listed] = await removed.page(Wanted(), 10)
    assert listed.restored_at is None


async def test_an_overwritten_row_gets_its_values_back_and_what_it_held_is_kept(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    old = await _rows(connection)
    removed_id = await _keep(connection, "overwritten")
    await connection.execute(
        "UPDATE raw_trades_closed SET close_price = 2.25, account_id = 'b', comment = NULL"
    )
    new = await _rows(connection)
    sentence = await _restored(removed, removed_id)
    assert await _rows(connection) == old
    assert await _changes(connection) == {
        ("a", _CLOSED, "{[2024-01-30,2024-01-31)}"),
        ("b", _CLOSED, "{[2024-01-30,2024-01-31)}"),
    }
    kept = (await removed.page(Wanted(), 1))[0]
    assert (kept.reason, kept.account_id, kept.run_id, kept.values["close_price"]) == (
        Reason.OVERWRITTEN,
        "b",
        None,
        "2.250000",
    )
    assert sentence.endswith(
        f"has its old values again; what it held until now is kept as {kept.removed_id}."
    )
    await _restored(removed, kept.removed_id)
    assert await _rows(connection) == new


async def test_of_several_copies_of_one_row_the_oldest_has_the_last_word(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    oldest = await _rows(connection)
    ids = [await _keep(connection, "overwritten")]
    await connection.execute("UPDATE raw_trades_closed SET close_price = 2")
    ids.append(await _keep(connection, "moved"))
    await connection.execute("UPDATE raw_trades_closed SET trade_date = $1", _SECOND)
    ids.append(await _keep(connection, "overwritten"))
    await connection.execute("UPDATE raw_trades_closed SET close_price = 3")
    ids.append(await _keep(connection, "removed"))
    await connection.execute("DELETE FROM raw_trades_closed")
    results = await _restore(removed, *ids, *ids)
    assert [(result.removed_id, result.is_there) for result in results] == [
        (removed_id, True) for removed_id in sorted(ids, reverse=True)
    ]
    assert await _rows(connection) == oldest


async def test_a_moved_trade_goes_back_to_its_date_and_can_be_sent_forth_again(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    old = await _rows(connection)
    removed_id = await _keep(connection, "moved")
    await connection.execute(
        "UPDATE raw_trades_closed SET trade_date = $1, close_price = 2", _SECOND
    )
    new = await _rows(connection)
    assert "2024-01-30 is back from 2024-02-02 with its old values" in await _restored(
        removed, removed_id
    )
    assert await _rows(connection) == old
    assert await _changes(connection) == {
        ("a", _CLOSED, "{[2024-01-30,2024-01-31),[2024-02-02,2024-02-03)}")
    }
    kept = (await removed.page(Wanted(), 1))[0]
    assert (kept.reason, kept.date) == (Reason.MOVED, _SECOND)
    await _restored(removed, kept.removed_id)
    assert await _rows(connection) == new


@pytest.mark.parametrize("trades", [1, 3])
@pytest.mark.parametrize("restored", ["run", "newest first", "move alone", "trial"])
async def test_a_trade_that_a_run_moved_and_corrected_goes_back_to_its_date_once(
    connection: Connection, removed: RemovedRows, trades: int, restored: str
) -> None:
    for number in range(trades):
        await _store(connection, ticket=str(number), ingestion_timestamp=_INGESTED)
    old = await _rows(connection)
    run_id = uuid.uuid4()
    # As a run writes a part: in one transaction, the moves first. A trigger may stamp each write.
    async with connection.transaction():
        await _keep(connection, "moved", run_id=run_id)
        await connection.execute(
            "UPDATE raw_trades_closed SET trade_date = $1, ingestion_timestamp = now()", _SECOND
        )
        await _keep(connection, "overwritten", run_id=run_id)
        await connection.execute("UPDATE raw_trades_closed SET close_price = 2")
    new = await _rows(connection)
    copies = await removed.page(Wanted(run_id=run_id), 10)
    ids = [copy.removed_id for copy in copies]
    if restored == "trial":
        told = [each async for each in removed.restore(ids, Way(is_trial=True))]
        assert await _rows(connection) == new
    elif restored == "newest first":
        told = [each for removed_id in ids for each in await _restore(removed, removed_id)]
    elif restored == "move alone":
        told = await _restore(removed, *ids[trades:])
    else:
        told = await _restore(removed, *ids)
    assert all(each.is_there for each in told), [each.sentence for each in told]
    if restored != "trial":
        assert await _rows(connection) == old
    moves = [each.sentence for each in told if each.removed_id in ids[trades:]]
    assert len(moves) == trades
    assert all("2024-01-30 is back from 2024-02-02" in each for each in moves), moves


async def test_a_moved_trade_that_stands_under_several_dates_is_not_guessed(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "moved")
    await connection.execute("UPDATE raw_trades_closed SET trade_date = $1", _SECOND)
    await _store(connection, trade_date=_THIRD)
    sentence = await _refused(removed, connection, removed_id)
    assert "2024-02-02, 2024-03-03" in sentence
    assert "which one it became is unknown" in sentence


@pytest.mark.parametrize("reason", ["removed", "overwritten"])
async def test_a_trade_that_stands_under_another_date_is_not_stored_twice(
    connection: Connection, removed: RemovedRows, reason: str
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, reason)
    await connection.execute("UPDATE raw_trades_closed SET trade_date = $1", _SECOND)
    assert "stands under 2024-02-02 now" in await _refused(removed, connection, removed_id)


@pytest.mark.parametrize("reason", ["removed", "moved"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_double_that_a_run_took_away_stands_again_beside_the_other_row(
    connection: Connection, removed: RemovedRows, reason: str, *, together: bool
) -> None:
    await _store(connection, trade_date=_SECOND)
    await _store(connection, trade_date=_THIRD)
    await _store(connection, trade_date=_SECOND, ticket="57")
    before = await _rows(connection)
    await _keep(connection, reason, run_id=uuid.uuid4())
    await connection.execute(
        "DELETE FROM recon_removed_rows WHERE date = $1; ".replace("$1", f"'{_SECOND}'")
    )
    if reason == "removed":
        # Told by the copy, whoever wrote the other row since.
        await connection.execute("UPDATE recon_removed_rows SET right_date = $1", _SECOND)
        await connection.execute(
            "UPDATE raw_trades_closed SET ingestion_timestamp = now() WHERE trade_date = $1",
            _SECOND,
        )
        before = await _rows(connection)
    await connection.execute("DELETE FROM raw_trades_closed WHERE trade_date = $1", _THIRD)
    [copy] = await removed.page(Wanted(), 10)
    others = [await _keep(connection, "overwritten")] if together else []
    told = {each.removed_id: each async for each in removed.restore([copy.removed_id, *others])}
    assert (
        told[copy.removed_id].sentence
        == f"{copy.name} is stored again. The trade stands under {_SECOND}, too."
    )
    assert told[copy.removed_id].is_written
    assert await _rows(connection) == before


async def test_a_double_whose_place_another_row_has_is_refused_with_the_reason(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    await _store(connection, trade_date=_SECOND)
    removed_id = await _keep(connection, "removed", run_id=uuid.uuid4())
    await connection.execute("UPDATE recon_removed_rows SET right_date = $1", _FIRST)
    await connection.execute("UPDATE raw_trades_closed SET close_price = 2")
    assert "another row has its key now, and stays as it is" in await _refused(
        removed, connection, removed_id
    )


async def test_metrics_of_other_dates_are_no_moves(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection, _DAILY, {"account_id": "a", "date": _FIRST, "num_trades": 1})
    removed_id = await _keep(connection, "removed", _DAILY)
    await connection.execute("UPDATE raw_metrics_daily SET date = $1", _SECOND)
    await _restored(removed, removed_id)
    assert len(await _rows(connection, _DAILY)) == 2


async def test_a_second_restore_says_so_and_changes_nothing(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute("DELETE FROM raw_trades_closed")
    await _restored(removed, removed_id)
    await connection.execute("DELETE FROM raw_trades_closed")
    assert "it was restored already, at " in await _refused(removed, connection, removed_id)


async def test_of_restores_of_one_copy_at_once_one_wins(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "overwritten")
    await connection.execute("UPDATE raw_trades_closed SET close_price = 2")
    results = await asyncio.gather(*(_restore(removed, removed_id) for _ in range(4)))
    assert sorted(result.is_there for [result] in results) == [False, False, False, True]
    assert await _copies(connection) == 2


async def test_two_copies_of_one_row_restored_at_once_store_it_once(
    connection: Connection, removed: RemovedRows
) -> None:
    await connection.execute(_ODD_TABLE)
    await _store(connection, "raw_trades_open", _ODD)
    ids = [await _keep(connection, "removed", "raw_trades_open") for _ in range(4)]
    await connection.execute("DELETE FROM raw_trades_open")
    results = await asyncio.gather(*(_restore(removed, removed_id) for removed_id in ids))
    assert all(result.is_there for [result] in results)
    assert len(await _rows(connection, "raw_trades_open")) == 1


async def test_numbered_and_generated_columns_and_null_keys_come_back_too(
    connection: Connection, removed: RemovedRows
) -> None:
    await connection.execute(_ODD_TABLE)
    await _store(connection, "raw_trades_open", _ODD)
    before = await _rows(connection, "raw_trades_open")
    removed_id = await _keep(connection, "removed", "raw_trades_open")
    await connection.execute("DELETE FROM raw_trades_open")
    # The same trade at a broker is another trade.
    await _store(connection, "raw_trades_open", _ODD, broker="1")
    assert "raw_trades_open 8/-/7/5/6 of 2024-01-30" in await _restored(removed, removed_id)
    await connection.execute("DELETE FROM raw_trades_open WHERE broker IS NOT NULL")
    assert await _rows(connection, "raw_trades_open") == before
    assert await connection.fetchval("SELECT doubled FROM raw_trades_open") == Decimal("0.200000")


async def test_a_row_without_a_unique_key_is_written_where_it_stands_and_not_guessed_among_several(
    connection: Connection, removed: RemovedRows
) -> None:
    await connection.execute(_ODD_TABLE)
    await _store(connection, "raw_trades_open", _ODD)
    before = await _rows(connection, "raw_trades_open")
    removed_id = await _keep(connection, "overwritten", "raw_trades_open")
    await connection.execute("UPDATE raw_trades_open SET lots = 7")
    await _store(connection, "raw_trades_open", _ODD, lots=Decimal(9))
    [refused] = await _restore(removed, removed_id)
    assert (refused.is_there, "2 rows have its key now" in refused.sentence) == (False, True)
    await connection.execute("DELETE FROM raw_trades_open WHERE lots = 9")
    await _restored(removed, removed_id)
    assert await _rows(connection, "raw_trades_open") == before


async def test_a_row_is_found_by_its_place_without_reading_the_table(
    connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "overwritten")
    await connection.execute(
        "UPDATE raw_trades_closed SET close_price = 2; SET enable_seqscan = off; SET"
        " plan_cache_mode = force_generic_plan"
    )
    seen: list[str] = []
    composed = RowRestore._with_changed

    def watched(rows: RowRestore, name: str, shape: Shape) -> str:
        seen.append(composed(rows, name, shape))
        return seen[-1]

    monkeypatch.setattr(RowRestore, "_with_changed", watched)
    await _restored(RemovedRows(pool, ChangeFeed(pool)), removed_id)
    oid = await connection.fetchval("SELECT tableoid FROM raw_trades_closed")
    plan = "\n".join(
        row[0]
        for row in await connection.fetch(
            f"EXPLAIN {seen[0]}", removed_id, ["comment"], oid, (0, 1)
        )
    )
    assert "Tid Scan" in plan
    assert "Seq Scan on raw_trades_closed" not in plan


async def test_columns_that_the_table_lost_are_left_out_and_named_and_new_ones_get_their_default(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute("DELETE FROM raw_trades_closed")
    await connection.execute(
        "ALTER TABLE raw_trades_closed DROP COLUMN comment, DROP COLUMN swap, ADD COLUMN desk text"
        " DEFAULT 'x'"
    )
    assert "The table no longer has comment, swap: left out." in await _restored(
        removed, removed_id
    )
    assert await connection.fetchval("SELECT desk FROM raw_trades_closed") == "x"


async def test_copies_with_other_columns_come_back_each_with_its_own(
    connection: Connection, removed: RemovedRows
) -> None:
    ids = []
    more: tuple[dict[str, object], ...] = ({}, {}, {"desk": "y"}, {"desk": None})
    for ticket, values in enumerate(more):
        if ticket == 2:
            await connection.execute(
                "ALTER TABLE raw_trades_closed ADD COLUMN desk text DEFAULT 'x'"
            )
        await _store(connection, _CLOSED, {**_TRADE, **values}, ticket=str(ticket))
        ids.append(await _keep(connection, "removed"))
        await connection.execute("DELETE FROM raw_trades_closed")
    assert all(result.is_there for result in await _restore(removed, *ids))
    desks = await connection.fetch("SELECT desk FROM raw_trades_closed ORDER BY ticket")
    assert [row["desk"] for row in desks] == ["x", "x", "y", None]


async def test_a_value_that_the_column_now_holds_otherwise_is_named(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection, open_price=Decimal("1.123456"))
    removed_id = await _keep(connection, "removed")
    await connection.execute("DELETE FROM raw_trades_closed")
    await connection.execute(
        "ALTER TABLE raw_trades_closed ALTER open_price TYPE numeric(18,2), ALTER close_price TYPE"
        " numeric(18,2)"
    )
    # 1.500000 is 1.50; 1.123456 is not 1.12.
    assert (await _restored(removed, removed_id)).endswith(
        " The table now holds open_price in another form than the copy."
    )


_CHANGES_A_VALUE = """
CREATE FUNCTION round_price() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.open_price := round(NEW.open_price, 2); RETURN NEW; END';
CREATE TRIGGER rounding BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION round_price();
"""


@pytest.mark.parametrize("reason", ["removed", "overwritten"])
@pytest.mark.parametrize(
    ("change", "is_named"),
    [
        ("ALTER TABLE raw_trades_closed ALTER open_price TYPE numeric(18,2)", True),
        (_CHANGES_A_VALUE.format(table="raw_trades_closed"), True),
        (_CHANGES_A_VALUE.format(table="raw_trades_closed_2024_01"), True),
        ("ALTER TABLE raw_trades_closed ADD COLUMN desk text", False),
        ("SELECT 1", False),
    ],
    ids=["type", "trigger", "trigger of a partition", "another column", "nothing"],
)
async def test_a_set_names_each_row_that_the_table_now_holds_otherwise(
    connection: Connection, removed: RemovedRows, reason: str, change: str, *, is_named: bool
) -> None:
    for ticket in range(6):
        await _store(
            connection, ticket=str(ticket), open_price=Decimal("1.123456" if ticket % 2 else "1.5")
        )
    await _keep(connection, reason)
    before = await _rows(connection)
    await connection.execute(
        "DELETE FROM raw_trades_closed"
        if reason == "removed"
        else "UPDATE raw_trades_closed SET open_price = 7, lots = 9"
    )
    await connection.execute(change)
    results = await _restore(
        removed, *[row.removed_id for row in await removed.page(Wanted(reason=Reason(reason)), 10)]
    )
    assert [result.is_there for result in results] == [True] * 6
    named = [
        result
        for result in results
        if "The table now holds open_price in another form" in result.sentence
    ]
    assert len(named) == (3 if is_named else 0)
    stored = await connection.fetch(
        "SELECT open_price::text AS price FROM raw_trades_closed ORDER BY ticket"
    )
    assert [float(row["price"]) for row in stored] == [1.5, 1.12 if is_named else 1.123456] * 3
    if change == "SELECT 1":
        assert await _rows(connection) == before


async def test_a_copy_that_lacks_a_part_of_the_key_is_refused(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute(
        "DELETE FROM raw_trades_closed; UPDATE recon_removed_rows SET row_data = row_data -"
        " 'ticket'"
    )
    assert "the copy lacks ticket" in await _refused(removed, connection, removed_id)


async def test_a_row_that_the_table_refuses_stops_no_other(
    connection: Connection, removed: RemovedRows
) -> None:
    for ticket in ("1", "2", "3"):
        await _store(connection, ticket=ticket, side="up" if ticket == "2" else "buy")
    await _keep(connection, "removed")
    await connection.execute("DELETE FROM raw_trades_closed")
    await connection.execute(
        "ALTER TABLE raw_trades_closed ADD CONSTRAINT buy_or_sell CHECK (side IN ('buy', 'sell'))"
    )
    ids = [row.removed_id for row in await removed.page(Wanted(), 10)]
    results = await _restore(removed, *ids)
    assert [result.is_there for result in results] == [True, False, True]
    assert "buy_or_sell" in results[1].sentence
    # Not the row itself, which PostgreSQL quotes.
    assert results[1].sentence.endswith('violates check constraint "buy_or_sell".')


async def test_a_missing_partition_is_told(connection: Connection, removed: RemovedRows) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute("DROP TABLE raw_trades_closed_2024_01")
    assert "the table has no partition for its date" in await _refused(
        removed, connection, removed_id
    )
    await connection.execute(
        "SELECT recon_create_partitions('raw_trades_closed', ARRAY[date '2024-01-01'])"
    )
    await _restored(removed, removed_id)


async def test_a_narrower_key_of_the_table_keeps_the_row_that_has_it(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute("UPDATE raw_trades_closed SET login = '8'")
    await connection.execute(
        "CREATE UNIQUE INDEX one_position ON raw_trades_closed (platform, position, trade_date)"
    )
    assert "another row has its place in the unique key" in await _refused(
        removed, connection, removed_id
    )


@pytest.mark.parametrize("reason", ["removed", "overwritten"])
async def test_a_trigger_that_drops_the_row_is_told_and_leaves_no_copy(
    connection: Connection, removed: RemovedRows, reason: str
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, reason)
    await connection.execute(
        "DELETE FROM raw_trades_closed"
        if reason == "removed"
        else "UPDATE raw_trades_closed SET close_price = 2"
    )
    await connection.execute(
        "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL;"
        " END';CREATE TRIGGER dropping BEFORE INSERT OR UPDATE ON raw_trades_closed FOR EACH ROW"
        " EXECUTE FUNCTION drop_row()"
    )
    assert "a trigger of the table prevents the write" in await _refused(
        removed, connection, removed_id
    )


async def test_a_statement_that_postgresql_refuses_is_told(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute("DELETE FROM raw_trades_closed")
    await connection.execute(
        "CREATE RULE hands_off AS ON INSERT TO raw_trades_closed DO INSTEAD NOTHING"
    )
    assert "was not restored" in await _refused(removed, connection, removed_id)


async def test_what_a_writer_wrote_meanwhile_is_kept(
    database: Database, connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "overwritten")
    async with database.connect() as ingestion:
        transaction = ingestion.transaction()
        await transaction.start()
        await ingestion.execute("UPDATE raw_trades_closed SET close_price = 4")
        restoring = asyncio.create_task(_restore(removed, removed_id))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname ="
            " current_database()"
        )
        async with asyncio.timeout(PATIENCE):
            while not await connection.fetchval(waiting):  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.01)
        await transaction.commit()
    [result] = await restoring
    assert result.is_there
    assert await connection.fetchval("SELECT close_price FROM raw_trades_closed") == Decimal("1.5")
    assert (await removed.page(Wanted(), 1))[0].values["close_price"] == "4.000000"


async def test_a_row_that_somebody_holds_is_told_and_left(
    database: Database,
    connection: Connection,
    removed: RemovedRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.store.restore.restore._STATEMENT_SECONDS", 3.0)
    await _store(connection)
    removed_id = await _keep(connection, "overwritten")
    await connection.execute("UPDATE raw_trades_closed SET close_price = 2")
    async with database.connect() as ingestion, ingestion.transaction():
        await ingestion.execute("SELECT FROM raw_trades_closed FOR UPDATE")
        assert "others were writing it at each of 3 tries; restore it again" in await _refused(
            removed, connection, removed_id
        )
    await _restored(removed, removed_id)


async def test_an_unknown_id_is_named_before_anything_is_restored(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    removed_id = await _keep(connection, "removed")
    await connection.execute("DELETE FROM raw_trades_closed")
    with pytest.raises(NotFound, match="4711"):
        await _restore(removed, removed_id, 4711)
    assert await _rows(connection) == []


async def test_a_run_is_undone_but_for_what_was_restored_of_it_before(
    connection: Connection, removed: RemovedRows
) -> None:
    run_id = uuid.uuid4()
    await _store(connection)
    ids = [
        await _keep(connection, "overwritten", run_id=run_id),
        await _keep(connection, "removed", run_id=run_id),
    ]
    await _keep(connection, "removed", run_id=uuid.uuid4())
    await connection.execute("DELETE FROM raw_trades_closed")
    assert await removed.waiting_of_run(run_id) == ids[::-1]
    await _restored(removed, ids[1])
    assert await removed.waiting_of_run(run_id) == [ids[0]]
    with pytest.raises(NotFound, match="Nothing was restored"):
        await removed.waiting_of_run(uuid.uuid4())


async def test_copies_are_listed_newest_first_by_what_is_asked_and_page_by_page(
    connection: Connection, removed: RemovedRows
) -> None:
    run_id = uuid.uuid4()
    await _store(connection)
    await _store(connection, _DAILY, {"account_id": "b", "date": _FIRST, "num_trades": 1})
    first = await _keep(connection, "removed", run_id=run_id)
    second = await _keep(connection, "overwritten", _DAILY, account_id="b", run_id=run_id)
    third = await _keep(connection, "moved", account_id=None)

    async def listed(wanted: Wanted, limit: int = 10, before: int | None = None) -> list[int]:
        return [row.removed_id for row in await removed.page(wanted, limit, before)]

    assert await listed(Wanted()) == [third, second, first]
    assert await listed(Wanted(), 2) == [third, second]
    assert await listed(Wanted(), 2, second) == [first]
    assert await listed(Wanted(account_id="b")) == [second]
    assert await listed(Wanted(table=_CLOSED)) == [third, first]
    assert await listed(Wanted(run_id=run_id)) == [second, first]
    assert await listed(Wanted(reason=Reason.MOVED)) == [third]
    assert await listed(Wanted(account_id="a", table=_DAILY)) == []


@pytest.mark.parametrize(
    ("place", "value", "index"),
    [
        (0, "a7", "recon_removed_rows_of_account"),
        (2, uuid.UUID(int=7), "recon_removed_rows_of_run"),
        (3, "placeholder", "recon_removed_rows_of_reason"),
        (4, 900, "recon_removed_rows_pkey"),
    ],
)
async def test_a_long_history_is_listed_from_an_index(
    connection: Connection, pool: Pool, place: int, value: object, index: str
) -> None:
    await connection.execute(
        "INSERT INTO recon_removed_rows (run_id, account_id, table_name, reason, row_data) SELECT"
        " lpad((n % 500)::text, 32, '0')::uuid, 'a' || n % 500, 'raw_metrics_daily', CASE WHEN n %"
        " 1000 = 0 THEN 'placeholder' ELSE 'overwritten' END, '{}' FROM generate_series(1, 50000)"
        " AS n;ANALYZE recon_removed_rows"
    )
    arguments = [value if each == place else None for each in range(5)]
    plan = await connection.fetch(
        f"EXPLAIN (FORMAT TEXT) {pool.queries('restore/restore')['list_removed_rows']}",
        *arguments,
        50,
    )
    lines = "\n".join(row[0] for row in plan)
    assert f"using {index} " in lines
    assert "Sort" not in lines


async def test_a_copy_is_listed_as_the_text_that_it_is(
    connection: Connection, removed: RemovedRows
) -> None:
    await _store(connection)
    await _keep(connection, "removed")
    [row] = await removed.page(Wanted(), 1)
    exact = json.loads(row.row, parse_float=Decimal)
    assert (str(exact["close_price"]), str(exact["open_price"])) == (
        "1.500000",
        "123456789012.123456",
    )
    assert row.values["comment"] == _TRADE["comment"]
    assert row.values["fee"] is None


async def _state(connection: Connection) -> list[str]:
    """Everything that a restore could change: the rows, the copies with when they were restored,
    the feed.
    """
    found = [
        row[0]
        for row in await connection.fetch(
            "SELECT c::text FROM recon_removed_rows AS c ORDER BY removed_id"
        )
    ]
    return [
        *await _rows(connection),
        *await _rows(connection, _DAILY),
        *found,
        *map(str, sorted(await _changes(connection))),
    ]


async def _drawn_run(connection: Connection, chance: random.Random, rows: int) -> list[int]:
    """A history of trades that runs overwrote, moved and removed, some of them several times, and
    that others wrote meanwhile.
    """
    ids = []
    for number in range(rows):
        day = chance.choice((_FIRST, _SECOND))
        await _store(
            connection,
            ticket=str(number),
            account_id=f"a{number % 7}",
            trade_date=day,
            ingestion_timestamp=_INGESTED,
        )
    for _ in range(3):
        for reason, change in (
            ("overwritten", "UPDATE raw_trades_closed SET close_price = close_price + 1"),
            ("moved", f"UPDATE raw_trades_closed SET trade_date = date '{_THIRD}'"),
            ("removed", "DELETE FROM raw_trades_closed"),
        ):
            drawn = [str(number) for number in chance.sample(range(rows), rows // 4)]
            which = " AS t WHERE ticket = ANY($1::text[])" + (
                f" AND trade_date <> '{_THIRD}'" if reason == "moved" else ""
            )
            async with connection.transaction():
                kept = await connection.fetch(
                    "INSERT INTO recon_removed_rows (run_id, account_id, table_name, date, reason,"
                    f" row_data) SELECT $2, account_id, '{_CLOSED}', trade_date, '{reason}',"
                    f" to_jsonb(t) FROM {_CLOSED}{which} RETURNING removed_id",
                    drawn,
                    uuid.UUID(int=1),
                )
                await connection.execute(change + which.replace(" AS t", ""), drawn)
            ids += [row["removed_id"] for row in kept]
    others = [str(number) for number in chance.sample(range(rows), rows // 6)]
    await connection.execute(
        "UPDATE raw_trades_closed SET profit = 1, ingestion_timestamp = '2030-01-01' WHERE ticket ="
        " ANY($1::text[])",
        others,
    )
    return ids


@pytest.mark.parametrize("seed", range(3))
async def test_sets_end_just_as_one_by_one(
    connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What came of each copy, every row and every slice of the feed are the same, however the
    copies are put together.
    """
    ends = []
    for most in (1, 7, 1000):
        await connection.execute(
            "TRUNCATE raw_trades_closed, recon_removed_rows, recon_changes RESTART IDENTITY"
        )
        monkeypatch.setattr("app.store.restore.restore._SET", most)
        ids = await _drawn_run(connection, random.Random(seed), 40)
        results = await _restore(RemovedRows(pool, ChangeFeed(pool)), *ids)
        told = {
            result.removed_id: (
                result.is_there,
                re.sub(r"kept as \d+", "kept", result.sentence),
                dict(result.changed),
            )
            for result in results
        }
        ends.append(
            (
                told,
                await _rows(connection),
                await _copies(connection),
                await _changes_by_day(connection),
            )
        )
        assert {is_there for is_there, *_ in told.values()} == {True, False}
    assert ends[0] == ends[1] == ends[2]


async def _changes_by_day(connection: Connection) -> set[tuple[str, ...]]:
    rows = await connection.fetch(
        "SELECT DISTINCT account_id, lower(span)::text AS day FROM recon_changes CROSS JOIN LATERAL"
        " unnest(days) AS span"
    )
    return {tuple(row) for row in rows}


@pytest.mark.parametrize("seed", range(3))
async def test_a_trial_tells_what_comes_of_each_and_changes_nothing(
    connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("app.store.restore.restore._SET", 25)
    ids = await _drawn_run(connection, random.Random(100 + seed), 40)
    await connection.execute(
        "ALTER TABLE raw_trades_closed ADD CONSTRAINT odd CHECK (ticket NOT LIKE '%3') NOT VALID"
    )
    removed = RemovedRows(pool, ChangeFeed(pool))
    before = await _state(connection)
    tried = {
        result.removed_id: result.is_there
        async for result in removed.restore(ids, Way(is_trial=True))
    }
    assert await _state(connection) == before
    done = {result.removed_id: result.is_there for result in await _restore(removed, *ids)}
    assert tried == done
    assert set(done.values()) == {True, False}


async def test_rows_that_are_refused_cost_a_set_only_themselves(
    connection: Connection, removed: RemovedRows
) -> None:
    """Halving finds them: far fewer transactions than rows."""
    await connection.executemany(
        f"INSERT INTO raw_trades_closed ({', '.join(_TRADE)}) VALUES"
        f" ({', '.join(f'${place}' for place in range(1, len(_TRADE) + 1))})",
        [
            [str(number) if column == "ticket" else value for column, value in _TRADE.items()]
            for number in range(200)
        ],
    )
    await _keep(connection, "removed")
    await connection.execute(
        "DELETE FROM raw_trades_closed; ALTER TABLE raw_trades_closed ADD CONSTRAINT odd CHECK"
        " (ticket <> '77')"
    )
    ids = [row.removed_id for row in await removed.page(Wanted(), 1000)]
    before = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
    results = await _restore(removed, *ids)
    (refused,) = (result for result in results if not result.is_there)
    assert (
        refused.sentence.startswith("raw_trades_closed 8/1/007/55/77 of"),
        '"odd"' in refused.sentence,
    ) == (True, True)
    assert len(await _rows(connection)) == 199
    assert await connection.fetchval("SELECT pg_current_xact_id()::text::bigint") - before < 60
