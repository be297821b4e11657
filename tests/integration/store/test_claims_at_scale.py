"""Claims among 500,000 accounts: what they read, what they cost, and what claiming again and again
leaves behind.
"""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.domain.accounts.progress import Effort
from app.domain.ids import RunId, WorkerId
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.store.claims.claim import Claim
from app.store.claims.claims import Claims
from app.store.database.pool import Database as Pool
from app.store.database.queries import load_queries
from app.store.results.account_result import AccountResult, Terms
from app.store.results.results import Results
from app.store.runs.lifecycle import Runs
from tests.conftest import SCHEMA, Database, Server
from tests.support.plans import Plan, pages

if TYPE_CHECKING:
    import asyncpg

ACCOUNTS, FEWER, RECORDED = 500_000, 50_000, 490_000
BATCH = 5000
CLAIMED_AGAIN = 200
LEASE = 60.0
RUN, WORKER = uuid.UUID(int=1), uuid.UUID(int=2)
TERMS = Terms(5, lambda _: dt.datetime(2100, 1, 1, tzinfo=dt.UTC), 5, 1, LEASE)
ISSUES = tuple(
    Issue(code, Severity.HIGH, "Made up, and long enough to widen a row.", (), "None.")
    for code in list(IssueCode)[:3]
)


@dataclass(frozen=True, slots=True)
class Room:
    """What trade_recon takes on the disk, in pages, and how its rows were updated so far."""

    heap: int
    index: int
    updates: int
    heap_only: int


async def load(
    connection: "asyncpg.Connection[asyncpg.Record]", run_id: uuid.UUID, accounts: int
) -> None:
    """So many accounts, all of them waiting in a run."""
    await connection.execute(
        "INSERT INTO recon_runs (run_id, kind, status, prepared_at) VALUES ($1, 'retry', 'running',"
        " now())",
        run_id,
    )
    await connection.execute(
        "INSERT INTO trade_recon (account_id) SELECT 'account-' || lpad(n::text, 7, '0') FROM"
        " generate_series(1, $1) AS n ON CONFLICT DO NOTHING",
        accounts,
    )
    await connection.execute(
        "INSERT INTO recon_attempts (run_id, account_id, position)"
        " SELECT $1, 'account-' || lpad(n::text, 7, '0'), n FROM generate_series(1, $2) AS n",
        run_id,
        accounts,
    )


@asynccontextmanager
async def changed(
    postgres: Server, template: str
) -> AsyncIterator[tuple[str, "asyncpg.Connection[asyncpg.Record]"]]:
    """A copy of a database, and a connection to change it: close it before the copy is copied in
    turn.
    """
    async with (
        postgres.clone(template, "scale") as name,
        Database(postgres.database(name), SCHEMA).connect() as connection,
    ):
        yield name, connection


@pytest.fixture(scope="module")
async def all_waiting(postgres: Server, template: str) -> AsyncIterator[str]:
    """The name of a database in which 500,000 accounts wait."""
    async with changed(postgres, template) as (name, connection):
        # Nothing but the test itself may clean up: its figures are to be the same each time.
        await connection.execute("ALTER TABLE trade_recon SET (autovacuum_enabled = false)")
        await connection.execute("ALTER TABLE recon_attempts SET (autovacuum_enabled = false)")
        await connection.execute(
            "INSERT INTO recon_workers (worker_id, host, pid) VALUES ($1, 'here', 1)", WORKER
        )
        await load(connection, RUN, ACCOUNTS)
        await connection.execute("ANALYZE trade_recon, recon_attempts")
        await connection.close()
        yield name


@pytest.fixture(scope="module")
async def nearly_done(postgres: Server, all_waiting: str) -> AsyncIterator[str]:
    """The same, when the first 490,000 are recorded and nobody has cleaned up since."""
    async with changed(postgres, all_waiting) as (name, connection):
        await connection.execute(
            "UPDATE recon_attempts SET outcome = 'unchanged', finished_at = now() WHERE position"
            " <= $1",
            RECORDED,
        )
        await connection.close()
        yield name


@asynccontextmanager
async def copy(
    postgres: Server, template: str
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    async with changed(postgres, template) as (_, connection):
        yield connection


async def claim(
    connection: "asyncpg.Connection[asyncpg.Record]", limit: int = BATCH, run_id: uuid.UUID = RUN
) -> Plan:
    """What a claim does; it is undone."""
    sql = load_queries("claims/claims", SCHEMA)["claim_accounts"]
    transaction = connection.transaction()
    await transaction.start()
    told = await connection.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", run_id, uuid.uuid4(), WORKER, limit, LEASE
    )
    await transaction.rollback()
    return Plan(json.loads(told)[0]["Plan"])


def assert_read_in_order_and_by_key(plan: Plan, taken: int) -> None:
    kinds = {(node["Node Type"], node.get("Relation Name")) for node in plan.nodes}
    assert not [kind for kind, _ in kinds if "Sort" in kind]
    assert not kinds & {("Seq Scan", "trade_recon"), ("Seq Scan", "recon_attempts")}
    indexes = {
        node.get("Relation Name"): node["Index Name"] for node in plan.nodes if "Index Name" in node
    }
    assert indexes["recon_attempts"] == "recon_attempts_waiting"
    assert indexes["trade_recon"] == "trade_recon_pkey"
    waiting = plan.reading("recon_attempts_waiting")
    assert waiting["Actual Rows"] * waiting["Actual Loops"] == taken, (
        "no more attempts are read than accounts are taken"
    )


@pytest.mark.parametrize("limit", [250, BATCH])
async def test_a_claim_reads_attempts_in_order_from_the_partial_index_and_accounts_by_their_key(
    limit: int, postgres: Server, all_waiting: str
) -> None:
    async with copy(postgres, all_waiting) as connection:
        assert_read_in_order_and_by_key(await claim(connection, limit), limit)


async def test_a_claim_does_so_in_a_run_of_which_the_statistics_do_not_know_yet(
    postgres: Server, all_waiting: str
) -> None:
    async with copy(postgres, all_waiting) as connection:
        new = uuid.UUID(int=3)
        await load(connection, new, FEWER)
        assert_read_in_order_and_by_key(await claim(connection, run_id=new), BATCH)


async def test_a_claim_costs_no_more_among_500_000_accounts_than_among_50_000(
    postgres: Server, template: str, all_waiting: str
) -> None:
    async with copy(postgres, template) as connection:
        await load(connection, RUN, FEWER)
        await connection.execute("ANALYZE trade_recon, recon_attempts")
        among_fewer = await claim(connection)
    async with copy(postgres, all_waiting) as connection:
        among_all = await claim(connection)
    # One level more of the key's tree is one page more for each look-up.
    assert among_all.buffers < among_fewer.buffers * 1.5


async def test_recorded_accounts_are_passed_over_once_and_not_looked_up_by_each_claim(
    postgres: Server, nearly_done: str
) -> None:
    async with copy(postgres, nearly_done) as connection:
        first = await claim(connection)
        second = await claim(connection)
        await connection.execute("VACUUM recon_attempts")
        vacuumed = await claim(connection)
    for plan in (first, second, vacuumed):
        assert_read_in_order_and_by_key(plan, BATCH)
    passed, known, clean = (
        pages(plan.reading("recon_attempts_waiting")) for plan in (first, second, vacuumed)
    )
    assert passed < RECORDED / 20, "a page of attempts is looked at once for all of its rows"
    assert known < RECORDED / 100, "only pages of the index are left to be passed"
    assert clean < BATCH / 10


@pytest.mark.parametrize("age", [0, 3600])
async def test_a_claim_that_finds_all_others_held_by_live_workers_costs_a_few_pages_for_each_of_them(
    age: int, postgres: Server, nearly_done: str
) -> None:
    async with copy(postgres, nearly_done) as connection:
        await connection.execute(
            "UPDATE trade_recon SET claim_id = $1, claimed_by = $2, claimed_at = now() -"
            " make_interval(secs => $3) FROM recon_attempts AS a WHERE a.account_id ="
            " trade_recon.account_id AND a.outcome IS NULL",
            uuid.uuid4(),
            WORKER,
            age,
        )
        # A claim before steps over what is recorded, which this one would be charged for.
        await claim(connection)
        plan = await claim(connection)
    held = ACCOUNTS - RECORDED
    assert_read_in_order_and_by_key(plan, held)
    assert plan.buffers < 10 * held


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process with one connection, which claims all accounts at once, again and again."""

    pool: Pool
    claims: Claims
    runs: Runs
    results: Results

    async def release_claims(self, times: int) -> None:
        run_id = await self._run()
        for _ in range(times):
            await self.claims.release(await self._claim(run_id))

    async def record_claims(self, times: int) -> None:
        """Every other time with issues, so that rows widen and narrow."""
        for number in range(times):
            claim = await self._claim(await self._run())
            left, outcome = (ISSUES, Outcome.PARTIAL) if number % 2 else ((), Outcome.HEALED)
            results = [
                AccountResult(
                    account_id,
                    outcome,
                    ISSUES,
                    left,
                    Effort(),
                    failing=bool(left),
                    signature="",
                    detail=None,
                )
                for account_id in claim.account_ids
            ]
            recorded = await self.results.record(
                claim, results, seconds=0, requests=0, terms=TERMS, judged=sorted(IssueCode)
            )
            assert len(recorded) == CLAIMED_AGAIN

    async def room(self) -> Room:
        await self.pool.execute("SELECT pg_stat_force_next_flush()")
        row = await self.pool.fetch_row(
            "SELECT pg_relation_size(relid) / 8192 AS heap, pg_indexes_size(relid) / 8192 AS index,"
            " n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'trade_recon'"
        )
        assert row is not None
        return Room(row["heap"], row["index"], row["n_tup_upd"], row["n_tup_hot_upd"])

    async def _run(self) -> RunId:
        run_id = await self.runs.create(RunRequest(kind=RunKind.RETRY))
        await self.pool.execute(
            "INSERT INTO prop_trading_model.recon_attempts (run_id, account_id, position) SELECT"
            " $1, account_id, row_number() OVER (ORDER BY account_id) FROM"
            " prop_trading_model.trade_recon",
            run_id,
        )
        return run_id

    async def _claim(self, run_id: RunId) -> Claim:
        claim = await self.claims.claim(run_id, CLAIMED_AGAIN)
        assert claim is not None
        assert len(claim.account_ids) == CLAIMED_AGAIN
        return claim


@pytest.fixture
async def worker(database: Database) -> AsyncIterator[Worker]:
    """Of a warehouse of accounts that nobody but the test cleans up."""
    async with Pool.open(database.dsn, database.schema, pool_size=1) as pool:
        await pool.execute(
            "ALTER TABLE prop_trading_model.trade_recon SET (autovacuum_enabled = false)"
        )
        await pool.execute(
            "INSERT INTO prop_trading_model.trade_recon (account_id)"
            " SELECT 'account-' || lpad(n::text, 7, '0') FROM generate_series(1, $1) AS n",
            CLAIMED_AGAIN,
        )
        await pool.execute("ANALYZE prop_trading_model.trade_recon")
        worker = Worker(
            pool, Claims(pool, WorkerId(uuid.uuid4()), LEASE), Runs(pool), Results(pool)
        )
        await worker.claims.beat()
        yield worker


@pytest.mark.parametrize("vacuumed", [False, True])
@pytest.mark.parametrize(
    "what", [Worker.release_claims, Worker.record_claims], ids=["release", "record"]
)
async def test_claims_again_and_again_leave_no_growing_bloat(
    what: Callable[[Worker, int], Awaitable[None]],
    vacuumed: bool,  # noqa: FBT001
    worker: Worker,
) -> None:
    rooms = []
    for _ in range(10):
        await what(worker, 5)
        if vacuumed:
            await worker.pool.execute("VACUUM prop_trading_model.trade_recon")
        rooms.append(await worker.room())
    # Rows spread over more pages in the first rounds, until each page has room for new versions of
    # all its rows, and then no more.
    early, middle, late = rooms[0], rooms[4], rooms[9]
    assert late.heap <= early.heap * 1.5
    assert late.heap <= middle.heap * 1.02
    assert late.index <= early.index
    assert late.heap_only - middle.heap_only >= (late.updates - middle.updates) * 0.99
    if what is Worker.release_claims:
        assert late.heap == early.heap
        assert late.heap_only - early.heap_only == late.updates - early.updates
