"""No hot statement of the service hangs on fresh statistics: each is explained on a warehouse of 75
partitions a table that was damaged after its last ANALYZE, and again after another one.
"""

import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId, Login, RunId
from app.engine.preparation.maintenance import maintain, repair_ids
from app.engine.repositories import Repositories
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Slice
from app.store.claims.claim import Claim
from app.store.database.pool import Database as Pool
from app.store.restore.restore import RemovedRows
from tests.conftest import SCHEMA, Database, Server
from tests.support.plans import Plan, Recorder, Relations
from tests.support.stale_warehouse import (
    BIG,
    DAMAGES,
    LAST_DAY,
    Size,
    account,
    execute,
    fill,
    make_partitions,
)

SIZE = Size(accounts=300, days=5, trades=4)
LEASE = 60.0
MOST = 3
"""What stale statistics may cost, as a multiple of fresh ones."""
SPARED_ROWS, SPARED_PAGES = 12_000, 5_000
"""What a statement may cost beyond: a read of this small world, whose partitions are a few pages
each, so that any way to read one costs alike. Loops over pairs of rows look at a million.
"""
BATCH = tuple(AccountId(account(number)) for number in range(BIG, BIG + 60))
ALL_DATES = (dt.date(2020, 1, 1), dt.date(2026, 4, 30))
MAY = tuple(dt.date(2023, 5, day) for day in range(1, 32))
READ: Sequence[tuple[Endpoint, tuple[dt.date, ...] | None]] = (
    (Endpoint.ALLTIME, None),
    (Endpoint.DAILY, None),
    (Endpoint.HOURLY, MAY),
    (Endpoint.CLOSED, ALL_DATES),
)
IDENTITY = (
    "ids of an account lost",
    "ids of all accounts lost",
    "trades of an account under a placeholder",
    "metrics of an account under a placeholder",
    "trades of an account under another's id",
    "a month written since, in a partition of its own",
)
RUN = RunId(uuid.UUID(int=1))
UNANALYZED = "ids of an account lost, by statistics of empty tables"

Play = Callable[[Repositories, Database], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Worlds:
    """Databases to be cloned, with statistics of their rows, and of the time when they had none;
    and what upstream has.
    """

    server: Server
    analyzed: str
    unanalyzed: str
    truth: Database


@pytest.fixture(scope="module")
async def worlds(postgres: Server, template: str) -> AsyncIterator[Worlds]:
    async with postgres.clone(template, "stale") as unanalyzed:
        dsn = postgres.database(unanalyzed)
        await make_partitions(dsn)
        await execute(dsn, "ANALYZE")
        await fill(dsn, SIZE)
        async with Pool.open(dsn, SCHEMA, pool_size=1) as pool:
            await maintain(await Repositories.build(pool, LEASE), LAST_DAY)
        async with postgres.clone(unanalyzed, "stale") as analyzed:
            await execute(postgres.database(analyzed), "ANALYZE")
            truth = Database(postgres.database(analyzed), SCHEMA)
            yield Worlds(postgres, analyzed, unanalyzed, truth)


def rows_of(plan: Plan) -> int:
    """Rows of all nodes, those they dropped too: pairs that a nested loop tried are among them."""
    removed = [f"Rows Removed by {what}" for what in ("Filter", "Join Filter", "Index Recheck")]
    looked_at = sum(
        sum(node.get(what, 0) for what in ("Actual Rows", *removed)) * node.get("Actual Loops", 1)
        for node in plan.nodes
    )
    return int(looked_at)


async def played(worlds: Worlds, damage: str, play: Play, *, is_fresh: bool) -> Recorder:
    """What the service sent in a copy of the world after the damage."""
    is_empty = damage == UNANALYZED
    base = worlds.unanalyzed if is_empty else worlds.analyzed
    async with worlds.server.clone(base, "test") as name:
        database = Database(worlds.server.database(name), SCHEMA)
        await execute(database.dsn, *DAMAGES["ids of an account lost" if is_empty else damage])
        if is_fresh:
            await execute(database.dsn, "ANALYZE")
        async with database.connect() as connection:
            relations = await Relations.read(connection)
        async with Pool.open(database.dsn, SCHEMA, pool_size=1) as pool:
            store = await Repositories.build(pool, LEASE)
            with Recorder(relations).recording() as recorder:
                await play(store, worlds.truth)
    return recorder


async def assert_statistics_do_not_matter(
    worlds: Worlds, damage: str, play: Play, *expected: str
) -> None:
    stale = await played(worlds, damage, play, is_fresh=False)
    fresh = await played(worlds, damage, play, is_fresh=True)
    assert set(expected) <= {plan.name for plan in stale.plans}
    found: dict[bool, tuple[Counter[str], Counter[str]]] = {}
    for is_fresh, recorder in ((False, stale), (True, fresh)):
        rows, pages = Counter[str](), Counter[str]()
        for plan in recorder.plans:
            rows[plan.name or plan.statement] += rows_of(plan)
            pages[plan.name or plan.statement] += plan.buffers
        found[is_fresh] = rows, pages
    for measure, spared in ((0, SPARED_ROWS), (1, SPARED_PAGES)):
        worse = {
            name: (cost, found[True][measure][name])
            for name, cost in found[False][measure].items()
            if cost > MOST * found[True][measure][name] + spared
        }
        assert not worse


async def maintained(store: Repositories, _: Database) -> None:
    await maintain(store, LAST_DAY)


@pytest.mark.parametrize("damage", [*IDENTITY, "a table emptied", UNANALYZED])
async def test_maintenance_costs_what_the_damage_costs_whatever_statistics_say(
    worlds: Worlds, damage: str
) -> None:
    await assert_statistics_do_not_matter(
        worlds,
        damage,
        maintained,
        "detect/sweep.create_swept",
        "identity/findings.find_null_ids",
        "identity/repair.repair_null_ids",
        "identity/repair.repair_foreign_ids",
    )


async def batch_played(store: Repositories, truth: Database) -> None:
    """A batch from its claim to its last write, and what it wrote undone."""
    claim = await claimed(store)
    await store.detection.look(BATCH)
    await repair_ids(store, BATCH, LAST_DAY, RUN)
    await store.touched.accounts(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), len(BATCH))
    for endpoint, dates in READ:
        await written(store, truth, claim, endpoint, dates)
    await store.detection.look(BATCH)
    await store.claims.release(claim)
    copies = RemovedRows(store.database, store.feed)
    waiting = await copies.waiting_of_run(RUN)
    assert waiting
    assert [each async for each in copies.restore(waiting)]


async def claimed(store: Repositories) -> Claim:
    await store.claims.beat()
    await store.database.execute(
        f"INSERT INTO {SCHEMA}.recon_runs (run_id, kind, status, prepared_at) VALUES ($1, 'retry',"
        " 'running', now())",
        RUN,
    )
    await store.database.execute(
        f"INSERT INTO {SCHEMA}.recon_attempts (run_id, account_id, position) SELECT $1, a, 0 FROM"
        " unnest($2::text[]) AS a",
        RUN,
        list(BATCH),
    )
    claim = await store.claims.claim(RUN, len(BATCH))
    assert claim is not None
    assert set(claim.account_ids) == set(BATCH)
    return claim


async def written(
    store: Repositories,
    truth: Database,
    claim: Claim,
    endpoint: Endpoint,
    dates: tuple[dt.date, ...] | None,
) -> None:
    """Read, compare and write a slice."""
    proven = Slice(endpoint, BATCH, dates)
    before = await store.applier.fingerprints_since(proven, await store.applier.horizon())
    sink = await store.staging.begin(endpoint)
    await sink.add(await sent(truth, endpoint, dates or ALL_DATES))
    await sink.distinct_keys()
    await sink.seal()
    staged = sink.staged
    if endpoint.is_trades:
        logins = {account_id: [Login(login_of(account_id))] for account_id in BATCH}
        await store.applier.resolve_trades(staged, logins)
    await store.comparison.compare(staged, proven, BATCH, is_written=True)
    context = WriteContext(RUN, claim.claim_id, 60, LEASE)
    done = await store.applier.apply(
        staged, proven, before, context, RemovalEvidence(dict.fromkeys(BATCH))
    )
    await store.staging.forget(staged)
    assert not any(each.error or each.claim_lost for each in done.values())


def login_of(account_id: str) -> str:
    return str(int(account_id.removeprefix("acc-")))


async def sent(truth: Database, endpoint: Endpoint, dates: Sequence[dt.date]) -> list[bytes]:
    """What upstream has of the batch on these dates, without every seventh row, and with other
    figures in every fifth.
    """
    table = f"raw_{'trades' if endpoint.is_trades else 'metrics'}_{endpoint.name.lower()}"
    day = "trade_date" if endpoint.is_trades else "date"
    within = "" if endpoint is Endpoint.ALLTIME else f" AND {day} BETWEEN $2 AND $3"
    async with truth.connect() as connection:
        rows = await connection.fetch(
            f"SELECT * FROM {table} WHERE login = ANY($1){within}",
            list(map(login_of, BATCH)),
            *([] if endpoint is Endpoint.ALLTIME else [dates[0], dates[-1]]),
        )
    return [
        json.dumps(
            {"login": row["login"], "broker": 1}
            | (
                {
                    "platform": 1,
                    "position": row["position"],
                    "ticket": row["ticket"],
                    "tradeDate": str(row["trade_date"]),
                    "lots": place % 5,
                }
                if endpoint.is_trades
                else {
                    "mt_version": 1,
                    "accountId": account(int(row["login"])),
                    "numTrades": row["num_trades"] + (place % 5 == 0),
                }
            )
            | ({"date": str(row["date"])} if "date" in row else {})
            | ({"hour": row["hour"]} if "hour" in row else {})
        ).encode()
        for place, row in enumerate(rows)
        if place % 7
    ]


@pytest.mark.parametrize("damage", ["a month of all accounts missing"])
async def test_a_batch_and_its_undo_cost_what_they_cost_whatever_statistics_say(
    worlds: Worlds, damage: str
) -> None:
    await assert_statistics_do_not_matter(
        worlds,
        damage,
        batch_played,
        "detect/accounts.look_at_accounts",
        "apply/fingerprints.get_fingerprints",
        "apply/fingerprints.get_newer_slices",
        *(["apply/writing/rows.insert_rows"] if "missing" in damage else ()),
        "apply/writing/matching.match_rows",
        "apply/writing/stale.delete_stale_rows",
        "restore/sets.lock_present_rows_of_set",
    )
