"""What counts cannot tell, in a world of 400 accounts: money, rows without trades, and trades under
two dates.
"""

import datetime as dt
import json
from decimal import Decimal

from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.report.models.changes import ChangeFilter
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.clock import SETTLED, TODAY
from tests.support.engine import difference, engine, run
from tests.support.plain import plain
from tests.support.worlds import world_fixtures

_LIMITS = HoldLimits(
    row_share=1, rows=100_000, account_share=1, accounts=1000, run_rows=100_000, run_row_share=1
)
_CONFIG = EngineConfig(
    workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0, guard=_LIMITS
)
_QUIET, _DOUBLED = 131, 200
MONEY = {
    "a trade's profit": ("raw_trades_closed", "profit", "trade_date"),
    "a trade's lots": ("raw_trades_closed", "lots", "trade_date"),
    "an hour's net profit": ("raw_metrics_hourly", "net_profit", "date"),
    "a day's net profit": ("raw_metrics_daily", "net_profit", "date"),
    "alltime's net profit": ("raw_metrics_alltime", "net_profit", None),
    "alltime's gross profit": ("raw_metrics_alltime", "gross_profit", None),
}
_NO_LOCAL_EVIDENCE = "alltime's gross profit"


def world() -> World:
    """The same world each time, without contradictions of upstream's own."""
    return World.generate(
        400, seed=400, today=TODAY, trades_per_account=12, days=90, contradictory=False
    )


filled, warehouse, sandbox = world_fixtures("equal", world)


async def _spoil_money(database: Database, accounts: list[str]) -> dict[str, str]:
    """One wrong amount at each of some accounts; which account has which."""
    spoilt = dict(zip(MONEY, accounts, strict=True))
    async with database.connect() as connection:
        for name, account_id in spoilt.items():
            table, column, day = MONEY[name]
            settled = f" AND {day} <= '{SETTLED}'" if day else ""
            trades = " AND num_trades > 0" if table.startswith("raw_metrics") else ""
            done = await connection.execute(
                f"UPDATE {table} AS t SET {column} = t.{column} + 500 FROM (SELECT tableoid AS"
                f" part, ctid AS place FROM {table} WHERE account_id = $1 AND {column} IS NOT"
                f" NULL{settled}{trades} ORDER BY 1, 2 LIMIT 1) AS old WHERE (t.tableoid, t.ctid) ="
                " (old.part, old.place)",
                account_id,
            )
            assert done == "UPDATE 1", name
    return spoilt


async def _lose_quiet_rows(database: Database) -> set[str]:
    """Daily rows of days without trades; the accounts."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "DELETE FROM raw_metrics_daily AS t USING (SELECT tableoid AS part, ctid AS place FROM"
            " raw_metrics_daily WHERE num_trades = 0 AND date <= $1 ORDER BY md5(account_id ||"
            " date) LIMIT $2) AS old WHERE (t.tableoid, t.ctid) = (old.part, old.place) RETURNING"
            " account_id",
            SETTLED,
            _QUIET,
        )
    return {row["account_id"] for row in rows}


async def _load_twice(database: Database) -> tuple[int, set[str]]:
    """Trades of one night stored once more under the next date; how many, and the accounts."""
    async with database.connect() as connection:
        await connection.execute(
            "SELECT recon_create_partitions('raw_trades_closed', $1::date[])",
            [SETTLED + dt.timedelta(days=1)],
        )
        rows = await connection.fetch(
            "INSERT INTO raw_trades_closed SELECT r.* FROM (SELECT * FROM raw_trades_closed WHERE"
            " trade_date < $1 ORDER BY trade_date DESC, account_id LIMIT $2) AS t CROSS JOIN"
            " LATERAL jsonb_populate_record(t::raw_trades_closed, jsonb_build_object('trade_date',"
            " t.trade_date + 1)) AS r ON CONFLICT DO NOTHING RETURNING account_id",
            SETTLED,
            _DOUBLED,
        )
    return len(rows), {row["account_id"] for row in rows}


async def _kept(database: Database, run_id: object) -> dict[str, int]:
    """The copies that a run kept, by the reason."""
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT reason, count(*) AS number FROM recon_removed_rows WHERE run_id = $1 GROUP"
            " BY 1",
            run_id,
        )
    return {row["reason"]: row["number"] for row in rows}


async def _open_issues(database: Database) -> dict[str, set[str]]:
    async with database.connect() as connection:
        rows = await connection.fetch(
            "SELECT account_id, issues FROM trade_recon WHERE issues <> '[]'"
        )
    return {
        row["account_id"]: {issue["type"] for issue in json.loads(row["issues"])} for row in rows
    }


async def test_what_counts_cannot_tell_is_found_by_name_healed_shown_undone_and_pinned(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    by_trades: dict[str, int] = {}
    for record in sandbox.world.records(Endpoint.CLOSED):
        by_trades[record.account_id] = by_trades.get(record.account_id, 0) + (
            record.day is not None and record.day <= SETTLED
        )
    accounts = sorted(by_trades, key=lambda each: (-by_trades[each], each))[: len(MONEY)]
    async with engine(warehouse, sandbox, config=_CONFIG) as service:
        # What holds between the tables is learned from a warehouse that agrees.
        assert (await run(service, RunKind.INSPECT))["status"] == "succeeded"
        spoilt = await _spoil_money(warehouse, accounts)
        sandbox.log.reset()
        found = await run(service, RunKind.INSPECT)
        assert sandbox.log.total == 0
        expected = {account_id for name, account_id in spoilt.items() if name != _NO_LOCAL_EVIDENCE}
        assert {
            each
            for each, codes in (await _open_issues(warehouse)).items()
            if "money_mismatch" in codes
        } == expected
        assert found["status"] == "completed_with_issues"
        async with warehouse.connect() as connection:
            before = await connection.fetchval("SELECT count(*) FROM raw_trades_closed")
        doubled, twice = await _load_twice(warehouse)
        quiet = await _lose_quiet_rows(warehouse)
        assert doubled == _DOUBLED
        names = tuple(sorted({*spoilt.values(), *quiet, *twice}))
        state = await run(service, RunKind.FULL, account_ids=names)
        assert state["status"] == "succeeded", state["error"]
        assert (await difference(warehouse, sandbox)).is_equal
        assert state["rows"]["inserted"] == _QUIET  # type: ignore[index]
        run_id = state["run_id"]
        assert await _kept(warehouse, run_id) == {"removed": doubled, "overwritten": len(MONEY)}
        for name, account_id in spoilt.items():
            table, column, _ = MONEY[name]
            shown = plain(
                await service.readings.changed_rows(
                    ChangeFilter(account_id=account_id, run_id=run_id, table=table),  # type: ignore[arg-type]
                    500,
                )
            )
            (change,) = [row for row in shown["rows"] if row["reason"] == "overwritten"]
            (amount,) = [each for each in change["columns"] if each["name"] == column]
            assert Decimal(amount["old"]) == Decimal(amount["new"]) + 500, name
            assert change["issues"], name
        restoration = Restoring(service.store)
        copies = await RemovedRows(service.store.database, service.store.feed).waiting_of_run(
            run_id  # type: ignore[arg-type]
        )
        restored = [
            each async for each in restoration.restore(copies, pins=True, reason="they were right")
        ]
        # Each row stands as before the run, the doubles beside the right ones.
        assert all(each.is_there and each.is_written for each in restored)
        assert len(restored) == doubled + len(MONEY)
        pinned = {*spoilt.values(), *twice}
        for request in (names, None):
            again = await run(service, RunKind.FULL, account_ids=request)
            assert not any(again["rows"].values()), again["rows"]  # type: ignore[attr-defined]
            assert await _open_issues(warehouse) == {each: {"pinned_by_restore"} for each in pinned}
            async with warehouse.connect() as connection:
                assert (
                    await connection.fetchval("SELECT count(*) FROM raw_trades_closed")
                    == before + doubled
                )
        # Where a trade's amount was wrong, and the trade doubled as well, one pin holds both rows.
        pins = await restoration.release(run_id=run_id)  # type: ignore[arg-type]
        assert doubled + len(MONEY) - 2 <= pins <= len(restored)
        healed = await run(service, RunKind.FULL)
        assert healed["status"] == "succeeded", healed["error"]
        assert await _kept(warehouse, healed["run_id"]) == {
            "removed": doubled,
            "overwritten": len(MONEY),
        }
        assert (await difference(warehouse, sandbox)).is_equal
