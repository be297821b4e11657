"""No hot statement of the service falls back to reading a large table whole: each is explained on a large warehouse, where it is sent."""

import datetime as dt
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from app.domain.contract import Endpoint
from app.domain.issues import Issue, IssueCode, Severity
from app.domain.models import Effort, Outcome, RunKind
from app.engine.store import Store
from app.store.claims import Claim
from app.store.pool import Database as Pool
from app.store.quota import Quota
from app.store.runs import AccountResult, RunRequest, Terms
from app.store.slices import Applied, Slice, Witness, Writer
from app.store.staging import StagedFetch
from tests.conftest import SCHEMA, Database, Server
from tests.large_warehouse import (
    FETCHED,
    FIRST_DAY,
    HOURS,
    KNOWN,
    LAST_DAY,
    RUN,
    TRADES_A_DAY,
    TRADING,
    TRADING_DAYS,
    accounts,
    load,
    ticket,
    trading_days,
)
from tests.plans import Plan, Recorder, Relations

BATCH = TRADING // 100
"""As 5,000 are of 500,000."""
LEASE = 60.0
RAW = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")
OF_ALL_DATES = (FIRST_DAY, LAST_DAY)
THREE_DATES = (dt.date(2026, 2, 5), dt.date(2026, 2, 7))
ONE_ISSUE = (Issue(IssueCode.TRADE_COUNT_MISMATCH, Severity.HIGH, "Made up.", (), "None."),)
TERMS = Terms(5, lambda _: dt.datetime(2100, 1, 1, tzinfo=dt.UTC), 5, 1, LEASE)
_batches = itertools.count(1)


@pytest.fixture(scope="module")
async def warehouse(postgres: Server, template: str) -> AsyncIterator[Database]:
    """What tests write into it stays: each works on accounts of its own."""
    async with postgres.clone(template, "plans") as name:
        database = Database(postgres.database(name), SCHEMA)
        await load(database.dsn)
        yield database


@pytest.fixture(scope="module")
async def store(warehouse: Database) -> AsyncIterator[Store]:
    async with Pool.open(warehouse.dsn, warehouse.schema, pool_size=1) as pool:
        store = await Store.build(pool, LEASE)
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
    """Accounts that no other test has, spread over all that trade."""
    return accounts(next(_batches), count, TRADING // BATCH)


def numbers(account_ids: Sequence[str]) -> list[int]:
    return [int(account_id.removeprefix("acc-")) for account_id in account_ids]


def assert_nothing_is_read_whole(recorder: Recorder, *but: str) -> None:
    assert recorder.plans
    whole = {plan.name or plan.statement: list(map(str, plan.whole_reads)) for plan in recorder.plans if plan.name not in but and plan.whole_reads}
    assert not whole


def assert_the_day_matrix_is_read_from_indexes_alone(plan: Plan) -> None:
    assert plan.ways("raw_metrics_daily") == {("Index Only Scan", "raw_metrics_daily_pkey")}
    assert plan.ways("raw_metrics_hourly") == {("Index Only Scan", "raw_metrics_hourly_pkey")}
    assert plan.ways("raw_trades_closed") == {("Index Only Scan", "raw_trades_closed_account_day")}


# Detection


@pytest.mark.parametrize("count", [1, BATCH])
async def test_a_look_reads_its_accounts_by_key_and_the_day_matrix_from_indexes_alone(count: int, store: Store, either: Recorder) -> None:
    views = await store.detection.look(batch(count))
    assert len(views) == count
    plan = either.one("detection.look_at_accounts")
    assert_the_day_matrix_is_read_from_indexes_alone(plan)
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}
    assert plan.indexes("trade_recon") == {"trade_recon_pkey"}
    assert plan.rows("raw_metrics_daily") == count * TRADING_DAYS
    assert plan.rows("raw_metrics_hourly") == count * TRADING_DAYS * len(HOURS)
    assert plan.rows("raw_trades_closed") <= count * TRADING_DAYS * TRADES_A_DAY
    assert either.one("detection.get_descents").indexes("recon_descents") == {"recon_descents_pkey"}
    assert_nothing_is_read_whole(either, "detection.get_findings")


async def test_a_look_at_5000_accounts_reads_raw_tables_by_index_though_that_is_a_large_share_here(store: Store, either: Recorder) -> None:
    await store.detection.refresh_stats(accounts(20, 5000, KNOWN // 5000))
    plan = either.one("detection.look_at_accounts")
    assert_the_day_matrix_is_read_from_indexes_alone(plan)
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}


async def test_logins_are_read_from_indexes_alone_and_totals_are_written_by_key(
    store: Store, warehouse: Database, either: Recorder
) -> None:
    ids = batch()
    async with warehouse.connect() as connection:
        await connection.execute("UPDATE trade_recon SET num_trades_daily = 1, issues = '[{}]' WHERE account_id = ANY($1)", ids)
    await store.detection.look(ids)
    logins = either.one("detection.get_logins")
    assert logins.ways("raw_trades_closed") == {("Index Only Scan", "raw_trades_closed_account_day")}
    assert logins.indexes("recon_identity") == {"recon_identity_account"}
    written = either.one("detection.write_stats")
    assert written.indexes("trade_recon") == {"trade_recon_pkey"}
    assert written.rows("trade_recon") == 2 * len(ids)
    assert_nothing_is_read_whole(either, "detection.get_findings")


# Identity


@pytest.mark.parametrize("count", [1, BATCH])
async def test_the_keys_of_accounts_are_refreshed_by_index(count: int, store: Store, warehouse: Database, either: Recorder) -> None:
    ids = batch(count)
    async with warehouse.connect() as connection:
        await connection.execute("UPDATE recon_identity SET daily_to = daily_from, valid_to = daily_from WHERE account_id = ANY($1)", ids)
    keys = await store.identity.refresh(ids)
    assert len(keys.logins) == count
    plan = either.one("identity.refresh_identity")
    assert plan.ways("raw_metrics_daily") == {("Index Only Scan", "raw_metrics_daily_pkey")}
    assert plan.rows("raw_metrics_daily") == count * TRADING_DAYS
    assert plan.indexes("raw_metrics_alltime") == {"raw_metrics_alltime_pkey"}
    assert either.one("identity.get_natural_keys").indexes("recon_identity") == {"recon_identity_account"}
    assert either.one("identity.refresh_validity").rows("recon_identity") <= 6 * count
    assert_nothing_is_read_whole(either)


@pytest.mark.parametrize("count", [1, BATCH])
async def test_rows_with_a_missing_or_wrong_id_are_found_and_mended_by_index(count: int, store: Store, either: Recorder) -> None:
    ids = batch(count)
    keys = await store.identity.refresh(ids)
    await store.identity.find(keys, ids)
    mended = await store.identity.mend(keys)
    rows = count * TRADING_DAYS
    for plan in either.named("identity.find_null_ids"):
        assert plan.ways("raw_trades_closed") <= {("Index Only Scan", "raw_trades_closed_without_account")}
        assert plan.rows("raw_trades_closed") <= rows
    for plan in (*either.named("identity.mend_null_ids"), *either.named("identity.mend_foreign_ids")):
        assert plan.indexes("raw_trades_closed") <= {"raw_trades_closed_without_account", "raw_trades_closed_account_day", "raw_trades_closed_pkey"}
        assert plan.rows("raw_trades_closed") <= 2 * rows * TRADES_A_DAY
    for plan in (*either.named("identity.find_placeholder_metrics"), *either.named("identity.mend_placeholder_metrics")):
        for table in RAW[:3]:
            assert plan.indexes(table) <= {f"{table}_pkey"}
        assert plan.rows(*RAW[:3]) <= rows * len(HOURS)
    assert count == 1 or sum(mended.rows.values())
    # Findings are few rows on few pages: reading them costs less than looking for a batch of them.
    assert_nothing_is_read_whole(either, "identity.find_foreign_ids", "identity.clear_findings", "identity.mend_null_ids", "identity.mend_foreign_ids")


# Changes: what a fetch finds and writes, beside fifty other fetches


SLICES = {
    "alltime": (Endpoint.ALLTIME, None, {"raw_metrics_alltime"}),
    "daily of all dates": (Endpoint.DAILY, None, {f"raw_metrics_daily_2026_0{month}" for month in (1, 2, 3)}),
    "daily of three dates": (Endpoint.DAILY, (THREE_DATES[0], dt.date(2026, 2, 6), THREE_DATES[1]), {"raw_metrics_daily_2026_02"}),
    "hourly of a date": (Endpoint.HOURLY, THREE_DATES[:1], {"raw_metrics_hourly_2026_02"}),
    "trades of all dates": (Endpoint.CLOSED, OF_ALL_DATES, {f"raw_trades_closed_2026_0{month}" for month in (1, 2, 3)}),
    "trades of three dates": (Endpoint.CLOSED, THREE_DATES, {"raw_trades_closed_2026_02"}),
}


@pytest.mark.parametrize("which", SLICES)
async def test_fingerprints_are_read_by_account_and_in_the_partitions_of_their_dates(which: str, store: Store, recorder: Recorder) -> None:
    endpoint, dates, partitions = SLICES[which]
    await store.changes.fingerprints(Slice(endpoint, tuple(batch()), dates))
    plan = recorder.one("changes.get_fingerprints")
    table = store.catalogue[endpoint].table
    assert plan.partitions(table.name) == partitions
    assert plan.indexes(table.name) <= {f"{table.name}_pkey", f"{table.name}_account_day", f"{table.name}_without_account"}
    assert plan.rows(table.name) <= BATCH * TRADING_DAYS * 2
    assert_nothing_is_read_whole(recorder)


@pytest.mark.parametrize("which", [name for name in SLICES if not name.startswith("trades")])
async def test_fingerprints_of_metrics_are_read_by_account_whatever_the_parameters(which: str, store: Store, either: Recorder) -> None:
    endpoint, dates, _ = SLICES[which]
    await store.changes.fingerprints(Slice(endpoint, tuple(batch()), dates))
    plan = either.one("changes.get_fingerprints")
    table = store.catalogue[endpoint].table
    assert plan.indexes(table.name) == {f"{table.name}_pkey"}
    assert plan.rows(table.name) <= BATCH * TRADING_DAYS * len(HOURS)
