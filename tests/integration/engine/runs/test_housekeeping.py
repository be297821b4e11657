"""What is deleted in the background, whatever goes wrong in between."""

import asyncio
import contextlib

import pytest

from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.engine.runs.housekeeping import run_maintenance_loop
from app.store.database.pool import Database as Pool
from tests.conftest import Database
from tests.support.replicas import until
from tests.support.waiting import PATIENCE


async def test_old_runs_are_deleted_and_recent_ones_kept_though_a_round_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.engine.runs.housekeeping._RETENTION_SECONDS", 0.0)
    config = EngineConfig(lease_seconds=0.2, retention_days=30)
    async with (
        database.connect() as connection,
        Pool.open(database.dsn, database.schema) as pool,
    ):
        await connection.execute(
            "INSERT INTO recon_runs (run_id, kind, status, finished_at) SELECT gen_random_uuid(),"
            " 'full', 'succeeded', now() - make_interval(days => age) FROM unnest(ARRAY[31, 29])"
            " AS age"
        )
        store = await Repositories.build(pool, config.lease_seconds)
        await connection.execute("ALTER TABLE recon_workers RENAME TO hidden_workers")
        keeping = asyncio.create_task(run_maintenance_loop(store, config))
        try:
            said = ""
            async with asyncio.timeout(PATIENCE):
                while "housekeeping.waiting" not in said:  # a line of the log
                    await asyncio.sleep(0.02)
                    said += "".join(capsys.readouterr())
            await connection.execute("ALTER TABLE hidden_workers RENAME TO recon_workers")
            await until(connection, "SELECT count(*) = 1 FROM recon_runs")
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
        assert await connection.fetchval(
            "SELECT finished_at > now() - interval '30 days' FROM recon_runs"
        )
