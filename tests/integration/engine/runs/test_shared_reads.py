"""What most accounts of a run lack alike is read once for all of its batches and replicas; whatever
befalls such a read, its accounts are asked by id, and the warehouse ends equal to upstream.
"""

import asyncio
import datetime as dt
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.domain.contract.tables import PAGE_ROWS, TABLES, Endpoint
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.altered import altering
from tests.support.engine import TODAY, difference, engine, run
from tests.support.plain import plain
from tests.support.replicas import Replicas, until, until_nothing_is_left
from tests.support.scripted import Arrival, Reply
from tests.support.waiting import PATIENCE
from tests.support.weekly import DATED, DAYS, lose, weekly_warehouse, weekly_world

if TYPE_CHECKING:
    import asyncpg

_ACCOUNTS, _BATCH = 60, 10
_DAY = DAYS[-2]
_CONFIG = EngineConfig(
    workers=1, batch_size=_BATCH, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0
)
_LARGE_DAY = TODAY - dt.timedelta(days=7)
# Until today: thousands also have rows without trades on some dates, which would be seen to end.
_LARGE = {TODAY - dt.timedelta(days=14): 1, _LARGE_DAY: 3, TODAY: 1}
_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.1)
_READERS = """
SELECT w.pid FROM recon_shared_reads AS r JOIN recon_workers AS w ON w.worker_id = r.read_by WHERE r.state = $1
"""
_IS_PROVEN = "SELECT EXISTS (SELECT FROM recon_shared_reads WHERE state = 'proven')"
_FETCHES = "SELECT count(*) FROM recon_fetches"
_CLAIMS = "SELECT DISTINCT claim_id FROM trade_recon WHERE claim_id IS NOT NULL"


@pytest.fixture(scope="module")
def world() -> World:
    """Upstream's data; tests leave them as they are."""
    return weekly_world(_ACCOUNTS)


@pytest.fixture(scope="module")
async def filled(postgres: Server, template: str, world: World) -> AsyncIterator[str]:
    async with weekly_warehouse(postgres, template, world) as name:
        yield name


@pytest.fixture
async def warehouse(postgres: Server, filled: str) -> AsyncIterator[Database]:
    async with postgres.clone(filled, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world) as server:
        yield server


async def _reads(database: Database) -> dict[tuple[str, dt.date], str]:
    """What became of the runs' reads."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT table_name, unnest(days) AS day, state FROM recon_shared_reads"
        )
    return {(row["table_name"], row["day"]): row["state"] for row in rows}


def _all(
    state: str, *days: dt.date, tables: tuple[Endpoint, ...] = DATED
) -> dict[tuple[str, dt.date], str]:
    return {(TABLES[endpoint].name, day): state for endpoint in tables for day in days}


def _scans(sandbox: SandboxServer) -> Counter[Endpoint]:
    """How often dates were read without ids."""
    return Counter(
        each.endpoint
        for each in sandbox.log.requests
        if not each.ids and not each.skip and each.endpoint in DATED
    )


def _floor(lost: Mapping[Endpoint, int]) -> int:
    """The requests that bring so many rows."""
    return sum(-(-rows // PAGE_ROWS) for rows in lost.values())


def _healed(state: Mapping[str, object]) -> object:
    """How many accounts the run healed."""
    return state["accounts"]["healed"]  # type: ignore[index]


def _is_of_day(row: Mapping[str, object]) -> bool:
    """Whether upstream's row is of the lost date, however it is written."""
    return str(row["date"]).replace("-", "").startswith(f"{_DAY:%Y%m%d}")


def _names(target: str, table: str) -> bool:
    """Whether a request is for a table."""
    return any(TABLES[each].name == table and each.value in target for each in DATED)


async def _when_proven(
    connection: "asyncpg.Connection[asyncpg.Record]", endpoint: Endpoint, change: str
) -> None:
    """Have another writer act when a read of the table is proven, before any batch copies it."""
    await connection.execute(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql SET search_path ="
        f" prop_trading_model AS $act$BEGIN {change}; RETURN NULL; END$act$;CREATE CONSTRAINT"
        " TRIGGER act AFTER UPDATE ON recon_shared_reads DEFERRABLE INITIALLY DEFERRED FOR EACH"
        f" ROW WHEN (NEW.state = 'proven' AND NEW.table_name = '{TABLES[endpoint].name}' AND"
        " OLD.state <> 'proven') EXECUTE FUNCTION act()"
    )


async def _staged(database: Database) -> int:
    """Rows in staging, and fetches."""
    async with database.connect() as connection:
        return int(
            await connection.fetchval(
                "SELECT (SELECT count(*) FROM recon_fetches) + (SELECT count(*) FROM"
                " recon_stage_daily) + (SELECT count(*) FROM recon_stage_hourly) + (SELECT count(*)"
                " FROM recon_stage_closed)"
            )
        )


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
async def test_dates_that_everybody_lacks_are_read_once(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind
) -> None:
    days = (DAYS[1], DAYS[4], DAYS[-1])
    await lose(warehouse, days)
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        state = await run(service, kind)
        assert state["status"] == "succeeded"
        assert _all("proven", *days).items() <= (await _reads(warehouse)).items()
        assert _scans(sandbox) == dict.fromkeys(DATED, 1)
        assert not [each.target for each in sandbox.log.requests if each.ids]
        await service.store.staging.purge_dead(60)
    assert await _staged(warehouse) == 0
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.mark.parametrize(
    "tables",
    [(Endpoint.HOURLY,), (Endpoint.CLOSED,), (Endpoint.DAILY, Endpoint.HOURLY), (Endpoint.DAILY,)],
)
async def test_tables_that_lack_a_date_are_read_once_and_no_others(
    warehouse: Database, sandbox: SandboxServer, tables: tuple[Endpoint, ...]
) -> None:
    await lose(warehouse, [_DAY], tables)
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        state = await run(service, RunKind.FULL)
    assert state["status"] == "succeeded"
    assert await _reads(warehouse) == _all("proven", _DAY, tables=tables)
    assert _scans(sandbox) == dict.fromkeys(tables, 1)
    assert not [each.target for each in sandbox.log.requests if each.ids]
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_accounts_whose_slice_is_there_in_part_are_healed_by_the_read(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_trades_closed AS t USING (SELECT login, platform, max(ticket) AS"
            " ticket FROM raw_trades_closed WHERE trade_date = $1 GROUP BY 1, 2) AS lost WHERE"
            " t.login = lost.login AND t.platform = lost.platform AND t.ticket = lost.ticket AND"
            " t.trade_date = $1",
            _DAY,
        )
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert _scans(sandbox) == {Endpoint.CLOSED: 1}
    assert not [each.target for each in sandbox.log.requests if each.ids]
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.fixture(scope="module")
def large_world() -> World:
    """3,000 accounts, of which each trades on three dates."""
    return weekly_world(3000, _LARGE)


@pytest.fixture(scope="module")
async def large_filled(postgres: Server, template: str, large_world: World) -> AsyncIterator[str]:
    async with weekly_warehouse(postgres, template, large_world) as name:
        yield name


@pytest.fixture
async def large_warehouse(postgres: Server, large_filled: str) -> AsyncIterator[Database]:
    async with postgres.clone(large_filled, "test") as name:
        yield Database(postgres.database(name), SCHEMA)


@pytest.fixture
async def large_sandbox(large_world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(large_world) as server:
        yield server


async def test_a_date_that_thousands_lack_costs_little_more_than_its_pages(
    large_warehouse: Database, large_sandbox: SandboxServer
) -> None:
    lost = await lose(large_warehouse, [_LARGE_DAY])
    config = replace(_CONFIG, batch_size=100)
    async with engine(large_warehouse, large_sandbox, config=config) as service:
        state = await run(service, RunKind.FULL)
        assert state["status"] == "succeeded"
        assert large_sandbox.log.total <= 1.2 * _floor(lost)
        await service.store.staging.purge_dead(60)
    assert await _staged(large_warehouse) == 0
    assert (await difference(large_warehouse, large_sandbox)).sample == ()


@pytest.mark.parametrize(
    "faults",
    [
        *(
            Faults(probabilities={kind: 1.0}, only_scans=True)
            for kind in (
                FaultKind.SMALLER_TOTAL,
                FaultKind.SHIFTING_TOTAL,
                FaultKind.SHORT_PAGE,
                FaultKind.REPEATED_ROW,
                FaultKind.INTERNAL_ERROR,
                FaultKind.TRUNCATED_JSON,
            )
        ),
        *(
            Faults(rejections=(Rejection(status=status),), only_scans=True)
            for status in (400, 403, 413)
        ),
    ],
    ids=lambda faults: ",".join(faults.probabilities) or str(faults.rejections[0].status),
)
async def test_a_read_that_fails_without_ids_is_made_by_id(
    warehouse: Database, sandbox: SandboxServer, faults: Faults
) -> None:
    await lose(warehouse, [_DAY])
    sandbox.set_faults(faults)
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        state = await run(service, RunKind.FULL)
    assert (state["status"], _healed(state)) == ("succeeded", _ACCOUNTS)
    assert set((await _reads(warehouse)).values()) == {"dropped"}
    async with warehouse.connect() as connection:
        assert not await connection.fetchval(
            "SELECT count(*) FROM trade_recon WHERE failed_attempts > 0"
        )
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_that_the_api_answers_with_nothing_hides_no_row(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    sandbox.set_faults(Faults(probabilities={FaultKind.EMPTY: 1.0}, only_scans=True))
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_in_pages_that_the_api_cuts_is_proven_all_the_same(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])

    def cut(_: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        answer["Data"]["data"] = answer["Data"]["data"][:40]
        return json.dumps(answer).encode()

    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_CONFIG) as service,
    ):
        api.alter = cut
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_beyond_the_largest_skip_of_the_api_is_made_by_id(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])

    def cut(arrival: Arrival, body: bytes) -> bytes | Reply:
        answer = json.loads(body)
        answer["Data"]["data"] = answer["Data"]["data"][:40]
        return json.dumps(answer).encode() if arrival.skip <= 20 else Reply(400)

    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_CONFIG) as service,
    ):
        api.alter = cut
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert set((await _reads(warehouse)).values()) == {"dropped"}
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.mark.parametrize("trades", ["num_trades", "num_trades + 1"])
async def test_what_another_writer_stored_since_the_read_began_is_asked_for_by_id_if_at_all(
    warehouse: Database, sandbox: SandboxServer, trades: str
) -> None:
    """The read brings figures of before, which would stay where counts agree."""

    def of_before(arrival: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        if arrival.path.endswith("daily") and "accountIds" not in arrival.query:
            for row in answer["Data"]["data"]:
                row["netProfit"] = 1234.5
        return json.dumps(answer).encode()

    async with warehouse.connect() as connection:
        await connection.execute(
            f"CREATE TABLE written AS SELECT * FROM raw_metrics_daily WHERE date = '{_DAY}';"
            f"UPDATE written SET num_trades = {trades}"
        )
        await _when_proven(
            connection, Endpoint.DAILY, "INSERT INTO raw_metrics_daily SELECT * FROM written"
        )
    await lose(warehouse, [_DAY])
    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_CONFIG) as service,
    ):
        api.alter = of_before
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        asked = {
            account_id
            for arrival in api.arrivals
            for account_id in arrival.query.get("accountIds", "").split(",")
        } - {""}
    assert len(asked) == (0 if trades == "num_trades" else _ACCOUNTS)
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_rows_that_others_delete_since_the_read_began_come_back(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await _when_proven(
            connection,
            Endpoint.HOURLY,
            f"DELETE FROM raw_metrics_daily WHERE date = '{_DAY}' AND account_id <="
            " 'acc-00020';DELETE FROM raw_trades_closed WHERE trade_date ="
            f" '{_DAY}' AND account_id > 'acc-00050'",
        )
    await lose(warehouse, [_DAY], [Endpoint.HOURLY])
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_of_which_a_crash_left_nothing_is_made_by_id(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    async with warehouse.connect() as connection:
        await _when_proven(
            connection,
            Endpoint.DAILY,
            "TRUNCATE recon_fetches, recon_stage_daily, recon_stage_hourly, recon_stage_closed",
        )
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert (await _reads(warehouse))["raw_metrics_daily", _DAY] == "dropped"
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.mark.parametrize("most_bytes", [0, 1])
async def test_no_read_is_made_for_which_staging_has_no_room(
    warehouse: Database, sandbox: SandboxServer, most_bytes: int
) -> None:
    await lose(warehouse, [_DAY])
    config = replace(_CONFIG, shared_read_bytes=most_bytes)
    async with engine(warehouse, sandbox, config=config) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert not _scans(sandbox)
    assert await _reads(warehouse) == (_all("dropped", _DAY) if most_bytes else {})
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_that_is_larger_than_it_is_worth_is_made_by_id(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    async with warehouse.connect() as connection:
        await connection.execute(
            "CREATE FUNCTION few() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.most_rows = 50;"
            " RETURN NEW; END';CREATE TRIGGER few BEFORE INSERT ON recon_shared_reads FOR EACH ROW"
            " EXECUTE FUNCTION few()"
        )
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert await _reads(warehouse) == _all("dropped", _DAY)
    assert _scans(sandbox) == dict.fromkeys(DATED, 1)
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_stays_without_its_maker_and_goes_when_the_run_waits_or_ends(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.2))
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as maker,
        engine(warehouse, sandbox, config=_CONFIG) as other,
        warehouse.connect() as connection,
    ):
        async with maker.pool.running():
            run_id = await maker.start_run(RunRequest())
            await until(connection, _IS_PROVEN)
        await connection.execute("DELETE FROM recon_workers")
        fetched = await connection.fetchval(_FETCHES)
        assert fetched > 0
        assert await other.store.staging.purge_dead(60) == 0
        assert await connection.fetchval(_FETCHES) == fetched
        await other.pause(run_id)
        assert await other.store.staging.purge_dead(60) == fetched
        assert await _staged(warehouse) == 0
        sandbox.set_faults(NO_FAULTS)
        await other.resume(run_id)
        await other.pool.run_until_finished(run_id)
        assert plain(await other.readings.run_state(run_id))["status"] == "succeeded"
        await other.store.staging.purge_dead(60)
    assert await _staged(warehouse) == 0
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_row_of_which_no_account_can_be_told_spoils_the_read_alone(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    def spoil(arrival: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        if not {"accountIds", "logins"}.intersection(arrival.query):
            answer["Data"]["data"][0] = {"accountId": None, "login": None}
        return json.dumps(answer).encode()

    await lose(warehouse, [_DAY])
    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_CONFIG) as service,
    ):
        api.alter = spoil
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert await _reads(warehouse) == _all("dropped", _DAY)
    assert (await difference(warehouse, sandbox)).sample == ()


@pytest.mark.parametrize("most_bytes", [_CONFIG.shared_read_bytes, 0])
async def test_a_row_that_its_table_cannot_hold_is_set_aside_once_as_without_shared_reads(
    warehouse: Database, sandbox: SandboxServer, most_bytes: int
) -> None:
    odd = "acc-00031"

    def widen(arrival: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            if arrival.path.endswith("hourly") and row["accountId"] == odd and _is_of_day(row):
                row["hour"] = "x" * 300
        return json.dumps(answer).encode()

    await lose(warehouse, [_DAY])
    async with (
        altering(sandbox) as api,
        engine(
            warehouse, api.as_sandbox, config=replace(_CONFIG, shared_read_bytes=most_bytes)
        ) as service,
    ):
        api.alter = widen
        state = await run(service, RunKind.FULL)
    rows = [
        row
        for row in sandbox.world.rows(Endpoint.HOURLY)
        if row["accountId"] == odd and _is_of_day(row)
    ]
    assert state["rows"]["set_aside"] == len(rows)  # type: ignore[index]
    assert state["accounts"]["failed"] == 1  # type: ignore[index]
    assert _healed(state) == _ACCOUNTS - 1
    assert (await difference(warehouse, sandbox)).account_ids == {odd}


@pytest.mark.parametrize("only_scans", [True, False])
async def test_accounts_that_upstream_spells_otherwise_are_healed(
    warehouse: Database, sandbox: SandboxServer, *, only_scans: bool
) -> None:
    odd = {"acc-00002", "acc-00031", "acc-00057"}

    def spell(arrival: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        if not only_scans or not {"accountIds", "logins"}.intersection(arrival.query):
            for row in answer["Data"]["data"]:
                if row.get("accountId") in odd:
                    row["accountId"] = row["accountId"].upper()
        return json.dumps(answer).encode()

    await lose(warehouse, [_DAY, DAYS[2]])
    async with warehouse.connect() as connection:
        # Some rows of the slices are left.
        await connection.execute(
            "DELETE FROM raw_trades_closed WHERE trade_date = $1 AND (ticket::numeric)::bigint % 2"
            " = 0",
            DAYS[-1],
        )
    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        api.alter = spell
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        assert await connection.fetchval("SELECT count(*) FROM trade_recon") == _ACCOUNTS
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_accounts_that_are_known_by_login_alone_are_healed(
    postgres: Server, template: str
) -> None:
    world = weekly_world(_ACCOUNTS)
    # One that shares its login, and two that do not.
    for account_id in ("acc-00010", "acc-00025", "acc-00058"):
        world.hide_id(account_id)
    async with (
        weekly_warehouse(postgres, template, world) as name,
        SandboxServer(world) as upstream,
    ):
        database = Database(postgres.database(name), SCHEMA)
        await lose(database, [_DAY])
        async with engine(database, upstream, config=_CONFIG) as service:
            assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        assert _scans(upstream) == dict.fromkeys(DATED, 1)
        assert (await difference(database, upstream)).sample == ()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_lost_comes_back_and_nothing_else_is_touched(
    warehouse: Database, sandbox: SandboxServer, seed: int
) -> None:
    drawn = random.Random(seed)
    days = drawn.sample(DAYS, 3)
    lost = 0
    async with warehouse.connect() as connection:
        for endpoint in DATED:
            table = TABLES[endpoint]
            for day in drawn.sample(days, drawn.randint(1, 3)):
                share = drawn.choice((1.0, 1.0, 0.5, 0.1))
                status = await connection.execute(
                    f"DELETE FROM {table.name} WHERE {table.date_column} = $1 AND"
                    f" {'true' if endpoint.is_trades else 'num_trades > 0'} AND ('x' || md5(login || ctid::text))::bit(16)::integer < 65536 * $2::float8",
                    day,
                    share,
                )
                lost += int(status.split()[-1])
        before = await connection.fetchval("SELECT txid_current()")
        config = replace(_CONFIG, batch_size=drawn.randint(5, 25), workers=drawn.randint(1, 3))
        async with engine(warehouse, sandbox, config=config) as service:
            assert (await run(service, RunKind.FULL))["status"] == "succeeded"
        written = [
            await connection.fetchval(
                f"SELECT count(*) FROM {TABLES[endpoint].name} WHERE"
                " age(xmin) < txid_current() - $1::bigint",
                before,
            )
            for endpoint in Endpoint
        ]
        assert sum(written) == lost
        assert await connection.fetchval("SELECT count(*) FROM recon_removed_rows") == 0
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_batches_of_a_process_wait_for_the_one_that_reads(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    sandbox.set_faults(_SLOW)
    config = replace(_CONFIG, workers=4)
    async with engine(warehouse, sandbox, config=config) as service:
        assert (await run(service, RunKind.FULL))["status"] == "succeeded"
    assert _scans(sandbox) == dict.fromkeys(DATED, 1)
    assert sandbox.log.total == len(DATED)
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_read_that_its_batch_gives_up_is_made_by_another_process(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=30))
    config = replace(_CONFIG, grace_seconds=0.1)
    async with (
        engine(warehouse, sandbox, config=config, timeout=60) as first,
        engine(warehouse, sandbox, config=_CONFIG) as second,
        warehouse.connect() as connection,
    ):
        async with first.pool.running():
            run_id = await first.start_run(RunRequest())
            await until(connection, f"SELECT EXISTS ({_READERS})", "planned")
        sandbox.set_faults(NO_FAULTS)
        async with asyncio.timeout(PATIENCE):
            await second.pool.run_until_finished(run_id)
        assert plain(await second.readings.run_state(run_id))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()


async def test_a_batch_that_makes_a_shared_read_stops_at_once_and_so_do_those_that_wait_for_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await lose(warehouse, [_DAY])
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=30))
    config = replace(_CONFIG, grace_seconds=0.1)
    async with (
        engine(warehouse, sandbox, config=config, timeout=60) as reading,
        engine(warehouse, sandbox, config=replace(_CONFIG, workers=2)) as waiting,
        warehouse.connect() as connection,
    ):
        async with reading.pool.running():
            run_id = await reading.start_run(RunRequest())
            await until(connection, f"SELECT EXISTS ({_READERS})", "planned")
            async with waiting.pool.running():
                await until(connection, f"SELECT count(*) = 3 FROM ({_CLAIMS}) AS claims")
                await waiting.pause(run_id)
                # The batch that reads, too: its scan may be long.
                await until(connection, f"SELECT NOT EXISTS ({_CLAIMS})", seconds=10)
        assert sandbox.log.total == 1
        sandbox.set_faults(NO_FAULTS)
        await waiting.resume(run_id)
        async with engine(warehouse, sandbox, config=_CONFIG) as third:
            await third.pool.run_until_finished(run_id)
            assert plain(await third.readings.run_state(run_id))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).sample == ()


async def _kill_a_reader(
    database: Database, sandbox: SandboxServer, folder: Path, state: str, batch: int
) -> tuple[Counter[str], list[str]]:
    """Have three replicas run, of which one is killed that makes or made a read in this state; what
    was asked for, and the tables whose reads were proven then.
    """
    sandbox.set_faults(_SLOW)
    async with (
        Replicas(folder, database, sandbox, RECON_BATCH_SIZE=str(batch)) as replicas,
        database.connect() as connection,
    ):
        started = [await replicas.start() for _ in range(3)]
        run_id = await started[0].start_run("full")
        await until(connection, f"SELECT EXISTS ({_READERS})", state)
        pid = await connection.fetchval(_READERS, state)
        await next(each for each in started if each.pid == pid).kill()
        proven = await connection.fetch(
            "SELECT table_name FROM recon_shared_reads WHERE state = 'proven'"
        )
        sandbox.set_faults(NO_FAULTS)
        await until(
            connection, "SELECT status = 'succeeded' FROM recon_runs WHERE run_id = $1", run_id
        )
        asked = Counter(each.target for each in sandbox.log.requests)
        await until_nothing_is_left(connection, PATIENCE)
    assert (await difference(database, sandbox)).sample == ()
    return asked, [row["table_name"] for row in proven]


async def test_a_read_of_a_replica_that_is_killed_is_not_lost(
    large_warehouse: Database, large_sandbox: SandboxServer, tmp_path: Path
) -> None:
    lost = await lose(large_warehouse, [_LARGE_DAY])
    asked, proven = await _kill_a_reader(large_warehouse, large_sandbox, tmp_path, "proven", 100)
    assert len(asked) <= 1.2 * _floor(lost)
    # What it had read of other tables is asked for once more.
    assert max(asked.values()) <= 2
    assert not [
        target
        for target, times in asked.items()
        if times > 1 and any(_names(target, name) for name in proven)
    ]


async def test_a_replica_that_is_killed_while_it_reads_leaves_the_read_to_another(
    warehouse: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    await lose(warehouse, [_DAY])
    asked, _ = await _kill_a_reader(warehouse, sandbox, tmp_path, "planned", _BATCH)
    assert len(asked) == len(DATED)
    assert max(asked.values()) <= 2
