"""A trade that stood under several dates, undone: each row is back as it was, stays so while it is
pinned, and is healed once released.
"""

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from app.domain.states import RunKind
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.engine import difference, engine, run

if TYPE_CHECKING:
    import asyncpg

_UNIT = "t.login = $1 AND t.platform = $2 AND t.broker = $3 AND t.position = $4 AND t.ticket = $5"


async def _rows(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    return [
        each["row"]
        for each in await connection.fetch(
            "SELECT t::text AS row FROM raw_trades_closed AS t ORDER BY 1"
        )
    ]


@pytest.mark.parametrize(
    ("wrong", "right", "apart"),
    [
        ((1, 3), False, "together"),
        ((1, 2, 5), False, "newest first"),
        ((1, 3), False, "oldest first"),
        ((2,), True, "oldest first"),
    ],
)
async def test_what_a_restore_says_is_back_is_there(
    wrong: tuple[int, ...], *, right: bool, apart: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        row = await connection.fetchrow(
            "SELECT login, platform, broker, position, ticket, trade_date, account_id FROM"
            " raw_trades_closed WHERE trade_date <= $1::date - 10 ORDER BY trade_date DESC,"
            " position LIMIT 1",
            SETTLED,
        )
        assert row is not None
        *unit, day, account_id = row
        dates = [day + dt.timedelta(days=each) for each in wrong]
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', $1::date[])", dates
        )
        for each in dates:
            await connection.execute(
                "INSERT INTO raw_trades_closed SELECT r.* FROM raw_trades_closed AS t CROSS JOIN"
                " LATERAL jsonb_populate_record(t, jsonb_build_object('trade_date', $7::date)) AS"
                f" r WHERE {_UNIT} AND t.trade_date = $6",
                *unit,
                day,
                each,
            )
        changed = (
            "UPDATE raw_trades_closed AS t SET profit = profit + 7"
            if right
            else "DELETE FROM raw_trades_closed AS t"
        )
        await connection.execute(f"{changed} WHERE {_UNIT} AND t.trade_date = $6", *unit, day)
        state = await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).is_equal
        waiting = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
            state["run_id"]  # type: ignore[arg-type]
        )
        assert len(waiting) == len(wrong) + right
        turns = (
            [waiting]
            if apart == "together"
            else [[each] for each in sorted(waiting, reverse=apart == "newest first")]
        )
        told = [
            each
            for turn in turns
            async for each in Restoring(service.store).restore(turn, pins=True, reason="undo")
        ]
        rows = await connection.fetch(
            f"SELECT t.trade_date FROM raw_trades_closed AS t WHERE {_UNIT} ORDER BY 1", *unit
        )
        stored = [each["trade_date"] for each in rows]
        assert {each.date for each in told if each.is_there} <= set(stored), [
            each.sentence for each in told
        ]
        # As before the run: also beside the right row, which the run overwrote.
        assert stored == sorted({*dates, *([day] if right else [])}), [
            each.sentence for each in told
        ]
        assert all(each.is_there for each in told), [each.sentence for each in told]
        undone = await _rows(connection)
        again = await run(service, RunKind.FULL)
        assert await _rows(connection) == undone, "no run takes away what is pinned"
        assert not any(again["rows"].values()), again["rows"]  # type: ignore[attr-defined]
        await Restoring(service.store).release(account_id=account_id)
        await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).is_equal, "released it is healed again"
