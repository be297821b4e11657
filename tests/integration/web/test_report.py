"""GET /report: rendered once, handed out with its ETag."""

import asyncio

from app.sandbox.process import SandboxServer
from app.web.models import Report
from tests.commands import served, settings_for
from tests.conftest import Database


async def test_the_etag_stays_while_the_report_does_and_changes_with_it(filled: Database, sandbox: SandboxServer) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        before = await client.get("/report")
        tag = before.headers["ETag"]
        assert before.headers["Cache-Control"] == "no-cache"
        assert Report.model_validate_json(before.content).overall.total_accounts == len(sandbox.world.account_ids)
        for sent in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await client.get("/report", headers={"If-None-Match": sent})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert (await client.get("/report", headers={"If-None-Match": '"other"'})).status_code == 200
        run = (await client.post("/runs")).json()["run_id"]
        async with asyncio.timeout(30):
            while (await client.get(f"/runs/{run}")).json()["finished_at"] is None:  # noqa: ASYNC110 - another task's event
                await asyncio.sleep(0.05)
        after = await client.get("/report", headers={"If-None-Match": tag})
        assert after.status_code == 200
        assert after.headers["ETag"] != tag
        assert after.json()["last_run"]["run_id"] == run
