"""Rows that ingestion writes after a fetch began are newer than it, wherever they lie: the fetch
leaves them alone.
"""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, ClaimId, Login
from app.engine.repositories import Repositories
from app.store.apply.context import WriteContext
from app.store.apply.fingerprints import Slice
from app.store.apply.results import Applied
from app.store.database.pool import Database as Pool
from tests.conftest import Database

if TYPE_CHECKING:
    import asyncpg

D1, D2 = dt.date(2026, 1, 5), dt.date(2026, 2, 7)
_LEASE = 60.0


class _Fetching:
    """A warehouse with two accounts, and a fetch of closed trades that others may meet before it is
    written.
    """

    def __init__(
        self,
        store: Repositories,
        connection: "asyncpg.Connection[asyncpg.Record]",
        writer: WriteContext,
    ) -> None:
        self.connection = connection
        self._store = store
        self._writer = writer

    async def apply(
        self, trades: Sequence[tuple[str, int, dt.date, float]], meanwhile: str = "SELECT 1"
    ) -> dict[str, Applied]:
        """Read trades of d1 as upstream sends them (login, position, date, profit); write them
        after somebody did something.
        """
        proven = Slice(Endpoint.CLOSED, ("a", "b"), (D1, D1))
        before = await self._store.applier.fingerprints(proven)
        sink = await self._store.staging.begin(Endpoint.CLOSED, ("1", "2"))
        await sink.add(
            [
                json.dumps(
                    {
                        "login": login,
                        "platform": 5,
                        "broker": 1,
                        "position": f"{position}",
                        "ticket": "t",
                        "tradeDate": f"{day}",
                        "profit": profit,
                    }
                ).encode()
                for login, position, day, profit in trades
            ]
        )
        assert await sink.distinct_keys() == len(trades)
        await sink.seal()
        await self._store.applier.resolve_trades(
            sink.staged, {AccountId("a"): [Login("1")], AccountId("b"): [Login("2")]}
        )
        await self.connection.execute(meanwhile)
        applied = await self._store.applier.apply(sink.staged, proven, before, self._writer)
        await sink.forget()
        return applied

    async def stored(self) -> list[tuple[object, ...]]:
        rows = await self.connection.fetch(
            "SELECT login, position, trade_date, profit::float FROM raw_trades_closed ORDER BY 1,"
            " 2, 3"
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def fetching(database: Database) -> AsyncIterator[_Fetching]:
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        store = await Repositories.build(pool, _LEASE)
        claim_id = ClaimId(uuid.uuid4())
        await connection.executemany(
            "INSERT INTO trade_recon (account_id, claim_id, claimed_by, claimed_at) VALUES ($1, $2,"
            " $2, now())",
            [(account_id, claim_id) for account_id in "ab"],
        )
        await connection.execute(
            "INSERT INTO raw_metrics_alltime (account_id, login, platform, broker, num_trades,"
            " first_trade_date) VALUES ('a', '1', 5, 1, 1, '2026-01-01'), ('b', '2', 5, 1, 1,"
            " '2026-01-01')"
        )
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', $1)", [D1, D2]
        )
        await store.sweep.run(dt.date(2026, 3, 1))
        yield _Fetching(store, connection, WriteContext(None, claim_id, 30.0, _LEASE))


_OF_INGESTION = (
    "INSERT INTO raw_trades_closed (account_id, login, platform, broker, position, ticket,"
    " trade_date, profit) VALUES ({owner}, '1', 5, 1, '7', 't', '" + f"{D2}" + "', 99)"
)


@pytest.mark.parametrize("owner", ["'a'", "NULL", "'b'", "'stranger'"])
async def test_a_trade_that_ingestion_stores_under_another_date_meanwhile_is_left_alone(
    owner: str, fetching: _Fetching
) -> None:
    applied = await fetching.apply(
        [("1", 7, D1, 1.0), ("2", 8, D1, 2.0)], _OF_INGESTION.format(owner=owner)
    )
    assert (applied["a"].left_alone, applied["a"].written) == (True, 0)
    # Nobody else waits for it.
    assert (applied["b"].left_alone, applied["b"].inserted) == (False, 1)
    assert await fetching.stored() == [("1", "7", D2, 99.0), ("2", "8", D1, 2.0)]
    # Read again, upstream has the last word.
    applied = await fetching.apply([("1", 7, D1, 1.0), ("2", 8, D1, 2.0)])
    assert (applied["a"].moved, applied["a"].updated) == (1, 1)
    assert await fetching.stored() == [("1", "7", D1, 1.0), ("2", "8", D1, 2.0)]


async def test_a_trade_that_ingestion_moves_out_of_the_slice_that_is_read_is_left_alone(
    fetching: _Fetching,
) -> None:
    await fetching.apply([("1", 7, D1, 1.0)])
    applied = await fetching.apply(
        [("1", 7, D1, 1.0)], f"UPDATE raw_trades_closed SET trade_date = '{D2}', profit = 99"
    )
    assert (applied["a"].left_alone, applied["a"].written) == (True, 0)
    assert await fetching.stored() == [("1", "7", D2, 99.0)]


async def test_a_trade_of_no_account_that_ingestion_moves_meanwhile_is_left_alone_and_named(
    fetching: _Fetching,
) -> None:
    await fetching.connection.execute(
        "INSERT INTO recon_identity (login, platform, broker, account_id, today, counts,"
        " valid_from, valid_to) VALUES ('1', '5', '1', 'twin', true, true, '2026-01-01',"
        " 'infinity')"
    )
    applied = await fetching.apply([("1", 7, D1, 1.0)], _OF_INGESTION.format(owner="NULL"))
    assert [account_id for account_id, done in applied.items() if done.written] == []
    assert sum(done.set_aside for done in applied.values()) == 1
    assert await fetching.stored() == [("1", "7", D2, 99.0)]
