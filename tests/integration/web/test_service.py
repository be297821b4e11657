import asyncio
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.commands import served, settings_for
from tests.support.engine import difference
from tests.support.waiting import PATIENCE

_ENDS = {"succeeded", "completed_with_issues", "failed", "cancelled"}
_SCHEMA = "prop_trading_model"


async def _finished(client: httpx2.AsyncClient, location: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await client.get(location)
            assert answer.status_code == 200
            state: dict[str, Any] = answer.json()
            if state["status"] in _ENDS:
                return state
            await asyncio.sleep(0.05)


def _trading(sandbox: SandboxServer) -> list[str]:
    """The accounts that have closed trades."""
    world = sandbox.world
    return [
        account_id
        for account_id in world.account_ids
        if any(trade.close_time for trade in world.trades(account_id))
    ]


async def _damage(database: Database, *statements: str) -> None:
    async with database.connect() as connection:
        for statement in statements:
            assert await connection.execute(statement) not in {"DELETE 0", "UPDATE 0"}


async def test_a_run_over_http_heals_what_is_damaged_and_tells_what_it_did(
    filled: Database, sandbox: SandboxServer
) -> None:
    victim, other = _trading(sandbox)[3:5]
    await _damage(
        filled,
        f"DELETE FROM {_SCHEMA}.raw_metrics_hourly WHERE account_id = '{victim}'",
        f"UPDATE {_SCHEMA}.raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id ="
        f" '{other}'",
    )
    sandbox.log.reset()
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        assert (await client.post("/maintenance")).json()["accounts_added"] == len(
            sandbox.world.account_ids
        )
        accepted = await client.post("/runs", json={"kind": "audit"})
        assert accepted.status_code == 202
        run_id = accepted.json()["run_id"]
        assert accepted.headers["Location"] == f"/runs/{run_id}"
        state = await _finished(client, accepted.headers["Location"])
        assert state["status"] == "succeeded"
        assert (
            state["accounts"]["total"] == state["total_processed"] == len(sandbox.world.account_ids)
        )
        assert (state["accounts"]["healed"], state["rows"]["updated"]) == (2, 1)
        assert state["rows"]["inserted"] > 0
        assert state["requests"] == len(sandbox.log.requests)
        assert {"maintenance", "audit"} <= state["phases"].keys()
        assert state["api_stats"]
        result = (await client.get(f"/runs/{run_id}/result")).json()
        assert result["run_id"] == run_id
        assert (
            sum(each["inserted"] for each in result["by_table"]),
            sum(each["overwritten"] for each in result["by_table"]),
        ) == (state["rows"]["inserted"], 1)
        account = (await client.get(f"/accounts/{victim}")).json()
        assert (account["status"], account["issues"], account["failed_attempts"]) == (
            "reconciled",
            [],
            0,
        )
        assert account["stats"]["has_hourly"]
        assert account["attempts"][0]["run_id"] == run_id
        assert account["attempts"][0]["outcome"] == "healed"
        assert "missing_metrics_tables" in {entry["type"] for entry in account["history"]}
        assert all(entry["closed_at"] and entry["closing_evidence"] for entry in account["history"])
        report = (await client.get("/report")).json()
        assert (
            report["overall"]["reconciled"]
            == report["overall"]["total_accounts"]
            == len(sandbox.world.account_ids)
        )
        assert (report["issues_by_type"], report["identity"]["unmatched"]) == ([], 0)
        assert report["last_run"]["run_id"] == run_id
        assert report["reconciled_through"]
    assert (await difference(filled, sandbox)).is_equal


async def test_a_run_without_a_body_is_a_full_run(filled: Database, sandbox: SandboxServer) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        state = await _finished(client, (await client.post("/runs")).headers["Location"])
    assert (state["kind"], state["status"], state["requests"]) == ("full", "succeeded", 0)


async def test_one_account_is_healed_at_once_and_the_answer_tells_how(
    filled: Database, sandbox: SandboxServer
) -> None:
    victim = _trading(sandbox)[7]
    await _damage(filled, f"DELETE FROM {_SCHEMA}.raw_trades_closed WHERE account_id = '{victim}'")
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        first = (await client.post(f"/accounts/{victim}/reconcile")).json()
        again = (await client.post(f"/accounts/{victim}/reconcile")).json()
    assert (first["outcome"], first["issues"], first["status"]) == ("healed", [], "succeeded")
    assert first["rows_inserted"] == len(
        [trade for trade in sandbox.world.trades(victim) if trade.close_time]
    )
    assert "missing_trade_records" in first["issues_found"]
    assert again["outcome"] == "unchanged"
    assert not again["rows_inserted"]


async def test_the_wrong_key_fails_the_run_and_blames_no_account(
    filled: Database, sandbox: SandboxServer
) -> None:
    victim = _trading(sandbox)[0]
    await _damage(filled, f"DELETE FROM {_SCHEMA}.raw_metrics_daily WHERE account_id = '{victim}'")
    async with served(
        settings_for(filled.dsn, sandbox.base_url, api_key="not-the-key-9137")
    ) as client:
        state = await _finished(client, (await client.post("/runs")).headers["Location"])
        assert state["status"] == "failed"
        assert "key" in state["error"]
        assert state["accounts"]["failed"] == 0
        account = await client.get(f"/accounts/{victim}")
        one = await client.post(f"/accounts/{victim}/reconcile")
        report = await client.get("/report")
    assert (account.json()["failed_attempts"], account.json()["attempts"]) == (0, [])
    assert one.json()["status"] == "failed"
    assert not any("9137" in answer.text for answer in (account, one, report))
    async with filled.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE claimed_by IS NOT NULL"
            )
            == 0
        )


async def test_an_upstream_that_is_down_at_the_start_fails_runs_and_not_the_service(
    filled: Database,
) -> None:
    async with served(settings_for(filled.dsn, "http://127.0.0.1:1/")) as client:
        assert (await client.get("/readyz")).status_code == 200
        state = await _finished(
            client, (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
        )
        assert state["status"] == "failed"
        assert state["error"]
        assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_any_character_but_a_slash_may_stand_in_an_account_id(
    filled: Database, sandbox: SandboxServer
) -> None:
    names = ["a b", "50%", "a?b#c", "ä€𝄞", "x;y,z", "..", "%2e", "q\"'\\", "reconcile", "null"]
    async with filled.connect() as connection:
        statement = (
            f"INSERT INTO {_SCHEMA}.raw_metrics_alltime (account_id, login, num_trades) VALUES ($1,"
            " 'nobody', 0)"
        )
        await connection.executemany(statement, [(name,) for name in names])
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        for name in names:
            # Dots are encoded too: a client would take `..` out of the path before it sends it.
            path = quote(name, safe="").replace(".", "%2E")
            answer = await client.get(f"/accounts/{path}")
            assert (answer.status_code, answer.json().get("account_id")) == (200, name)
        outcome = await client.post(f"/accounts/{quote('a?b#c', safe='')}/reconcile")
        assert (outcome.status_code, outcome.json()["account_id"]) == (200, "a?b#c")


async def test_two_maintenances_at_once_both_succeed(
    filled: Database, sandbox: SandboxServer
) -> None:
    await _damage(filled, f"UPDATE {_SCHEMA}.raw_trades_closed SET account_id = NULL")
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        answers = await asyncio.gather(*(client.post("/maintenance") for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert sum(answer.json()["closed_trades_updated"] > 0 for answer in answers) == 1
    assert (await difference(filled, sandbox)).is_equal


async def test_a_caller_who_hangs_up_breaks_nothing(
    filled: Database, sandbox: SandboxServer
) -> None:
    victim = _trading(sandbox)[2]
    await _damage(filled, f"DELETE FROM {_SCHEMA}.raw_metrics_daily WHERE account_id = '{victim}'")
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(
            f"POST /accounts/{victim}/reconcile HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(PATIENCE):
            while (await client.get(f"/accounts/{victim}")).json()["status"] != "reconciled":  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.05)
    assert (await difference(filled, sandbox)).is_equal


async def test_a_service_that_ends_amid_a_run_releases_its_accounts(
    filled: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.composition._GRACE_SECONDS", 0.3)
    await _damage(filled, f"UPDATE {_SCHEMA}.raw_metrics_alltime SET num_trades = num_trades + 1")
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=20))
    sandbox.log.reset()
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/runs")
        async with asyncio.timeout(PATIENCE):
            while not sandbox.log.requests:  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.02)
    async with filled.connect() as connection:
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE claimed_by IS NOT NULL"
            )
            == 0
        )
        assert await connection.fetchval("SELECT max(failed_attempts) FROM trade_recon") == 0
        # The run is not over: the next process that serves takes it up.
        assert await connection.fetchval("SELECT status FROM recon_runs") == "running"
    sandbox.set_faults(NO_FAULTS)
    async with (
        served(settings_for(filled.dsn, sandbox.base_url)) as client,
        filled.connect() as connection,
    ):
        state = await _finished(
            client, f"/runs/{await connection.fetchval('SELECT run_id FROM recon_runs')}"
        )
    assert state["status"] == "succeeded"
    assert (await difference(filled, sandbox)).is_equal
