"""Ids that a run gives back belong to that run: its result counts them, and they are undone with
it; pinned rows keep theirs.
"""

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.states import Depth, RunKind
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.engine import TODAY, engine, run
from tests.support.plain import plain

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_TRADES = (
    "SELECT account_id, count(*) AS trades FROM raw_trades_closed WHERE account_id = ANY($1) GROUP"
    " BY account_id"
)
_WITHOUT_ID = "SELECT count(*) FROM raw_trades_closed WHERE account_id IS NULL"


async def _lose_ids(connection: "Connection", account_ids: list[str]) -> int:
    """Take the ids from all closed trades of accounts; the number of trades."""
    lost = (
        "WITH lost AS (UPDATE raw_trades_closed SET account_id = NULL WHERE account_id = ANY($1)"
        " RETURNING 1) SELECT count(*) FROM lost"
    )
    return int(await connection.fetchval(lost, account_ids))


@pytest.mark.parametrize("kind", [RunKind.FULL, RunKind.AUDIT])
@pytest.mark.parametrize("is_named", [True, False])
async def test_ids_that_a_run_gives_back_count_in_its_result_and_are_undone_with_it(
    filled: Database, sandbox: SandboxServer, kind: RunKind, *, is_named: bool
) -> None:
    accounts = random.Random(3).sample(sorted(sandbox.world.account_ids), 3)
    async with filled.connect() as connection, engine(filled, sandbox) as service:
        stored = {
            row["account_id"]: row["trades"] for row in await connection.fetch(_TRADES, accounts)
        }
        lost = await _lose_ids(connection, accounts)
        assert lost == sum(stored.values())
        assert len(stored) > 1
        state = await run(service, kind, account_ids=tuple(accounts) if is_named else None)
        assert await connection.fetchval(_WITHOUT_ID) == 0
        result: Any = plain(await service.readings.run_result(state["run_id"]))  # type: ignore[arg-type]
        rows: Any = state["rows"]
        assert rows["updated"] == lost == sum(line["overwritten"] for line in result["by_table"])
        told = await connection.fetch(
            "SELECT account_id, outcome, rows_updated FROM recon_attempts WHERE run_id = $1",
            state["run_id"],
        )
        assert {
            row["account_id"]: row["rows_updated"] for row in told if row["rows_updated"]
        } == stored
        assert {row["outcome"] for row in told if row["rows_updated"]} == {"healed"}
        counts: Any = state["accounts"]
        assert counts["healed"] == sum(row["outcome"] == "healed" for row in told) == len(stored)
        # In an audit over all accounts each one that agreed counts, and once.
        assert (
            counts["done"]
            == counts["total"]
            == (
                len(sandbox.world.account_ids)
                if kind is RunKind.AUDIT and not is_named
                else len(told)
            )
        )
        # A guard never takes an id that was given back for a row that was rewritten.
        assert await service.store.results.rewritten(accounts) == {}
        removed = RemovedRows(service.store.database, service.store.feed)
        waiting = await removed.waiting_of_run(state["run_id"])  # type: ignore[arg-type]
        assert len(waiting) == lost
        assert all(
            [each.is_there async for each in Restoring(service.store).restore(waiting, pins=True)]
        )
        assert await connection.fetchval(_WITHOUT_ID) == lost
        # Pinned rows keep the ids that they were given, in whatever run and in maintenance.
        await service.maintain()
        for again in (RunKind.FULL, RunKind.AUDIT):
            await run(service, again, account_ids=tuple(accounts))
        assert await connection.fetchval(_WITHOUT_ID) == lost
        await Restoring(service.store).release(run_id=state["run_id"])  # type: ignore[arg-type]
        await run(service, RunKind.AUDIT, account_ids=tuple(accounts))
        assert await connection.fetchval(_WITHOUT_ID) == 0


@pytest.mark.parametrize("depth", [None, Depth.ROWS])
async def test_ids_and_rows_that_a_run_over_all_accounts_gives_back_count_together_for_the_account_that_got_them(
    filled: Database, sandbox: SandboxServer, depth: Depth | None
) -> None:
    chance = random.Random(8)
    owners = [
        each for each in sorted(sandbox.world.account_ids) if len(sandbox.world.trades(each)) > 5
    ]
    accounts = chance.sample(owners, 3)
    async with filled.connect() as connection, engine(filled, sandbox) as service:
        stored = {
            row["account_id"]: row["trades"] for row in await connection.fetch(_TRADES, accounts)
        }
        days = await connection.fetch(
            "DELETE FROM raw_metrics_daily WHERE account_id = ANY($1) AND num_trades > 0 AND date <"
            " $2::date - 3 RETURNING account_id",
            accounts[1:],
            TODAY,
        )
        lost = await _lose_ids(connection, accounts)
        state = await run(service, RunKind.AUDIT, depth=depth)
        told = await connection.fetch(
            "SELECT account_id, outcome, rows_updated, rows_inserted FROM recon_attempts WHERE"
            " run_id = $1 AND rows_updated > 0",
            state["run_id"],
        )
        assert {row["account_id"]: row["rows_updated"] for row in told} == stored
        assert {row["outcome"] for row in told} == {"healed"}
        assert {
            row["account_id"]: row["rows_inserted"] for row in told if row["rows_inserted"]
        } == Counter(row["account_id"] for row in days)
        rows: Any = state["rows"]
        counts: Any = state["accounts"]
        assert (rows["updated"], rows["inserted"]) == (lost, len(days))
        assert (counts["healed"], counts["done"]) == (3, counts["total"])
        assert counts["total"] == len(sandbox.world.account_ids)
