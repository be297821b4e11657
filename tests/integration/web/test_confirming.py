"""Runs are listed, and some of the accounts that one holds are confirmed: these alone are let
through.
"""

import uuid
from typing import Any

import httpx2
from pydantic import SecretStr

from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.settings.model import Settings
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import ended, served
from tests.support.engine import difference


def _settings(database: Database, sandbox: SandboxServer, **beside: Any) -> Settings:  # noqa: ANN401 - fields of the settings
    usual: dict[str, Any] = {
        "risk_api_rate": 1000,
        "risk_api_burst": 1000,
        "recon_outage_wait": 2,
        "recon_workers": 1,
    }
    access = {
        "database_url": SecretStr(database.dsn),
        "risk_api_base_url": sandbox.base_url,
        "risk_api_key": SecretStr("sandbox"),
    }
    return Settings(**{**access, **usual, **beside})


async def _outcomes(database: Database) -> dict[str, str | None]:
    async with database.connect() as connection:
        return {
            row["account_id"]: row["outcome"]
            for row in await connection.fetch("SELECT account_id, outcome FROM recon_attempts")
        }


def _held(outcomes: dict[str, str | None]) -> list[str]:
    return sorted(
        account_id for account_id, outcome in outcomes.items() if outcome == "needs_confirmation"
    )


async def _rewritten(database: Database, sandbox: SandboxServer, count: int) -> list[str]:
    """Accounts of which each has so many rows with a wrong value that a strict guard holds it."""
    ids = [each for each in sandbox.world.account_ids if len(sandbox.world.trades(each)) > 3][
        :count
    ]
    async with database.connect() as connection:
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = ANY($1) AND"
            " trade_date < $2::date - 3",
            ids,
            TODAY,
        )
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = net_profit + 1 WHERE account_id = ANY($1)",
            ids,
        )
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id = ANY($1)",
            ids,
        )
    return ids


async def test_confirming_some_of_the_held_accounts_lets_these_through_and_no_others(
    filled: Database, sandbox: SandboxServer
) -> None:
    ids = await _rewritten(filled, sandbox, 8)
    strict = _settings(
        filled, sandbox, recon_guard_rows=2, recon_guard_row_share=0.01, recon_guard_accounts=1000
    )
    async with served(strict) as client:
        location = (await client.post("/runs", json={"kind": "audit", "account_ids": ids})).headers[
            "Location"
        ]
        before = await ended(client, location)
        held = _held(await _outcomes(filled))
        assert len(held) >= 3
        for strange in ([held[0], "nobody"], ["nobody"]):
            refused = await client.post(f"{location}/confirm", json={"account_ids": strange})
            assert (
                refused.status_code,
                "does not hold nobody. Nothing was confirmed" in refused.json()["detail"],
            ) == (422, True)
        assert _held(await _outcomes(filled)) == held
        confirmed = await client.post(
            f"{location}/confirm", json={"account_ids": [held[0], held[0]]}
        )
        assert (confirmed.status_code, confirmed.json()["accounts"]["needs_confirmation"]) == (
            200,
            len(held) - 1,
        )
        state = await ended(client, location)
        assert state["status"] == "completed_with_issues"
        assert state["accounts"]["healed"] == before["accounts"]["healed"] + 1
        assert f"{len(held) - 1} accounts wait for confirmation" in state["error"]
        assert _held(await _outcomes(filled)) == held[1:]
        assert (await difference(filled, sandbox)).account_ids.intersection(held) == set(held[1:])
        await client.post(f"{location}/confirm")
        state = await ended(client, location)
        assert (state["status"], state["accounts"]["needs_confirmation"]) == ("succeeded", 0)
    assert (await difference(filled, sandbox)).account_ids.isdisjoint(held)


async def test_a_guard_tells_the_one_of_its_two_causes_that_it_has(
    filled: Database, sandbox: SandboxServer
) -> None:
    ids = await _rewritten(filled, sandbox, 12)
    async with served(
        _settings(filled, sandbox, recon_guard_rows=2, recon_guard_row_share=0.01)
    ) as client:
        location = (await client.post("/runs", json={"kind": "audit", "account_ids": ids})).headers[
            "Location"
        ]
        state = await ended(client, location)
        assert state["status"] == "needs_confirmation"
        assert "rows rewritten, while upstream lowers none of their figures" in state["error"]
        assert "lower figures there" not in state["error"]
        [wait] = state["waiting_for"]
        assert (wait["reason"], wait["message"]) == ("guard", state["error"])


async def test_a_run_that_upstream_made_suspect_stays_stopped_when_some_of_its_accounts_are_confirmed(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly")
    sandbox.set_faults(Faults.of(FaultKind.EMPTY))
    async with served(_settings(filled, sandbox, recon_batch_size=1)) as client:
        location = (await client.post("/runs")).headers["Location"]
        before = await ended(client, location)
        assert (before["status"], before["accounts"]["waiting"] > 0) == ("needs_confirmation", True)
        held = _held(await _outcomes(filled))
        assert held
        sandbox.set_faults(NO_FAULTS)
        await client.post(f"{location}/confirm", json={"account_ids": held[:2]})
        after = await ended(client, location)
        assert after["status"] == "needs_confirmation"
        assert after["error"].startswith("Upstream is suspect")
        assert "lower figures there, empty ones or none at all; allowed are" in after["error"]
        assert after["accounts"]["waiting"] == before["accounts"]["waiting"]
        assert (_held(await _outcomes(filled)), after["accounts"]["healed"]) == (
            held[2:],
            len(held[:2]),
        )
        await client.post(f"{location}/confirm")
        assert (await ended(client, location))["status"] == "succeeded"
    assert (await difference(filled, sandbox)).is_equal


async def test_runs_are_listed_newest_first_by_state_and_kind_and_in_pages(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(_settings(filled, sandbox)) as client:
        assert await _listed(client) == []
        made = []
        for kind in ("full", "audit", "retry", "full"):
            answer = await client.post("/runs", json={"kind": kind})
            await ended(client, answer.headers["Location"])
            made.append(answer.json()["run_id"])
        newest = made[::-1]
        assert await _listed(client) == newest
        assert await _listed(client, kind="full") == [newest[0], newest[3]]
        assert await _listed(client, kind=["audit", "retry"], status="succeeded") == newest[1:3]
        assert await _listed(client, status=["failed", "cancelled"]) == []
        page = (await client.get("/runs", params={"limit": 3})).json()
        assert [run["run_id"] for run in page["runs"]] == newest[:3]
        rest = (
            await client.get("/runs", params={"limit": 3, "before": page["next_before"]})
        ).json()
        assert ([run["run_id"] for run in rest["runs"]], rest["next_before"]) == (newest[3:], None)
        assert rest["runs"][0]["status"] == "succeeded"
        for wrong in (
            {"limit": 0},
            {"limit": 1001},
            {"kind": "everything"},
            {"status": "done"},
            {"before": "17"},
        ):
            assert (await client.get("/runs", params=wrong)).status_code == 422
        assert (await client.get("/runs", params={"before": str(uuid.uuid4())})).status_code == 404


async def _listed(client: httpx2.AsyncClient, **filters: Any) -> list[str]:  # noqa: ANN401 - as a query holds them
    return [run["run_id"] for run in (await client.get("/runs", params=filters)).json()["runs"]]
