"""Whatever step of its account PostgreSQL fails, and however early it comes in a run, it costs that
account alone, and the run ends.
"""

import random
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import difference, run

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_ODD = 777_777_777


async def _traders(connection: "Connection") -> list[str]:
    rows = await connection.fetch(
        "SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 0 ORDER BY 1"
    )
    return [row["account_id"] for row in rows]


async def _fail_reads_of(connection: "Connection", account_ids: list[str], code: str) -> None:
    """Let each statement that reads the stored counts of these accounts fail with this code, as a
    cast over a bad value does.
    """
    await connection.execute(
        "UPDATE raw_metrics_alltime SET num_trades = $2 WHERE account_id = ANY($1)",
        account_ids,
        _ODD,
    )
    await connection.execute(
        "CREATE OR REPLACE FUNCTION recon_count(value integer) RETURNS integer LANGUAGE plpgsql AS"
        f" $$ BEGIN IF value = {_ODD} THEN RAISE EXCEPTION 'cannot be read' USING ERRCODE ="
        f" '{code}'; END IF; RETURN coalesce(value, 0); END $$"
    )


async def _outcomes(connection: "Connection") -> dict[str, str]:
    return {
        row["account_id"]: row["outcome"]
        for row in await connection.fetch("SELECT account_id, outcome FROM recon_attempts")
    }


async def _lose_hourly(connection: "Connection", account_ids: list[str]) -> None:
    await connection.execute(
        "DELETE FROM raw_metrics_hourly AS h WHERE account_id = ANY($1) AND date = (SELECT"
        " min(date) FROM raw_metrics_daily AS d WHERE d.account_id = h.account_id AND num_trades"
        " > 0)",
        account_ids,
    )


@pytest.mark.parametrize("named", ["by name", "all"])
@pytest.mark.parametrize(("struck", "code"), [(1, "22P02"), (3, "40001"), (7, "XX001")])
async def test_accounts_that_cannot_be_read_fail_alone_wherever_they_stand(
    struck: int, code: str, named: str, warehouse: Database, service_of: Engine
) -> None:
    """Also where all is read at once, as before a run over all accounts: then they are read in
    batches.
    """
    async with warehouse.connect() as connection:
        async with service_of() as service:
            await service.maintain()
            ids = await _traders(connection)
            await _lose_hourly(connection, ids)
            await _fail_reads_of(connection, ids[:struck], code)
            state = await run(
                service, RunKind.FULL, account_ids=ids if named == "by name" else None
            )
        assert state["status"] == "completed_with_issues", state
        assert state["accounts"]["waiting"] == 0  # type: ignore[index]
        outcomes = await _outcomes(connection)
        assert {outcomes[account_id] for account_id in ids[:struck]} == {"failed"}
        assert {outcomes[account_id] for account_id in ids[struck:]} == {"healed"}
        charged = await connection.fetch(
            "SELECT account_id FROM trade_recon WHERE failed_attempts > 0 ORDER BY 1"
        )
        assert [row["account_id"] for row in charged] == ids[:struck]


@pytest.mark.parametrize("accounts", [1, 2, 5])
async def test_accounts_that_are_the_only_ones_of_a_run_and_cannot_be_read_fail_alone(
    accounts: int, warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        async with service_of() as service:
            await service.maintain()
            chosen = (await _traders(connection))[:accounts]
            await _fail_reads_of(connection, chosen, "22P02")
            state = await run(service, RunKind.FULL, account_ids=chosen)
        assert state["status"] == "completed_with_issues", state
        assert await _outcomes(connection) == dict.fromkeys(chosen, "failed")


async def test_an_error_at_whatever_is_read_fails_the_run_and_is_held_against_none(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        async with service_of() as service:
            await service.maintain()
            await _fail_reads_of(connection, await _traders(connection), "22P02")
            state = await run(service, RunKind.FULL, account_ids=(await _traders(connection))[:3])
        assert state["status"] == "failed"
        assert "cannot be read" in str(state["error"])
        assert (
            await connection.fetchval("SELECT count(*) FROM trade_recon WHERE failed_attempts > 0")
            == 0
        )


_RAISES = """
CREATE TABLE struck (account_id text PRIMARY KEY, table_name text, operation text, code text);
CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql SET search_path = prop_trading_model AS $$
DECLARE
    wanted text;
BEGIN
    SELECT code INTO wanted FROM struck AS s
    WHERE s.account_id = coalesce(NEW.account_id, OLD.account_id) AND TG_TABLE_NAME LIKE s.table_name || '%' AND s.operation = TG_OP;
    IF FOUND THEN
        RAISE EXCEPTION 'this account is struck' USING ERRCODE = wanted;
    END IF;
    RETURN coalesce(NEW, OLD);
END
$$;
"""
_TABLES = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")
_CODES = [
    "22012",
    "22P02",
    "23505",
    "23514",
    "40001",
    "40P01",
    "42501",
    "53100",
    "53200",
    "53400",
    "55P03",
    "57014",
    "XX000",
    "P0001",
]
_DAMAGE = {
    "INSERT": (
        "DELETE FROM {table} WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM {table} WHERE"
        " account_id = $1 LIMIT 1)"
    ),
    "UPDATE": (
        "UPDATE {table} SET num_trades = num_trades + 1 WHERE (tableoid, ctid) = (SELECT tableoid,"
        " ctid FROM {table} WHERE account_id = $1 AND num_trades > 0 LIMIT 1)"
    ),
    "DELETE": (
        "INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, (SELECT to_jsonb(t)"
        " || '{change}' FROM {table} AS t WHERE account_id = $1 AND {date} < '2026-03-10' ORDER BY"
        " {date} DESC LIMIT 1))"
    ),
}
_OPERATIONS = {
    "raw_metrics_alltime": ("INSERT", "UPDATE"),
    "raw_metrics_daily": ("INSERT", "UPDATE"),
    "raw_metrics_hourly": ("INSERT", "UPDATE", "DELETE"),
    "raw_trades_closed": ("INSERT", "DELETE"),
}
_SURPLUS = {
    "raw_metrics_hourly": '{"hour": 23, "num_trades": 3}',
    "raw_trades_closed": '{"ticket": "made-up"}',
}


@pytest.mark.parametrize("seed", range(3))
async def test_a_drawn_step_of_a_drawn_account_that_the_database_fails_costs_that_account_alone(
    seed: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    chance = random.Random(seed)
    async with warehouse.connect() as connection:
        ids = await _traders(connection)
        await connection.execute(_RAISES)
        struck: set[str] = set()
        for table in _TABLES:
            timing = chance.choice(("BEFORE", "AFTER"))
            await connection.execute(
                f"CREATE TRIGGER strikes {timing} INSERT OR UPDATE OR DELETE ON {table} FOR EACH"
                " ROW EXECUTE FUNCTION strike()"
            )
        for account_id in ids:
            table = chance.choice(_TABLES)
            operation = chance.choice(_OPERATIONS[table])
            statement = _DAMAGE[operation].format(
                table=table,
                date="trade_date" if table == "raw_trades_closed" else "date",
                change=_SURPLUS.get(table, ""),
            )
            await connection.execute(statement, account_id)
            if chance.random() < 0.4:
                struck.add(account_id)
                await connection.execute(
                    "INSERT INTO struck VALUES ($1, $2, $3, $4)",
                    account_id,
                    table,
                    operation,
                    chance.choice(_CODES),
                )
        async with service_of() as service:
            state = await run(service, RunKind.AUDIT)
        assert state["accounts"]["waiting"] == 0, state  # type: ignore[index]
        assert state["status"] in (
            "succeeded",
            "completed_with_issues",
            "completed_with_failures",
        ), state
        failing = await connection.fetch(
            "SELECT account_id, outcome, detail FROM recon_attempts WHERE outcome IN ('failed',"
            " 'partial')"
        )
        assert {row["account_id"] for row in failing} <= struck, [tuple(row) for row in failing]
        assert all("struck" in (row["detail"] or "") for row in failing), [
            tuple(row) for row in failing
        ]
        charged = await connection.fetch(
            "SELECT account_id FROM trade_recon WHERE failed_attempts > 0"
        )
        assert {row["account_id"] for row in charged} <= struck
    assert struck
    assert (await difference(warehouse, sandbox)).account_ids <= struck
