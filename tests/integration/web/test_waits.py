"""Why a run does not go on, as whoever asks for it over HTTP hears it, and as the log of a command
says it.
"""

import asyncio
import io
import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from rich.console import Console

from app.cli import progress
from app.domain.ids import RunId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind
from app.engine.report.models.runs import RunWait
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from app.settings.model import Settings
from app.upstream.resilience import admission as guard
from tests.conftest import Database
from tests.support.commands import access, ended, run_command, served, settings_for
from tests.support.engine import engine
from tests.support.plain import plain
from tests.support.run_states import run_state
from tests.support.waiting import PATIENCE

_AT = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d"
_TIME = _AT + r":\d\d"


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _settings(database: Database, base_url: str, **beside: Any) -> Settings:  # noqa: ANN401 - fields of the settings
    usual: dict[str, Any] = {
        "database_url": SecretStr(database.dsn),
        "risk_api_base_url": base_url,
        "risk_api_key": SecretStr("sandbox"),
        "risk_api_rate": 1000,
        "risk_api_burst": 1000,
        "risk_api_breaker_failures": 1,
        "risk_api_breaker_seconds": 30,
        "recon_outage_wait": 600,
    }
    return Settings(**{**usual, **beside})


async def _state(
    client: httpx2.AsyncClient, location: str, until: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            state: dict[str, Any] = (await client.get(location)).json()
            if until(state):
                return state
            await asyncio.sleep(0.05)


async def _waits(client: httpx2.AsyncClient, location: str, reason: str) -> dict[str, Any]:
    """What the run says that it waits for, as soon as that is the reason."""
    state = await _state(
        client,
        location,
        lambda state: any(wait["reason"] == reason for wait in state["waiting_for"]),
    )
    found: dict[str, Any] = next(wait for wait in state["waiting_for"] if wait["reason"] == reason)
    return found


@asynccontextmanager
async def _cancelled(client: httpx2.AsyncClient, order: dict[str, Any]) -> AsyncIterator[str]:
    """Where a run is looked at, which is cancelled at the end."""
    answer = await client.post("/runs", json=order)
    assert (answer.status_code, answer.headers["Retry-After"].isdecimal()) == (202, True)
    location = answer.headers["Location"]
    try:
        yield location
    finally:
        await client.post(f"{location}/cancel")


async def test_a_run_says_that_upstream_does_not_answer_with_error_address_and_times(
    filled: Database,
) -> None:
    port = _closed_port()
    async with (
        served(_settings(filled, f"http://127.0.0.1:{port}/")) as client,
        _cancelled(client, {"kind": "audit"}) as location,
    ):
        state = await _state(
            client, location, lambda state: any(wait["until"] for wait in state["waiting_for"])
        )
        [wait] = state["waiting_for"]
        assert wait["reason"] == "upstream_down"
        what = rf"since {_AT} UTC \(connection refused, 127\.0\.0\.1:{port}\)"
        assert re.fullmatch(
            rf"Upstream does not answer {what}, next try in \d+ s, given up at {_AT} UTC\.",
            wait["message"],
        )
        assert wait["since"] < wait["until"]
        # The process itself is well.
        assert (
            (await client.get("/readyz")).status_code
            == (await client.get("/healthz")).status_code
            == 200
        )


async def test_an_upstream_that_answers_with_errors_is_told_with_the_answer_and_forgotten_when_it_is_back(
    filled: Database, sandbox: SandboxServer
) -> None:
    sandbox.set_faults(Faults.of(FaultKind.SERVICE_UNAVAILABLE))
    async with served(_settings(filled, sandbox.base_url, risk_api_breaker_seconds=1.5)) as client:
        location = (await client.post("/runs", json={"kind": "audit"})).headers["Location"]
        wait = await _waits(client, location, "upstream_down")
        assert (
            f"(answer 503, {sandbox.base_url.removeprefix('http://').strip('/')})"
            in wait["message"]
        )
        sandbox.set_faults(NO_FAULTS)
        state = await ended(client, location)
        assert (state["status"], state["waiting_for"]) == ("succeeded", [])


async def test_an_upstream_that_asks_for_fewer_requests_is_told(
    filled: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_LEAST_OUTAGE", 0.05)
    sandbox.set_faults(Faults(probabilities={FaultKind.TOO_MANY_REQUESTS: 1.0}))
    async with (
        served(_settings(filled, sandbox.base_url)) as client,
        _cancelled(client, {"kind": "audit"}) as location,
    ):
        wait = await _waits(client, location, "upstream_throttles")
        assert re.search(
            rf"Upstream asks for fewer requests since {_AT} UTC \(answer 429, ", wait["message"]
        )


async def test_a_used_up_quota_is_told(
    filled: Database, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_LONG_TURN", 0.2)
    settings = _settings(filled, sandbox.base_url, risk_api_rate=0.02, risk_api_burst=1)
    async with served(settings) as client, _cancelled(client, {"kind": "audit"}) as location:
        wait = await _waits(client, location, "quota")
        assert re.search(
            rf"The quota is used up: .* since {_AT} UTC \(0\.02 requests a second for all"
            r" processes\)\.",
            wait["message"],
        )


async def test_accounts_that_a_silent_worker_holds_are_told_with_the_time_at_which_they_are_free(
    filled: Database, sandbox: SandboxServer
) -> None:
    worker = uuid.uuid4()
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        await client.post("/maintenance")
        async with filled.connect() as connection:
            await connection.execute(
                "INSERT INTO recon_workers (worker_id, host, pid, heartbeat_at) VALUES ($1,"
                " 'night-1', 77, now() - interval '40 seconds')",
                worker,
            )
            ids = await connection.fetch(
                "UPDATE trade_recon SET claim_id = gen_random_uuid(), claimed_by = $1, claimed_at ="
                " now() - interval '45 seconds' WHERE account_id IN (SELECT account_id FROM"
                " trade_recon ORDER BY account_id LIMIT 3) RETURNING account_id",
                worker,
            )
        async with _cancelled(
            client, {"kind": "retry", "account_ids": [row["account_id"] for row in ids]}
        ) as location:
            wait = await _waits(client, location, "accounts_held")
            assert re.fullmatch(
                rf"3 accounts are held by a worker not heard of since {_AT} UTC \(night-1, process"
                rf" 77\), free at {_TIME} UTC\.",
                wait["message"],
            )
            assert wait["accounts"] == 3


async def test_a_run_that_a_silent_worker_prepares_says_when_another_one_takes_it_over(
    filled: Database, sandbox: SandboxServer
) -> None:
    worker = uuid.uuid4()
    async with engine(filled, sandbox) as service:
        run_id = await service.start_run(RunRequest())
        async with filled.connect() as connection:
            await connection.execute(
                "INSERT INTO recon_workers (worker_id, host, pid, heartbeat_at) VALUES ($1,"
                " 'night-1', 77, now() - interval '40 seconds')",
                worker,
            )
            await connection.execute(
                "UPDATE recon_runs SET status = 'running', prepared_by = $1", worker
            )
        await service.pool.heartbeat.beat()
        [wait] = _told(plain(await service.readings.run_state(run_id)))
    worker_is = rf"a worker not heard of since {_AT} UTC \(night-1, process 77\)"
    assert re.fullmatch(
        rf"The run is prepared by {worker_is}; another one takes it over at {_TIME} UTC\.",
        wait["message"],
    )


async def test_a_run_at_which_nobody_works_says_so_and_what_to_start(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with engine(filled, sandbox) as service:
        run_id = await service.start_run(RunRequest())
        # It was only just made.
        assert _told(plain(await service.readings.run_state(run_id))) == []
        async with filled.connect() as connection:
            await connection.execute(
                "UPDATE recon_runs SET created_at = now() - interval '1 minute'"
            )
        [wait] = _told(plain(await service.readings.run_state(run_id)))
        assert (wait["reason"], "trade-recon serve" in wait["message"]) == ("unattended", True)
        # A process that serves another run alone does not help this one.
        service.pool.heartbeat.only_run = RunId(uuid.uuid4())
        await service.pool.heartbeat.beat()
        assert [
            wait["reason"] for wait in _told(plain(await service.readings.run_state(run_id)))
        ] == ["unattended"]


async def test_a_run_that_waits_for_its_turn_names_the_run_that_is_worked_on(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with engine(filled, sandbox) as service:
        first = await service.start_run(RunRequest(RunKind.AUDIT))
        run_id = await service.start_run(RunRequest())
        await service.pool.heartbeat.beat()
        async with filled.connect() as connection:
            await connection.execute(
                "UPDATE recon_runs SET created_at = created_at - interval '1 minute'"
            )
            assert _told(plain(await service.readings.run_state(run_id))) == []
            await connection.execute(
                "UPDATE recon_runs SET status = 'running', prepared_at = now() WHERE run_id = $1",
                first,
            )
        [wait] = _told(plain(await service.readings.run_state(run_id)))
    assert (wait["reason"], f"The workers are at 1 other run ({first}):" in wait["message"]) == (
        "turn",
        True,
    )


async def test_rows_that_somebody_else_locks_are_told_with_the_session(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with engine(filled, sandbox) as service:
        await service.maintain()
        async with filled.connect() as connection:
            ids = [
                row["account_id"]
                for row in await connection.fetch(
                    "SELECT account_id FROM trade_recon ORDER BY account_id LIMIT 2"
                )
            ]
        run_id = await service.start_run(RunRequest(account_ids=tuple(ids)))
        await service.pool.heartbeat.beat()
        [run] = await service.store.active_runs.active(run_id)
        assert await service.pool.server.work_on(run)
        async with filled.connect() as other, other.transaction():
            await other.execute("SET LOCAL application_name = 'etl'")
            await other.execute(
                "SELECT FROM trade_recon WHERE account_id = ANY($1) FOR UPDATE", ids
            )
            await asyncio.sleep(1.1)
            [wait] = _told(plain(await service.readings.run_state(run_id)))
            pid = await other.fetchval("SELECT pg_backend_pid()")
    assert (wait["reason"], wait["accounts"]) == ("locks", 2)
    assert f"session {pid} of postgres, etl, open since " in wait["message"]


async def test_a_paused_run_and_one_that_a_guard_stopped_say_what_to_do(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly")
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=5))
    async with served(settings_for(filled.dsn, sandbox.base_url)) as client:
        location = (await client.post("/runs")).headers["Location"]
        [wait] = (await client.post(f"{location}/pause")).json()["waiting_for"]
        assert wait["reason"] == "paused"
        assert re.search(
            rf"The run is paused since {_AT} UTC: .*/resume lets it go on\.", wait["message"]
        )
        sandbox.set_faults(Faults.of(FaultKind.EMPTY))
        await client.post(f"{location}/resume")
        await ended(client, location)
        [wait] = (await client.get(location)).json()["waiting_for"]
        assert wait["reason"] == "guard"
        assert f"POST {location}/confirm" in wait["message"]


async def test_the_log_of_a_command_says_why_its_run_waits(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    port = _closed_port()
    variables = {
        **access(filled, sandbox),
        "RISK_API_BASE_URL": f"http://127.0.0.1:{port}/",
        "RECON_OUTAGE_WAIT": "2",
        "RISK_API_BREAKER_FAILURES": "1",
    }
    over = await run_command(tmp_path, variables, "reconcile", "--kind", "audit")
    assert over.code == 3
    told = [line for line in over.log if line.get("action") == "run.waiting"]
    assert [line["reason"] for line in told] == ["upstream_down"]
    assert f"(connection refused, 127.0.0.1:{port})" in str(told[0]["why"])
    assert not re.search(r"\w+Error|Errno", over.stdout)


def test_the_progress_line_says_why_a_run_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=shown, force_terminal=True, width=200)
    )
    wait = RunWait(
        reason="upstream_down",
        message="Upstream does not answer since 06:52 UTC.",
        since=None,
        until=None,
        accounts=None,
    )
    state = run_state({"total": 10, "done": 3}, waiting_for=[wait])
    with progress.progress_shown() as show:
        show(state)
    assert "Upstream does not answer since 06:52 UTC." in shown.getvalue()


def _told(state: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a run as JSON shows it
    waits: list[dict[str, Any]] = state["waiting_for"]
    return waits
