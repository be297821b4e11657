import datetime as dt
import uuid

import pytest

from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.commands import ended, served, settings_for
from tests.support.engine import difference

_SLOW = Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=1.0)


async def _damage(database: Database) -> None:
    async with database.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly")


async def test_a_request_that_is_sent_again_with_its_key_starts_nothing_and_names_its_run(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        key = {"Idempotency-Key": "airflow.nightly.2026-11-23"}
        first = await client.post("/runs", json={"kind": "audit"}, headers=key)
        await ended(client, first.headers["Location"])
        again = await client.post(
            "/runs", json={"kind": "audit", "max_accounts": None}, headers=key
        )
        assert (again.status_code, again.json(), again.headers["Location"]) == (
            202,
            first.json(),
            first.headers["Location"],
        )
        other = await client.post("/runs", json={"kind": "retry"}, headers=key)
        assert (other.status_code, other.headers["Location"]) == (409, first.headers["Location"])
        assert other.headers["Content-Type"] == "application/problem+json"
        assert "another request" in other.json()["detail"]
        for wrong in ("", "x" * 256, "with space"):
            assert (
                await client.post("/runs", headers={"Idempotency-Key": wrong})
            ).status_code == 422


async def test_a_second_full_run_is_answered_with_the_active_one(
    filled: Database, sandbox: SandboxServer
) -> None:
    await _damage(filled)
    sandbox.set_faults(_SLOW)
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        first = await client.post("/runs")
        second = await client.post("/runs", json={"kind": "full", "max_accounts": 3})
        assert (second.status_code, second.headers["Location"]) == (409, first.headers["Location"])
        sandbox.set_faults(NO_FAULTS)
        assert (await ended(client, first.headers["Location"]))["status"] == "succeeded"
        assert (await client.post("/runs")).status_code == 202


async def test_a_run_is_paused_resumed_and_cancelled_over_http(
    filled: Database, sandbox: SandboxServer
) -> None:
    await _damage(filled)
    sandbox.set_faults(_SLOW)
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        location = (await client.post("/runs")).headers["Location"]
        for action, status in (
            ("pause", "paused"),
            ("pause", "paused"),
            ("resume", {"queued", "running"}),
            ("cancel", "cancelled"),
        ):
            answer = await client.post(f"{location}/{action}")
            assert answer.status_code == 200
            assert answer.json()["status"] in status
        assert (await client.get(location)).json()["status"] == "cancelled"
        for action in ("pause", "resume", "confirm"):
            refused = await client.post(f"{location}/{action}")
            assert (refused.status_code, refused.headers["Location"]) == (409, location)
        for action in ("pause", "resume", "cancel", "confirm"):
            assert (await client.post(f"/runs/{uuid.uuid4()}/{action}")).status_code == 404
            assert (await client.post(f"/runs/nonsense/{action}")).status_code == 422


async def test_a_run_that_needs_confirmation_is_confirmed_over_http(
    filled: Database, sandbox: SandboxServer
) -> None:
    await _damage(filled)
    sandbox.set_faults(Faults.of(FaultKind.EMPTY))
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        location = (await client.post("/runs")).headers["Location"]
        state = await ended(client, location)
        assert state["status"] == "needs_confirmation"
        assert (
            state["accounts"]["needs_confirmation"] + state["accounts"]["waiting"]
            == state["accounts"]["total"]
        )
        sandbox.set_faults(NO_FAULTS)
        confirmed = (await client.post(f"{location}/confirm")).json()
        assert confirmed["status"] in {"queued", "running", "succeeded"}
        assert confirmed["confirmed_at"] is not None
        state = await ended(client, location)
        assert (state["status"], state["error"], state["accounts"]["needs_confirmation"]) == (
            "succeeded",
            None,
            0,
        )
    assert (await difference(filled, sandbox)).is_equal


async def test_an_account_that_takes_longer_than_the_caller_waits_is_answered_with_its_run(
    filled: Database, sandbox: SandboxServer
) -> None:
    account_id, *_ = sandbox.world.account_ids
    sandbox.set_faults(_SLOW)
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        answer = await client.post(f"/accounts/{account_id}/reconcile?wait=0.1")
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/runs/{answer.json()['run_id']}"
        assert (await ended(client, answer.headers["Location"]))["status"] == "succeeded"
        assert (await client.post(f"/accounts/{account_id}/reconcile?wait=30")).json()[
            "outcome"
        ] == "unchanged"
        for wrong in ("-1", "301", "nan", "long"):
            assert (
                await client.post(f"/accounts/{account_id}/reconcile?wait={wrong}")
            ).status_code == 422


@pytest.mark.parametrize("when", ["past", "without a zone"])
async def test_a_time_to_stop_at_that_cannot_be_is_refused(
    filled: Database, sandbox: SandboxServer, when: str
) -> None:
    now = dt.datetime.now(dt.UTC)
    later = now + dt.timedelta(hours=1)
    stop_at = (
        now - dt.timedelta(seconds=1) if when == "past" else later.replace(tzinfo=None)
    ).isoformat()
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        answer = await client.post("/runs", json={"stop_at": stop_at})
        assert answer.status_code == 422
        assert "stop_at" in answer.text
        accepted = await client.post("/runs", json={"stop_at": later.isoformat()})
        state = await ended(client, accepted.headers["Location"])
        assert (state["status"], dt.datetime.fromisoformat(state["stop_at"])) == (
            "succeeded",
            later,
        )
