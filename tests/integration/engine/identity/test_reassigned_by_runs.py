"""What a run's word reassigns belongs to that run, and is given back with it; what maintenance
reassigns belongs to none.
"""

from app.domain.states import RunKind
from app.engine.preparation.maintenance import maintain
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import TODAY, difference, engine, run

_COPIES = (
    "SELECT run_id::text, count(*) AS copies FROM recon_removed_rows WHERE table_name ="
    " 'raw_trades_closed' GROUP BY 1"
)


async def test_copies_of_reassigned_trades_belong_to_the_run_that_learned_whose_they_are(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with engine(warehouse, sandbox) as service, warehouse.connect() as connection:
        await maintain(service.store, TODAY)
        lost = await connection.fetchval(
            "SELECT account_id FROM raw_trades_closed AS t WHERE (SELECT count(*) FROM"
            " raw_metrics_alltime AS a WHERE a.login = t.login) = 1 ORDER BY 1 LIMIT 1"
        )
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = $1", lost
        )
        await maintain(service.store, TODAY)
        (by_itself,) = await connection.fetch(_COPIES)
        assert (by_itself["run_id"], by_itself["copies"] > 0) == (None, True)
        await connection.execute("DELETE FROM recon_removed_rows")
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = $1", lost
        )
        for table in ("alltime", "daily", "hourly"):
            await connection.execute(f"DELETE FROM raw_metrics_{table} WHERE account_id = $1", lost)
        state = await run(service, RunKind.AUDIT)
        (by_run,) = await connection.fetch(_COPIES)
    assert by_run["run_id"] == str(state["run_id"])
    assert (await difference(warehouse, sandbox)).is_equal
