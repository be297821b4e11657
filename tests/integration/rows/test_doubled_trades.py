"""A trade has one date: where it is stored under several, upstream is asked for all of them and the
wrong ones go, with copies.
"""

import datetime as dt
import json
from random import Random
from typing import Any

import pytest

from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind, RunStatus
from app.engine.config import EngineConfig
from app.engine.report.models.changes import ChangeFilter
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.engine import difference, engine, run
from tests.support.plain import plain


async def load_again(
    database: Database, days: int, *, offset: int, deleted: bool = False, accounts: int = 12
) -> int:
    """Store the settled trades of some dates a second time, under a date so many days later; with
    `deleted` the right rows are lost. Of keys that one account has: under another date a trade of
    a key that is used again would be the other account's.
    """
    async with database.connect() as connection:
        chosen = await connection.fetch(
            "SELECT DISTINCT account_id, trade_date FROM raw_trades_closed WHERE trade_date +"
            " $1::integer <= $2 AND account_id IN (SELECT min(account_id) FROM"
            " raw_metrics_alltime GROUP BY login, platform, broker HAVING count(*) = 1"
            " ORDER BY 1 LIMIT $4) ORDER BY 1, 2 DESC LIMIT $3",
            offset,
            SETTLED,
            days,
            accounts,
        )
        pairs = [row["account_id"] for row in chosen], [row["trade_date"] for row in chosen]
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', $1::date[])",
            [day + dt.timedelta(days=offset) for day in pairs[1]],
        )
        stored = await connection.fetchval(
            "WITH again AS (INSERT INTO raw_trades_closed SELECT r.* FROM raw_trades_closed AS t"
            " JOIN unnest($1::text[], $2::date[]) AS w (account_id, day) ON t.account_id ="
            " w.account_id AND t.trade_date = w.day CROSS JOIN LATERAL jsonb_populate_record(t,"
            " jsonb_build_object('trade_date', t.trade_date + $3::integer)) AS r ON CONFLICT DO"
            " NOTHING RETURNING 1) SELECT count(*) FROM again",
            *pairs,
            offset,
        )
        if deleted:
            await connection.execute(
                "DELETE FROM raw_trades_closed AS t USING unnest($1::text[], $2::date[]) AS w"
                " (account_id, day) WHERE t.account_id = w.account_id AND t.trade_date = w.day",
                *pairs,
            )
    assert stored
    return int(stored)


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
@pytest.mark.parametrize("offset", [1, -1, 3, 15])
async def test_trades_that_were_loaded_a_second_time_under_another_date_go_with_copies_in_one_run(
    kind: RunKind, offset: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    doubled = await load_again(warehouse, 20, offset=offset)
    async with engine(warehouse, sandbox, config=_lenient()) as service:
        state = await run(service, kind)
    assert (await difference(warehouse, sandbox)).is_equal
    assert state["status"] == RunStatus.SUCCEEDED
    async with warehouse.connect() as connection:
        copies = await connection.fetch(
            "SELECT reason, date - right_date AS days FROM recon_removed_rows"
        )
        assert [(copy["reason"], copy["days"]) for copy in copies] == [
            ("removed", offset)
        ] * doubled
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_issue_history WHERE type = 'absent_upstream'"
            )
            == 0
        )


@pytest.mark.parametrize("seed", range(3))
async def test_doubles_go_whatever_else_is_wrong_with_their_accounts(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    random = Random(seed)
    await load_again(warehouse, 8, offset=random.choice([1, 2, 7]), deleted=random.random() < 0.5)
    await load_again(warehouse, 12, offset=random.choice([1, 5, -2]), accounts=6)
    async with warehouse.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE (account_id, date) IN"
            " (SELECT account_id, date FROM raw_metrics_daily WHERE num_trades > 0 AND date <= $1"
            " ORDER BY md5(account_id || date) LIMIT 6)",
            SETTLED,
        )
    async with engine(warehouse, sandbox, config=_lenient()) as service:
        state = await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).is_equal
    assert state["status"] == RunStatus.SUCCEEDED


async def test_a_double_that_was_removed_is_told_as_such_and_not_as_moved(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await load_again(warehouse, 1, offset=1, accounts=1)
    async with engine(warehouse, sandbox, config=_lenient()) as service:
        state = await run(service, RunKind.FULL)
        ours: Any = state["run_id"]
        page = plain(await service.readings.changed_rows(ChangeFilter(run_id=ours), 20))
        doubles = [row for row in page["rows"] if row["reason"] == "removed"]
        assert doubles
        rows: Any = state["rows"]
        assert (rows["removed"], rows["moved"]) == (len(doubles), 0) == (len(page["rows"]), 0)
        assert all(row["stood_already"] and not row["is_restore"] for row in doubles)
        assert all(row["right_date"] == row["date"] - dt.timedelta(days=1) for row in doubles)
        told = [
            each async for each in Restoring(service.store).attempt([row["id"] for row in doubles])
        ]
        assert all(
            each.is_there and each.is_written and "The trade stands under " in each.sentence
            for each in told
        )


async def test_a_restore_is_told_as_such_with_its_reason(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_lenient()) as service,
    ):
        account_id = sandbox.world.account_ids[0]
        await connection.execute(
            "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1 WHERE account_id = $1",
            account_id,
        )
        state = await run(service, RunKind.AUDIT)
        waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
            state["run_id"]  # type: ignore[arg-type]
        )
        assert all(
            [
                each.is_there
                async for each in Restoring(service.store).restore(
                    waiting, pins=True, reason="the desk's figures"
                )
            ]
        )
        page: Any = plain(
            await service.readings.changed_rows(ChangeFilter(account_id=account_id), 20)
        )
        assert [(row["is_restore"], row["restored_with"]) for row in page["rows"]] == [
            (True, "the desk's figures"),
            (False, None),
        ]


async def test_doubles_that_an_earlier_version_explained_as_absent_are_asked_for_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    await load_again(warehouse, 5, offset=1, accounts=3)
    entry = {
        "type": "absent_upstream",
        "severity": 3,
        "description": "d",
        "affected": ["raw_trades_closed"],
        "resolution_strategy": "k",
    }
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, config=_lenient()) as service,
    ):
        await service.maintain()
        views = await service.store.detection.look(
            [
                row["account_id"]
                for row in await connection.fetch("SELECT account_id FROM trade_recon")
            ]
        )
        for view in views.values():
            if view.surplus_days:
                await connection.execute(
                    "UPDATE trade_recon SET issues = $2, explained_as = $3, explained_times = 1,"
                    " ask_again_at = 'infinity', reconciliation_status = 'explained' WHERE"
                    " account_id = $1",
                    view.account_id,
                    json.dumps([entry]),
                    view.signature,
                )
        await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).is_equal


def _lenient() -> EngineConfig:
    """What is removed is all known: guards have tests of their own."""
    return EngineConfig(
        workers=1,
        poll_seconds=0.05,
        postpone_seconds=0,
        guard=HoldLimits(rows=10**6, run_rows=10**6, accounts=10**6),
    )
