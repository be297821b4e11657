"""Status and report follow what is known: a healed account is reconciled whoever healed it, and no
date in doubt counts as reconciled.
"""

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import run
from tests.support.nights import TODAY, issues_of, service_at, status_of, traders
from tests.support.plain import plain_report

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_YESTERDAY_BUT_ONE = TODAY - dt.timedelta(days=2)
_SEPTEMBER = dt.date(2025, 9, 3)


@pytest.mark.parametrize("status", ["failed", "exhausted", "needs_reconciliation"])
async def test_maintenance_that_mends_an_account_makes_it_reconciled(
    warehouse: Database, sandbox: SandboxServer, status: str
) -> None:
    mended, other, waiting = traders(sandbox.world)[:3]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = $1", mended
        )
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", other)
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = $2, failed_attempts = 4,"
            " next_attempt_at = now() + interval '1 day', trades_recon_checksum = false WHERE"
            " account_id = ANY($1)",
            [mended, other],
            status,
        )
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = 'needs_confirmation', issues = $2 WHERE"
            " account_id = $1",
            waiting,
            '[{"type": "absent_upstream", "severity": 3}]',
        )
        await service.maintain()
        row = await connection.fetchrow("SELECT * FROM trade_recon WHERE account_id = $1", mended)
        assert row is not None
        assert (row["reconciliation_status"], row["failed_attempts"], row["next_attempt_at"]) == (
            "reconciled",
            0,
            None,
        )
        assert await status_of(connection, other) == status
        assert await status_of(connection, waiting) == "needs_confirmation"
        report = plain_report(await service.readings.report())
        assert report["overall"]["has_failures"] == 1


async def test_an_account_that_was_reconciled_and_disagrees_now_is_not_reconciled_any_more(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT)
        assert await status_of(connection, account_id) == "reconciled"
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", account_id)
        await service.maintain()
        assert await status_of(connection, account_id) == "needs_reconciliation"
        await run(service, RunKind.FULL)
        assert await status_of(connection, account_id) == "reconciled"


@pytest.mark.parametrize("status", ["explained", "flapping", "exhausted"])
async def test_an_account_that_somebody_repaired_is_reconciled_by_maintenance(
    warehouse: Database, sandbox: SandboxServer, status: str
) -> None:
    repaired, unlike = traders(sandbox.world)[:2]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT)
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = $2, next_attempt_at = now() + interval"
            " '1 day' WHERE account_id = ANY($1)",
            [repaired, unlike],
            status,
        )
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", unlike)
        await service.maintain()
        assert (await status_of(connection, repaired), await status_of(connection, unlike)) == (
            "reconciled",
            status,
        )
        # Issues that only tell of counts are refuted by counting.
        await connection.execute(
            f"CREATE TABLE lost AS SELECT * FROM raw_metrics_hourly WHERE account_id = '{repaired}'"
        )
        await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = $1", repaired)
        await service.inspect()
        assert await issues_of(connection, repaired) != set()
        await connection.execute(
            "UPDATE trade_recon SET reconciliation_status = $2 WHERE account_id = $1",
            repaired,
            status,
        )
        await connection.execute("INSERT INTO raw_metrics_hourly SELECT * FROM lost")
        # One that no full run takes for the time being must not wait for its pause to end.
        await (service.maintain() if status != "explained" else run(service, RunKind.FULL))
        assert (await issues_of(connection, repaired), await status_of(connection, repaired)) == (
            set(),
            "reconciled",
        )
        closed = (
            "SELECT DISTINCT closing_evidence ->> 'closed_as' AS closed_as FROM recon_issue_history"
            " WHERE account_id = $1"
        )
        assert [row["closed_as"] for row in await connection.fetch(closed, repaired)] == ["gone"]


async def _reconciled_through(
    warehouse: Database, sandbox: SandboxServer
) -> tuple[dt.date | None, str]:
    async with service_at(warehouse, sandbox) as service:
        await service.maintain()
        report = plain_report(await service.readings.report())
    through = report["reconciled_through"]
    assert through is None or isinstance(through, dt.date)
    return through, str(report["reconciled_through_reason"])


async def test_a_warehouse_without_doubts_is_reconciled_up_to_the_dates_that_still_move(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    assert await _reconciled_through(warehouse, sandbox) == (
        _YESTERDAY_BUT_ONE,
        "Dates from 2026-03-09 on still move.",
    )


@pytest.mark.parametrize("since", [_SEPTEMBER, dt.date(2026, 2, 10)])
async def test_trades_of_keys_that_no_account_has_are_in_doubt_from_their_first_date_on(
    warehouse: Database, sandbox: SandboxServer, since: dt.date
) -> None:
    async with warehouse.connect() as connection:
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', ARRAY[$1::date])", since
        )
        await connection.execute(
            "INSERT INTO raw_trades_closed (platform, broker, login, position, ticket, trade_date)"
            " SELECT platform, broker, 'unknown', 'p' || n, 't' || n, $1::date FROM"
            " generate_series(1, 5) AS n, (SELECT platform, broker FROM raw_trades_closed LIMIT 1)"
            " AS one",
            since,
        )
    through, reason = await _reconciled_through(warehouse, sandbox)
    assert through == since - dt.timedelta(days=1)
    assert (
        reason
        == f"5 stored rows have a natural key that fits no account or several, from {since} on."
    )


@pytest.mark.parametrize(
    ("table", "row", "first"),
    [
        ("raw_metrics_daily", {"date": "2026-02-20", "num_trades": 3}, dt.date(2026, 2, 20)),
        ("raw_trades_closed", {"tradeDate": "20260221"}, dt.date(2026, 2, 21)),
        ("raw_metrics_alltime", {"num_trades": 3}, None),
    ],
)
async def test_rows_that_cannot_be_stored_leave_their_dates_in_doubt(
    warehouse: Database,
    sandbox: SandboxServer,
    table: str,
    row: dict[str, object],
    first: dt.date | None,
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection:
        await connection.execute(
            "INSERT INTO recon_set_aside_rows (table_name, row_key, account_id, reason, row_data)"
            " VALUES ($1, 'k', $2, 'key too narrow', $3)",
            table,
            account_id,
            json.dumps(row),
        )
        born = await connection.fetchval(
            "SELECT min(date) FROM raw_metrics_daily WHERE account_id = $1", account_id
        )
    through, reason = await _reconciled_through(warehouse, sandbox)
    assert through is not None
    assert through == (first or born) - dt.timedelta(days=1)
    assert "cannot be stored" in reason
