"""An account whose rows end the session of whoever touches them: a crash of the backend, a lack of
memory, a killer of statements.
"""

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import difference, run

_BAD = "acc-00003"
_ENDS = f"""
CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.account_id = '{_BAD}' THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NEW;
END
$$;
"""


@pytest.mark.parametrize(
    ("damage", "operation", "table"),
    [
        (
            "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'",
            "INSERT",
            "raw_metrics_hourly",
        ),
        (
            "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE date < '2026-03-10'",
            "UPDATE",
            "raw_metrics_daily",
        ),
    ],
)
async def test_an_account_whose_rows_end_the_session_fails_alone(
    damage: str,
    operation: str,
    table: str,
    warehouse: Database,
    sandbox: SandboxServer,
    service_of: Engine,
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(_ENDS + damage)
        await connection.execute(
            f"CREATE TRIGGER ends BEFORE {operation} ON {table} FOR EACH ROW EXECUTE FUNCTION"
            " ends()"
        )
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
            charged = await connection.fetch(
                "SELECT account_id FROM trade_recon WHERE failed_attempts > 0"
            )
            assert [row["account_id"] for row in charged] == [_BAD]
            assert state["status"] == "completed_with_issues"
        await connection.execute("DROP FUNCTION ends() CASCADE")
        await connection.execute("UPDATE trade_recon SET next_attempt_at = NULL")
        async with service_of() as service:
            await run(service, RunKind.RETRY)
    assert (await difference(warehouse, sandbox)).account_ids == set()


async def test_sessions_that_somebody_ends_for_everybody_are_held_against_nobody(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'; CREATE SEQUENCE ended"
        )
        await connection.execute(
            _ENDS.replace(f"NEW.account_id = '{_BAD}'", "nextval('prop_trading_model.ended') <= 2")
        )
        await connection.execute(
            "CREATE TRIGGER ends BEFORE INSERT ON raw_metrics_hourly FOR EACH STATEMENT EXECUTE"
            " FUNCTION ends()"
        )
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
        assert (state["status"], state["failed"]) == ("succeeded", 0)
