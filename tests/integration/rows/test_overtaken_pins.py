"""A pin holds for the values that were restored: where the row is another one now it is over and
told, and the row is compared.
"""

import pytest

from app.domain.states import RunKind
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.engine import difference, engine, run


@pytest.mark.parametrize(
    ("statement", "is_over", "named"),
    [
        ("UPDATE raw_metrics_daily SET net_profit = 4711, ingestion_timestamp = now()", True, True),
        ("UPDATE raw_metrics_daily SET date = date - 200", True, False),
        ("DELETE FROM raw_metrics_daily", True, False),
        ("UPDATE raw_metrics_daily SET ingestion_timestamp = now()", False, True),
    ],
)
async def test_a_pin_is_over_where_the_row_is_another_one(
    statement: str, *, is_over: bool, named: bool, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        rows = await connection.fetch(
            "UPDATE raw_metrics_daily AS d SET net_profit = net_profit + 500 FROM (SELECT"
            " account_id, max(date) AS date FROM raw_metrics_daily WHERE num_trades > 0 AND date <="
            " $1 GROUP BY 1 ORDER BY 1 LIMIT 2) AS w WHERE (d.account_id, d.date) = (w.account_id,"
            " w.date) RETURNING d.account_id, d.date",
            SETTLED,
        )
        (account, day), (other, _) = sorted((row["account_id"], row["date"]) for row in rows)
        state = await run(service, RunKind.FULL, account_ids=(account, other))
        waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
            state["run_id"]  # type: ignore[arg-type]
        )
        assert all(
            [
                each.is_there
                async for each in Restoring(service.store).restore(
                    waiting, pins=True, reason="the desk's"
                )
            ]
        )
        assert await connection.fetchval("SELECT count(*) FROM recon_pins") == len(waiting) == 2
        if "date - 200" in statement:
            await connection.execute(
                "SELECT recon_create_partitions('raw_metrics_daily', ARRAY[$1::date - 200])", day
            )
        await connection.execute(f"{statement} WHERE account_id = $1 AND date = $2", account, day)
        await run(service, RunKind.FULL, account_ids=(account,) if named else None)
        pinned = {
            row["account_id"] for row in await connection.fetch("SELECT account_id FROM recon_pins")
        }
        assert pinned == ({other} if is_over else {account, other})
        described = await connection.fetchval(
            "SELECT count(*) FROM recon_issue_history WHERE account_id = $1 AND type ="
            " 'upstream_drift' AND evidence::text LIKE '%restored%'",
            account,
        )
        assert bool(described) == is_over
        left = {
            each for each in (await difference(warehouse, sandbox)).sample if account in str(each)
        }
        assert bool(left) == (not is_over or "date - 200" in statement), left
