"""Whatever a column of ours holds, it is shown: times of any year, numbers that JSON has not, words
of a newer version.
"""

import datetime as dt
import math
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import pytest

from app.cli.output.report import show_report
from app.cli.output.tables import results_console
from app.composition import open_readings, open_store
from app.domain.copies import Wanted
from app.sandbox.server.serving import SandboxServer
from app.settings.model import Settings
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.commands import served, settings_for

if TYPE_CHECKING:
    import asyncpg

_RUN = uuid.UUID(int=7)
_TIMES = (
    "4000-01-01 BC",
    "4713-01-01 BC",
    "-infinity",
    "infinity",
    "294276-12-31",
    "9999-12-31 23:59:59.999999",
    "0001-01-01",
)
_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e308")
_TABLES = (
    "trade_recon",
    "recon_runs",
    "recon_attempts",
    "recon_issue_history",
    "recon_removed_rows",
    "recon_set_aside_rows",
    "recon_changes",
    "recon_report",
    "recon_identity",
    "recon_identity_findings",
    "recon_workers",
)
_ENTRIES = f"""
INSERT INTO trade_recon (account_id, reconciliation_status, failed_attempts, issues)
VALUES ('old', 'failed', 1, '[{{"type": "trade_count_mismatch", "severity": 2}}]');
INSERT INTO recon_runs (run_id, kind, status, needs_confirmation) VALUES ('{_RUN}', 'audit', 'completed_with_issues', 1);
INSERT INTO recon_attempts (run_id, account_id, position, outcome, finished_at) VALUES ('{_RUN}', 'old', 1, 'failed', now());
INSERT INTO recon_issue_history (account_id, type, severity, evidence) VALUES ('old', 'trade_count_mismatch', 2, '{{}}');
INSERT INTO recon_removed_rows (run_id, account_id, table_name, reason, row_data)
VALUES ('{_RUN}', 'old', 'raw_metrics_daily', 'removed', '{{"account_id": "old"}}');
INSERT INTO recon_set_aside_rows (table_name, row_key, account_id, reason, row_data)
VALUES ('raw_metrics_daily', 'k', 'old', 'refused', '{{}}');
INSERT INTO recon_changes (account_id, table_name, days, entries, run_id) VALUES ('old', 'raw_metrics_daily', NULL, 1, '{_RUN}');
INSERT INTO recon_identity (login, platform, broker, account_id, today, counts) VALUES ('1', '5', '', 'old', true, true);
INSERT INTO recon_identity_findings (table_name, login, platform, broker, candidates, fits, rows, dates)
VALUES ('raw_trades_closed', '1', '5', '', '{{}}', '', 1, '{{infinity}}');
INSERT INTO recon_workers (worker_id, host, pid) VALUES ('{_RUN}', 'h', 1);
"""


@dataclass(frozen=True, slots=True)
class _Faces:
    """Each way in which what is recorded is shown."""

    client: httpx2.AsyncClient
    settings: Settings

    async def must_answer(self, about: object) -> None:
        for path in ("/accounts/old", f"/runs/{_RUN}", "/changes", "/metrics", "/readyz"):
            answer = await self.client.get(path)
            assert answer.status_code == 200, (about, path, answer.text)
        async with open_store(self.settings) as store:
            readings = open_readings(self.settings, store)
            show_report(results_console(), await readings.report())
            assert await store.account_reader.checked_by_date() is not None
            assert await store.account_reader.run_attempts(_RUN)
            assert await RemovedRows(store.database, store.feed).page(Wanted(), 10)
            assert await readings.keep_report(), about


@pytest.fixture
async def faces(database: Database, sandbox: SandboxServer) -> AsyncIterator[_Faces]:
    settings = settings_for(database.dsn, sandbox.base_url)
    async with database.connect() as c, served(settings) as client:
        await c.execute(_ENTRIES)
        yield _Faces(client, settings)


async def _columns(
    c: "asyncpg.Connection[asyncpg.Record]", kinds: Sequence[str]
) -> dict[str, list[str]]:
    rows = await c.fetch(
        "SELECT table_name, array_agg(quote_ident(column_name)) AS columns FROM"
        " information_schema.columns WHERE table_schema = current_schema AND table_name = ANY($1)"
        " AND data_type = ANY($2) GROUP BY 1",
        _TABLES,
        kinds,
    )
    return {row["table_name"]: row["columns"] for row in rows}


@pytest.mark.parametrize("odd", _TIMES)
async def test_times_of_any_year_are_shown(faces: _Faces, database: Database, odd: str) -> None:
    async with database.connect() as c:
        columns = await _columns(
            c, ["timestamp with time zone", "timestamp without time zone", "date"]
        )
        assert {
            "trade_recon",
            "recon_runs",
            "recon_attempts",
            "recon_issue_history",
            "recon_changes",
        } <= columns.keys()
        for table, names in columns.items():
            await c.execute(
                f"UPDATE {table} SET " + ", ".join(f"{name} = '{odd}'" for name in names)
            )
        await faces.must_answer(odd)
        shown = (await faces.client.get("/accounts/old")).json()
        assert dt.datetime.fromisoformat(shown["last_failed_attempt"]).tzinfo is not None
        assert [(row["table"], row["key"], row["reason"]) for row in shown["set_aside"]] == [
            ("raw_metrics_daily", "k", "refused")
        ]
        # The report that is handed out, too.
        assert (await faces.client.get("/report")).status_code == 200


@pytest.mark.parametrize("odd", _NUMBERS)
async def test_numbers_that_json_has_not_are_shown(
    faces: _Faces, database: Database, odd: str
) -> None:
    async with database.connect() as c:
        for table, names in (await _columns(c, ["double precision"])).items():
            await c.execute(
                f"UPDATE {table} SET " + ", ".join(f"{name} = '{odd}'" for name in names)
            )
        await faces.must_answer(odd)
        seconds = (await faces.client.get("/accounts/old")).json()["attempts"][0]["seconds"]
        assert seconds is None or math.isfinite(seconds)
        assert (await faces.client.get("/report")).status_code == 200


@pytest.mark.parametrize("kind", ["full", "undo"])
async def test_words_of_a_newer_version_are_shown(
    faces: _Faces, database: Database, kind: str
) -> None:
    async with database.connect() as c:
        for table in ("recon_runs", "recon_attempts"):
            for row in await c.fetch(
                "SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c'",
                table,
            ):
                await c.execute(
                    f"ALTER TABLE {table} DROP CONSTRAINT {row['conname']}"
                )  # as the newer version's migration does
        await c.execute(
            "UPDATE recon_runs SET kind = $1, status = 'undone', finished_at = now(), request ="
            " '{\"a\": [1]}'",
            kind,
        )
        await c.execute("UPDATE recon_attempts SET outcome = 'undone', finished_at = now()")
        await c.execute("UPDATE trade_recon SET reconciliation_status = 'undone'")
        await faces.must_answer(kind)
        assert (await faces.client.get(f"/runs/{_RUN}")).json()["status"] == "undone"
        assert (await faces.client.get("/report")).json()["last_run"]["status"] == "undone"
