"""Rows that a heal does not change stay as they are to the last bit: not rewritten, not locked, no
WAL about them.
"""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, ClaimId, Login
from app.engine.repositories import Repositories
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Slice
from app.store.apply.results import Applied
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.support.clock import TODAY

if TYPE_CHECKING:
    import asyncpg

_ACCOUNT = AccountId("acc-1")
_DAYS = tuple(TODAY - dt.timedelta(days=68) + dt.timedelta(days=number) for number in range(21))
_LEASE = 60.0


def _row(day: dt.date, hour: int, **fields: object) -> bytes:
    sent = {
        "accountId": _ACCOUNT,
        "login": "007",
        "mt_version": 5,
        "broker": 1,
        "date": f"{day}",
        "hour": hour,
        "numTrades": 1,
    }
    return json.dumps({**sent, "netProfit": 12.5, "country": None, **fields}).encode()


def _trade(day: dt.date, position: int) -> bytes:
    return json.dumps(
        {
            "login": "007",
            "platform": 5,
            "broker": 1,
            "position": f"{position}",
            "ticket": "t",
            "tradeDate": f"{day}",
        }
    ).encode()


class _Writing:
    """A warehouse with one account that is ours, and a way to apply rows to its hours."""

    def __init__(
        self,
        store: Repositories,
        connection: "asyncpg.Connection[asyncpg.Record]",
        writer: WriteContext,
    ) -> None:
        self.store = store
        self.connection = connection
        self._writer = writer

    async def apply(
        self,
        rows: Sequence[bytes],
        witness: RemovalEvidence | None = None,
        *,
        endpoint: Endpoint = Endpoint.HOURLY,
        dates: tuple[dt.date, ...] = _DAYS,
    ) -> Applied:
        proven = Slice(endpoint, (_ACCOUNT,), dates)
        before = await self.store.applier.fingerprints(proven)
        sink = await self.store.staging.begin(endpoint, (_ACCOUNT,))
        await sink.add(rows)
        assert await sink.distinct_keys() == len(rows)
        await sink.seal()
        if endpoint.is_trades:
            await self.store.applier.resolve_trades(sink.staged, {_ACCOUNT: [Login("007")]})
        begun = await self._wal()
        applied = await self.store.applier.apply(sink.staged, proven, before, self._writer, witness)
        self.wal = await self._wal() - begun
        await sink.forget()
        return applied[_ACCOUNT]

    async def _wal(self) -> int:
        return int(
            await self.connection.fetchval(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
            )
        )

    async def marks(self) -> dict[tuple[dt.date, int], str]:
        """Place, version and locks of each hourly row."""
        rows = await self.connection.fetch(
            "SELECT date, hour, concat_ws(' ', tableoid, ctid, xmin, xmax) AS mark FROM"
            " raw_metrics_hourly"
        )
        return {(row["date"], row["hour"]): row["mark"] for row in rows}


@asynccontextmanager
async def _writing(database: Database) -> AsyncIterator[_Writing]:
    async with Pool.open(database.dsn, database.schema) as pool, database.connect() as connection:
        store = await Repositories.build(pool, _LEASE)
        claim_id = ClaimId(uuid.uuid4())
        await connection.execute(
            "INSERT INTO trade_recon (account_id, claim_id, claimed_by, claimed_at) VALUES ($1, $2,"
            " $2, now())",
            _ACCOUNT,
            claim_id,
        )
        yield _Writing(store, connection, WriteContext(None, claim_id, 30.0, _LEASE))


async def test_only_what_differs_or_goes_is_written_or_locked(database: Database) -> None:
    first, second = _DAYS[:2]
    async with _writing(database) as writing:
        everything = [_row(day, hour) for day in (first, second) for hour in range(12)]
        await writing.apply(everything)
        await writing.apply(
            [json.dumps({**json.loads(_row(first, 0, numTrades=11)), "hour": None}).encode()],
            endpoint=Endpoint.DAILY,
        )
        connection = writing.connection
        await connection.execute(
            "UPDATE raw_metrics_hourly SET net_profit = 1 WHERE hour = 3 AND date = $1", first
        )
        before = await writing.marks()
        # Upstream lacks hour 11 of both dates and hour 0 of the second; daily was read on the first
        # alone, and agrees. Hour 20 is new.
        sent = [
            _row(day, hour)
            for day in (first, second)
            for hour in range(11)
            if (day, hour) != (second, 0)
        ] + [_row(second, 20)]
        done = await writing.apply(sent, RemovalEvidence({_ACCOUNT: frozenset({first})}))
        after = await writing.marks()
        assert (done.inserted, done.updated, done.removed, done.kept) == (1, 1, 1, {second: 2})
        assert {key for key in before if after.get(key) != before[key]} == {(first, 3), (first, 11)}
        assert set(after) - set(before) == {(second, 20)}
        assert (first, 11) not in after


async def test_an_equal_fetch_writes_nothing_about_its_rows(database: Database) -> None:
    async with _writing(database) as writing:
        rows = [_row(day, hour) for day in _DAYS for hour in range(24)]
        done = await writing.apply(rows)
        assert done.inserted == len(rows)
        written = writing.wal
        await writing.connection.execute("VACUUM raw_metrics_hourly")
        before = await writing.marks()
        done = await writing.apply(rows)
        assert (done.written, await writing.marks()) == (0, before)
        # What is left is the lock on the account's claim. A lock on each row alone would take 27
        # kB.
        assert writing.wal < 16_384 < written


async def test_a_trade_that_is_moved_in_does_not_hide_one_that_goes(database: Database) -> None:
    earlier, day = _DAYS[:2]
    async with _writing(database) as writing:
        await writing.connection.execute(
            "INSERT INTO recon_identity (login, platform, broker, account_id, today, counts,"
            " valid_from, valid_to) VALUES ('007', '5', '1', $1, true, true, '-infinity',"
            " 'infinity')",
            _ACCOUNT,
        )
        both = (earlier, day)
        await writing.apply(
            [_trade(earlier, 1), _trade(day, 2), _trade(day, 3)],
            endpoint=Endpoint.CLOSED,
            dates=both,
        )
        await writing.apply(
            [json.dumps({**json.loads(_row(day, 0, numTrades=2)), "hour": None}).encode()],
            endpoint=Endpoint.DAILY,
        )
        # As many are stored on the date as upstream sends, before and after; but the first belongs
        # there, and the third does not.
        sent = [_trade(day, 1), _trade(day, 2)]
        done = await writing.apply(
            sent, RemovalEvidence({_ACCOUNT: None}), endpoint=Endpoint.CLOSED, dates=(day, day)
        )
        assert (done.moved, done.removed, done.inserted, done.kept) == (1, 1, 0, {})
        stored = await writing.connection.fetch(
            "SELECT trade_date, position FROM raw_trades_closed ORDER BY position"
        )
        assert [tuple(row) for row in stored] == [(day, "1"), (day, "2")]


async def test_rows_that_meet_stored_ones_do_not_hide_those_that_lack_or_go(
    database: Database,
) -> None:
    day = _DAYS[0]
    async with _writing(database) as writing:
        await writing.apply([_row(day, hour) for hour in range(5)])
        await writing.apply(
            [json.dumps({**json.loads(_row(day, 0, numTrades=5)), "hour": None}).encode()],
            endpoint=Endpoint.DAILY,
        )
        # As many as are stored: one of them is new, and one that is stored is not among them.
        done = await writing.apply(
            [_row(day, hour) for hour in range(1, 6)], RemovalEvidence({_ACCOUNT: None})
        )
        assert (done.inserted, done.updated, done.removed) == (1, 0, 1)
        # All that is stored is among them, and there are more; then fewer, and all of them equal.
        assert (
            await writing.apply(
                [_row(day, hour) for hour in range(7)], RemovalEvidence({_ACCOUNT: None})
            )
        ).inserted == 2
        done = await writing.apply(
            [_row(day, hour) for hour in range(5)], RemovalEvidence({_ACCOUNT: None})
        )
        assert (done.inserted, done.updated, done.removed) == (0, 0, 2)
