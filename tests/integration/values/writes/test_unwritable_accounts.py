"""What PostgreSQL refuses about one account in trade-recon's own tables costs that account alone,
whatever the run is for.
"""

from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import difference, run

if TYPE_CHECKING:
    import asyncpg

_REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF NEW.account_id = ANY('{ids}') THEN RAISE EXCEPTION 'not this one' {code}; END IF; RETURN NEW; END$$;
CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def _lose_hourly(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    await connection.execute("DELETE FROM raw_metrics_hourly WHERE date < '2026-03-01'")
    rows = await connection.fetch(
        "SELECT DISTINCT account_id FROM raw_metrics_daily WHERE date < '2026-03-01' AND num_trades"
        " > 0 ORDER BY 1"
    )
    return [row["account_id"] for row in rows]


@pytest.mark.parametrize(
    ("kind", "is_damaged"), [("full", True), ("audit", True), ("audit", False), ("named", False)]
)
async def test_an_account_whose_row_in_trade_recon_cannot_be_written_stops_no_other(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, kind: str, *, is_damaged: bool
) -> None:
    async with warehouse.connect() as c, service_of() as service:
        await service.maintain()
        ids = await _lose_hourly(c)
        others = await c.fetchval(
            "SELECT min(account_id) FROM trade_recon WHERE account_id <> ALL($1)", ids
        )
        struck = ids[3] if is_damaged else others
        await c.execute(
            _REFUSES.format(ids=f"{{{struck}}}", code="", event="UPDATE", table="trade_recon")
        )
        named = {"account_ids": (*ids, *({struck} - set(ids)))} if kind == "named" else {}
        state = await run(service, RunKind.FULL if kind == "named" else RunKind(kind), **named)
        assert state["status"] == "completed_with_issues", state
        attempts = {
            row["account_id"]: row
            for row in await c.fetch("SELECT account_id, outcome, detail FROM recon_attempts")
        }
        assert attempts[struck]["outcome"] == "failed"
        assert "not this one" in attempts[struck]["detail"]
        assert {attempts[each]["outcome"] for each in ids if each != struck} == {"healed"}
        assert state["accounts"]["waiting"] == 0  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).account_ids <= {struck}


@pytest.mark.parametrize("code", ["USING ERRCODE = 'XX001'", "USING ERRCODE = '57014'"])
async def test_an_account_at_whose_comparison_postgresql_fails_is_left_out_of_an_audit_alone(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, code: str
) -> None:
    async with warehouse.connect() as c, service_of() as service:
        await service.maintain()
        await c.execute("UPDATE raw_metrics_alltime SET net_profit = net_profit + 1")
        ids = [
            row["account_id"]
            for row in await c.fetch("SELECT account_id FROM raw_metrics_alltime ORDER BY 1")
        ]
        await c.execute(
            _REFUSES.format(
                ids=f"{{{ids[4]},{ids[9]}}}", code=code, event="INSERT", table="recon_drift"
            )
        )
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "completed_with_issues", state
        assert state["accounts"]["skipped"] == 2  # type: ignore[index]
        assert state["accounts"]["healed"] == len(ids) - 2  # type: ignore[index]
        await c.execute("DROP FUNCTION refuse() CASCADE")
        assert (await run(service, RunKind.AUDIT))["status"] == "succeeded"
    assert (await difference(warehouse, sandbox)).account_ids == set()


async def test_a_comparison_that_fails_at_every_account_ends_the_audit(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as c, service_of() as service:
        await c.execute("UPDATE raw_metrics_alltime SET net_profit = net_profit + 1")
        await c.execute(
            _REFUSES.replace(
                "IF NEW.account_id = ANY('{ids}') THEN", "IF '{ids}' = '' THEN"
            ).format(ids="", code="", event="INSERT", table="recon_drift")
        )
        state = await run(service, RunKind.AUDIT)
        assert state["status"] == "failed"
        assert "not this one" in str(state["error"])
