"""Pinned rows: what somebody restored stays as restored, is said so, costs nothing each night, and
ends by release or by agreement.
"""

import datetime as dt
import random
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.engine.restore import Restoring
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import NOW, issues_of, service_at, status_of, traders
from tests.support.plain import plain

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_TABLES = ("raw_metrics_alltime", "raw_metrics_daily", "raw_metrics_hourly", "raw_trades_closed")


async def _rows(connection: "Connection", account_id: str) -> set[str]:
    return {
        row["row"]
        for table in _TABLES
        for row in await connection.fetch(
            f"SELECT '{table} ' || t::text AS row FROM {table} AS t WHERE account_id = $1",
            account_id,
        )
    }


async def _pins(connection: "Connection") -> int:
    return int(await connection.fetchval("SELECT count(*) FROM recon_pins"))


async def _damage(connection: "Connection", account_id: str, rng: random.Random) -> None:
    """Rows that an audit will overwrite, remove and move: some of each table, drawn."""
    days = await connection.fetch(
        "SELECT date FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0 ORDER BY 1",
        account_id,
    )
    first, second, third = (
        row["date"]
        for row in rng.sample(
            [row for row in days if row["date"] < NOW.date() - dt.timedelta(days=4)], 3
        )
    )
    more = rng.randint(1, 3)
    await connection.execute(
        f"UPDATE raw_metrics_daily SET num_trades = num_trades + {more}, net_profit = 1 WHERE"
        " account_id = $1 AND date = $2",
        account_id,
        first,
    )
    await connection.execute(
        "UPDATE raw_metrics_hourly SET num_trades = num_trades + 1 WHERE account_id = $1 AND date"
        " = $2",
        account_id,
        rng.choice((first, second)),
    )
    await connection.execute(
        "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1, net_profit = 5 WHERE"
        " account_id = $1",
        account_id,
    )
    await connection.execute(
        "INSERT INTO raw_trades_closed SELECT (jsonb_populate_record(t,"
        " jsonb_build_object('ticket', '9' || t.ticket, 'position', '9' || t.position))).* FROM"
        " raw_trades_closed AS t WHERE account_id = $1 AND trade_date = $2",
        account_id,
        third,
    )
    await connection.execute(
        "UPDATE raw_trades_closed SET trade_date = trade_date - 1 WHERE account_id = $1 AND"
        " trade_date = $2",
        account_id,
        second,
    )


async def _undo(service: ReconService, run_id: object) -> Restoring:
    waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(run_id)  # type: ignore[arg-type]
    restoring = Restoring(service.store)
    assert all(
        [
            each.is_there
            async for each in restoring.restore(waiting, pins=True, reason="the desk's figures")
        ]
    )
    return restoring


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_undone_stays_until_it_is_released(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    rng = random.Random(seed)
    account_id, other = rng.sample(traders(sandbox.world), 2)
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        await _damage(connection, account_id, rng)
        state = await run(service, RunKind.AUDIT)
        assert (await difference(warehouse, sandbox)).sample == ()
        restoring = await _undo(service, state["run_id"])
        undone = await _rows(connection, account_id)
        assert restoring.accounts == [account_id]
        assert "pinned_by_restore" in await issues_of(connection, account_id)
        # Another account's heal goes on as ever.
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", other)
        for kind in (RunKind.FULL, RunKind.AUDIT):
            await run(service, kind)
            assert await _rows(connection, account_id) == undone, kind
            assert await issues_of(connection, account_id) == {"pinned_by_restore"}
            assert await status_of(connection, account_id) == "explained"
        assert {
            await status_of(connection, each)
            for each in traders(sandbox.world)
            if each != account_id
        } == {"reconciled"}
        again = await run(service, RunKind.FULL)
        assert again["requests"] == 0, "it is not asked for each night"
        flapping = await connection.fetchval(
            "SELECT count(*) FROM trade_recon WHERE reconciliation_status = 'flapping'"
        )
        assert flapping == 0
        shown = plain(await service.readings.account(account_id))
        assert len(shown["pinned"]) == await _pins(connection) > 0
        assert {pin["reason"] for pin in shown["pinned"]} == {"the desk's figures"}
        released = await Restoring(service.store).release(account_id=account_id)
        assert (released, await _pins(connection)) == (len(shown["pinned"]), 0)
        assert "pinned_by_restore" not in await issues_of(connection, account_id)
        await run(service, RunKind.AUDIT)
        assert (await difference(warehouse, sandbox)).sample == ()
        assert (
            await issues_of(connection, account_id),
            await status_of(connection, account_id),
        ) == (set(), "reconciled")


@pytest.mark.parametrize("seed", range(2))
async def test_rows_beside_pinned_ones_are_healed(
    seed: int, warehouse: Database, sandbox: SandboxServer
) -> None:
    rng = random.Random(100 + seed)
    account_id = rng.choice(traders(sandbox.world))
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        await _damage(connection, account_id, rng)
        state = await run(service, RunKind.AUDIT)
        await _undo(service, state["run_id"])
        undone = await _rows(connection, account_id)
        pinned = [
            row["date"]
            for row in await connection.fetch(
                "SELECT DISTINCT date FROM recon_pins WHERE date IS NOT NULL"
            )
        ]
        gone = await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date <> ALL($2::date[]) AND"
            " num_trades > 0",
            account_id,
            pinned,
        )
        assert gone != "DELETE 0"
        await run(service, RunKind.FULL)
        rows = await connection.fetchval(
            "SELECT count(*) FROM raw_metrics_hourly WHERE account_id = $1", account_id
        )
        assert rows == sum(row.startswith("raw_metrics_hourly") for row in undone)
        assert await issues_of(connection, account_id) == {"pinned_by_restore"}


async def test_a_pin_ends_by_itself_where_upstream_says_the_same(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection:
        async with service_at(warehouse, sandbox) as service:
            before = await _rows(connection, account_id)
            await _damage(connection, account_id, random.Random(7))
            state = await run(service, RunKind.AUDIT)
            healed = {
                table: await connection.fetch(
                    f"SELECT * FROM {table} WHERE account_id = $1", account_id
                )
                for table in _TABLES
            }
            await _undo(service, state["run_id"])
            assert await _pins(connection) > 0
            # Somebody takes the restored rows back by hand: they are what upstream says.
            for table, rows in healed.items():
                await connection.execute(f"DELETE FROM {table} WHERE account_id = $1", account_id)
                await connection.copy_records_to_table(table, records=[tuple(row) for row in rows])
        assert len(before) == len(await _rows(connection, account_id))
        async with service_at(warehouse, sandbox, now=NOW + dt.timedelta(days=3)) as service:
            await run(service, RunKind.FULL)
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM recon_pins WHERE table_name <> 'raw_trades_closed'"
                )
                == 0
            )
            assert (await difference(warehouse, sandbox)).sample == ()
