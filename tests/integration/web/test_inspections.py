"""POST /inspections: the warehouse is detected as it stands, as a run like others, whether upstream
answers or not.
"""

import asyncio
import uuid

from app.sandbox.server.serving import SandboxServer
from app.web.schemas.inspections import Inspection
from app.web.schemas.report import Report
from app.web.schemas.runs import Run
from tests.conftest import Database
from tests.support.commands import ended, served, settings_for

_NOWHERE = "http://127.0.0.1:9/"


async def _damage(database: Database) -> list[str]:
    async with database.connect() as connection:
        rows = await connection.fetch(
            "DELETE FROM raw_metrics_hourly WHERE account_id IN (SELECT account_id FROM"
            " raw_metrics_hourly WHERE num_trades > 0 GROUP BY 1 ORDER BY 1 LIMIT 3) RETURNING"
            " account_id"
        )
    return sorted({row["account_id"] for row in rows})


async def test_an_inspection_is_a_run_that_needs_no_upstream(filled: Database) -> None:
    damaged = await _damage(filled)
    async with served(settings_for(filled.dsn, _NOWHERE)) as client:
        # The workers of all other runs wait for upstream.
        waiting = [
            (await client.post("/runs", json={"kind": "audit"})).json()["run_id"] for _ in range(3)
        ]
        answer = await client.post(
            "/inspections", json={"reason": "why not"}, headers={"Idempotency-Key": "one"}
        )
        assert answer.status_code == 202, answer.text
        run_id = answer.json()["run_id"]
        assert (answer.headers["Location"], "Retry-After" in answer.headers) == (
            f"/runs/{run_id}",
            True,
        )
        again = await client.post(
            "/inspections", json={"reason": "why not"}, headers={"Idempotency-Key": "one"}
        )
        assert (again.status_code, again.json()) == (202, answer.json())
        other = await client.post(
            "/inspections", json={"max_accounts": 1}, headers={"Idempotency-Key": "one"}
        )
        assert other.status_code == 409
        run = Run.model_validate(await ended(client, f"/runs/{run_id}"))
        assert (run.kind, run.status, run.requests, run.accounts.found) == (
            "inspect",
            "completed_with_issues",
            0,
            len(damaged),
        )
        assert [(order.order, order.reason) for order in run.orders] == [("start", "why not")]
        found = Inspection.model_validate((await client.get(f"/inspections/{run_id}")).json())
        assert [each.account_id for each in found.listed] == damaged
        assert {each.issue for each in found.by_issue} >= {
            "daily_without_hourly",
            "hourly_daily_mismatch",
        }
        listed = (await client.get("/runs", params={"kind": "inspect"})).json()["runs"]
        assert [each["run_id"] for each in listed] == [run_id]
        report = Report.model_validate((await client.get("/report")).json())
        assert (report.overall.has_issues, report.overall.needs_reconciliation) == (
            len(damaged),
            len(damaged),
        )
        assert {each.issue_type for each in report.issues_by_type} == {
            each.issue for each in found.by_issue
        }
        assert report.recent_activity.accounts_checked == 0
        for each in waiting:
            await client.post(f"/runs/{each}/cancel")


async def test_whoever_waits_is_answered_with_what_was_found(filled: Database) -> None:
    damaged = await _damage(filled)
    async with served(settings_for(filled.dsn, _NOWHERE)) as client:
        answer = await client.post("/inspections", params={"wait": 60})
        found = Inspection.model_validate(answer.json())
        assert (answer.status_code, found.accounts.found, found.accounts.total) == (200, 3, 20)
        page = Inspection.model_validate(
            (await client.get(f"/inspections/{found.run_id}", params={"limit": 2})).json()
        )
        assert ([each.account_id for each in page.listed], page.next_after) == (
            damaged[:2],
            damaged[1],
        )
        rest = (
            await client.get(
                f"/inspections/{found.run_id}", params={"limit": 2, "after": page.next_after}
            )
        ).json()
        assert ([each["account_id"] for each in rest["listed"]], rest["next_after"]) == (
            damaged[2:],
            None,
        )
        one = await client.post(
            "/inspections", json={"account_ids": [damaged[0]]}, params={"wait": 60}
        )
        assert [one.json()["accounts"][name] for name in ("total", "found")] == [1, 1]


async def test_what_an_inspection_cannot_be_is_refused(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        assert (
            await client.post("/inspections", json={"account_ids": ["nobody"]})
        ).status_code == 404
        assert (await client.post("/inspections", json={"depth": "rows"})).status_code == 422
        assert (await client.post("/inspections", json={"account_ids": []})).status_code == 422
        assert (
            await client.post("/runs", json={"kind": "inspect", "depth": "rows"})
        ).status_code == 422
        assert (
            await client.post("/runs", json={"kind": "inspect", "changed_only": True})
        ).status_code == 422
        assert (await client.get(f"/inspections/{uuid.uuid4()}")).status_code == 404
        full = (await client.post("/runs", json={"kind": "full"})).json()["run_id"]
        refused = await client.get(f"/inspections/{full}")
        assert (
            refused.status_code,
            "is no inspection but of kind full" in refused.json()["detail"],
        ) == (404, True)
        accepted = await client.post("/runs", json={"kind": "inspect"})
        await asyncio.gather(
            ended(client, f"/runs/{full}"), ended(client, accepted.headers["Location"])
        )
        assert (await client.get(f"/inspections/{accepted.json()['run_id']}")).status_code == 200
