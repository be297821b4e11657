"""Runs of only what changed: which accounts they look at, and which they leave to the next run over
all.
"""

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.errors import InvalidRequest
from app.sandbox.damage.kinds import DamageKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.engine.runs.test_runs import hurt
from tests.support.engine import difference, engine, run

if TYPE_CHECKING:
    import asyncpg

_CONFIG = EngineConfig(poll_seconds=0.05, postpone_seconds=0, changed_overlap=0)
_ONE_MORE = """
UPDATE raw_metrics_daily SET num_trades = num_trades + 1, ingestion_timestamp = {written}
WHERE account_id = $1 AND date = (
    SELECT max(date) FROM raw_metrics_daily
    WHERE account_id = $1 AND num_trades > 0 AND date < (SELECT max(date) - 5 FROM raw_metrics_daily)
)
"""


async def _two_accounts(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[str, str]:
    first, second = await connection.fetch(
        "SELECT account_id FROM trade_recon AS t WHERE trades_recon_checksum AND EXISTS (    SELECT"
        " FROM raw_metrics_daily AS d    WHERE d.account_id = t.account_id AND num_trades > 0 AND"
        " date < (SELECT max(date) - 5 FROM raw_metrics_daily)) ORDER BY account_id LIMIT 2"
    )
    return first["account_id"], second["account_id"]


async def _break(
    connection: "asyncpg.Connection[asyncpg.Record]", account_id: str, *, written: str
) -> None:
    """Change the count of a settled day, as somebody does who stamps his rows with `written`, an
    SQL expression.
    """
    await connection.execute(_ONE_MORE.format(written=written), account_id)


async def test_a_run_of_what_changed_heals_what_was_written_since_the_last_run_and_leaves_the_rest(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        await run(service, RunKind.FULL)
        lately, long_ago = await _two_accounts(connection)
        await _break(connection, lately, written="clock_timestamp() AT TIME ZONE 'UTC'")
        await _break(connection, long_ago, written="timestamp '2001-01-01'")
        state = await run(service, RunKind.FULL, changed_only=True)
        assert state["accounts"]["total"] == state["accounts"]["healed"] == 1  # type: ignore[index]
        assert (
            await connection.fetchval(
                "SELECT account_id FROM recon_attempts WHERE run_id = $1", state["run_id"]
            )
            == lately
        )
        assert state["maintenance"] == {}
        await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).is_equal


async def test_what_was_written_during_a_run_belongs_to_the_next_one(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        state = await run(service, RunKind.FULL)
        account_id, _ = await _two_accounts(connection)
        # Between the beginning of the run's preparation and its end.
        begun = "(SELECT started_at + interval '1 ms' FROM recon_runs) AT TIME ZONE 'UTC'"
        await _break(connection, account_id, written=begun)
        assert state["started_at"] is not None
        state = await run(service, RunKind.FULL, changed_only=True)
        assert state["accounts"]["healed"] == 1  # type: ignore[index]


async def test_a_clock_that_is_behind_by_less_than_the_overlap_hides_nothing(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    config = EngineConfig(poll_seconds=0.05, postpone_seconds=0, changed_overlap=600)
    async with (
        engine(warehouse, sandbox, config=config) as service,
        warehouse.connect() as connection,
    ):
        await run(service, RunKind.FULL)
        within, beyond = await _two_accounts(connection)
        # What the first fill wrote would be within the overlap too.
        await connection.execute(
            "UPDATE raw_metrics_daily SET ingestion_timestamp = timestamp '2001-01-01'"
        )
        for table in (
            "raw_metrics_alltime",
            "raw_metrics_hourly",
            "raw_trades_closed",
            "raw_trades_open",
        ):
            await connection.execute(
                f"UPDATE {table} SET ingestion_timestamp = timestamp '2001-01-01'"
            )
        await _break(connection, within, written="(now() - interval '5 min') AT TIME ZONE 'UTC'")
        await _break(connection, beyond, written="(now() - interval '20 min') AT TIME ZONE 'UTC'")
        state = await run(service, RunKind.FULL, changed_only=True)
        assert await connection.fetchval(
            "SELECT array_agg(account_id) FROM recon_attempts WHERE run_id = $1", state["run_id"]
        ) == [within]


async def test_trades_that_came_without_an_id_lead_to_the_account_of_their_natural_key(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        await run(service, RunKind.FULL)
        account_id, _ = await _two_accounts(connection)
        stamp = "ingestion_timestamp = clock_timestamp() AT TIME ZONE 'UTC'"
        await connection.execute(
            f"UPDATE raw_trades_closed SET account_id = NULL, {stamp} WHERE account_id = $1",
            account_id,
        )
        await run(service, RunKind.FULL, changed_only=True)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id IS NULL"
            )
            == 0
        )
    assert (await difference(warehouse, sandbox)).is_equal


async def test_an_account_that_ingestion_brought_since_is_taken(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        await run(service, RunKind.FULL)
        account_id, _ = await _two_accounts(connection)
        await connection.execute("DELETE FROM trade_recon WHERE account_id = $1", account_id)
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", account_id)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET ingestion_timestamp = clock_timestamp() AT TIME ZONE"
            " 'UTC' WHERE account_id = $1",
            account_id,
        )
        await run(service, RunKind.FULL, changed_only=True)
    assert (await difference(warehouse, sandbox)).is_equal


async def test_the_first_run_of_what_changed_looks_at_everything(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await hurt(warehouse, DamageKind.HOURLY_MISSING, accounts=3)
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        state = await run(service, RunKind.FULL, changed_only=True)
        assert state["maintenance"]
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("left", ["limited", "cancelled", "named"])
async def test_a_run_that_left_accounts_out_covers_nothing(
    left: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        await run(service, RunKind.FULL)
        before = await service.store.touched.covered_until()
        first, second = await _two_accounts(connection)
        for account_id in (first, second):
            await _break(connection, account_id, written="clock_timestamp() AT TIME ZONE 'UTC'")
        if left == "limited":
            await run(service, RunKind.FULL, changed_only=True, max_accounts=1)
        elif left == "named":
            await run(service, RunKind.FULL, account_ids=(first,))
        else:
            await service.cancel(await service.start_run(RunRequest(changed_only=True)))
        assert await service.store.touched.covered_until() == before
        await run(service, RunKind.FULL, changed_only=True)
        assert await service.store.touched.covered_until() != before
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest(RunKind.AUDIT, changed_only=True),
        RunRequest(account_ids=(AccountId("a"),), changed_only=True),
    ],
)
async def test_only_a_full_run_can_be_of_what_changed(
    request_: RunRequest, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        with pytest.raises(InvalidRequest, match="changed_only"):
            await service.start_run(request_)


async def test_a_warehouse_that_does_not_say_when_rows_were_written_is_told(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute("ALTER TABLE raw_trades_closed DROP COLUMN ingestion_timestamp")
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        with pytest.raises(
            InvalidRequest, match="ingestion_timestamp, which raw_trades_closed has not"
        ):
            await service.start_run(RunRequest(changed_only=True))


def test_an_idempotency_key_from_before_the_field_still_names_its_request() -> None:
    at = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)
    # As they were computed when the struct had four fields.
    assert RunRequest().digest == "468a8eeed581a5a1752a221156922ce6c5c1825632737360f67699ab81ac7e70"
    assert (
        RunRequest(RunKind.AUDIT, 5, (AccountId("a"), AccountId("b")), at).digest
        == "a0166dbc4cebf354ac5be0342f21ae79f4f12036884dcc516f71fdf703a2c5bc"
    )
    assert RunRequest(changed_only=True).digest != RunRequest().digest


@pytest.mark.parametrize("default", ["CURRENT_TIMESTAMP", "LOCALTIMESTAMP", "now()", None])
@pytest.mark.parametrize("zone", ["America/New_York", "Etc/GMT+12", "Asia/Tokyo"])
async def test_stamps_in_local_time_hide_nothing(
    default: str | None, zone: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        for table in (
            "raw_metrics_alltime",
            "raw_metrics_daily",
            "raw_metrics_hourly",
            "raw_trades_closed",
            "raw_trades_open",
        ):
            change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
            await connection.execute(
                f"ALTER TABLE {table} ALTER COLUMN ingestion_timestamp {change}"
            )
            await connection.execute(
                f"UPDATE {table} SET ingestion_timestamp = timestamp '2001-01-01'"
            )
        await run(service, RunKind.FULL)
        account_id, _ = await _two_accounts(connection)
        # By its session and not by the database: no setting that could be read tells the zone of a
        # client.
        await connection.execute(f"SET timezone = '{zone}'")
        await _break(connection, account_id, written="CURRENT_TIMESTAMP")
        state = await run(service, RunKind.FULL, changed_only=True)
        attempted = "SELECT array_agg(account_id) FROM recon_attempts WHERE run_id = $1"
        assert await connection.fetchval(attempted, state["run_id"]) == [account_id]
    assert (await difference(warehouse, sandbox)).is_equal


@pytest.mark.parametrize("written", ["NULL", "LOCALTIMESTAMP"])
async def test_rows_without_a_stamp_or_with_local_time_under_a_default_of_utc_are_found_once(
    written: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        for table in ("raw_metrics_hourly", "raw_trades_closed"):
            await connection.execute(f"UPDATE {table} SET ingestion_timestamp = NULL")
        await run(service, RunKind.FULL)
        account_id, _ = await _two_accounts(connection)
        await connection.execute("SET timezone = 'America/New_York'")
        await _break(connection, account_id, written=written)
        state = await run(service, RunKind.FULL, changed_only=True)
        attempted = "SELECT array_agg(account_id) FROM recon_attempts WHERE run_id = $1"
        assert await connection.fetchval(attempted, state["run_id"]) == [account_id]
        until = await service.store.touched.covered_until()
        assert until is not None
        # What the run healed is stamped anew; rows without a stamp that were there before are not
        # taken again and again.
        assert await service.store.touched.accounts(until, 1000, covered_until=until) == [
            account_id
        ]
    assert (await difference(warehouse, sandbox)).is_equal


async def test_the_first_run_after_an_upgrade_or_on_another_server_covers_all(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        engine(warehouse, sandbox, config=_CONFIG) as service,
        warehouse.connect() as connection,
    ):
        for horizon in ("NULL", "9000000000"):
            await run(service, RunKind.FULL)
            account_id, _ = await _two_accounts(connection)
            await connection.execute(f"UPDATE recon_runs SET covers_horizon = {horizon}")
            await _break(connection, account_id, written="timestamp '2001-01-01'")
            state = await run(service, RunKind.FULL, changed_only=True)
            assert state["accounts"]["healed"] == 1  # type: ignore[index]
