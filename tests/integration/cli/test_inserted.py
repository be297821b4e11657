"""Rows that a run inserted leave no copy, and are shown all the same: by run, account, table and
date, with those that still stand.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.domain.ids import AccountId
from app.domain.runs.request import RunRequest
from app.domain.states import RunKind, RunStatus
from app.engine.config import EngineConfig
from app.sandbox.server.faults import FaultKind, Faults
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.commands import run_command, served, settings_for
from tests.support.engine import engine, run
from tests.support.plain import plain

if TYPE_CHECKING:
    import asyncpg

_TABLES = {
    "raw_metrics_daily": "date",
    "raw_metrics_hourly": "date",
    "raw_trades_closed": "trade_date",
}


async def _lose_rows(
    connection: "asyncpg.Connection[asyncpg.Record]", chance: random.Random
) -> Counter[tuple[str, str, str]]:
    """Delete some rows and spoil others in the same slices; how many are lost by account, table and
    date.
    """
    lost: Counter[tuple[str, str, str]] = Counter()
    for table, day in _TABLES.items():
        rows = await connection.fetch(
            f"SELECT tableoid, ctid, account_id, {day} AS day FROM {table} WHERE {day} <= $1 ORDER"
            " BY 3, 4, 2",
            SETTLED,
        )
        for row in chance.sample(rows, 6):
            await connection.execute(
                f"DELETE FROM {table} WHERE tableoid = $1 AND ctid = $2",
                row["tableoid"],
                row["ctid"],
            )
            lost[row["account_id"], table, str(row["day"])] += 1
            if table == "raw_metrics_hourly":
                await connection.execute(
                    f"UPDATE {table} SET net_profit = 7777 WHERE account_id = $1 AND {day} = $2",
                    row["account_id"],
                    row["day"],
                )
    return lost


def _counted(rows: list[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        counted[row["account_id"], row["table"], row["date"]] += row["rows"]
    return counted


async def test_inserted_rows_are_shown_by_run_account_table_and_date_with_those_that_still_stand(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    chance = random.Random(16)
    async with filled.connect() as connection:
        lost = await _lose_rows(connection, chance)
        async with engine(filled, sandbox) as service:
            state = await run(service, RunKind.FULL)
        assert state["rows"]["inserted"] == sum(lost.values())  # type: ignore[index]
        async with served(settings_for(filled.dsn, sandbox.base_url)) as client:

            async def shown(**wanted: object) -> dict[str, Any]:
                answer: dict[str, Any] = (
                    await client.get("/changes/rows", params={"limit": 200, **wanted})  # type: ignore[dict-item]
                ).json()
                return answer

            rows = (await shown(run_id=str(state["run_id"])))["inserted"]
            assert _counted(rows) == lost
            assert [
                row for row in rows if not row["standing"] == row["rows"] == len(row["keys"])
            ] == []
            assert all(row["run_kind"] == "full" and row["issues"] for row in rows)
            one = chance.choice(rows)
            picked = {"account_id": one["account_id"], "table": one["table"], "date": one["date"]}
            assert _counted((await shown(**picked))["inserted"]) == Counter(
                {tuple(picked.values()): lost[tuple(picked.values())]}
            )
            # In pages each transaction is shown once.
            paged, before = [], None
            while True:
                more: dict[str, object] = {} if before is None else {"inserted_before": before}
                page = await shown(run_id=str(state["run_id"]), limit=2, **more)
                assert page["rows"] == [] or before is None
                paged += page["inserted"]
                before = page["inserted_next"]
                if before is None:
                    break
            assert paged == rows
            day = _TABLES[one["table"]]
            await connection.execute(
                f"DELETE FROM {one['table']} WHERE account_id = $1 AND {day} = $2::text::date",
                one["account_id"],
                one["date"],
            )
            [gone] = (await shown(**picked))["inserted"]
            assert (gone["rows"], gone["standing"], gone["keys"]) == (one["rows"], 0, [])
    words = ("changes", "--run", str(state["run_id"]), "--table", "raw_trades_closed")
    told = await run_command(tmp_path, {"DATABASE_URL": filled.dsn}, *words)
    assert told.code == 0
    # A line for each change, however many dates it has; one in all for those of which nothing
    # stands.
    standing = {row["change_id"]: 0 for row in rows if row["table"] == "raw_trades_closed"}
    for row in rows:
        if row["table"] == "raw_trades_closed" and row != one:
            standing[row["change_id"]] += row["standing"]
    lines = [line for line in told.stdout.splitlines() if "inserted at" in line]
    assert len(lines) == sum(rows > 0 for rows in standing.values())


async def test_a_batch_under_way_shows_how_far_it_is_before_any_account_is_recorded(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE num_trades > 0 AND date <= $1", SETTLED
        )
        await connection.execute("DELETE FROM raw_trades_closed WHERE trade_date <= $1", SETTLED)
    config = EngineConfig(
        workers=1, fetches=1, poll_seconds=0.02, postpone_seconds=0, postpone_named_seconds=0
    )
    sandbox.set_faults(Faults(probabilities={FaultKind.SLOW: 1.0}, delay_seconds=0.04))
    seen = []
    async with engine(filled, sandbox, config=config, limits={"max_ids": 1}) as service:
        named = tuple(map(AccountId, sandbox.world.account_ids))
        run_id = await service.start_run(RunRequest(RunKind.FULL, account_ids=named))
        working = asyncio.create_task(service.pool.run_until_finished(run_id))
        while not working.done():
            state: dict[str, Any] = dict(plain(await service.readings.run_state(run_id)))
            if state["under_way"] and not state["accounts"]["done"]:
                seen.append(state["under_way"])
            await asyncio.sleep(0.02)
        await working
        state = dict(plain(await service.readings.run_state(run_id)))
    assert RunStatus(state["status"]) is RunStatus.SUCCEEDED
    assert state["under_way"] is None
    for name in ("done", "requests", "rows_written"):
        values = [each[name] for each in seen]
        assert values == sorted(values)
        assert len(set(values)) > 2, name
    assert {each["accounts"] for each in seen} == {len(named)}


async def test_shared_requests_are_shared_by_their_accounts_in_equal_parts(
    filled: Database, sandbox: SandboxServer
) -> None:
    async with filled.connect() as connection, engine(filled, sandbox) as service:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE num_trades > 0 AND date <= $1", SETTLED
        )
        state: dict[str, Any] = await run(service, RunKind.FULL)
        rows = await connection.fetch(
            "SELECT requests, own_requests FROM recon_attempts WHERE run_id = $1", state["run_id"]
        )
    asked = [row for row in rows if row["requests"]]
    assert len(asked) > 2
    assert abs(sum(row["own_requests"] for row in asked) - state["requests"]) < 0.01
    assert all(row["own_requests"] < row["requests"] for row in asked)
