"""Others write too: an ingestion that works while runs do loses nothing to them and never waits
long.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.damage.damage import damage
from app.sandbox.server.app import create_sandbox
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.witness.comparison import DifferenceKind, compare
from app.store.schema.migrations.migrate import migrate
from tests.conftest import Server
from tests.support.engine import engine, fill, run
from tests.support.waiting import PATIENCE
from tests.support.warehouses.building import Place, execute, new_database
from tests.support.warehouses.heritage import SCHEMA, TABLES_OF_HERITAGE
from tests.support.warehouses.shape import HEALABLE
from tests.support.warehouses.story import issues
from tests.support.warehouses.worlds import world
from tests.support.warehouses.writer import Writer, gone_or_changed, undone

if TYPE_CHECKING:
    import asyncpg

_WRITERS = 3
_FEWEST_JOBS = 12
_PATIENCE = PATIENCE
"""Seconds after which what a test waits for will never come."""


@asynccontextmanager
async def heritage(postgres: Server, sandbox: SandboxServer) -> AsyncIterator[Place]:
    """The first system's warehouse, equal to upstream and migrated."""
    async with new_database(postgres, SCHEMA) as place:
        await execute(place, TABLES_OF_HERITAGE)
        await fill(place.owner, sandbox)
        await migrate(place.database.dsn, SCHEMA)
        yield place


async def test_every_row_that_an_ingestion_wrote_last_is_there_after_runs_on_the_same_accounts(
    postgres: Server,
) -> None:
    made = world(accounts=18)
    traders = [
        account_id
        for account_id in made.account_ids
        if any(not trade.is_open for trade in made.trades(account_id))
    ]
    async with (
        SandboxServer(made) as sandbox,
        heritage(postgres, sandbox) as place,
        place.owner.connect() as connection,
    ):
        writers = [
            Writer(place.owner, made, traders[number::_WRITERS], random.Random(number))
            for number in range(_WRITERS)
        ]
        await damage(connection, SCHEMA, seed=1, kinds=HEALABLE, accounts_per_kind=1)
        done = asyncio.Event()
        # Slow answers: time for ingestion between our look at a slice and our write.
        sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 0.7}, delay_seconds=0.3))
        # Accounts that upstream does not have come in all the time: that they are held is to stop
        # no run here.
        config = EngineConfig(
            workers=2, poll_seconds=0.05, batch_size=6, guard=HoldLimits(account_share=1.0)
        )
        async with engine(place.database, sandbox, config=config) as service:
            writing = [asyncio.create_task(writer.write(done)) for writer in writers]
            while min(writer.jobs for writer in writers) < _FEWEST_JOBS and not any(
                task.done() for task in writing
            ):
                await run(service, RunKind.FULL)
                await run(service, RunKind.AUDIT)
            done.set()
            # An ingestion that waited for a lock until its limit, or was part of a deadlock, would
            # raise here.
            await asyncio.gather(*writing)
            lost = [
                row
                for writer in writers
                for row in await gone_or_changed(connection, SCHEMA, writer)
            ]
            assert lost == []
            sandbox.set_faults(Faults())
            await run(service, RunKind.RETRY)
            await run(service, RunKind.AUDIT)
        assert [
            row for writer in writers for row in await gone_or_changed(connection, SCHEMA, writer)
        ] == []
        assert [row for writer in writers for row in await undone(connection, SCHEMA, writer)] == []
        found = await compare(
            {endpoint: made.rows(endpoint) for endpoint in Endpoint},
            connection,
            SCHEMA,
            sample=100_000,
        )
        shown = await issues(connection, SCHEMA)
    strangers = {account_id for each in found.sample for account_id in each.account_ids}
    assert strangers
    assert all(account_id.startswith("stranger-") for account_id in strangers)
    assert {each.kind for each in found.sample} == {DifferenceKind.SURPLUS}
    assert all(shown[account_id].keys() == {IssueCode.ABSENT_UPSTREAM} for account_id in strangers)


_REASONS_TO_READ = {
    Endpoint.ALLTIME: (
        "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1 WHERE account_id = $1"
    ),
    Endpoint.DAILY: (
        "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE account_id = $1 AND date"
        " = $2"
    ),
    Endpoint.HOURLY: "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2",
    Endpoint.CLOSED: "DELETE FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2",
}


class Gate:
    """Holds back the answers to one endpoint, made up already, from `close` until `open`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._path = f"/{endpoint.path}"
        self._open = asyncio.Event()
        self._open.set()
        self.waits = asyncio.Event()

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def middleware(self, app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            async def held(message: Message) -> None:
                if scope.get("path") == self._path and not self._open.is_set():
                    self.waits.set()
                    await self._open.wait()
                await send(message)

            await app(scope, receive, held)

        return guarded


@pytest.mark.parametrize("endpoint", _REASONS_TO_READ)
async def test_what_an_ingestion_writes_while_upstream_answers_us_is_not_undone(
    postgres: Server, endpoint: Endpoint
) -> None:
    made = world(accounts=3)
    account_id = made.account_ids[0]
    gate, app = Gate(endpoint), create_sandbox(made, api_key="sandbox")
    app.add_middleware(gate.middleware)
    async with SandboxServer(made, app=app) as sandbox, heritage(postgres, sandbox) as place:
        writer = Writer(place.owner, made, [account_id], random.Random(1))
        async with writer.connected() as connection, engine(place.database, sandbox) as service:
            arguments = (account_id, min(trade.trade_date for trade in made.trades(account_id)))
            await connection.execute(
                _REASONS_TO_READ[endpoint], *arguments[: 1 if endpoint is Endpoint.ALLTIME else 2]
            )
            gate.close()
            running = asyncio.create_task(run(service, RunKind.FULL))
            async with asyncio.timeout(_PATIENCE):
                await gate.waits.wait()
            await writer.gain(connection, account_id)
            gate.open()
            await running
            await run(service, RunKind.RETRY)
            assert await gone_or_changed(connection, SCHEMA, writer) == []
            assert await undone(connection, SCHEMA, writer) == []
            found = await compare({each: made.rows(each) for each in Endpoint}, connection, SCHEMA)
    assert found.is_equal, found.sample


# A slow trigger of the owner's, which lets our rows pass while nobody holds the lock.
_SLOW_TRIGGER = (
    """
    CREATE FUNCTION SCHEMA.take_time() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        WHILE NOT pg_try_advisory_xact_lock_shared(42) LOOP
            PERFORM pg_sleep(0.01);
        END LOOP;
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER take_time BEFORE INSERT ON SCHEMA.raw_metrics_daily FOR EACH ROW
    WHEN (current_setting('application_name') = 'trade-recon' AND NEW.account_id = 'acc-00001' AND NEW.date > 'FIRST')
    EXECUTE FUNCTION SCHEMA.take_time()
    """,
)
_ASLEEP = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event ="
    " 'PgSleep'"
)
_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"


async def test_where_an_ingestion_and_we_wait_for_each_other_it_is_us_who_give_way(
    postgres: Server,
) -> None:
    made = world(accounts=3)
    writer_of = made.account_ids[0]
    async with SandboxServer(made) as sandbox, heritage(postgres, sandbox) as place:
        writer = Writer(place.owner, made, [writer_of], random.Random(1))
        async with (
            writer.connected() as ingestion,
            place.owner.connect() as owner,
            engine(place.database, sandbox) as service,
        ):
            first, *_, last = writer.rows(Endpoint.DAILY, writer_of)
            await execute(
                place,
                [statement.replace("FIRST", str(first["date"])) for statement in _SLOW_TRIGGER],
            )
            await owner.execute("DELETE FROM raw_metrics_daily WHERE account_id = $1", writer_of)
            await owner.execute("SELECT pg_advisory_lock(42)")
            pid = await ingestion.fetchval("SELECT pg_backend_pid()")
            async with ingestion.transaction():
                await writer.upsert(ingestion, Endpoint.DAILY, [last])
                running = asyncio.create_task(run(service, RunKind.FULL))
                # We have inserted the first row and are held up at the second.
                await _comes_true(owner, _ASLEEP)
                waiting = asyncio.create_task(writer.upsert(ingestion, Endpoint.DAILY, [first]))
                await _comes_true(owner, _BLOCKED, pid)
                await owner.execute("SELECT pg_advisory_unlock(42)")
                # Now we come to the last row, which ingestion holds: one of the two must give way,
                # or both wait for ever.
                await waiting
            await running
            await run(service, RunKind.RETRY)
            assert await gone_or_changed(owner, SCHEMA, writer) == []
            assert (
                await compare({each: made.rows(each) for each in Endpoint}, owner, SCHEMA)
            ).is_equal


async def _comes_true(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: object
) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not await connection.fetchval(statement, *arguments):  # noqa: ASYNC110 (another process's state)
            await asyncio.sleep(0.02)
