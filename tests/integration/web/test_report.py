"""GET /report: rendered once, handed out with its ETag."""

import asyncio

import pytest

from app.sandbox.server.serving import SandboxServer
from app.web.schemas.report import Report
from tests.conftest import Database, Server
from tests.support.commands import served, settings_for
from tests.support.waiting import PATIENCE


async def test_the_etag_stays_while_the_report_does_and_changes_with_it(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        before = await client.get("/report")
        tag = before.headers["ETag"]
        assert before.headers["Cache-Control"] == "no-cache"
        assert Report.model_validate_json(before.content).overall.total_accounts == len(
            sandbox.world.account_ids
        )
        for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = await client.get("/report", headers={"If-None-Match": sent})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert (
            await client.get("/report", headers={"If-None-Match": '"other"'})
        ).status_code == 200
        run = (await client.post("/runs")).json()["run_id"]
        async with asyncio.timeout(PATIENCE):
            while (await client.get(f"/runs/{run}")).json()["finished_at"] is None:  # noqa: ASYNC110 - another task's event
                await asyncio.sleep(0.05)
        after = await client.get("/report", headers={"If-None-Match": tag})
        assert after.status_code == 200
        assert after.headers["ETag"] != tag
        assert after.json()["last_run"]["run_id"] == run


async def test_what_is_counted_again_and_is_the_same_keeps_its_etag(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        before = await client.get("/report")
        await client.post("/maintenance")
        after = await client.get("/report")
        assert after.json() == {**before.json(), "as_of": after.json()["as_of"]}
        assert after.json()["as_of"] > before.json()["as_of"]
        assert after.headers["ETag"] == before.headers["ETag"]


async def test_who_heals_an_account_and_asks_then_finds_it_in_the_report(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        for account_id in sandbox.world.account_ids[:3]:
            before = (await client.get("/report")).json()
            healed = (await client.post(f"/accounts/{account_id}/reconcile")).json()
            after = (await client.get("/report")).json()
            assert after["last_run"]["run_id"] == healed["run_id"] != before["last_run"]


async def test_a_report_that_is_seconds_old_is_handed_out_while_postgresql_is_away(
    postgres: Server, filled: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled.connect() as connection:
        name = await connection.fetchval("SELECT current_database()")
    monkeypatch.setattr("app.web.report_cache._FRESH_SECONDS", 0.0)
    monkeypatch.setattr("app.web.report_cache._OLDEST_SECONDS", 3600.0)
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        before = await client.get("/report")
        await postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert (await client.get("/report")).content == before.content
        monkeypatch.setattr("app.web.report_cache._OLDEST_SECONDS", 0.0)
        assert (await client.get("/report")).is_server_error
        await postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert (await client.get("/report")).status_code == 200
