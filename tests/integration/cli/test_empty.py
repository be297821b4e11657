"""A warehouse in which there is nothing to compare says so at each face, with what to do, and ends
with 1.
"""

import json
from pathlib import Path

import pytest

from app.domain.runs.emptiness import NO_TRADES
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.web.schemas.maintenance import Maintenance
from app.web.schemas.report import Report
from app.web.schemas.runs import Run
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import access, ended, run_command, served, settings_for

_SAID = "no account is known: run --kind audit first"


@pytest.mark.parametrize(
    "words",
    [
        ["maintain"],
        ["fix-null-ids"],
        ["inspect"],
        ["report"],
        ["reconcile"],
        ["reconcile", "--kind", "retry"],
        ["reconcile", "--changed-only"],
    ],
    ids=" ".join,
)
async def test_an_empty_warehouse_says_so_and_ends_with_1(
    database: Database, sandbox: SandboxServer, tmp_path: Path, words: list[str]
) -> None:
    told = await run_command(tmp_path, access(database, sandbox), *words)
    assert (told.code, told.stdout.count(_SAID)) == (1, 1), told.stdout + told.stderr
    report = await run_command(tmp_path, access(database, sandbox), "report")
    assert report.stdout.count(_SAID) == 1, report.stdout


async def test_an_audit_of_an_empty_warehouse_brings_in_what_upstream_lists(
    database: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    audit = await run_command(tmp_path, access(database, sandbox), "reconcile", "--kind", "audit")
    assert (audit.code, "no account is known" in audit.stdout) == (0, False), (
        audit.stdout + audit.stderr
    )
    report = await run_command(tmp_path, access(database, sandbox), "report")
    assert (report.code, "20 of 20 accounts are reconciled" in report.stdout) == (
        0,
        True,
    ), report.stdout


async def test_an_empty_warehouse_says_so_over_http(
    database: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(database.dsn, sandbox.base_url)) as client:
        maintained = Maintenance.model_validate((await client.post("/maintenance")).json())
        assert (maintained.accounts_known, _SAID in str(maintained.message)) == (0, True)
        report = Report.model_validate((await client.get("/report")).json())
        assert (
            report.overall.total_accounts,
            _SAID in str(report.message),
            _SAID in report.reconciled_through_reason,
        ) == (0, True, True)
        for kind in ("full", "retry", "inspect"):
            accepted = await client.post("/runs", json={"kind": kind})
            run = Run.model_validate(await ended(client, accepted.headers["Location"]))
            assert (run.status, run.known_accounts, _SAID in str(run.error)) == (
                "completed_with_issues",
                0,
                True,
            ), run
        inspected = await client.post("/inspections", params={"wait": 60})
        assert (inspected.json()["accounts"]["known"], _SAID in inspected.json()["message"]) == (
            0,
            True,
        )
        unknown = await client.post("/runs", json={"account_ids": ["nobody"]})
        assert (unknown.status_code, _SAID in unknown.json()["detail"]) == (404, True)


async def test_an_upstream_that_lists_no_account_is_told_from_an_empty_warehouse_alone(
    database: Database, tmp_path: Path
) -> None:
    world = World.generate(0, seed=1, today=TODAY)
    async with SandboxServer(world) as sandbox:
        audit = await run_command(
            tmp_path, access(database, sandbox), "reconcile", "--kind", "audit"
        )
    assert (audit.code, "upstream lists none either" in audit.stdout) == (1, True), (
        audit.stdout + audit.stderr
    )


async def test_accounts_that_trade_recon_refuses_are_told_from_an_empty_warehouse(
    filled: Database, tmp_path: Path
) -> None:
    async with filled.connect() as connection:
        await connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'none gets"
            " in'; END $$; CREATE TRIGGER refuse BEFORE INSERT ON trade_recon FOR EACH ROW EXECUTE"
            " FUNCTION refuse()"
        )
    told = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "maintain")
    assert (
        told.code,
        "20 accounts stand in the tables, and PostgreSQL refuses each row" in told.stdout,
    ) == (1, True), told.stdout


async def test_accounts_without_a_trade_are_told_from_accounts_that_agree(
    filled: Database, tmp_path: Path
) -> None:
    async with filled.connect() as connection:
        await connection.execute("UPDATE raw_metrics_alltime SET num_trades = 0")
        await connection.execute(
            "TRUNCATE raw_metrics_daily, raw_metrics_hourly, raw_trades_closed"
        )
    maintained = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "maintain")
    assert maintained.code == 0, maintained.stdout + maintained.stderr
    report = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "report")
    assert (report.code, NO_TRADES in report.stdout) == (0, True), report.stdout
    as_json = json.loads(
        (
            await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, "report", "--format", "json")
        ).stdout
    )
    assert as_json["message"] == NO_TRADES
