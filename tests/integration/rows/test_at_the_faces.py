"""The whole comparison at the faces: over HTTP and on the command line, with what was compared in
the answers.
"""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.domain.contract.tables import Endpoint
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.commands import access, ended, run_command, served, settings_for
from tests.support.engine import difference

_SPOILT = {
    "raw_metrics_alltime": ("gross_profit", "net_profit"),
    "raw_metrics_daily": ("net_profit",),
    "raw_metrics_hourly": ("net_profit",),
    "raw_trades_closed": ("profit", "lots"),
}


async def _spoil(database: Database, account_id: str) -> None:
    """Six wrong figures of money of one account, of which no count tells."""
    async with database.connect() as connection:
        for table, columns in _SPOILT.items():
            day = "trade_date" if "trades" in table else "date"
            settled = "" if "alltime" in table else f" AND {day} <= '{SETTLED}'"
            for place, column in enumerate(columns):
                done = await connection.execute(
                    f"UPDATE {table} SET {column} = coalesce({column}, 0) + 500"
                    f" WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM {table}"
                    f" WHERE account_id = $1{settled} ORDER BY 1, 2 OFFSET $2 LIMIT 1)",
                    account_id,
                    0 if "alltime" in table else place,
                )
                assert done == "UPDATE 1"


@pytest.fixture
def account_id(sandbox: SandboxServer) -> str:
    trades = [record.account_id for record in sandbox.world.records(Endpoint.CLOSED)]
    return max(sandbox.world.account_ids, key=trades.count)


async def test_six_money_errors_are_healed_over_http_and_the_answer_says_what_was_compared(
    warehouse: Database, sandbox: SandboxServer, account_id: str
) -> None:
    await _spoil(warehouse, account_id)
    async with served(settings_for(warehouse.dsn, sandbox.base_url)) as client:
        answer: dict[str, Any] = (await client.post(f"/accounts/{account_id}/reconcile")).json()
        assert (answer["outcome"], answer["issues"], "value_drift" in answer["issues_found"]) == (
            "healed",
            [],
            True,
        )
        differing = {each["table"] for each in answer["compared"]["tables"] if each["differing"]}
        assert differing == set(_SPOILT)
        account = (await client.get(f"/accounts/{account_id}")).json()
        assert account["attempts"][0]["compared"].keys() == {
            each["table"] for each in answer["compared"]["tables"]
        }
        assert {each["type"] for each in account["history"]} >= {"value_drift"}
        async with warehouse.connect() as connection:
            evidence = json.loads(
                await connection.fetchval(
                    "SELECT evidence FROM recon_issue_history WHERE type = 'value_drift'"
                )
            )
        assert {
            table: set(columns) for table, columns in evidence["metadata"]["columns"].items()
        } == {table: set(columns) for table, columns in _SPOILT.items()}
        again = (await client.post(f"/accounts/{account_id}/reconcile", json={})).json()
        assert (again["outcome"], again["compared"]["differing"], again["rows_updated"]) == (
            "unchanged",
            0,
            0,
        )
        by_counts = (
            await client.post(f"/accounts/{account_id}/reconcile", json={"depth": "counts"})
        ).json()
        assert (by_counts["outcome"], by_counts["compared"], by_counts["open_trades"]) == (
            "unchanged",
            None,
            None,
        )
    assert (await difference(warehouse, sandbox)).is_equal


async def test_a_run_of_named_accounts_takes_its_depth_from_its_body_which_belongs_to_its_key(
    warehouse: Database, sandbox: SandboxServer, account_id: str
) -> None:
    await _spoil(warehouse, account_id)
    async with served(settings_for(warehouse.dsn, sandbox.base_url)) as client:
        named = {"account_ids": [account_id]}
        first = await _started(client, named, "a")
        assert await _started(client, named, "a") == first
        other = await client.post(
            "/runs", json={**named, "depth": "counts"}, headers={"Idempotency-Key": "a"}
        )
        assert other.status_code == 409
        assert (await client.post("/runs", json={**named, "depth": "deep"})).status_code == 422
        assert (
            await client.post(f"/accounts/{account_id}/reconcile", json={"deep": "rows"})
        ).status_code == 422
        state = await ended(client, first)
    assert (state["status"], state["accounts"]["healed"]) == ("succeeded", 1)
    assert state["compared"]["differing"] >= 5
    assert state["request"]["depth"] is None
    assert (await difference(warehouse, sandbox)).is_equal


async def _started(client: httpx2.AsyncClient, body: dict[str, Any], key: str) -> str:
    answer = await client.post("/runs", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 202
    return str(answer.headers["Location"])


async def test_reconcile_with_named_accounts_prints_what_it_compared(
    warehouse: Database, sandbox: SandboxServer, account_id: str, tmp_path: Path
) -> None:
    await _spoil(warehouse, account_id)
    variables = access(warehouse, sandbox)
    by_counts = await run_command(
        tmp_path, variables, "reconcile", "--account", account_id, "--depth", "counts"
    )
    assert "Compared row by row" not in by_counts.stdout
    by_rows = await run_command(tmp_path, variables, "reconcile", "--account", account_id)
    assert by_rows.code == 0
    assert "Compared row by row: " in by_rows.stdout
    assert "rows differed before the run wrote anything" in by_rows.stdout
    assert "Open trades: " in by_rows.stdout
    assert (await difference(warehouse, sandbox)).is_equal
