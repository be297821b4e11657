"""The change feed: every slice that was committed, once, in an order that a reader's cursor can
follow.
"""

import asyncio
import datetime as dt
import random
import re
import uuid
from collections.abc import AsyncIterator, Collection, Mapping

import pytest

from app.errors import RowRefused
from app.store.change_feed import ChangeFeed, FeedEntry
from app.store.database.pool import Database as Pool
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Database

_TABLE = "raw_metrics_daily"
_DAY = dt.date(2024, 2, 28)
_ALL = 10_000
_FEED_LOCKS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _days(*offsets: int) -> set[dt.date | None]:
    return {_DAY + dt.timedelta(days=offset) for offset in offsets}


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with Pool.open(database.dsn, database.schema, pool_size=40) as pool:
        yield pool


async def _noted(
    pool: Pool,
    changed: Mapping[str, Collection[dt.date | None]],
    *,
    run_id: uuid.UUID | None = None,
    table: str = _TABLE,
) -> None:
    async with pool.transaction("repeatable_read") as connection:
        await ChangeFeed(pool).note(connection, run_id, table, changed)


def _slices(changes: Collection[FeedEntry]) -> list[tuple[str, dt.date | None]]:
    return [(change.account_id, change.date) for change in changes]


async def test_a_reader_that_polls_while_many_transactions_commit_misses_nothing_and_sees_nothing_twice(
    pool: Pool,
) -> None:
    writers, rounds = 25, 12
    feed = ChangeFeed(pool)

    async def write(number: int) -> None:
        for turn in range(rounds):
            async with pool.transaction("repeatable_read") as connection:
                # The snapshot is older than the commits of the others.
                await connection.fetch_value("SELECT count(*) FROM pg_class")
                await feed.note(
                    connection,
                    None,
                    _TABLE,
                    {f"{number}-{turn}": _days(turn), f"{number}-{turn}-too": _days(0, 1)},
                )
                # A commit that takes its time: ids that were given out earlier become visible
                # later, unless the lock forbids it.
                await connection.execute("SELECT pg_sleep($1)", random.random() * 0.005)

    async def read() -> list[FeedEntry]:
        seen: list[FeedEntry] = []
        cursor, is_last = 0, False
        while True:
            page = await feed.since(cursor, 100)
            seen += page.changes
            assert page.next >= cursor
            cursor = page.next
            if not page.more:
                if is_last:
                    return seen
                is_last = writing.done()
                await asyncio.sleep(0)

    writing = asyncio.gather(*(write(number) for number in range(writers)))
    seen = await read()
    await writing
    assert len(seen) == len(set(_slices(seen))) == writers * rounds * 3
    assert [change.changed_at for change in seen] == sorted(change.changed_at for change in seen)
    assert (await feed.since(0, _ALL)).changes == tuple(seen)


async def test_a_transaction_that_got_its_ids_first_and_commits_last_is_not_missed(
    pool: Pool,
) -> None:
    feed = ChangeFeed(pool)
    async with pool.transaction("repeatable_read") as slow:
        await feed.note(slow, None, _TABLE, {"first": _days(0)})
        fast = asyncio.create_task(_noted(pool, {"second": _days(0)}))
        while not fast.done() and not await pool.fetch_value(f"{_FEED_LOCKS} AND NOT granted"):  # noqa: ASYNC110 - another process's event
            await asyncio.sleep(0.01)
        before = await feed.since(0, _ALL)
    await fast
    after = await feed.since(before.next, _ALL)
    assert _slices([*before.changes, *after.changes]) == [("first", _DAY), ("second", _DAY)]


async def test_a_change_that_is_undone_is_not_in_the_feed(pool: Pool) -> None:
    async def undo() -> None:
        async with pool.transaction("repeatable_read") as connection:
            await ChangeFeed(pool).note(connection, None, _TABLE, {"undone": _days(0)})
            raise LookupError

    with pytest.raises(LookupError):
        await undo()
    await _noted(pool, {"kept": _days(0)})
    assert _slices((await ChangeFeed(pool).since(0, _ALL)).changes) == [("kept", _DAY)]


async def test_a_transaction_makes_one_row_for_an_account_and_table_however_many_dates_it_wrote(
    pool: Pool,
) -> None:
    run_id = uuid.uuid4()
    await _noted(
        pool,
        {"many": _days(*range(0, 4000, 2), *range(5000, 7000)), "few": _days(0), "none": []},
        run_id=run_id,
    )
    rows = await pool.fetch(
        "SELECT account_id, entries, run_id FROM prop_trading_model.recon_changes ORDER BY"
        " change_id"
    )
    assert [tuple(row) for row in rows] == [("few", 1, run_id), ("many", 4000, run_id)]


async def test_dates_come_back_as_they_were_written_in_order_and_in_every_time_zone(
    database: Database,
) -> None:
    written: dict[str, set[dt.date | None]] = {
        "alltime": {None},
        "edges": {dt.date.min, dt.date.max},
        "gaps": _days(9, 0, 1, 2, 8, 400),
        # A day on which Brazil's clocks had no midnight.
        "no midnight": {dt.date(2017, 10, 14), dt.date(2017, 10, 15), dt.date(2017, 10, 16)},
        "with and without": {None, _DAY},
    }
    async with database.connect() as connection:
        await connection.execute(
            f"ALTER DATABASE {await connection.fetchval('SELECT current_database()')} SET timezone"
            " = 'America/Sao_Paulo'"
        )
    async with Pool.open(database.dsn, database.schema) as pool:
        await _noted(pool, written)
        found = _slices((await ChangeFeed(pool).since(0, _ALL)).changes)
    assert len(found) == len(set(found))
    assert {
        account_id: {day for owner, day in found if owner == account_id} for account_id in written
    } == written
    assert [day for owner, day in found if owner == "gaps"] == sorted(
        _days(9, 0, 1, 2, 8, 400), key=str
    )


async def test_a_page_holds_whole_changes_at_least_one_and_as_many_as_fit(pool: Pool) -> None:
    feed = ChangeFeed(pool)
    await _noted(pool, {"a": _days(*range(5)), "b": _days(0), "c": _days(0, 1), "d": {None}})

    async def pages(limit: int) -> list[list[str]]:
        found, cursor, more = [], 0, True
        while more:
            page = await feed.since(cursor, limit)
            found.append([change.account_id for change in page.changes])
            cursor, more = page.next, page.more
        return found

    assert await pages(1) == [["a"] * 5, ["b"], ["c"] * 2, ["d"]]
    assert await pages(3) == [["a"] * 5, ["b", "c", "c"], ["d"]]
    assert await pages(8) == [[*["a"] * 5, "b", "c", "c"], ["d"]]
    assert await pages(9) == [[*["a"] * 5, "b", "c", "c", "d"]]


async def test_without_anything_new_the_cursor_stays_where_it_is(pool: Pool) -> None:
    feed = ChangeFeed(pool)
    empty = await feed.since(0, 10)
    assert (empty.changes, empty.next, empty.more) == ((), 0, False)
    await _noted(pool, {"a": _days(0)})
    end = (await feed.since(0, 10)).next
    again = await feed.since(end, 10)
    assert (again.changes, again.next, again.more) == ((), end, False)


async def test_nothing_is_written_where_nothing_changed(pool: Pool) -> None:
    await _noted(pool, {})
    await _noted(pool, {"a": ()})
    assert await pool.fetch_value("SELECT count(*) FROM prop_trading_model.recon_changes") == 0


async def test_what_waits_for_the_commit_is_checked_before_the_feed_is_locked(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE prop_trading_model.deferred (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    )

    async def break_it() -> None:
        async with pool.transaction("repeatable_read") as connection:
            await connection.execute("INSERT INTO prop_trading_model.deferred VALUES (1), (1)")
            try:
                await ChangeFeed(pool).note(connection, None, _TABLE, {"a": _days(0)})
            finally:
                assert await pool.fetch_value(_FEED_LOCKS) == 0

    with pytest.raises(RowRefused):
        await break_it()


async def test_the_feeds_of_two_schemas_do_not_wait_for_each_other(
    database: Database, pool: Pool
) -> None:
    await migrate(database.dsn, "other")
    async with (
        Pool.open(database.dsn, "other") as other,
        pool.transaction("repeatable_read") as holding,
    ):
        await ChangeFeed(pool).note(holding, None, _TABLE, {"a": _days(0)})
        await _noted(other, {"b": _days(0)})
        assert _slices((await ChangeFeed(other).since(0, _ALL)).changes) == [("b", _DAY)]


async def test_a_page_of_a_long_feed_is_read_by_the_key_alone(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO prop_trading_model.recon_changes (account_id, table_name, days, entries)"
        f" SELECT 'a' || n, '{_TABLE}', datemultirange(daterange('2024-01-01', '2024-01-04')), 3"
        " FROM generate_series(1, 20000) AS n"
    )
    await pool.execute("ANALYZE prop_trading_model.recon_changes")
    statement = pool.queries("change_feed")["get_changes"]
    plan = "\n".join(
        row[0]
        for row in await pool.fetch(
            f"EXPLAIN {statement}".replace("$1", "10000").replace("$2", "1000")
        )
    )
    assert "Seq Scan" not in plan, plan
    assert re.search(r"Index Cond: \(\(change_id > .* AND \(change_id <= ", plan), plan
