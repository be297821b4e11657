"""Staging counts what proves a fetch: as many distinct rows as came."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from app.domain.contract.tables import Endpoint
from app.engine.repositories import Repositories
from app.errors import DatabaseUnavailable
from app.store.database.pool import Database as Pool
from app.store.schema.migrations.migrate import migrate
from app.store.staging.sink import StageSink
from tests.conftest import Database
from tools.rendered.warehouse import catalogue

_TRADE = {
    "login": "007",
    "platform": 5,
    "broker": 1,
    "position": "1",
    "ticket": "1",
    "tradeDate": "2026-01-02",
    "lots": 1,
}
_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'trade-recon' AND wait_event_type = 'Lock'
"""


def _row(**fields: object) -> bytes:
    return json.dumps({**_TRADE, **fields}).encode()


@pytest.fixture
async def sink(database: Database) -> AsyncIterator[StageSink]:
    async with Pool.open(database.dsn, database.schema) as pool:
        store = await Repositories.build(pool, 60)
        yield await store.staging.begin(Endpoint.CLOSED)


async def test_rows_of_one_key_count_once_however_its_parts_are_written(sink: StageSink) -> None:
    await sink.add(
        [
            _row(),
            _row(platform="5"),
            _row(tradeDate="20260102"),
            _row(tradeDate="2026-01-02T00:00:00.000Z", lots=2),
        ]
    )
    assert await sink.distinct_keys() == 1


async def test_leading_zeros_and_case_tell_keys_apart(sink: StageSink) -> None:
    await sink.add(
        [_row(), _row(login="7"), _row(ticket="01"), _row(position="a"), _row(position="A")]
    )
    assert await sink.distinct_keys() == 5


async def test_rows_of_others_alone_are_no_answer_to_what_was_asked(database: Database) -> None:
    async with Pool.open(database.dsn, database.schema) as pool:
        store = await Repositories.build(pool, 60)
        asked = await store.staging.begin(Endpoint.CLOSED, ["007", "8"])
        await asked.add([_row(login="7"), _row(login="9")])
        assert not await asked.is_of_asked()
        await asked.add([_row(login="007")])
        assert await asked.is_of_asked()
        unread = await store.staging.begin(Endpoint.CLOSED, ["8"])
        await unread.add([_row(ticket=None)])
        assert await unread.is_of_asked()
        of_all = await store.staging.begin(Endpoint.CLOSED)
        await of_all.add([_row()])
        assert await of_all.is_of_asked()


async def test_a_row_without_a_key_that_comes_twice_counts_once(sink: StageSink) -> None:
    # In the answer to a later page: within one page the client sees it itself.
    await sink.add([_row(ticket=None), _row(ticket=None, lots=2), _row(comment="zero \0 byte")])
    assert await sink.distinct_keys() == 3
    await sink.add([_row(ticket=None), _row(comment="zero \0 byte")])
    assert (sink.staged.rows, await sink.distinct_keys()) == (5, 3)


async def test_a_fetch_whose_worker_counts_as_dead_is_dropped_and_takes_no_more_rows(
    database: Database, sink: StageSink
) -> None:
    await sink.add([_row()])
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        store = await Repositories.build(pool, 60)
        assert await store.staging.purge_dead(60) == 1
        for row in (_row(), _row(ticket=None), _row(comment="zero \0 byte")):
            with pytest.raises(DatabaseUnavailable, match="fetched again"):
                await sink.add([row])
        assert await connection.fetchval("SELECT count(*) FROM recon_stage_closed") == 0


async def test_what_could_not_be_dropped_since_the_connection_died_is_dropped_later(
    database: Database, sink: StageSink
) -> None:
    await sink.add([_row()])
    async with (
        Pool.open(database.dsn, database.schema) as pool,
        database.connect() as connection,
        database.connect() as other,
    ):
        store = await Repositories.build(pool, 60)
        await store.claims.beat()
        mine = await store.staging.begin(Endpoint.CLOSED)
        await mine.add([_row()])
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE recon_fetches")
        dropping = asyncio.create_task(mine.forget())
        while (pid := await other.fetchval(_WAITING)) is None:  # noqa: ASYNC110 - another session's event
            await asyncio.sleep(0.01)
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(DatabaseUnavailable):
            await dropping
        await transaction.rollback()
        assert await store.staging.purge_dead(60) == 2
        assert await store.staging.purge_dead(60) == 0
        assert await connection.fetchval("SELECT count(*) FROM recon_fetches") == 0


async def test_a_fetch_that_broke_off_while_it_began_is_dropped_though_its_worker_lives(
    database: Database,
) -> None:
    async with (
        Pool.open(database.dsn, database.schema) as pool,
        database.connect() as connection,
        database.connect() as other,
    ):
        store = await Repositories.build(pool, 60)
        await store.claims.beat()
        transaction = connection.transaction()
        await transaction.start()
        # The registration is stored before the connection dies at the next question.
        await connection.execute("LOCK TABLE recon_shared_ids")
        beginning = asyncio.create_task(store.staging.begin(Endpoint.DAILY))
        while (pid := await other.fetchval(_WAITING)) is None:  # noqa: ASYNC110 - another session's event
            await asyncio.sleep(0.01)
        assert await other.fetchval("SELECT count(*) FROM recon_fetches") == 1
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(DatabaseUnavailable):
            await beginning
        await transaction.rollback()
        assert await store.staging.purge_dead(60) == 1
        assert await connection.fetchval("SELECT count(*) FROM recon_fetches") == 0


async def test_a_page_that_is_staged_while_its_fetch_is_dropped_leaves_no_row(
    database: Database, sink: StageSink
) -> None:
    await sink.add([_row()])
    async with database.connect() as connection, database.connect() as other:
        transaction = connection.transaction()
        await transaction.start()
        # As a page does that PostgreSQL still stages though nobody waits for its answer any more.
        await connection.execute("SELECT FROM recon_fetches FOR KEY SHARE")
        await connection.execute(
            "INSERT INTO recon_stage_closed (fetch_id, ordinal) SELECT fetch_id, 7 FROM"
            " recon_fetches"
        )
        dropping = asyncio.create_task(sink.forget())
        while await other.fetchval(_WAITING) is None:  # noqa: ASYNC110 - another session's event
            await asyncio.sleep(0.01)
        await transaction.commit()
        await dropping
        assert await other.fetchval("SELECT count(*) FROM recon_stage_closed") == 0


async def test_another_spelling_of_an_id_is_the_account_that_was_asked_for_unless_its_natural_key_is_anothers(
    database: Database,
) -> None:
    row = {"login": "007", "mt_version": 5, "broker": 1, "date": "2026-01-02", "numTrades": 1}
    sent = ["aB-1", "AB-1", "\u200bab-1\u00a0", "Ab-2", "aB-3", "AB-3"]
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as c:
        await c.execute(
            "INSERT INTO recon_identity (login, platform, broker, account_id, today, counts) SELECT"
            " login, '5', '1', id, true, true FROM (VALUES ('007', 'aB-1'), ('008', 'aB-2')) AS"
            " known (login, id)"
        )
        store = await Repositories.build(pool, 60)
        asked = await store.staging.begin(Endpoint.DAILY, ["aB-1", "aB-2", "Ab-3", "ab-3"])
        await asked.add([json.dumps({**row, "accountId": each}).encode() for each in sent])
        staged = await c.fetch("SELECT account_id FROM recon_stage_daily ORDER BY ordinal")
    # Ab-2 comes with a key that aB-2 does not have; of two ids that differ in case alone none is
    # meant by a third.
    assert [each["account_id"] for each in staged] == [
        "aB-1",
        "aB-1",
        "aB-1",
        "Ab-2",
        "aB-3",
        "AB-3",
    ]


@pytest.mark.parametrize(
    "sql_type", ["smallint", "integer", "bigint", "numeric", "numeric(12,2)", "double precision"]
)
@pytest.mark.parametrize("column", ["ticket", "position"])
async def test_only_a_text_of_digits_is_a_key_part_in_a_column_of_numbers(
    database: Database, column: str, sql_type: str
) -> None:
    async with database.connect() as connection:
        await connection.execute(
            f"ALTER TABLE raw_trades_closed ALTER COLUMN {column} TYPE {sql_type} USING"
            f" {column}::{sql_type}"
        )
    await migrate(database.dsn, database.schema)
    texts = ["1e3", "0x1F", "12.5", "NaN", "Infinity", "1_000", "W7", "+5", "1.0", "0b11", "٣"]
    digits = {"17": 17, " 18 ": 18, "-19": -19, "0020": 20}
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        store = await Repositories.build(pool, 60)
        sink = await store.staging.begin(Endpoint.CLOSED)
        await sink.add([_row(**{column: text}) for text in [*digits, *texts]])
        rows = await connection.fetch(
            f"SELECT {column} AS part, refused FROM recon_stage_closed ORDER BY ordinal"
        )
    assert [None if row["part"] is None else int(row["part"]) for row in rows] == [
        *digits.values(),
        *[None] * len(texts),
    ]
    assert [row["refused"] is None for row in rows] == [True] * len(digits) + [False] * len(texts)
    assert all(
        f"key part {column} is a text, which the column cannot hold" in row["refused"]
        for row in rows[len(digits) :]
    )


async def test_rendered_sql_is_composed_for_the_tables_that_a_fresh_install_makes(
    database: Database,
) -> None:
    async with Pool.open(database.dsn, database.schema) as pool:
        store = await Repositories.build(pool, 60)
        assert store.catalogue.is_like(catalogue())
