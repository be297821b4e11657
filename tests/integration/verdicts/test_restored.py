"""Rows that were brought back: the totals of their accounts follow at once, and the next run
compares those with upstream.
"""

import random
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.engine.restore import Restoring
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import issues_of, service_at, status_of, traders

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_TOTALS = (
    "num_trades_alltime, num_trades_daily, num_trades_hourly, num_trades_raw_closed,"
    " mismatched_days, trades_recon_checksum"
)


async def _restored(
    service: ReconService, state: dict[str, object], rng: random.Random | None = None
) -> list[str]:
    waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
        state["run_id"]  # type: ignore[arg-type]
    )
    restoring = Restoring(service.store)
    assert all(
        [
            each.is_there
            async for each in restoring.restore(
                waiting if rng is None else rng.sample(waiting, len(waiting) // 2)
            )
        ]
    )
    return restoring.accounts


async def _totals(connection: "Connection") -> list["asyncpg.Record"]:
    return await connection.fetch(f"SELECT account_id, {_TOTALS} FROM trade_recon ORDER BY 1")


async def _damage(connection: "Connection", account_id: str, rng: random.Random) -> None:
    """Rows that a run will overwrite, remove and move."""
    day = await connection.fetchval(
        "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0",
        account_id,
    )
    for table in ("raw_metrics_daily", "raw_metrics_hourly"):
        more = rng.randint(0, 2)
        await connection.execute(
            f"UPDATE {table} SET num_trades = num_trades + {more} WHERE account_id = $1 AND date"
            " = $2",
            account_id,
            day,
        )
    await connection.execute(
        "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1 WHERE account_id = $1",
        account_id,
    )


@pytest.mark.parametrize("seed", range(2))
async def test_totals_and_the_next_run_follow_rows_that_were_brought_back(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    rng = random.Random(seed)
    accounts = traders(sandbox.world)[:3]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        for account_id in accounts:
            await _damage(connection, account_id, rng)
        state = await run(service, RunKind.AUDIT)
        assert (await difference(warehouse, sandbox)).sample == ()
        touched = await _restored(service, state, rng if seed else None)
        assert touched
        totals = await _totals(connection)
        for account_id in touched:
            assert await status_of(connection, account_id) == "needs_reconciliation"
            assert "upstream_drift" in await issues_of(connection, account_id)
        await service.maintain()
        assert await _totals(connection) == totals, "maintenance has nothing left to count"
        await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).sample == ()
        for account_id in touched:
            assert (
                await issues_of(connection, account_id),
                await status_of(connection, account_id),
            ) == (set(), "reconciled")
