"""An account whose id upstream changed: its trades stay under the old id, and no date of theirs
counts as reconciled.
"""

import datetime as dt
import random
import uuid

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import NOW, small_world
from tests.support.engine import engine, run
from tests.support.plain import plain_report

_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)


@pytest.mark.parametrize("renamed", [1, 3])
async def test_dates_whose_trades_are_under_an_id_that_is_gone_are_not_reconciled(
    warehouse: Database, renamed: int
) -> None:
    old = small_world()
    async with warehouse.connect() as c:
        rows = await c.fetch(
            "SELECT account_id FROM raw_metrics_alltime WHERE num_trades > 0 ORDER BY 1"
        )
        drawn = random.Random(renamed).sample([row["account_id"] for row in rows], renamed)
        first = await c.fetchval(
            "SELECT min(date) FROM raw_metrics_daily WHERE account_id = ANY($1) AND num_trades > 0",
            drawn,
        )
        new = old.renamed(
            {each: f"new-{each}" if each in drawn else each for each in old.account_ids}
        )
        async with (
            SandboxServer(new) as upstream,
            engine(warehouse, upstream, now=lambda: NOW, config=_CONFIG) as service,
        ):
            run_id = uuid.UUID(str((await run(service, RunKind.AUDIT))["run_id"]))
            await service.confirm(run_id)
            await service.pool.run_until_finished(run_id)
            state = await run(service, RunKind.AUDIT)
            report = plain_report(await service.readings.report())
            # The first audit told it as new; it is known since, and nothing that a run can heal.
            assert (state["status"], state["left"]["known"] > 0, state["left"]["new"]) == (  # type: ignore[index]
                "succeeded",
                True,
                0,
            )
            assert await c.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = ANY($1)", drawn
            )
            assert not await c.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE starts_with(account_id, 'new-')"
            )
            through = report["reconciled_through"]
            assert through is None or (isinstance(through, dt.date) and through < first)
            told = str(report["reconciled_through_reason"])
            assert f"{renamed} natural key" in told
            assert "several accounts" in told
            # Two accounts may hold a key for good: where each has the trades that it counts, no
            # date is in doubt.
            for each in drawn:
                for table in ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly"):
                    await c.execute(f"DELETE FROM {table} WHERE account_id = $1", f"new-{each}")
            await service.maintain()
            report = plain_report(await service.readings.report())
            assert "several accounts" not in str(report["reconciled_through_reason"])
