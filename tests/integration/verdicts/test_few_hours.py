"""Many trades of a date in a single hourly row are shown for information, and make no account
unequal.
"""

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import access, run_command, served, settings_for
from tests.support.engine import engine, fill, run
from tests.support.plain import plain, plain_report

CODE = IssueCode.SUSPICIOUSLY_FEW_HOURS.value
DAY = TODAY - dt.timedelta(days=9)


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(
        World.generate(9, seed=6, today=TODAY, trades_per_account=6, days=20, contradictory=False)
    ) as server:
        yield server


@pytest.fixture
async def drawn(database: Database, sandbox: SandboxServer) -> dict[str, tuple[int, int]]:
    """A warehouse equal to upstream, with accounts that have another date: how many trades, in how
    many hourly rows.
    """
    await fill(database, sandbox)
    random, accounts = Random(4), sandbox.world.account_ids
    made = {
        account: (trades, rows)
        for account, trades, rows in zip(
            accounts, (11, 10, 300, 11, 12), (1, 1, 1, 2, 24), strict=False
        )
    }
    async with database.connect() as connection:
        await connection.execute(
            "SELECT recon_create_partitions(t, ARRAY[$1::date]) FROM unnest($2::text[]) AS t",
            DAY,
            list(PARTED),
        )
        for account, (trades, rows) in made.items():
            await connection.execute(COPY_DAY, account, DAY, trades)
            counts = (
                [trades - (rows - 1), *(1 for _ in range(rows - 1))]
                if rows <= trades
                else [trades, *(0 for _ in range(rows - 1))]
            )
            for hour, count in zip(random.sample(range(24), rows), counts, strict=True):
                await connection.execute(COPY_HOUR, account, DAY, hour, count)
            await connection.execute(
                "UPDATE raw_metrics_alltime SET num_trades = num_trades + $2 WHERE account_id = $1",
                account,
                trades,
            )
            await connection.execute(COPY_TRADES, account, DAY, trades)
    return made


PARTED = ("raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")
COPY_DAY = """
INSERT INTO raw_metrics_daily (account_id, login, platform, broker, date, num_trades)
SELECT account_id, login, platform, broker, $2, $3 FROM raw_metrics_alltime WHERE account_id = $1
ON CONFLICT (account_id, date) DO UPDATE SET num_trades = excluded.num_trades
"""
COPY_HOUR = """
INSERT INTO raw_metrics_hourly (account_id, login, platform, broker, date, hour, num_trades)
SELECT account_id, login, platform, broker, $2, $3, $4 FROM raw_metrics_alltime WHERE account_id = $1
"""
COPY_TRADES = """
INSERT INTO raw_trades_closed (trade_date, broker, platform, ticket, position, login, account_id)
SELECT $2, broker, platform, 'few' || n, 'few' || n, login, account_id
FROM raw_metrics_alltime, generate_series(1, $3) AS n WHERE account_id = $1
"""


async def test_it_is_shown_for_exactly_the_dates_that_have_it_and_leaves_the_account_equal(
    database: Database, sandbox: SandboxServer, drawn: dict[str, tuple[int, int]]
) -> None:
    few = {account for account, (trades, rows) in drawn.items() if trades > 10 and rows == 1}
    assert len(few) == 2
    async with engine(database, sandbox) as service:
        state = await run(service, RunKind.FULL)
        assert state["total_processed"] == 0
        for account in sandbox.world.account_ids:
            found = plain(await service.readings.account(account))
            shown = [issue for issue in found["issues"] if issue["type"] == CODE]
            assert len(shown) == (account in few), (account, drawn.get(account))
            assert all(
                (issue["severity"], issue["missing_dates"]) == (5, [DAY.isoformat()])
                for issue in shown
            )
            assert found["stats"]["trades_recon_checksum"]
            stored = await service.store.account_reader.account(account)
            assert stored.state["issues"] == []
        report = plain_report(await service.readings.report())
        [entry] = [issue for issue in report["issues_by_type"] if issue["issue_type"] == CODE]
        assert (entry["severity"], entry["account_count"], entry["sample_accounts"]) == (
            5,
            2,
            sorted(few),
        )
        assert report["overall"]["has_issues"] == 0
        assert report["overall"]["reconciled"] == len(sandbox.world.account_ids)


async def test_it_goes_once_the_hours_are_there_or_the_account_was_looked_at_by_name(
    database: Database, sandbox: SandboxServer, drawn: dict[str, tuple[int, int]]
) -> None:
    few = sorted(account for account, (trades, rows) in drawn.items() if trades > 10 and rows == 1)
    async with engine(database, sandbox) as service:
        await run(service, RunKind.FULL)
        async with database.connect() as connection:
            for account in few:
                await connection.execute(
                    "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2",
                    account,
                    DAY,
                )
                for hour, count in ((3, 4), (4, drawn[account][0] - 4)):
                    await connection.execute(COPY_HOUR, account, DAY, hour, count)
        await service.store.detection.refresh_stats(few[:1])
        assert plain(await service.readings.account(few[0]))["issues"] == []
        assert plain(await service.readings.account(few[1]))["issues"] != []
        await run(service, RunKind.FULL)
        assert plain(await service.readings.account(few[1]))["issues"] == []
    async with database.connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM recon_few_hours") == 0


async def test_the_route_and_the_earlier_command_tell_it(
    database: Database, sandbox: SandboxServer, drawn: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    few = sorted(account for account, (trades, rows) in drawn.items() if trades > 10 and rows == 1)
    async with database.connect() as connection:
        # Something to heal on another date: only then has the command an account to tell of.
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date <> $2", few[0], DAY
        )
    ended = await run_command(
        tmp_path, access(database, sandbox), "legacy", "--reconcile", "--report"
    )
    assert ended.code == 0, ended.stderr
    results, end = json.JSONDecoder().raw_decode(ended.stdout[ended.stdout.index("{") :])
    [detail] = [each for each in results["details"] if each["account_id"] == few[0]]
    assert {"type": CODE} in detail["new_issues"]
    assert detail["issues_found"] == detail["issues_resolved"] + 1
    assert CODE in ended.stdout[end:]
    async with served(settings_for(database.dsn, sandbox.base_url)) as client:
        answer = await client.get(f"/accounts/{few[0]}")
        assert CODE in [issue["type"] for issue in answer.json()["issues"]]
