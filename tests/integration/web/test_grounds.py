"""Each answer says what it rests on: how many accounts, when, by what and with how many requests,
or why nothing was compared.
"""

from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.commands import ended, served, settings_for


async def test_an_account_that_agrees_is_answered_with_what_was_compared(
    filled: Database, sandbox: SandboxServer
) -> None:
    account = sandbox.world.account_ids[0]
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await ended(client, (await client.post("/runs", json={"kind": "full"})).headers["Location"])
        assert (
            "No audit has compared all accounts" in (await client.get("/report")).json()["audited"]
        )
        counts = (
            await client.post(f"/accounts/{account}/reconcile", json={"depth": "counts"})
        ).json()
        assert (counts["outcome"], counts["requests"] > 0, counts["rows_updated"]) == (
            "unchanged",
            True,
            0,
        )
        assert "1 named account" in counts["rests_on"]
        assert "of alltime with upstream" in counts["rests_on"]
        whole = (await client.post(f"/accounts/{account}/reconcile")).json()
        assert (whole["outcome"], whole["requests"] > counts["requests"]) == ("unchanged", True)
        assert "every row and column" in whole["rests_on"]
        shown = (await client.get(f"/accounts/{account}")).json()
        assert shown["rests_on"].startswith("Last compared row by row (")
        audit = await ended(
            client, (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
        )
        assert f"Upstream was asked with {audit['requests']} request" in audit["rests_on"]
        other = (await client.get(f"/accounts/{sandbox.world.account_ids[1]}")).json()
        assert "they agreed, and no run had to take it" in other["rests_on"]
        assert audit["run_id"] in (await client.get("/report")).json()["audited"]


async def test_a_run_that_was_refused_by_upstream_says_that_nothing_was_compared(
    filled: Database, sandbox: SandboxServer
) -> None:
    account = sandbox.world.account_ids[0]
    async with served(settings_for(filled.dsn, sandbox.base_url, api_key="wrong")) as client:
        failed = (
            await client.post(f"/accounts/{account}/reconcile", json={"depth": "counts"})
        ).json()
        assert (failed["status"], failed["outcome"], failed["requests"]) == ("failed", None, None)
        assert failed["rests_on"].startswith(
            "Nothing was compared: the run ended before its accounts were known"
        )
