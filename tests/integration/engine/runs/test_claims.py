"""Claims: one account, one worker; the dead are relieved; a stale worker writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.ids import RunId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.repositories import Repositories
from app.sandbox.server.serving import SandboxServer
from app.store.apply.context import WriteContext
from app.store.apply.fingerprints import Slice
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.support.engine import TODAY, difference


@asynccontextmanager
async def process(database: Database) -> AsyncIterator[Repositories]:
    """The store of one more worker process."""
    async with Pool.open(database.dsn, database.schema) as pool:
        store = await Repositories.build(pool, 60)
        await store.claims.beat()
        yield store


async def queued(store: Repositories) -> RunId:
    """A run in which all accounts of the warehouse wait."""
    await store.sweep.run(TODAY)
    accounts = await store.preparations.oldest_accounts(1000)
    run_id = await store.runs.create(RunRequest(kind=RunKind.RETRY))
    assert await store.preparations.take(run_id)
    async with store.preparations.queue(run_id) as queue:
        await queue.finish(await queue.accounts(accounts), {})
    return run_id


async def test_no_account_is_claimed_twice_however_many_ask_at_once(warehouse: Database) -> None:
    async with process(warehouse) as one, process(warehouse) as other:
        run_id = await queued(one)
        claims = await asyncio.gather(
            *(store.claims.claim(run_id, 4) for store in (one, other) * 6)
        )
        taken = [account_id for claim in claims if claim for account_id in claim.account_ids]
        assert len(taken) == len(set(taken)) == 30
        assert await one.claims.claim(run_id, 4) is None


async def test_a_released_account_can_be_claimed_again(warehouse: Database) -> None:
    async with process(warehouse) as store:
        run_id = await queued(store)
        claim = await store.claims.claim(run_id, 100)
        assert claim is not None
        await store.claims.release(claim, claim.account_ids[:3])
        again = await store.claims.claim(run_id, 100)
        assert again is not None
        assert again.account_ids == claim.account_ids[:3]


async def test_the_accounts_of_a_worker_without_heartbeat_are_free_after_the_lease(
    warehouse: Database,
) -> None:
    async with (
        process(warehouse) as dead,
        process(warehouse) as alive,
        warehouse.connect() as connection,
    ):
        run_id = await queued(dead)
        claim = await dead.claims.claim(run_id, 100)
        assert claim is not None
        assert await alive.claims.claim(run_id, 100) is None
        await connection.execute(
            "UPDATE recon_workers SET heartbeat_at = now() - interval '61 seconds' WHERE worker_id"
            " = $1",
            dead.claims.worker_id,
        )
        assert await alive.claims.claim(run_id, 100) is None, (
            "the claim itself is younger than the lease"
        )
        await connection.execute(
            "UPDATE trade_recon SET claimed_at = now() - interval '61 seconds'"
        )
        taken = await alive.claims.claim(run_id, 100)
        assert taken is not None
        assert taken.account_ids == claim.account_ids


async def test_a_worker_whose_claim_was_taken_over_writes_nothing(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        process(warehouse) as stale,
        process(warehouse) as alive,
        warehouse.connect() as connection,
    ):
        run_id = await queued(stale)
        claim = await stale.claims.claim(run_id, 100)
        assert claim is not None
        account_id = claim.account_ids[0]
        await connection.execute(
            "DELETE FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
        proven = Slice(Endpoint.ALLTIME, (account_id,), None)
        before = await stale.applier.fingerprints(proven)
        sink = await stale.staging.begin(Endpoint.ALLTIME)
        await sink.add(
            [
                bytes(record.encoded)
                for record in sandbox.world.records(Endpoint.ALLTIME, [account_id])
            ]
        )
        await connection.execute(
            "UPDATE trade_recon SET claimed_at = NULL, claimed_by = NULL, claim_id = NULL"
        )
        assert await alive.claims.claim(run_id, 100) is not None
        applied = await stale.applier.apply(
            sink.staged, proven, before, WriteContext(run_id, claim.claim_id, 30, 60)
        )
        assert applied[account_id].claim_lost
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_metrics_alltime WHERE account_id = $1", account_id
            )
            == 0
        )
        taken = await alive.claims.claim(run_id, 1)
        assert taken is None


@pytest.mark.parametrize("what", ["update", "insert", "delete"])
async def test_a_slice_that_someone_else_changed_since_the_fetch_began_is_left_alone(
    what: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with process(warehouse) as store, warehouse.connect() as connection:
        run_id = await queued(store)
        claim = await store.claims.claim(run_id, 100)
        assert claim is not None
        account_id = await connection.fetchval(
            "SELECT account_id FROM raw_metrics_daily GROUP BY 1 HAVING count(*) > 3 LIMIT 1"
        )
        proven = Slice(Endpoint.DAILY, (account_id,), None)
        before = await store.applier.fingerprints(proven)
        sink = await store.staging.begin(Endpoint.DAILY)
        await sink.add(
            [
                bytes(record.encoded)
                for record in sandbox.world.records(Endpoint.DAILY, [account_id])
            ]
        )
        changes = {
            "update": "UPDATE raw_metrics_daily SET net_profit = 4711 WHERE account_id = $1",
            "insert": (
                "INSERT INTO raw_metrics_daily (account_id, date, net_profit) SELECT $1, date"
                " '2020-01-01' + 1, 4711"
            ),
            "delete": "DELETE FROM raw_metrics_daily WHERE account_id = $1",
        }
        await connection.execute(
            "SELECT recon_create_partitions('raw_metrics_daily', ARRAY[date '2020-01-01'])"
        )
        await connection.execute(changes[what], account_id)
        rows = await connection.fetchval(
            "SELECT count(*) FROM raw_metrics_daily WHERE account_id = $1", account_id
        )
        applied = await store.applier.apply(
            sink.staged, proven, before, WriteContext(run_id, claim.claim_id, 30, 60)
        )
        assert applied[account_id].left_alone
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_metrics_daily WHERE account_id = $1", account_id
            )
            == rows
        )
    assert not (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("written", ["since", "before"])
async def test_a_trade_under_a_foreign_id_is_overwritten_only_if_nobody_wrote_it_since_the_fetch_began(
    written: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with process(warehouse) as store, warehouse.connect() as connection:
        run_id = await queued(store)
        claim = await store.claims.claim(run_id, 100)
        assert claim is not None
        trade = await connection.fetchrow(
            "SELECT t.account_id, t.login, t.ticket, t.trade_date, t.profit FROM raw_trades_closed"
            " AS t JOIN recon_identity AS i USING (login) WHERE t.account_id IS NOT NULL AND"
            " t.trade_date BETWEEN i.valid_from AND i.valid_to AND (SELECT count(*) FROM"
            " recon_identity AS o WHERE o.login = t.login) = 1 ORDER BY t.account_id, t.ticket"
            " LIMIT 1"
        )
        assert trade is not None
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = md5(login), profit = 4242 WHERE ticket = $1",
            trade["ticket"],
        )
        proven = Slice(
            Endpoint.CLOSED, (trade["account_id"],), (trade["trade_date"], trade["trade_date"])
        )
        before = await store.applier.fingerprints(proven)
        sink = await store.staging.begin(Endpoint.CLOSED)
        records = [
            record
            for record in sandbox.world.records(Endpoint.CLOSED, [trade["account_id"]])
            if record.day == trade["trade_date"]
        ]
        await sink.add([bytes(record.encoded) for record in records])
        await store.applier.resolve_trades(sink.staged, {trade["account_id"]: [trade["login"]]})
        if written == "since":
            await connection.execute(
                "UPDATE raw_trades_closed SET profit = 4243 WHERE ticket = $1", trade["ticket"]
            )
        await store.applier.apply(
            sink.staged, proven, before, WriteContext(run_id, claim.claim_id, 30, 60)
        )
        profit = await connection.fetchval(
            "SELECT profit FROM raw_trades_closed WHERE ticket = $1", trade["ticket"]
        )
        assert profit == (4243 if written == "since" else trade["profit"])


async def test_a_batch_holds_so_many_dates_at_most_and_an_account_with_more_goes_alone(
    warehouse: Database,
) -> None:
    async with process(warehouse) as store, warehouse.connect() as connection:
        run_id = await queued(store)
        await connection.execute(
            "UPDATE trade_recon AS t SET mismatched_days = (ARRAY[30000, 60000, 20000, 150000,"
            " 90000])[1 + a.position % 5] FROM recon_attempts AS a WHERE a.run_id = $1 AND"
            " a.account_id = t.account_id",
            run_id,
        )
        sizes: list[list[int]] = []
        while claim := await store.claims.claim(run_id, 5000):
            rows = await connection.fetch(
                "SELECT mismatched_days FROM trade_recon WHERE account_id = ANY($1)",
                list(claim.account_ids),
            )
            sizes.append([row["mismatched_days"] for row in rows])
        assert sum(len(batch) for batch in sizes) == 30
        assert all(sum(batch) <= 100_000 or len(batch) == 1 for batch in sizes)
        assert [150_000] in sizes
        assert len(sizes) < 30
