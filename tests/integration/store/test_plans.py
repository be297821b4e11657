"""No hot statement of the service falls back to reading a large table whole: each is explained on a
large warehouse, where it is sent.
"""

import contextlib
import datetime as dt
import itertools
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from app.domain.accounts.comparison import Differs
from app.domain.accounts.money import BY_DATE, BY_NAME
from app.domain.accounts.progress import Effort
from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.ids import AccountId, ClaimId, Login
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.runs.inspected import Inspected, InspectionFigures
from app.domain.states import Outcome
from app.domain.verdict.closing import ClosedAs
from app.engine.repositories import Repositories
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Fingerprints, Slice
from app.store.apply.job import ApplyJob, Part
from app.store.apply.results import Applied
from app.store.claims.claim import Claim
from app.store.database.pool import Database as Pool
from app.store.database.queries import fill, list_files, load_queries
from app.store.database.transaction import Connection
from app.store.quota import Quota
from app.store.report.figures import Horizon, ReportFigures
from app.store.results.account_result import AccountResult, Terms
from app.store.runs.run_queue import Queue
from app.store.schema.introspect import UniqueKey
from app.store.staging.staged_fetch import StagedFetch
from tests.conftest import SCHEMA, Database, Server
from tests.support.large_warehouse import (
    FIRST_DAY,
    HOURS,
    KNOWN,
    LAST_DAY,
    PAST_RUN,
    RUN,
    TRADES_A_DAY,
    TRADING,
    TRADING_DAYS,
    account,
    accounts,
    load,
    ticket,
    trading_days,
)
from tests.support.plans import Plan, Recorder, Relations, name_of

BATCH = TRADING // 100
"""As 5,000 are of 500,000."""
STEP = 97
"""Between two accounts of a batch: a little less than a hundred, and a prime, so that a batch has
accounts for each date.
"""
LEASE = 60.0
RAW = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")
OF_ALL_DATES = (FIRST_DAY, LAST_DAY)
THREE_DATES = (dt.date(2026, 2, 5), dt.date(2026, 2, 7))
ONE_ISSUE = (Issue(IssueCode.TRADE_COUNT_MISMATCH, Severity.HIGH, "Made up.", (), "None."),)
TERMS = Terms(5, lambda _: dt.datetime(2100, 1, 1, tzinfo=dt.UTC), 5, 1, LEASE)
_batches = itertools.count(1)


class _UndoneError(Exception):
    """Raised inside a transaction to undo it."""


@pytest.fixture(scope="module")
async def warehouse(postgres: Server, template: str) -> AsyncIterator[Database]:
    """What tests write into it stays: each works on accounts of its own."""
    async with postgres.clone(template, "plans") as name:
        database = Database(postgres.database(name), SCHEMA)
        await load(database.dsn)
        yield database


@pytest.fixture(scope="module")
async def store(warehouse: Database) -> AsyncIterator[Repositories]:
    async with Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool:
        store = await Repositories.build(pool, LEASE)
        await store.claims.beat()
        yield store


@pytest.fixture(scope="module")
async def relations(warehouse: Database) -> Relations:
    async with warehouse.connect() as connection:
        return await Relations.read(connection)


@pytest.fixture
def recorder(relations: Relations) -> Iterator[Recorder]:
    """Plans for the parameters as they are."""
    with Recorder(relations).recording() as recorder:
        yield recorder


@pytest.fixture(params=[False, True], ids=["custom", "generic"])
def either(request: pytest.FixtureRequest, relations: Relations) -> Iterator[Recorder]:
    """Plans for the parameters as they are, and again for whatever parameters."""
    with Recorder(relations, is_generic=request.param).recording() as recorder:
        yield recorder


def batch(count: int = BATCH) -> list[str]:
    """Accounts that no other test has, spread over all that trade and over their dates."""
    return accounts(next(_batches), count, STEP)


def numbers(account_ids: Sequence[str]) -> list[int]:
    return [int(account_id.removeprefix("acc-")) for account_id in account_ids]


def assert_nothing_is_read_whole(recorder: Recorder, *but: str) -> None:
    assert recorder.plans
    whole = {
        plan.name or plan.statement: list(map(str, plan.whole_reads))
        for plan in recorder.plans
        if plan.name not in but and plan.whole_reads
    }
    assert not whole


def assert_the_day_matrix_is_read_from_indexes_alone(plan: Plan) -> None:
    assert plan.ways("raw_metrics_daily") == {("Index Only Scan", "raw_metrics_daily_pkey")}
    assert plan.ways("raw_metrics_hourly") == {("Index Only Scan", "raw_metrics_hourly_pkey")}
    assert plan.ways("raw_trades_closed") == {("Index Only Scan", "raw_trades_closed_account_day")}


@pytest.fixture
async def amounts(warehouse: Database) -> AsyncIterator[list[str]]:
    """Accounts that alone have amounts, which agree, where each relation is known to hold."""
    ids = batch()
    async with warehouse.connect() as connection:
        for table, profit, lots, each in (
            ("raw_metrics_alltime", "net_profit", "total_lots", TRADING_DAYS * len(HOURS)),
            ("raw_metrics_daily", "net_profit", "total_lots", len(HOURS)),
            ("raw_metrics_hourly", "net_profit", "total_lots", 1),
            ("raw_trades_closed", "profit", "lots", 1),
        ):
            await connection.execute(
                f"UPDATE {table} SET {profit} = $2, {lots} = $2 WHERE account_id = ANY($1)",
                ids,
                each,
            )
        await connection.execute(
            "INSERT INTO recon_money_relations (relation, accounts, holding, is_used, reason)"
            " SELECT unnest($1::text[]), 100, 100, true, 'made up'",
            [*BY_NAME, BY_DATE],
        )
        yield ids
        await connection.execute("DELETE FROM recon_money_relations")


# What is read of all, before other tests write: they leave rows of now on pages of each date


async def test_what_was_written_lately_is_found_in_the_blocks_of_its_time(
    store: Repositories, recorder: Recorder
) -> None:
    assert await store.touched.covered_until() is not None
    since = dt.datetime.combine(LAST_DAY, dt.time(12), dt.UTC)
    touched = await store.touched.accounts(since, KNOWN)
    assert len(touched) >= BATCH
    plan = recorder.one("detect/recent.get_touched_accounts")
    for table in RAW:
        assert plan.ways(table) == {("Bitmap Heap Scan", f"{table}_ingested")}
    # Of each table and partition a few ranges of 32 pages.
    looked_at = {str(scan) for scan in plan.scans if scan.is_large}
    assert plan.rows(*RAW) < 4 * len(touched) * TRADES_A_DAY * 2, looked_at
    assert recorder.one("detect/recent.get_covered_until").indexes("recon_attempts") == {
        "recon_attempts_waiting"
    }


async def test_a_sweep_reads_each_raw_table_once_from_indexes_alone_with_several_processes(
    store: Repositories, warehouse: Database, amounts: list[str], recorder: Recorder
) -> None:
    wrong = amounts[:5]
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = 1000 WHERE account_id = ANY($1)", wrong
        )
    await store.sweep.run(LAST_DAY)
    read = recorder.one("detect/sweep.create_swept")
    for table in RAW:
        partitions = [scan.partition for scan in read.scans_of(table)]
        assert len(partitions) == len(set(partitions)), "each partition is read at one place"
    assert_the_day_matrix_is_read_from_indexes_alone(read)
    # Daily, hourly, and closed trades; alltime as well where the MD5 of its keys is worth it.
    assert sum(node["Node Type"] == "Gather" for node in read.nodes) >= 3
    assert read.rows("raw_metrics_alltime") == KNOWN
    assert read.rows("raw_metrics_daily") >= TRADING * TRADING_DAYS
    for plan in recorder.plans:
        if plan is not read:
            # Only what is doubtful: trades without an id, and dates of accounts whose totals
            # differ.
            assert plan.rows("raw_metrics_daily") <= TRADING * TRADING_DAYS / 2, plan.name
            assert not plan.ways("raw_metrics_alltime"), plan.name
    # Of those whose counts agree, the dates of those alone whose amounts do not.
    dated = recorder.one("detect/money/statements.create_swept_money")
    assert_the_day_matrix_is_read_from_indexes_alone(dated)
    assert 0 < dated.rows("raw_metrics_daily") <= len(wrong) * TRADING_DAYS
    assert dated.rows("raw_metrics_hourly") <= len(wrong) * TRADING_DAYS * len(HOURS)


# Detection


@pytest.mark.parametrize("count", [1, BATCH])
async def test_a_look_reads_its_accounts_by_key_and_the_day_matrix_from_indexes_alone(
    count: int, store: Repositories, either: Recorder
) -> None:
    views = await store.detection.look(batch(count))
    assert len(views) == count
    plan = either.one("detect/accounts.look_at_accounts")
    assert_the_day_matrix_is_read_from_indexes_alone(plan)
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}
    assert plan.indexes("trade_recon") == {"trade_recon_pkey"}
    assert plan.rows("raw_metrics_daily") == count * TRADING_DAYS
    assert plan.rows("raw_metrics_hourly") == count * TRADING_DAYS * len(HOURS)
    assert plan.rows("raw_trades_closed") <= count * TRADING_DAYS * TRADES_A_DAY
    assert either.one("detect/accounts.get_descents").indexes("recon_descents") == {
        "recon_descents_pkey"
    }
    assert_nothing_is_read_whole(either, "detect/accounts.get_findings")


async def test_a_look_at_5000_accounts_reads_raw_tables_by_index_though_that_is_a_large_share_here(
    store: Repositories, either: Recorder
) -> None:
    await store.detection.refresh_stats(accounts(20, 5000, KNOWN // 5000))
    plan = either.one("detect/accounts.look_at_accounts")
    assert_the_day_matrix_is_read_from_indexes_alone(plan)
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}


async def test_logins_are_read_from_indexes_alone_and_totals_are_written_by_key(
    store: Repositories, warehouse: Database, either: Recorder
) -> None:
    ids = batch()
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE trade_recon SET num_trades_daily = 1, issues = '[{}]' WHERE account_id ="
            " ANY($1)",
            ids,
        )
    await store.detection.look(ids)
    logins = either.one("detect/account_lists.get_logins")
    assert logins.ways("raw_trades_closed") == {
        ("Index Only Scan", "raw_trades_closed_account_day")
    }
    assert logins.indexes("recon_identity") == {"recon_identity_account"}
    written = either.one("detect/accounts.write_stats")
    assert written.indexes("trade_recon") == {"trade_recon_pkey"}
    assert written.rows("trade_recon") == 2 * len(ids)
    assert_nothing_is_read_whole(either, "detect/accounts.get_findings")


# Identity


@pytest.mark.parametrize("count", [1, BATCH])
async def test_the_keys_of_accounts_are_refreshed_by_index(
    count: int, store: Repositories, warehouse: Database, either: Recorder
) -> None:
    ids = batch(count)
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE recon_identity SET daily_to = daily_from, valid_to = daily_from WHERE"
            " account_id = ANY($1)",
            ids,
        )
    keys = await store.identity.refresh(ids, LAST_DAY)
    assert len(keys.logins) == count
    plan = either.one("identity/holders.refresh_identity")
    assert plan.ways("raw_metrics_daily") == {("Index Only Scan", "raw_metrics_daily_pkey")}
    assert plan.rows("raw_metrics_daily") == count * TRADING_DAYS
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}
    assert either.one("identity/holders.get_natural_keys").indexes("recon_identity") == {
        "recon_identity_account"
    }
    assert either.one("identity/holders.refresh_validity").rows("recon_identity") <= 6 * count
    # Findings, whose keys are judged again, are few rows on few pages.
    assert_nothing_is_read_whole(either, "identity/holders.get_natural_keys")


@pytest.mark.parametrize("count", [1, BATCH])
async def test_rows_with_a_missing_or_wrong_id_are_found_and_mended_by_index(
    count: int, store: Repositories, either: Recorder
) -> None:
    ids = batch(count)
    keys = await store.identity.refresh(ids, LAST_DAY)
    await store.identity.find(keys, ids, LAST_DAY)
    mended = await store.identity.repair(keys, LAST_DAY)
    rows = count * TRADING_DAYS
    for plan in either.named("identity/findings.find_null_ids"):
        assert plan.ways("raw_trades_closed") <= {
            ("Index Only Scan", "raw_trades_closed_without_account")
        }
        assert plan.rows("raw_trades_closed") <= rows
    for plan in (
        *either.named("identity/repair.repair_null_ids"),
        *either.named("identity/repair.repair_foreign_ids"),
    ):
        assert plan.indexes("raw_trades_closed") <= {
            "raw_trades_closed_without_account",
            "raw_trades_closed_account_day",
            "raw_trades_closed_pkey",
        }
        assert plan.rows("raw_trades_closed") <= 2 * rows * TRADES_A_DAY
    for plan in (
        *either.named("identity/findings.find_placeholder_metrics"),
        *either.named("identity/metrics_repair.repair_metrics"),
    ):
        for table in RAW[:3]:
            assert plan.indexes(table) <= {f"{table}_pkey"}
        assert plan.rows(*RAW[:3]) <= rows * len(HOURS)
    assert count == 1 or sum(mended.rows.values()) > 0
    # Findings are few rows on few pages: reading them costs less than looking for a batch of them.
    assert_nothing_is_read_whole(
        either,
        "identity/holders.get_natural_keys",
        "identity/findings.find_foreign_ids",
        "identity/findings.clear_findings",
        "identity/repair.repair_null_ids",
        "identity/repair.repair_foreign_ids",
    )


# Changes: what a fetch finds and writes, beside fifty other fetches


SLICES = {
    "alltime": (Endpoint.ALLTIME, None, {"raw_metrics_alltime"}),
    "daily of all dates": (
        Endpoint.DAILY,
        None,
        {f"raw_metrics_daily_2026_0{month}" for month in (1, 2, 3)},
    ),
    "daily of three dates": (
        Endpoint.DAILY,
        (THREE_DATES[0], dt.date(2026, 2, 6), THREE_DATES[1]),
        {"raw_metrics_daily_2026_02"},
    ),
    "hourly of a date": (Endpoint.HOURLY, THREE_DATES[:1], {"raw_metrics_hourly_2026_02"}),
    "trades of all dates": (
        Endpoint.CLOSED,
        OF_ALL_DATES,
        {f"raw_trades_closed_2026_0{month}" for month in (1, 2, 3)},
    ),
    "trades of three dates": (Endpoint.CLOSED, THREE_DATES, {"raw_trades_closed_2026_02"}),
}


@pytest.mark.parametrize("which", SLICES)
async def test_fingerprints_are_read_by_account_and_in_the_partitions_of_their_dates(
    which: str, store: Repositories, recorder: Recorder
) -> None:
    endpoint, dates, partitions = SLICES[which]
    await store.applier.fingerprints(Slice(endpoint, tuple(batch()), dates))
    plan = recorder.one("apply/fingerprints.get_fingerprints")
    table = store.catalogue[endpoint].table
    assert plan.partitions(table.name) == partitions
    assert plan.indexes(table.name) <= {
        f"{table.name}_pkey",
        f"{table.name}_account_day",
        f"{table.name}_without_account",
    }
    assert plan.rows(table.name) <= BATCH * TRADING_DAYS * 2
    assert_nothing_is_read_whole(recorder)


@pytest.mark.parametrize("which", [name for name in SLICES if not name.startswith("trades")])
async def test_fingerprints_of_metrics_are_read_by_account_whatever_the_parameters(
    which: str, store: Repositories, either: Recorder
) -> None:
    endpoint, dates, _ = SLICES[which]
    await store.applier.fingerprints(Slice(endpoint, tuple(batch()), dates))
    plan = either.one("apply/fingerprints.get_fingerprints")
    table = store.catalogue[endpoint].table
    assert plan.indexes(table.name) == {f"{table.name}_pkey"}
    assert plan.rows(table.name) <= BATCH * TRADING_DAYS * len(HOURS)


@pytest.fixture
async def claim(store: Repositories, warehouse: Database) -> AsyncIterator[Claim]:
    """A batch of accounts that are the first to wait in the run, claimed."""
    async with warehouse.connect() as connection:
        await connection.execute(
            "INSERT INTO recon_attempts (run_id, account_id, position) SELECT $1,"
            " unnest($2::text[]), 0",
            RUN,
            batch(),
        )
    claim = await store.claims.claim(RUN, BATCH)
    assert claim is not None
    assert len(claim.account_ids) == BATCH
    yield claim
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM recon_attempts WHERE run_id = $1 AND account_id = ANY($2)",
            RUN,
            claim.account_ids,
        )


def sent(
    endpoint: Endpoint, account_ids: Sequence[str], dates: tuple[dt.date, dt.date] = OF_ALL_DATES
) -> list[bytes]:
    """What upstream sends: of the rows that are stored every seventh lacks, every fifth differs,
    and there are some more.
    """
    rows: list[dict[str, object]] = []
    for number, account_id in zip(numbers(account_ids), account_ids, strict=True):
        key: dict[str, object] = {"login": str(number), "broker": 1}
        days = [day for day in trading_days(number) if dates[0] <= day <= dates[1]]
        if endpoint is Endpoint.CLOSED:
            for day, trade in itertools.product(days, range(1, TRADES_A_DAY + 2)):
                moved = day + dt.timedelta(days=(number + trade) % 7 == 1)
                rows.append(
                    key
                    | {
                        "platform": 1,
                        "position": str(trade),
                        "ticket": ticket(number, day, trade),
                        "tradeDate": str(moved),
                    }
                )
            continue
        key |= {
            "mt_version": 1,
            "accountId": account_id,
            "numTrades": 1 if endpoint is Endpoint.HOURLY else TRADES_A_DAY,
        }
        if endpoint is Endpoint.ALLTIME:
            rows.append(key)
        for day in days if endpoint is not Endpoint.ALLTIME else []:
            rows += (
                [key | {"date": str(day)}]
                if endpoint is Endpoint.DAILY
                else [key | {"date": str(day), "hour": hour} for hour in (*HOURS, 11)]
            )
    kept = [row for place, row in enumerate(rows) if place % 7]
    return [
        json.dumps(row | ({} if place % 5 else {"numTrades": 7, "lots": 7})).encode()
        for place, row in enumerate(kept)
    ]


async def fetched(store: Repositories, endpoint: Endpoint, rows: Sequence[bytes]) -> StagedFetch:
    sink = await store.staging.begin(endpoint)
    await sink.add(rows)
    assert await sink.distinct_keys() == len(rows)
    await sink.seal()
    return sink.staged


WRITES = {
    "alltime": (Endpoint.ALLTIME, BATCH, None, OF_ALL_DATES),
    "daily": (Endpoint.DAILY, BATCH, None, OF_ALL_DATES),
    "hourly of two dates": (Endpoint.HOURLY, BATCH, THREE_DATES, THREE_DATES),
    "trades": (Endpoint.CLOSED, 60, OF_ALL_DATES, OF_ALL_DATES),
    "trades of three dates": (Endpoint.CLOSED, BATCH, THREE_DATES, THREE_DATES),
}


@pytest.mark.parametrize("which", WRITES)
async def test_a_fetch_is_written_by_the_keys_of_its_rows_however_much_else_is_stored_and_staged(
    which: str, store: Repositories, claim: Claim, either: Recorder
) -> None:
    endpoint, count, dates, sent_dates = WRITES[which]
    ids = claim.account_ids[:count]
    proven = Slice(endpoint, ids, dates)
    before = await store.applier.fingerprints(proven)
    rows = sent(endpoint, ids, sent_dates)
    staged = await fetched(store, endpoint, rows)
    if endpoint.is_trades:
        await store.applier.resolve_trades(
            staged,
            {
                account_id: [Login(str(number))]
                for account_id, number in zip(ids, numbers(ids), strict=True)
            },
        )
    done = await store.applier.apply(
        staged,
        proven,
        before,
        WriteContext(None, claim.claim_id, 60, LEASE),
        RemovalEvidence(dict.fromkeys(ids)),
    )
    await store.staging.forget(staged)
    assert_the_difference_was_written(
        list(done.values()), moves=endpoint is Endpoint.CLOSED and dates == OF_ALL_DATES
    )

    table, stage = (
        store.catalogue[endpoint].table.name,
        store.catalogue[endpoint].stage.rpartition(".")[2],
    )
    if which == "trades":
        # All of their accounts at once, where each could stand in any partition.
        assert {
            scan.loops
            for scan in either.named("apply/writing/matching.match_rows")[0].scans_of(table)
        } == {1}
    stored = count * TRADING_DAYS * 2
    for plan in either.plans:
        assert plan.indexes(table) <= {
            f"{table}_pkey",
            f"{table}_account_day",
            f"{table}_without_account",
        }, plan.name
        if plan.name != "apply/fingerprints.get_fingerprints" or not endpoint.is_trades:
            assert plan.rows(table) <= 3 * (stored + len(rows)), plan.name
        assert plan.indexes("recon_identity") <= {
            "recon_identity_pkey",
            "recon_identity_account",
        }, plan.name
        assert plan.indexes("trade_recon") <= {"trade_recon_pkey"}, plan.name
        # Of few rows PostgreSQL is told nothing: see the test of doubled rows.
        if len(rows) >= 500 or plan.name != "apply/rejects/rejects.reject_doubled_rows":
            assert plan.rows(stage) <= 4 * len(rows), plan.name
        assert not plan.whole_reads or plan.name == "apply/writing/stale.delete_stale_rows", (
            plan.name,
            list(map(str, plan.whole_reads)),
        )


def assert_the_difference_was_written(done: Sequence[Applied], *, moves: bool) -> None:
    assert not any(each.left_alone or each.claim_lost or each.error for each in done)
    assert any(each.updated for each in done)
    if moves:
        assert any(each.moved for each in done)
        assert any(each.removed for each in done)
        assert any(each.inserted for each in done)


@pytest.mark.parametrize("which", WRITES)
async def test_every_row_of_a_fetch_is_compared_by_its_key_however_much_else_is_stored_and_staged(
    which: str, store: Repositories, either: Recorder
) -> None:
    endpoint, count, dates, sent_dates = WRITES[which]
    ids = [AccountId(each) for each in batch(count)]
    rows = sent(endpoint, ids, sent_dates)
    staged = await fetched(store, endpoint, rows)
    if endpoint.is_trades:
        await store.applier.resolve_trades(staged, {})
    compared = await store.comparison.compare(
        staged, Slice(endpoint, tuple(ids), dates), ids, is_written=True
    )
    await store.staging.forget(staged)
    assert {each.differs for found in compared.values() for each in found.differences} >= {
        Differs.CHANGED
    }
    table, stage = (
        store.catalogue[endpoint].table.name,
        store.catalogue[endpoint].stage.rpartition(".")[2],
    )
    for name in ("count_sent_rows", "get_differing_rows", "get_lacking_rows", "get_unsent_rows"):
        plan = either.one(f"apply/comparison.{name}")
        assert plan.indexes(table) <= {f"{table}_pkey", f"{table}_account_day"}, name
        assert plan.rows(table) <= 3 * (count * TRADING_DAYS * 2 + len(rows)), name
        assert plan.rows(stage) <= 4 * len(rows), name


async def test_trades_that_are_stored_under_several_dates_are_looked_up_by_their_key(
    store: Repositories, recorder: Recorder
) -> None:
    ids = batch()
    surplus = [
        (account_id, trading_days(number)[0])
        for number, account_id in zip(numbers(ids), ids, strict=True)
    ]
    assert await store.comparison.doubled_days(surplus) == {}
    plan = recorder.one("apply/comparison.get_doubled_days")
    assert plan.indexes("raw_trades_closed") <= {
        "raw_trades_closed_account_day",
        "raw_trades_closed_pkey",
    }
    # What is doubtful, and once more in each partition.
    assert plan.rows("raw_trades_closed") <= len(surplus) * TRADES_A_DAY * 4
    assert_nothing_is_read_whole(recorder)


async def test_rows_for_a_key_that_is_too_narrow_are_looked_up_in_it(
    store: Repositories, recorder: Recorder
) -> None:
    ids = batch(60)
    key = UniqueKey("narrow", ("login", "ticket", "trade_date"), nulls_are_equal=False)
    table = replace(store.catalogue[Endpoint.CLOSED], narrow_keys=(key,))
    rows = sent(Endpoint.CLOSED, ids)
    staged = await fetched(store, Endpoint.CLOSED, rows)
    await store.applier.resolve_trades(staged, {})
    proven = Slice(Endpoint.CLOSED, tuple(ids), OF_ALL_DATES)
    horizon = (await store.applier.fingerprints(proven)).horizon
    job = ApplyJob(
        staged,
        table,
        proven,
        Fingerprints({}, horizon),
        WriteContext(None, ClaimId(uuid.UUID(int=0)), 60, LEASE),
        RemovalEvidence(),
    )
    with contextlib.suppress(_UndoneError):
        async with store.database.transaction() as connection:
            await connection.execute(
                f"CREATE UNIQUE INDEX {key.name} ON {table.raw} ({', '.join(key.columns)})"
            )
            await store.applier._writer.write(
                connection, job, Part(tuple(ids), now={}), horizon, None
            )
            raise _UndoneError
    plan = recorder.one("apply/writing/narrow_keys.reject_too_narrow")
    assert {kind for kind, _ in plan.ways("raw_trades_closed")} <= {"Index Scan", "Index Only Scan"}
    assert any(
        "login_ticket_trade_date" in str(index) for index in plan.indexes("raw_trades_closed")
    )
    assert plan.rows("raw_trades_closed") <= 2 * len(rows)
    assert plan.rows("recon_stage_closed") <= 4 * len(rows)
    assert_nothing_is_read_whole(recorder)


# What is recorded


def results(account_ids: Sequence[str]) -> list[AccountResult]:
    """Of three accounts one was equal, one is left with an issue, one is to be read once more."""
    kinds = itertools.cycle(
        [
            (Outcome.UNCHANGED, (), False),
            (Outcome.PARTIAL, ONE_ISSUE, False),
            (Outcome.FAILED, ONE_ISSUE, True),
        ]
    )
    return [
        AccountResult(
            AccountId(account_id),
            outcome,
            left,
            left,
            Effort(),
            failing=bool(left),
            signature="",
            detail=None,
            postponed=postponed,
        )
        for account_id, (outcome, left, postponed) in zip(account_ids, kinds, strict=False)
    ]


async def record(store: Repositories, claim: Claim) -> None:
    judged = sorted(IssueCode)
    found: dict[AccountId, tuple[Issue, ...]] = dict.fromkeys(claim.account_ids, ONE_ISSUE)
    await store.issue_history.open_issues(claim.run_id, found, LAST_DAY)
    await store.issue_history.reopened(claim.account_ids)
    await store.results.record(
        claim, results(claim.account_ids), seconds=1, requests=1, terms=TERMS, judged=judged
    )
    await store.issue_history.record_issues(
        dict.fromkeys(claim.account_ids, ()), judged, note="test", closed_as=ClosedAs.GONE
    )


async def test_a_batch_is_recorded_by_the_keys_of_its_accounts(
    store: Repositories, claim: Claim, either: Recorder
) -> None:
    await record(store, claim)
    assert {
        "results/issue_history.open_issues",
        "results/issue_history.get_reopened",
        "results/issue_history.close_issues",
    } <= {plan.name for plan in either.plans}
    assert {
        "results/results.record_unchanged",
        "results/results.record_attempts",
        "results/results.postpone_accounts",
    } <= {plan.name for plan in either.plans}
    for plan in either.plans:
        assert plan.indexes("trade_recon") <= {"trade_recon_pkey"}, plan.name
        assert plan.indexes("recon_attempts") <= {
            "recon_attempts_pkey",
            "recon_attempts_account",
        }, plan.name
        assert plan.indexes("recon_issue_history") <= {
            "recon_issue_history_open",
            "recon_issue_history_account",
        }, plan.name
        # Each account has a closed issue or an open one in the history, and has got another.
        assert plan.rows() <= 3 * BATCH, plan.name
    assert_nothing_is_read_whole(either)


async def test_whether_a_run_is_done_is_read_from_the_attempts_that_wait(
    store: Repositories, recorder: Recorder
) -> None:
    await store.run_reader.get(PAST_RUN)
    assert await store.runs.finish(PAST_RUN, HoldLimits()) is False
    for name in ("runs/reader.get_run", "runs/lifecycle.get_run_state"):
        assert recorder.one(name).indexes("recon_attempts") == {"recon_attempts_waiting"}
        assert recorder.one(name).rows("recon_attempts") == 0


# Inspections


async def test_a_batch_of_an_inspection_is_recorded_by_the_keys_of_its_accounts(
    store: Repositories, claim: Claim, either: Recorder
) -> None:
    found = [
        Inspected(account_id, ONE_ISSUE, tuple(issue.as_json() for issue in ONE_ISSUE), "seen")
        for account_id in claim.account_ids
    ]
    assert await store.inspections.brokers(claim.account_ids)
    assert (
        len(await store.inspections.record(claim, found, lambda _: InspectionFigures(), 1)) == BATCH
    )
    assert either.one("detect/inspections.get_brokers").indexes("recon_identity") == {
        "recon_identity_account"
    }
    assert {"detect/inspections.release_inspected", "detect/inspections.record_inspected"} <= {
        plan.name for plan in either.plans
    }
    for plan in either.plans:
        assert plan.indexes("trade_recon") <= {"trade_recon_pkey"}, plan.name
        assert plan.indexes("recon_attempts") <= {
            "recon_attempts_pkey",
            "recon_attempts_account",
        }, plan.name
        assert plan.indexes("recon_issue_history") <= {
            "recon_issue_history_open",
            "recon_issue_history_account",
        }, plan.name
        assert plan.rows() <= 3 * BATCH, plan.name
    assert_nothing_is_read_whole(either)


async def test_what_an_inspection_found_is_read_a_page_at_a_time_from_the_key_of_its_attempts(
    store: Repositories, either: Recorder
) -> None:
    found = await store.inspections.accounts(
        PAST_RUN, (Outcome.UNCHANGED,), account(KNOWN // 2), 50
    )
    assert [each.account_id for each in found] == accounts(KNOWN // 2 + 1, 50)
    plan = either.one("detect/inspections.list_inspected")
    assert plan.indexes("recon_attempts") == {"recon_attempts_pkey"}
    assert plan.rows("recon_attempts") <= 51
    assert plan.indexes("recon_issue_history") <= {
        "recon_issue_history_open",
        "recon_issue_history_account",
    }
    assert_nothing_is_read_whole(either)


async def test_accounts_that_an_inspection_names_are_found_by_their_keys(
    store: Repositories, warehouse: Database, recorder: Recorder
) -> None:
    ids = batch()
    async with warehouse.connect() as connection:
        await connection.execute(
            "UPDATE trade_recon SET mismatched_days = 1 WHERE account_id = ANY($1)", ids[:5]
        )
    with contextlib.suppress(_UndoneError):
        async with store.database.transaction() as connection:
            queue = Queue(connection, {}, RUN, uuid.uuid4())
            queued = await store.inspections.enqueue(
                queue, RUN, ids, limit=None, unread=(), first=None
            )
            raise _UndoneError
    assert queued.unchanged <= BATCH - 5
    plan = recorder.one("detect/inspections.enqueue_inspected")
    assert plan.indexes("trade_recon") == {"trade_recon_pkey"}
    assert plan.rows("trade_recon") <= 3 * BATCH
    assert_nothing_is_read_whole(recorder)
    assert not recorder.named("detect/inspections.get_everywhere")


# Amounts


async def test_amounts_are_compared_from_the_indexes_that_hold_the_counts(
    store: Repositories, amounts: list[str], either: Recorder
) -> None:
    await store.detection.look(amounts)
    plan = either.one("detect/accounts.look_at_accounts")
    assert "money_days" in plan.statement
    assert_the_day_matrix_is_read_from_indexes_alone(plan)
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}
    assert plan.rows("raw_metrics_daily") == BATCH * TRADING_DAYS
    assert_nothing_is_read_whole(either, "detect/accounts.get_findings")


# What others read


async def test_an_account_is_shown_by_its_keys(store: Repositories, either: Recorder) -> None:
    (account_id,) = batch(1)
    await store.account_reader.account(account_id)
    await store.account_reader.attempt(PAST_RUN, account_id)
    assert either.one("report/account_reader.get_account").indexes("trade_recon") == {
        "trade_recon_pkey"
    }
    assert either.one("report/account_reader.get_attempts").indexes("recon_attempts") == {
        "recon_attempts_account"
    }
    assert either.one("report/account_reader.get_history").indexes("recon_issue_history") == {
        "recon_issue_history_account"
    }
    assert sum(plan.rows() for plan in either.plans) < 20
    assert_nothing_is_read_whole(either)


async def test_the_kept_report_reads_no_account(store: Repositories, recorder: Recorder) -> None:
    await store.reports.kept()
    assert not {scan.table for plan in recorder.plans for scan in plan.scans} - {"recon_report"}


async def test_the_week_of_the_report_is_read_from_the_blocks_of_its_attempts(
    store: Repositories, recorder: Recorder
) -> None:
    async def shown(figures: ReportFigures, _: Connection) -> Mapping[str, object]:
        return figures.overall

    await store.reports.counted(shown, Horizon(dt.date(2026, 3, 10), dt.date(2026, 3, 8)))
    plan = recorder.one("report/figures.get_activity")
    assert plan.ways("recon_attempts") == {("Bitmap Heap Scan", "recon_attempts_finished")}
    for scanned in recorder.plans:
        assert scanned.rows("trade_recon") <= KNOWN, scanned.name
    # By status, by issue, and for the dates of accounts that are held.
    assert sum(scanned.rows("trade_recon") for scanned in recorder.plans) <= 3 * KNOWN


async def test_the_feed_is_read_from_its_cursor_on(store: Repositories, either: Recorder) -> None:
    page = await store.feed.since(TRADING // 2, 100)
    assert len(page.changes) == 100
    plan = either.one("change_feed.get_changes")
    assert plan.indexes("recon_changes") == {"recon_changes_pkey"}
    assert plan.rows("recon_changes") <= 210


async def test_a_draw_from_the_quota_reads_its_one_row(
    store: Repositories, recorder: Recorder
) -> None:
    await Quota(store.database, 15, 20).acquire()
    plan = recorder.one("quota.draw_permits")
    assert not plan.scans
    assert plan.buffers < 50


# The guards themselves


async def test_a_guard_objects_where_an_index_is_missing(
    store: Repositories, relations: Relations
) -> None:
    with Recorder(
        relations, before=(f"DROP INDEX {SCHEMA}.raw_trades_closed_account_day",)
    ).recording() as recorder:
        await store.detection.refresh_stats(batch())
    with pytest.raises(AssertionError):
        assert_the_day_matrix_is_read_from_indexes_alone(
            recorder.one("detect/accounts.look_at_accounts")
        )
    with pytest.raises(AssertionError, match="raw_trades_closed_2026_01 by nothing"):
        assert_nothing_is_read_whole(recorder)


async def test_a_guard_objects_where_postgresql_prefers_to_read_all(
    store: Repositories, relations: Relations
) -> None:
    settings = tuple(
        f"SET LOCAL enable_{kind} = off" for kind in ("indexscan", "indexonlyscan", "bitmapscan")
    )
    with Recorder(relations, before=settings).recording() as recorder:
        await store.applier.fingerprints(Slice(Endpoint.DAILY, tuple(batch()), None))
    with pytest.raises(AssertionError, match="raw_metrics_daily_2026_01 by nothing"):
        assert_nothing_is_read_whole(recorder)


def test_each_statement_of_the_service_is_known_by_its_name() -> None:
    for file in list_files():
        for name, sql in load_queries(file, SCHEMA).items():
            filled = fill(sql, **dict.fromkeys(re.findall(r"\{\{(\w+)\}\}", sql), "some_condition"))
            assert name_of(filled) == f"{file}.{name}"
