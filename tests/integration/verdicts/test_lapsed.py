"""An acceptance whose date has come counts no more from that moment on, at every face that reads,
before a run wrote that down.
"""

import datetime as dt
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.web.schemas.accounts import Account
from app.web.views import shown as as_http
from tests.conftest import SCHEMA, Database
from tests.integration.verdicts.test_accepted import _add_absent
from tests.support.clock import NOW
from tests.support.commands import run_command
from tests.support.engine import TODAY, engine, run
from tests.support.plain import plain, plain_report
from tests.support.worlds import world_fixtures

if TYPE_CHECKING:
    import asyncpg

_ABSENT = IssueCode.ABSENT_UPSTREAM
_ENDS = TODAY + dt.timedelta(days=2)
_PAST, _NEVER = dt.date(2020, 1, 1), dt.date(2999, 1, 1)


def _world() -> World:
    return World.generate(6, seed=19, today=TODAY, trades_per_account=8, contradictory=False)


filled, warehouse, sandbox = world_fixtures("lapsed", _world)


def _clock(now: dt.datetime) -> Callable[[], dt.datetime]:
    return lambda: now


async def _listed(service: ReconService, *statuses: str) -> set[str]:
    return {
        row["account_id"]
        for row in plain(await service.readings.accounts(statuses or None, None, None, 100))[
            "accounts"
        ]
    }


async def _told(service: ReconService, account_id: str) -> Mapping[str, Any]:
    """What each face that this process reads says of an account, and what the report does."""
    account = as_http(Account, await service.readings.account(account_id))
    [listed] = [
        row
        for row in plain(await service.readings.accounts(None, None, None, 100))["accounts"]
        if row["account_id"] == account_id
    ]
    assert account.status == listed["status"]
    assert account_id in await _listed(service, account.status)
    live, kept = (
        plain_report(await service.readings.report()),
        plain_report(service.readings.shown(await service.readings.kept())),
    )
    told = [
        {name: value for name, value in report.items() if name != "as_of"}
        for report in (live, kept)
    ]
    assert told[0] == told[1], "what was counted before is not shown"
    return {"status": account.status, "accepted": len(account.accepted), "report": live}


async def _stored(connection: "asyncpg.Connection[asyncpg.Record]") -> list[tuple[object, ...]]:
    tables = (
        "trade_recon",
        "recon_accepted_issues",
        "recon_runs",
        "recon_attempts",
        "recon_report",
    )
    return [
        tuple(row)
        for table in tables
        for row in await connection.fetch(f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1")
    ]


async def test_an_acceptance_counts_until_its_date_and_from_then_on_at_no_face(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account = sandbox.world.account_ids[0]
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        day = await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        await service.accept(account, _ABSENT, "known", _ENDS)
        await run(service, RunKind.AUDIT)
        await service.readings.keep_report()
        told = await _told(service, account)
        before = await _stored(connection)
    # Explained by the run itself: what changes is what is accepted, and the date.
    assert (told["status"], told["accepted"]) == ("explained", 1)
    moment = dt.datetime.combine(_ENDS, dt.time(), tzinfo=NOW.tzinfo)
    for now, is_over in (
        (moment - dt.timedelta(seconds=1), False),
        (moment, True),
        (moment + dt.timedelta(days=1), True),
    ):
        async with (
            warehouse.connect() as connection,
            engine(warehouse, sandbox, now=_clock(now)) as later,
        ):
            told = await _told(later, account)
            assert told["accepted"] == (not is_over)
            assert (told["report"]["accepted"] is None) == is_over
            assert (told["report"]["reconciled_through"] == day - dt.timedelta(days=1)) == is_over
            assert (
                f"but for 1 account accepted until {_ENDS}"
                in told["report"]["reconciled_through_told"]
            ) != is_over
            assert [row["account_id"] for row in told["report"]["held_back_by"]] == (
                [account] if is_over else []
            )
            assert await _stored(connection) == before, "nothing is written to tell it"


@pytest.mark.parametrize("was_held", [False, True])
async def test_an_account_that_rested_only_since_its_issue_was_accepted_waits_again_once_that_is_over(
    warehouse: Database, sandbox: SandboxServer, *, was_held: bool
) -> None:
    account = sandbox.world.account_ids[1]
    run_id = uuid.uuid4()
    async with warehouse.connect() as connection:
        await _resting(connection, account, _ENDS, run_id=run_id, was_held=was_held)
    status = "needs_confirmation" if was_held else "needs_reconciliation"
    for days, expected in ((0, "explained"), (1, "explained"), (2, status), (3, status)):
        async with engine(warehouse, sandbox, now=_clock(NOW + dt.timedelta(days=days))) as service:
            await service.readings.keep_report() if not days else None
            told = await _told(service, account)
            assert (told["status"], told["report"]["accounts_by_status"].get(expected, 0) > 0) == (
                expected,
                True,
            )
            assert ("explained" in told["report"]["accounts_by_status"]) == (
                expected == "explained"
            )
            assert account not in await _listed(service, *({"explained", status} - {expected}))
            is_held = expected == "needs_confirmation"
            assert [
                row["account_id"] for row in plain(await service.readings.held_accounts(run_id, 9))
            ] == ([account] if is_held else [])
            assert plain(await service.readings.run_state(run_id))["needs_somebody"] == is_held
            assert (told["report"]["holding_run"] is not None) == is_held
    if was_held:
        async with engine(warehouse, sandbox, now=_clock(NOW + dt.timedelta(days=2))) as service:
            await service.confirm(run_id, [account])


async def _resting(
    connection: "asyncpg.Connection[asyncpg.Record]",
    account: str,
    until: dt.date,
    *,
    run_id: uuid.UUID,
    was_held: bool,
) -> None:
    """An account that rests since its only issue was accepted; run `run_id` held it before, if
    `was_held`.
    """
    entry = [{"type": "absent_upstream", "severity": 3, "missing_dates": ["2026-01-05"]}]
    await connection.execute(
        f"INSERT INTO {SCHEMA}.trade_recon (account_id) VALUES ($1) ON CONFLICT DO NOTHING", account
    )
    await connection.execute(
        f"UPDATE {SCHEMA}.trade_recon SET issues = $2::text::jsonb, reconciliation_status ="
        " 'explained', explained_as = NULL WHERE account_id = $1",
        account,
        json.dumps(entry),
    )
    await connection.execute(
        f"INSERT INTO {SCHEMA}.recon_accepted_issues (account_id, type, reason, until, evidence,"
        " figures, seen, was_held) VALUES ($1, 'absent_upstream', 'known', $2, '{}', 'x',"
        " '', $3)",
        account,
        until,
        was_held,
    )
    await connection.execute(
        f"INSERT INTO {SCHEMA}.recon_runs (run_id, kind, status, created_at, prepared_at,"
        " finished_at, total, needs_confirmation, left_over) VALUES ($1, 'full',"
        " 'completed_with_issues', $2, $2, $2, 1, $3, $4::text::jsonb)",
        run_id,
        NOW - dt.timedelta(hours=1),
        int(was_held),
        json.dumps({"held": int(was_held)}),
    )
    await connection.execute(
        f"INSERT INTO {SCHEMA}.recon_attempts (run_id, account_id, outcome, finished_at, position)"
        " VALUES ($1, $2, $3, $4, 1)",
        run_id,
        account,
        "needs_confirmation" if was_held else "explained",
        NOW - dt.timedelta(hours=1),
    )


@pytest.fixture
async def mixed(database: Database) -> Database:
    """Accounts whose acceptance ended long ago, and one whose acceptance ends after any clock."""
    async with database.connect() as connection:
        await _resting(connection, "a-held", _PAST, run_id=uuid.uuid4(), was_held=True)
        await _resting(connection, "b-over", _PAST, run_id=uuid.uuid4(), was_held=False)
        await _resting(connection, "c-rests", _NEVER, run_id=uuid.uuid4(), was_held=False)
    return database


async def test_the_command_line_tells_accounts_whose_acceptance_is_over_as_waiting(
    mixed: Database, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": mixed.dsn}

    async def listed(*words: str) -> dict[str, str]:
        done = await run_command(
            tmp_path, variables, "accounts", "list", "--format", "json", *words
        )
        return {row["account_id"]: row["status"] for row in json.loads(done.stdout)["accounts"]}

    assert await listed() == {
        "a-held": "needs_confirmation",
        "b-over": "needs_reconciliation",
        "c-rests": "explained",
    }
    assert await listed("--held") == {"a-held": "needs_confirmation"}
    assert await listed("--status", "explained") == {"c-rests": "explained"}
    shown = (await run_command(tmp_path, variables, "accounts", "show", "b-over")).stdout
    assert (
        shown.startswith("b-over needs reconciliation") or "explained" not in shown.splitlines()[0]
    ), shown
    report = json.loads(
        (await run_command(tmp_path, variables, "report", "--format", "json")).stdout
    )
    assert report["accounts_by_status"] == {
        "needs_confirmation": 1,
        "needs_reconciliation": 1,
        "explained": 1,
    }
    assert report["accepted"]["accounts"] == 1
