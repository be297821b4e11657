"""What a run did, in detail: rows by table, date, broker and issue add up to its totals, and each
account has its own share of the time.
"""

import random
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import engine, run
from tests.support.plain import plain

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_KINDS = ("inserted", "overwritten", "moved", "removed")
_TOTALS = {"inserted": "inserted", "overwritten": "updated", "moved": "moved", "removed": "removed"}


async def _damage(connection: "Connection", rng: random.Random, accounts: list[str]) -> None:
    lost, wrong, moved = (rng.sample(accounts, 3) for _ in range(3))
    await connection.execute("DELETE FROM raw_metrics_hourly WHERE account_id = ANY($1)", lost)
    await connection.execute(
        "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE account_id = ANY($1) AND"
        " num_trades > 0 AND date < '2024-01-01' OR account_id = ANY($1) AND date = (SELECT"
        " min(date) FROM raw_metrics_daily AS d WHERE d.num_trades > 0)",
        wrong,
    )
    await connection.execute(
        "UPDATE raw_trades_closed SET trade_date = trade_date - 1 WHERE ticket IN (SELECT"
        " min(ticket) FROM raw_trades_closed WHERE account_id = ANY($1) GROUP BY account_id)",
        moved,
    )


@pytest.mark.parametrize("seed", range(2))
async def test_the_parts_of_a_result_add_up_to_the_totals_of_the_run(
    filled: Database, sandbox: SandboxServer, seed: int
) -> None:
    rng = random.Random(seed)
    async with filled.connect() as connection, engine(filled, sandbox) as service:
        await _damage(connection, rng, sorted(sandbox.world.account_ids))
        state = await run(service, RunKind.AUDIT)
        result: Any = plain(await service.readings.run_result(state["run_id"]))  # type: ignore[arg-type]
        rows: Any = state["rows"]
        assert rows["inserted"] > 0
        for level in ("by_table", "by_date", "by_broker"):
            told = {kind: sum(line[kind] for line in result[level]) for kind in _KINDS}
            assert told == {kind: rows[_TOTALS[kind]] for kind in _KINDS}, level
        # Each date and broker is that of the rows themselves.
        hourly = {
            (line["date"], line["inserted"])
            for line in result["by_date"]
            if line["table"] == "raw_metrics_hourly" and line["inserted"]
        }
        stored = await connection.fetch(
            "SELECT date, count(*) AS rows FROM raw_metrics_hourly WHERE xmin::text = ANY(SELECT"
            " DISTINCT xmin::text FROM recon_run_inserts) GROUP BY date"
        )
        assert hourly == {(row["date"], row["rows"]) for row in stored}
        brokers = {line["broker"] for line in result["by_broker"]}
        assert brokers <= {
            str(row["broker"])
            for row in await connection.fetch("SELECT DISTINCT broker FROM raw_metrics_alltime")
        }
        assert {line["issue"] for line in result["by_issue"]} >= {"daily_without_hourly"}
        assert all(line["closed"] == line["accounts"] for line in result["by_issue"])


async def test_each_account_has_its_own_share_of_the_time_of_its_requests(
    filled: Database, sandbox: SandboxServer
) -> None:
    few, *many = sorted(sandbox.world.account_ids)
    async with filled.connect() as connection, engine(filled, sandbox) as service:
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = ANY($1) AND num_trades > 0", many
        )
        state = await run(service, RunKind.AUDIT)
        attempts = await connection.fetch(
            "SELECT account_id, seconds, own_seconds, requests FROM recon_attempts WHERE run_id"
            " = $1",
            state["run_id"],
        )
        shares = {row["account_id"]: row for row in attempts if row["requests"]}
        assert few not in shares
        assert len(shares) > 2
        for row in shares.values():
            assert 0 < row["own_seconds"] < row["seconds"]
        # Not the batch's time, of which each would have all.
        assert (
            sum(row["own_seconds"] for row in shares.values())
            < len(shares) * max(row["seconds"] for row in shares.values()) / 2
        )
