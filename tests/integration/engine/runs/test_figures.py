"""The figures of the report agree by their definitions (docs/reference/figures.md), whatever was
run and whatever users did in between.
"""

import random
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.contract.tables import TABLES
from app.domain.states import RunKind
from app.engine.report.inspection import Listing
from app.engine.service import ReconService
from app.sandbox.damage.damage import damage
from app.sandbox.server.serving import SandboxServer
from tests.conftest import SCHEMA, Database
from tests.support.engine import engine, run
from tests.support.plain import plain_report

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_OPEN = "NOT trades_recon_checksum OR mismatched_days > 0 OR mismatched_money > 0 OR issues <> '[]'"
_STEPS = ("maintain", "inspect", "full", "audit", "reconcile one", "limited full")
_SETTLING = ("maintain", "inspect", "full", "audit")


async def _agree(service: ReconService, connection: "Connection", step: str) -> None:
    report: Mapping[str, Any] = plain_report(await service.readings.report())
    overall, statuses = report["overall"], report["accounts_by_status"]
    total = await connection.fetchval("SELECT count(*) FROM trade_recon")
    assert overall["total_accounts"] == total == sum(statuses.values()), step
    assert overall["reconciled"] + overall["needs_reconciliation"] == total, step
    assert (
        overall["needs_reconciliation"] == overall["has_issues"] + report["disagree_without_issue"]
    ), step
    assert overall["reconciliation_percentage"] == pytest.approx(
        100 * overall["reconciled"] / total, abs=0.01
    ), step
    assert statuses.get("reconciled", 0) <= overall["reconciled"], step
    assert (
        await connection.fetchval(
            "SELECT count(*) FROM trade_recon WHERE reconciliation_status = 'reconciled' AND"
            f" ({_OPEN})"
        )
        == 0
    ), step
    with_type = await connection.fetchval(
        "SELECT count(DISTINCT account_id) FROM trade_recon, jsonb_array_elements(issues) AS i"
        " WHERE i ->> 'type' = ANY($1)",
        [each["issue_type"] for each in report["issues_by_type"]],
    )
    assert with_type == overall["has_issues"], step
    view = await connection.fetchrow(
        "SELECT reconciled, needs_reconciliation, has_issues FROM v_reconciliation_progress"
    )
    assert tuple(view or ()) == tuple(
        overall[name] for name in ("reconciled", "needs_reconciliation", "has_issues")
    ), step
    if step in _SETTLING:
        assert report["disagree_without_issue"] == 0, step
        # All that agree are reconciled, but for those that somebody has to confirm.
        left = await connection.fetch(
            f"SELECT account_id, reconciliation_status FROM trade_recon WHERE NOT ({_OPEN})"
        )
        assert {row["reconciliation_status"] for row in left} <= {
            "reconciled",
            "needs_confirmation",
        }, step


async def _spoil(connection: "Connection", chance: random.Random) -> None:
    """What a user may do between two runs."""
    tables = [table.name for table in TABLES.values()]
    for _ in range(chance.randrange(1, 4)):
        table = chance.choice(tables)
        share = f"abs(hashtext(t::text || '{chance.random()}')) % 100 < {chance.choice([1, 5, 40])}"
        statement = chance.choice(
            [
                f"DELETE FROM {table} AS t WHERE {share}",
                (
                    f"UPDATE {table} AS t SET {chance.choice(['num_trades', 'net_profit'])} = 3"
                    f" WHERE {share}"
                    if "metrics" in table
                    else f"UPDATE {table} AS t SET account_id = NULL WHERE {share}"
                ),
            ]
        )
        await connection.execute(statement)


@pytest.mark.parametrize("seed", range(3))
async def test_figures_agree_after_every_step(
    warehouse: Database, sandbox: SandboxServer, seed: int
) -> None:
    chance = random.Random(seed)
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        if seed == 1:
            await damage(connection, SCHEMA, seed=seed)
        for number in range(6):
            step = _STEPS[seed] if number == 0 else chance.choice(_STEPS)
            match step:
                case "maintain":
                    await service.maintain()
                case "inspect":
                    found = await service.readings.inspection(
                        await service.inspect(), Listing(1_000)
                    )
                    accounts = found.accounts
                    with_issues = await connection.fetchval(
                        "SELECT count(*) FROM trade_recon WHERE issues <> '[]'"
                    )
                    assert (
                        accounts.found + accounts.explained,
                        accounts.not_inspected,
                    ) == (with_issues, 0)
                case "full" | "audit":
                    await run(service, RunKind(step))
                case "limited full":
                    await run(service, RunKind.FULL, max_accounts=2)
                case _:
                    known = await connection.fetchval(
                        "SELECT min(account_id) FROM raw_metrics_alltime"
                    )
                    await run(service, RunKind.AUDIT, account_ids=(known,))
            await _agree(service, connection, f"{step}")
            await _spoil(connection, chance)


async def test_after_maintenance_the_report_does_not_contradict_itself(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT)
        gone = await connection.fetch(
            "DELETE FROM raw_trades_closed WHERE trade_date = (SELECT max(trade_date) FROM"
            " raw_trades_closed) RETURNING account_id"
        )
        await service.maintain()
        report: Mapping[str, Any] = plain_report(await service.readings.report())
    short = len({row["account_id"] for row in gone})
    overall, statuses = report["overall"], report["accounts_by_status"]
    assert short > 0
    assert (
        overall["needs_reconciliation"],
        overall["has_issues"],
        statuses["needs_reconciliation"],
    ) == (short, short, short)
    assert overall["reconciled"] == statuses["reconciled"] == overall["total_accounts"] - short
    assert {each["issue_type"]: each["account_count"] for each in report["issues_by_type"]}[
        "trades_daily_mismatch"
    ] == short
