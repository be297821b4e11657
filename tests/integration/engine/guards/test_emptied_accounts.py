"""An account of which somebody deleted all rows is no account that is reconciled: upstream is
asked, and what it has comes back.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.engine.preparation.maintenance import maintain
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import TODAY, difference, engine, reconcile, run

if TYPE_CHECKING:
    import asyncpg

_RAW = (
    "raw_metrics_alltime",
    "raw_metrics_daily",
    "raw_metrics_hourly",
    "raw_trades_closed",
    "raw_trades_open",
)


async def _delete(c: "asyncpg.Connection[asyncpg.Record]", account_ids: Sequence[str]) -> None:
    for table in _RAW[:4]:
        await c.execute(f"DELETE FROM {table} WHERE account_id = ANY($1)", account_ids)


@pytest.mark.parametrize("kind", ["maintained", "changed_only", "named", "audit", "one"])
async def test_an_account_whose_rows_were_all_deleted_comes_back(
    filled: Database, sandbox: SandboxServer, kind: str
) -> None:
    ids = sandbox.world.account_ids[2:4]
    async with filled.connect() as c, engine(filled, sandbox) as service:
        await run(service, RunKind.AUDIT)
        await _delete(c, ids)
        if kind == "maintained":
            await maintain(service.store, TODAY)
            told = await c.fetch(
                "SELECT reconciliation_status AS status, issues::text FROM trade_recon WHERE"
                " account_id = ANY($1)",
                ids,
            )
            assert {row["status"] for row in told} == {"needs_reconciliation"}
            assert all(
                json.loads(row["issues"])[0]["metadata"]["emptied"]["raw_metrics_alltime"] > 0
                for row in told
            )
        if kind == "one":
            async with service.pool.running():
                for account_id in ids:
                    assert (await reconcile(service, account_id))["outcome"] == "healed"
        else:
            request: dict[str, object] = (
                {"account_ids": tuple(ids)}
                if kind == "named"
                else {"changed_only": kind == "changed_only"}
            )
            state = await run(
                service, RunKind.AUDIT if kind == "audit" else RunKind.FULL, **request
            )
            if kind == "changed_only":
                # Deletions are found by runs without that.
                state = await run(service, RunKind.FULL)
            assert state["status"] == "succeeded", state
        healed = await c.fetch(
            "SELECT account_id FROM recon_attempts WHERE outcome = 'healed' ORDER BY 1"
        )
        assert [row["account_id"] for row in healed] == sorted(ids)
        statuses = await c.fetch(
            "SELECT DISTINCT reconciliation_status, issues::text FROM trade_recon"
        )
        assert [tuple(row) for row in statuses] == [("reconciled", "[]")]
    assert (await difference(filled, sandbox)).is_equal


async def test_an_account_that_upstream_has_not_either_is_asked_for_once(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as c, engine(filled, sandbox) as service:
        await c.execute(
            "UPDATE raw_metrics_alltime SET account_id = 'gone' WHERE account_id = $1",
            sandbox.world.account_ids[0],
        )
        await maintain(service.store, TODAY)
        await c.execute("DELETE FROM raw_metrics_alltime WHERE account_id = 'gone'")
        first, second = await run(service, RunKind.FULL), await run(service, RunKind.FULL)
        assert (first["status"], second["status"]) == ("succeeded", "succeeded")
        outcomes = await c.fetch("SELECT outcome FROM recon_attempts WHERE account_id = 'gone'")
        assert [row["outcome"] for row in outcomes] == ["unchanged"]
        assert second["requests"] == 0
        assert (
            await c.fetchval("SELECT issues::text FROM trade_recon WHERE account_id = 'gone'")
            == "[]"
        )
    assert (await difference(filled, sandbox)).is_equal
