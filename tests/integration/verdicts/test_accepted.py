"""An issue that somebody accepted holds nothing back while its figures stay as they are, until its
date comes or it is taken back.
"""

import asyncio
import contextlib
import datetime as dt
import json
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.issues.acceptance import figures_of
from app.domain.issues.codes import Issue, IssueCode
from app.domain.states import Depth, RunKind
from app.engine.service import ReconService
from app.errors import InvalidRequest, NotFound, NotOpen
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.clock import NOW
from tests.support.engine import TODAY, engine, run
from tests.support.plain import plain_report
from tests.support.worlds import world_fixtures

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_ABSENT = IssueCode.ABSENT_UPSTREAM
_UNTIL = TODAY + dt.timedelta(days=30)


def _world() -> World:
    return World.generate(12, seed=9, today=TODAY, trades_per_account=12, contradictory=False)


filled, warehouse, sandbox = world_fixtures("accepted", _world)


async def _add_absent(
    connection: "Connection", account_id: str, trades: int = 3, *, days_ago: int = 40
) -> dt.date:
    """A daily row with trades on a date on which upstream has nothing of the account; the date."""
    free = await connection.fetchval(
        "SELECT max(day)::date FROM generate_series($2::date - 60, $2::date, '1 day') AS days (day)"
        " WHERE NOT EXISTS (SELECT FROM raw_metrics_daily AS d WHERE d.account_id = $1 AND d.date ="
        " day::date)",
        account_id,
        TODAY - dt.timedelta(days=days_ago),
    )
    await connection.execute(
        "INSERT INTO raw_metrics_daily (account_id, date, login, platform, broker, num_trades)"
        " SELECT account_id, $2, login, platform, broker, $3 FROM raw_metrics_alltime WHERE"
        " account_id = $1",
        account_id,
        free,
        trades,
    )
    assert isinstance(free, dt.date)
    return free


def _left(state: Mapping[str, Any]) -> dict[str, int]:
    return {name: number for name, number in state["left"].items() if number}


async def _report(service: ReconService) -> Mapping[str, Any]:
    return dict(plain_report(await service.readings.report()))


async def test_an_accepted_issue_holds_back_neither_the_end_of_a_run_nor_the_date_and_costs_no_request(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account, other = sandbox.world.account_ids[:2]
        days = {each: await _add_absent(connection, each) for each in (account, other)}
        first = await run(service, RunKind.AUDIT)
        assert (first["status"], _left(first)) == (
            "completed_with_issues",
            {"new": 2, "new_issues": 2},
        )
        report = await _report(service)
        assert report["reconciled_through"] == min(days.values()) - dt.timedelta(days=1)
        assert {row["account_id"] for row in report["held_back_by"]} == {account, other}
        assert (report["holding_accounts"], report["accepted"]) == (2, None)
        again = await run(service, RunKind.AUDIT)
        assert (again["status"], _left(again)) == (
            "succeeded",
            {"known": 2},
        ), "what is known is not news"
        for each in (account, other):
            await service.accept(each, _ABSENT, "forgotten by the vendor", _UNTIL)
        for kind in (RunKind.FULL, RunKind.RETRY, RunKind.AUDIT):
            sandbox.log.reset()
            state = await run(service, kind)
            assert (state["status"], _left(state)) == ("succeeded", {"accepted": 2})
            assert {*sandbox.log.ids()}.isdisjoint({account, other}) or kind is RunKind.AUDIT
            assert sandbox.log.total <= (1 + 1 if kind is RunKind.AUDIT else 0), kind
        report = await _report(service)
        assert (report["holding_accounts"], report["held_back_by"]) == (0, [])
        assert report["reconciled_through_told"].endswith(
            f"but for 2 accounts accepted until {_UNTIL}"
        )
        assert report["reconciled_through"] > max(days.values())
        [line] = [issue for issue in report["issues_by_type"] if issue["issue_type"] == _ABSENT]
        assert (line["account_count"], report["accepted"]["by_issue"]) == (
            2,
            {_ABSENT: 2},
        ), "it stays shown"
        await service.withdraw_acceptance(other, _ABSENT, "sent after all")
        report = await _report(service)
        assert [row["account_id"] for row in report["held_back_by"]] == [other]
        assert report["reconciled_through_told"].endswith(
            f"but for 1 account accepted until {_UNTIL}"
        )
        state = await run(service, RunKind.FULL)
        assert (state["status"], _left(state)) == ("succeeded", {"known": 1, "accepted": 1})


async def test_rows_of_a_key_that_only_accounts_hold_whose_issues_are_accepted_hold_no_date_back(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        for table in ("raw_metrics_alltime", "raw_metrics_daily"):
            shared = await connection.fetchval(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid ="
                " $1::regclass AND attnum > 0 AND attname <> 'account_id' AND NOT attisdropped",
                table,
            )
            await connection.execute(
                f"INSERT INTO {table} (account_id, {shared}) SELECT 'double', {shared} FROM {table}"
                " WHERE account_id = $1",
                account,
            )
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = $1", account
        )
        await run(service, RunKind.AUDIT)
        held = await _report(service)
        assert held["identity"]["ambiguous"] > 0
        open_issues = {
            row["account_id"]: [issue["type"] for issue in json.loads(row["issues"])]
            for row in await connection.fetch(
                "SELECT account_id, issues FROM trade_recon WHERE issues <> '[]'"
            )
        }
        assert {*open_issues} == {account, "double"}
        for accepted, codes in list(open_issues.items())[:1]:
            for code in codes:
                await service.accept(accepted, IssueCode(code), "two accounts of one login", _UNTIL)
        assert (await _report(service))["reconciled_through"] == held["reconciled_through"], (
            "the other account still holds it"
        )
        for accepted, codes in list(open_issues.items())[1:]:
            for code in codes:
                await service.accept(accepted, IssueCode(code), "two accounts of one login", _UNTIL)
        report = await _report(service)
        assert (
            report["reconciled_through"]
            == TODAY - dt.timedelta(days=2)
            > held["reconciled_through"]
        )
        assert report["reconciled_through_told"].endswith(
            f"but for 2 accounts accepted until {_UNTIL}"
        )


async def test_an_accepted_issue_counts_again_once_its_figures_change(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        accepted = await service.accept(account, _ABSENT, "known", _UNTIL)
        assert accepted.evidence["type"] == _ABSENT
        await _add_absent(connection, account, days_ago=20)
        state = await run(service, RunKind.FULL)
        assert (state["status"], _left(state)) == (
            "completed_with_issues",
            {"new": 1, "new_issues": 1},
        )
        assert await service.store.acceptances.listed(TODAY) == []
        assert await connection.fetchval("SELECT ended_as FROM recon_accepted_issues") == "changed"
        assert _left(await run(service, RunKind.AUDIT)) == {"known": 1}


async def test_an_accepted_issue_counts_again_once_its_date_comes(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        day = await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        await service.accept(account, _ABSENT, "known", TODAY + dt.timedelta(days=1))
        assert _left(await run(service, RunKind.AUDIT)) == {"accepted": 1}
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, now=lambda: NOW + dt.timedelta(days=1)) as later,
    ):
        report = await _report(later)
        assert (report["reconciled_through"], report["accepted"]) == (
            day - dt.timedelta(days=1),
            None,
        )
        state = await run(later, RunKind.FULL)
        assert (state["status"], _left(state)) == (
            "completed_with_issues",
            {"new": 1, "new_issues": 1},
        )
        assert await connection.fetchval("SELECT ended_as FROM recon_accepted_issues") == "expired"


async def test_an_acceptance_ends_with_its_issue_and_does_not_come_back_with_it(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        day = await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        await service.accept(account, _ABSENT, "known", _UNTIL)
        await connection.execute(
            "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2", account, day
        )
        state = await run(service, RunKind.FULL)
        assert (state["status"], _left(state)) == ("succeeded", {})
        assert await connection.fetchval("SELECT ended_as FROM recon_accepted_issues") == "closed"
        assert await _add_absent(connection, account) == day
        assert (await run(service, RunKind.FULL))["status"] == "completed_with_issues"


async def test_an_account_that_is_named_is_compared_whole_though_all_of_it_is_accepted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        await service.accept(account, _ABSENT, "known", _UNTIL)
        sandbox.log.reset()
        state = await run(service, RunKind.AUDIT, account_ids=(account,))
        assert sandbox.log.total > 2
        assert state["compared"] is not None
        assert (state["status"], _left(state)) == ("succeeded", {"accepted": 1})
        counts = await run(service, RunKind.FULL, account_ids=(account,), depth=Depth.COUNTS)
        assert _left(counts) == {"accepted": 1}
        await connection.execute(
            "UPDATE raw_trades_closed SET profit = profit + 1 WHERE account_id = $1", account
        )
        healed = await run(service, RunKind.AUDIT, account_ids=(account,))
        assert (healed["rows"]["updated"] > 0, _left(healed)) == (True, {"accepted": 1})  # type: ignore[index]


async def test_a_held_account_whose_issues_are_accepted_needs_nobody_and_is_guarded_as_before_afterwards(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        sandbox.world.forget(account)
        state = await run(service, RunKind.AUDIT)
        assert (state["status"], _left(state)) == (
            "completed_with_issues",
            {"held": 1, "new_issues": 1},
        )
        [code] = await connection.fetchval(
            "SELECT array_agg(issue ->> 'type') FROM trade_recon, jsonb_array_elements(issues) AS"
            " issue WHERE account_id = $1",
            account,
        )
        stored = await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account
        )
        await service.accept(account, IssueCode(code), "the vendor looks for it", _UNTIL)
        for kind in (RunKind.FULL, RunKind.AUDIT):
            state = await run(service, kind)
            assert (state["status"], _left(state)) == ("succeeded", {"accepted": 1})
        await service.withdraw_acceptance(account, IssueCode(code))
        status = await connection.fetchval(
            "SELECT reconciliation_status FROM trade_recon WHERE account_id = $1", account
        )
        assert status == "needs_confirmation"
        state = await run(service, RunKind.AUDIT)
        assert _left(state)["held"] == 1
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account
            )
            == stored
        )


async def test_what_cannot_be_accepted_is_refused_in_a_sentence_and_changes_nothing(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account, clean = sandbox.world.account_ids[:2]
        await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        with pytest.raises(NotFound, match="There is no account 'nobody'"):
            await service.accept("nobody", _ABSENT, "known")
        with pytest.raises(NotOpen, match="none of its issues is open"):
            await service.accept(clean, _ABSENT, "known")
        with pytest.raises(NotOpen, match="open are absent_upstream"):
            await service.accept(account, IssueCode.UPSTREAM_DRIFT, "known")
        with pytest.raises(InvalidRequest, match="Give a reason"):
            await service.accept(account, _ABSENT, " \n")
        for until in (TODAY, TODAY - dt.timedelta(days=1), TODAY + dt.timedelta(days=367)):
            with pytest.raises(InvalidRequest, match="is not such a date"):
                await service.accept(account, _ABSENT, "known", until)
        assert await connection.fetchval("SELECT count(*) FROM recon_accepted_issues") == 0
        assert await service.withdraw_acceptance(account, _ABSENT) is False


async def test_accepting_twice_is_accepting_once_and_another_date_takes_the_place_of_the_first(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = sandbox.world.account_ids[0]
        await _add_absent(connection, account)
        await run(service, RunKind.AUDIT)
        one, two = [await service.accept(account, _ABSENT, "known", _UNTIL) for _ in range(2)]
        assert one == two
        later = await service.accept(account, _ABSENT, "known", _UNTIL + dt.timedelta(days=1))
        assert later.until == _UNTIL + dt.timedelta(days=1)
        rows = await connection.fetch(
            "SELECT ended_as FROM recon_accepted_issues ORDER BY acceptance_id"
        )
        assert [row["ended_as"] for row in rows] == ["replaced", None]
        orders = await connection.fetch(
            "SELECT what, reason FROM recon_orders WHERE what = 'accept'"
        )
        assert [tuple(row) for row in orders] == [("accept", "known")] * 2


async def test_what_could_be_healed_is_left_alone_while_it_is_accepted_and_an_inspection_tells_it_as_accepted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        account = max(sandbox.world.account_ids, key=lambda each: len(sandbox.world.trades(each)))
        dates = await connection.fetch(
            "SELECT date FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 AND date <"
            " $2 ORDER BY date",
            account,
            TODAY,
        )
        lose = "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2"
        await connection.execute(lose, account, dates[0]["date"])
        await run(service, RunKind.INSPECT)
        codes = [
            IssueCode(row["type"])
            for row in await connection.fetch(
                "SELECT type FROM recon_issue_history WHERE closed_at IS NULL"
            )
        ]
        assert IssueCode.DAILY_WITHOUT_HOURLY in codes
        for code in codes:
            await service.accept(account, code, "trimmed on purpose", _UNTIL)
        for kind in (RunKind.FULL, RunKind.AUDIT, RunKind.INSPECT):
            sandbox.log.reset()
            state = await run(service, kind)
            assert (state["status"], _left(state)) == ("succeeded", {"accepted": 1}), kind
            assert (sandbox.log.total <= 2, state["rows"]["inserted"]) == (True, 0)  # type: ignore[index]
        await connection.execute(lose, account, dates[1]["date"])
        state = await run(service, RunKind.INSPECT)
        assert _left(state)["found"] == 1
        ended = await connection.fetch("SELECT DISTINCT ended_as FROM recon_accepted_issues")
        assert [row["ended_as"] for row in ended] == ["changed"]
        assert (await run(service, RunKind.FULL))["accounts"]["healed"] == 1  # type: ignore[index]


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_is_damaged_accepted_and_taken_back_nothing_counts_but_what_is_neither_accepted_nor_known(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    chance = random.Random(seed)
    accounts = sandbox.world.account_ids[:4]
    days: dict[str, list[dt.date]] = {each: [] for each in accounts}
    accepted: dict[str, list[dt.date]] = {}
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        await run(service, RunKind.AUDIT)
        for _ in range(7):
            account, step = (
                chance.choice(accounts),
                chance.choice(
                    ["damage", "damage", "accept", "accept", "withdraw", "repair", "expire"]
                ),
            )
            if step == "damage" and len(days[account]) < 3:
                days[account].append(await _add_absent(connection, account, chance.randint(1, 4)))
            elif step == "repair" and days[account]:
                day = days[account].pop(chance.randrange(len(days[account])))
                await connection.execute(
                    "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2",
                    account,
                    day,
                )
            elif step == "accept" and days[account]:
                await run(service, RunKind.FULL)
                await service.accept(account, _ABSENT, "drawn", _UNTIL)
                accepted[account] = sorted(days[account])
            elif step == "withdraw":
                await service.withdraw_acceptance(account, _ABSENT)
                accepted.pop(account, None)
            elif step == "expire":
                await connection.execute(
                    "UPDATE recon_accepted_issues SET until = $2 WHERE account_id = $1 AND ended_at"
                    " IS NULL",
                    account,
                    TODAY,
                )
                accepted.pop(account, None)
            state = await run(service, chance.choice([RunKind.FULL, RunKind.AUDIT]))
            for each in [each for each in accepted if accepted[each] != sorted(days[each])]:
                del accepted[each]
            left, broken = _left(state), {each for each in accounts if days[each]}
            assert left.get("accepted", 0) == len(accepted), (step, account)
            assert left.get("new", 0) + left.get("known", 0) == len(broken - accepted.keys())
            assert state["status"] == ("completed_with_issues" if left.get("new") else "succeeded")
            report = await _report(service)
            assert {row["account_id"] for row in report["held_back_by"]} == broken - accepted.keys()
            counting = [day for each in broken - accepted.keys() for day in days[each]]
            if counting:
                assert report["reconciled_through"] == min(counting) - dt.timedelta(days=1)
            assert (report["accepted"] or {"accounts": 0})["accounts"] == len(accepted)
            assert {
                row["account_id"] for row in await service.store.acceptances.listed(TODAY)
            } == set(accepted)


async def test_whoever_accepts_while_runs_of_two_processes_record_accepts_what_is_open_and_nothing_else(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    chance = random.Random(7)
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox) as service,
        engine(warehouse, sandbox) as other,
    ):
        account = sandbox.world.account_ids[0]
        days = [await _add_absent(connection, account)]
        await run(service, RunKind.AUDIT)

        async def accept() -> None:
            await asyncio.sleep(chance.random() * 0.3)
            with contextlib.suppress(NotOpen):
                await other.accept(account, _ABSENT, "drawn", _UNTIL)

        for _ in range(4):
            if days and chance.random() < 0.5:
                await connection.execute(
                    "DELETE FROM raw_metrics_daily WHERE account_id = $1 AND date = $2",
                    account,
                    days.pop(),
                )
            else:
                days.append(await _add_absent(connection, account))
            runs = run(service, RunKind.AUDIT), run(other, RunKind.AUDIT)
            await asyncio.gather(*runs, accept(), accept())
            entries = await connection.fetchval(
                "SELECT issues FROM trade_recon WHERE account_id = $1", account
            )
            figures = {
                entry["type"]: figures_of(Issue.from_json(entry)) for entry in json.loads(entries)
            }
            accepted = await connection.fetch(
                "SELECT type, figures FROM recon_accepted_issues WHERE account_id = $1 AND ended_at"
                " IS NULL",
                account,
            )
            assert {row["type"]: row["figures"] for row in accepted}.items() <= figures.items()
            assert bool(figures) is bool(days)
