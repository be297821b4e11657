"""An error that PostgreSQL raises for one row or one account costs that one alone, whatever its
code says.
"""

from typing import TYPE_CHECKING

import pytest

from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.errors import DatabaseFull, ResourcesExhausted
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import run
from tests.support.replicas import until

if TYPE_CHECKING:
    import asyncpg

_RAISES = """
CREATE TABLE raised (account_id text PRIMARY KEY, code text NOT NULL);
CREATE FUNCTION raise_for_some() RETURNS trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS $$
DECLARE
    wanted text;
BEGIN
    SELECT code INTO wanted FROM raised WHERE account_id = NEW.account_id;
    IF FOUND THEN
        RAISE EXCEPTION 'this account is not to be written' USING ERRCODE = wanted;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER raises BEFORE INSERT ON raw_metrics_hourly FOR EACH ROW EXECUTE FUNCTION raise_for_some();
"""
_CODES = (
    # Codes that a server going away, an unwilling login or a pooler uses too.
    (
        "53000 53100 53200 53300 53400 08000 08001 08003 08006 08P01 57000 57014 57P01 57P02 57P03"
        " 57P04 57P05 28000 3D000 26000 42P05 25P03"
    ),
    # Those of limits, of objects that are not ready, of the system, of damage, of code.
    (
        "54000 54001 54011 54023 55000 55006 55P02 55P04 58000 58030 58P01 58P02 XX000 XX001 XX002"
        " P0000 P0001 P0002 P0003 P0004"
    ),
    # The rest of what the owner's code may raise, among them codes that PostgreSQL itself does not
    # know.
    (
        "09000 0A000 21000 22000 22P02 23000 23514 24000 25000 27000 2F000 34000 38000 39000 42501"
        " 42703 42P01 44000 F0000 HV000 U0001 ZZZZZ"
    ),
)


async def _damage(
    connection: "asyncpg.Connection[asyncpg.Record]", codes: list[str]
) -> tuple[list[str], list[str]]:
    """Take a date's hourly rows of every account, and raise a code for each of some; those
    accounts, and the others.
    """
    rows = await connection.fetch(
        "SELECT account_id, min(date) AS date FROM raw_metrics_daily WHERE num_trades > 0 GROUP BY"
        " 1 ORDER BY 1"
    )
    for row in rows:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2",
            row["account_id"],
            row["date"],
        )
    ids = [row["account_id"] for row in rows]
    assert len(ids) > len(codes)
    await connection.execute(_RAISES)
    await connection.executemany(
        "INSERT INTO raised VALUES ($1, $2)", list(zip(ids, codes, strict=False))
    )
    return ids[: len(codes)], ids[len(codes) :]


@pytest.mark.parametrize("codes", _CODES)
async def test_an_error_of_any_code_costs_only_the_account_for_which_it_is_raised(
    warehouse: Database, service_of: Engine, codes: str
) -> None:
    async with warehouse.connect() as connection:
        struck, others = await _damage(connection, codes.split())
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
        assert state["accounts"]["waiting"] == 0  # type: ignore[index]
        outcomes = {
            row["account_id"]: (row["outcome"], row["detail"])
            for row in await connection.fetch(
                "SELECT account_id, outcome, detail FROM recon_attempts"
            )
        }
        assert {outcomes[account_id] for account_id in others} == {("healed", None)}
        for account_id, code in zip(struck, codes.split(), strict=True):
            outcome, detail = outcomes[account_id]
            assert outcome in ("failed", "partial"), (account_id, code)
            assert "not to be written" in (detail or ""), (account_id, code, detail)


@pytest.mark.parametrize("place", [0, 13, 27])
async def test_a_configured_limit_is_the_accounts_that_meets_it_wherever_it_stands_in_its_batch(
    warehouse: Database, service_of: Engine, place: int
) -> None:
    async with warehouse.connect() as connection:
        await _damage(connection, [])
        ids = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT account_id FROM raw_metrics_alltime ORDER BY 1"
            )
        ]
        await connection.execute("INSERT INTO raised VALUES ($1, '53400')", ids[place])
        async with service_of() as service:
            await run(service, RunKind.FULL)
        failed = await connection.fetch(
            "SELECT account_id FROM recon_attempts WHERE outcome <> 'healed'"
        )
        assert [row["account_id"] for row in failed] == [ids[place]]


@pytest.mark.parametrize("code", ["53400", "57014"])
async def test_an_error_at_a_row_without_its_id_costs_only_that_rows_account(
    warehouse: Database, service_of: Engine, code: str
) -> None:
    async with warehouse.connect() as connection:
        ids = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT DISTINCT account_id FROM raw_trades_closed ORDER BY 1 LIMIT 4"
            )
        ]
        await connection.execute(
            _RAISES.replace(
                "BEFORE INSERT ON raw_metrics_hourly", "BEFORE UPDATE ON raw_trades_closed"
            )
        )
        await connection.execute("INSERT INTO raised VALUES ($1, $2)", ids[1], code)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = ANY($1)", ids
        )
        async with service_of() as service:
            await service.maintain()
            without = await connection.fetch(
                "SELECT DISTINCT login FROM raw_trades_closed WHERE account_id IS NULL"
            )
            assert len(without) == 1
            state = await run(service, RunKind.FULL)
        assert state["status"] != "failed", state
        rows = await connection.fetch("SELECT account_id, outcome FROM recon_attempts")
        outcomes = {row["account_id"]: row["outcome"] for row in rows}
        assert outcomes[ids[1]] in ("failed", "partial")
        assert {outcomes.get(account_id, "unchanged") for account_id in (ids[0], *ids[2:])} <= {
            "healed",
            "unchanged",
        }


async def _put_hourly_into_a_file(
    connection: "asyncpg.Connection[asyncpg.Record]", but: list[str]
) -> None:
    """Make February's hourly partition a read-only file, which lacks the rows of some accounts."""
    path = f"{await connection.fetchval('SHOW data_directory')}/hourly.csv"
    rows = (
        "SELECT * FROM raw_metrics_hourly_2026_02 WHERE NOT account_id ="
        f" ANY('{{{','.join(but)}}}')"
    )
    await connection.execute(f"COPY ({rows}) TO '{path}' (FORMAT csv)")
    await connection.execute(
        "ALTER TABLE raw_metrics_hourly DROP CONSTRAINT raw_metrics_hourly_pkey;CREATE EXTENSION"
        " file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; DROP TABLE"
        " raw_metrics_hourly_2026_02;CREATE FOREIGN TABLE raw_metrics_hourly_2026_02 PARTITION OF"
        " raw_metrics_hourly FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') SERVER files OPTIONS"
        f" (filename '{path}', format 'csv')"
    )


async def test_an_error_that_no_code_of_the_owner_raises_costs_only_the_accounts_that_meet_it(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        ids = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT DISTINCT account_id FROM raw_metrics_hourly_2026_02 ORDER BY 1"
            )
        ]
        await _put_hourly_into_a_file(connection, [ids[0], ids[9]])
        await connection.execute(
            "DELETE FROM raw_metrics_hourly_2026_03 WHERE NOT account_id = ANY($1)",
            [ids[0], ids[9]],
        )
        async with service_of() as service:
            await run(service, RunKind.FULL)
        failed = await connection.fetch(
            "SELECT account_id, detail FROM recon_attempts WHERE outcome <> 'healed' ORDER BY 1"
        )
        assert [row["account_id"] for row in failed] == [ids[0], ids[9]]
        assert all("foreign table" in row["detail"] for row in failed)


async def test_an_error_that_every_account_meets_fails_the_run_and_is_held_against_none(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        ids = [
            row["account_id"]
            for row in await connection.fetch(
                "SELECT DISTINCT account_id FROM raw_metrics_hourly_2026_02"
            )
        ]
        await _put_hourly_into_a_file(connection, ids)
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
        assert state["status"] == "failed"
        assert "foreign table" in str(state["error"])
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE failed_attempts > 0 AND account_id ="
                " ANY($1)",
                ids,
            )
            == 0
        )


async def test_a_full_disk_is_everybodys_only_while_nothing_finds_room(database: Database) -> None:
    async with Pool.open(database.dsn, database.schema) as pool:
        with pytest.raises(ResourcesExhausted):
            await pool.execute(
                "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$"
            )
        await pool.require_room()
        async with database.connect() as connection:
            await connection.execute(
                "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE"
                " EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$;CREATE EVENT"
                " TRIGGER full_disk ON ddl_command_start EXECUTE FUNCTION refuse()"
            )
        with pytest.raises(DatabaseFull, match="no room left"):
            await pool.require_room()


_FULL = """
CREATE SEQUENCE refused;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS
    $$ BEGIN IF nextval('refused') <= {times} THEN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END IF; RETURN NULL; END $$;
CREATE TRIGGER full_disk AFTER {written} FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""
_FULL_FOR_ALL = """
CREATE FUNCTION refuse_all() RETURNS event_trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS
    $$ BEGIN IF (SELECT is_called FROM refused) THEN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END IF; END $$;
CREATE EVENT TRIGGER full_disk ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS') EXECUTE FUNCTION refuse_all();
"""
_ROOM = "DROP EVENT TRIGGER full_disk; DROP FUNCTION refuse() CASCADE"
_WRITTEN = [
    "INSERT ON recon_stage_hourly",
    "INSERT ON raw_metrics_hourly",
    "UPDATE ON recon_attempts",
]
_SPOILED = (
    "DELETE FROM raw_metrics_hourly WHERE account_id IN (SELECT DISTINCT account_id FROM"
    " raw_metrics_hourly ORDER BY 1 LIMIT $1)"
)


@pytest.mark.parametrize("written", _WRITTEN)
async def test_a_disk_that_is_full_for_a_while_is_held_against_no_account(
    warehouse: Database, service_of: Engine, written: str
) -> None:
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(_SPOILED, 5)
        await connection.execute(_FULL.format(written=written, times=1 << 60) + _FULL_FOR_ALL)
        run_id = await service.start_run(RunRequest(RunKind.FULL))
        async with service.pool.running():
            await until(connection, "SELECT last_value >= 6 FROM refused")
            await connection.execute(_ROOM)
            await until(
                connection,
                "SELECT finished_at IS NOT NULL FROM recon_runs WHERE run_id = $1",
                run_id,
            )
        assert (
            await connection.fetchval("SELECT status FROM recon_runs WHERE run_id = $1", run_id)
            == "succeeded"
        )
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        )


@pytest.mark.parametrize("written", _WRITTEN)
async def test_where_there_is_room_again_at_once_an_account_is_tried_again_before_it_is_blamed(
    warehouse: Database, service_of: Engine, written: str
) -> None:
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(_SPOILED, 1)
        await connection.execute(_FULL.format(written=written, times=1))
        state = await run(service, RunKind.FULL)
        assert await connection.fetchval("SELECT last_value FROM refused") > 1
        assert state["status"] == "succeeded", state
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        )
