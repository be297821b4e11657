"""What ingestion wrote after a run is newer than the copies of that run: bringing these back leaves
it, and says so.
"""

import random
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.domain.copies import Wanted
from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.restore import Restoring
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from app.store.restore.copies import Restored
from tests.conftest import Database
from tests.integration.values.conftest import NOW, Engine
from tests.support.commands import access, run_command
from tests.support.engine import engine, run

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_KEPT = "its values stay as they are"
_FIGURES = {
    "raw_metrics_alltime": "net_profit",
    "raw_metrics_daily": "net_profit",
    "raw_metrics_hourly": "net_profit",
    "raw_trades_closed": "profit",
}
_DAMAGE = (
    "UPDATE raw_metrics_alltime SET num_trades = num_trades + 1, net_profit = 1",
    (
        "UPDATE raw_metrics_daily SET num_trades = num_trades + 1 WHERE num_trades > 0 AND date"
        " BETWEEN '2026-03-01' AND '2026-03-10'"
    ),
    (
        "UPDATE raw_metrics_hourly SET num_trades = num_trades + 1 WHERE num_trades > 0 AND date"
        " BETWEEN '2026-03-01' AND '2026-03-05'"
    ),
    (
        "UPDATE raw_trades_closed SET trade_date = trade_date - 1 WHERE trade_date IN"
        " ('2026-02-20', '2026-02-24')"
    ),
)


async def _rows(connection: "Connection", account_ids: list[str]) -> set[str]:
    return {
        row["row"]
        for table in _FIGURES
        for row in await connection.fetch(
            f"SELECT '{table} ' || t::text AS row FROM {table} AS t WHERE account_id = ANY($1)",
            account_ids,
        )
    }


async def _ingest(connection: "Connection", account_ids: list[str], *, stamped: bool) -> None:
    """Write rows again as ingestion does; `stamped` with the time at which it does."""
    for table, figure in _FIGURES.items():
        stamp = ", ingestion_timestamp = now() + interval '1 minute'" if stamped else ""
        await connection.execute(
            f"UPDATE {table} SET {figure} = 4242{stamp} WHERE account_id = ANY($1)", account_ids
        )


async def _restore(service: ReconService, run_id: uuid.UUID) -> dict[int, Restored]:
    restoring = Restoring(service.store)
    waiting = await restoring._rows.waiting_of_run(run_id)
    return {each.removed_id: each async for each in restoring.restore(waiting)}


async def _damaged_and_run(connection: "Connection", service: ReconService) -> uuid.UUID:
    for statement in _DAMAGE:
        await connection.execute(statement)
    state = await run(service, RunKind.AUDIT)
    reasons = await connection.fetch(
        "SELECT DISTINCT table_name, reason FROM recon_removed_rows WHERE run_id = $1",
        state["run_id"],
    )
    assert {tuple(row) for row in reasons} >= {
        *((table, "overwritten") for table in list(_FIGURES)[:3]),
        ("raw_trades_closed", "moved"),
    }
    return uuid.UUID(str(state["run_id"]))


@pytest.mark.parametrize(("seed", "stamped"), [(1, True), (2, False)])
async def test_rows_that_ingestion_wrote_after_a_run_stay_and_all_others_come_back(
    warehouse: Database, sandbox: SandboxServer, seed: int, *, stamped: bool
) -> None:
    chance = random.Random(seed)
    ingested = sorted(chance.sample(sandbox.world.account_ids, 12))
    others = sorted({*sandbox.world.account_ids} - {*ingested})
    config = EngineConfig(
        workers=1, poll_seconds=0.05, guard=HoldLimits(rows=10**6, accounts=10**6, run_rows=10**6)
    )
    async with (
        warehouse.connect() as connection,
        engine(warehouse, sandbox, now=lambda: NOW, config=config) as service,
    ):
        before = await _rows(connection, others)
        run_id = await _damaged_and_run(connection, service)
        copies = await connection.fetch(
            "SELECT removed_id, account_id FROM recon_removed_rows WHERE run_id = $1", run_id
        )
        owners = {copy["removed_id"]: copy["account_id"] for copy in copies}
        await _ingest(connection, ingested, stamped=stamped)
        newer = await _rows(connection, ingested)
        results = await _restore(service, run_id)
        assert newer == await _rows(connection, ingested)
        for removed_id, result in results.items():
            assert result.is_there is (owners[removed_id] in others), result
            assert result.is_there or _KEPT in result.sentence, result
        assert before != await _rows(connection, others), "the damage is back"
        # What was refused can be asked for again, and is refused again.
        again = await _restore(service, run_id)
        assert len(again) == sum(not result.is_there for result in results.values())
        assert not any(result.is_there for result in again.values())


async def test_a_copy_that_a_later_run_wrote_over_still_comes_back(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    """Nobody but runs wrote the row: whoever names the older copy gets it, and what the row held is
    kept.
    """
    account_id = sandbox.world.account_ids[0]
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = 1 WHERE account_id = $1", account_id
        )
        first = await run(service, RunKind.AUDIT)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = 2 WHERE account_id = $1", account_id
        )
        second = await run(service, RunKind.AUDIT)
        figures = []
        for state in (first, second):
            (result,) = (await _restore(service, uuid.UUID(str(state["run_id"])))).values()
            assert result.is_there, result
            figures.append(
                await connection.fetchval(
                    "SELECT net_profit FROM raw_metrics_alltime WHERE account_id = $1", account_id
                )
            )
        assert figures == [1, 2]


@pytest.mark.parametrize("between", ["ingestion", "nobody"])
async def test_runs_undone_one_after_the_other_end_at_what_ingestion_wrote_between_them(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, between: str
) -> None:
    account_id = sandbox.world.account_ids[0]
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = 1 WHERE account_id = $1", account_id
        )
        first = await run(service, RunKind.AUDIT)
        stamp = ", ingestion_timestamp = now()" if between == "ingestion" else ""
        await connection.execute(
            f"UPDATE raw_metrics_alltime SET net_profit = 2{stamp} WHERE account_id = $1",
            account_id,
        )
        second = await run(service, RunKind.AUDIT)
        told = []
        for state in (second, first):
            told += [
                each.is_there
                for each in (await _restore(service, uuid.UUID(str(state["run_id"])))).values()
            ]
        assert told == [True, between == "nobody"]
        held = await connection.fetchval(
            "SELECT net_profit FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
        assert held == (2 if between == "ingestion" else 1)


@pytest.mark.parametrize(
    "stored", ["md5(login || '|' || platform || '|' || coalesce(broker::text, ''))", "NULL"]
)
async def test_a_trade_that_got_its_id_and_was_written_since_keeps_what_it_holds(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, stored: str
) -> None:
    ids = sandbox.world.account_ids[:4]
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(
            f"UPDATE raw_trades_closed SET account_id = {stored} WHERE account_id = ANY($1)", ids
        )
        done = await service.maintain()
        assert done.closed_trades_updated
        await _ingest(connection, ids[:2], stamped=True)
        restoring = Restoring(service.store)
        copies = await restoring._rows.page(Wanted(table="raw_trades_closed"), 1000)
        results = {
            each.removed_id: each
            async for each in restoring.restore([copy.removed_id for copy in copies])
        }
        assert {copy.account_id for copy in copies if results[copy.removed_id].is_there} & set(
            ids
        ) == set(ids[2:])
        written = await connection.fetch(
            "SELECT DISTINCT account_id FROM raw_trades_closed WHERE profit = 4242"
        )
        assert {row["account_id"] for row in written} == set(ids[:2])


async def test_a_removed_row_that_ingestion_wrote_again_stays(
    warehouse: Database, service_of: Engine
) -> None:
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(
            "INSERT INTO raw_trades_closed SELECT (jsonb_populate_record(t,"
            " jsonb_build_object('ticket', '9' || t.ticket, 'position', '9' || t.position))).* FROM"
            " raw_trades_closed AS t WHERE trade_date BETWEEN '2026-02-15' AND '2026-03-01'"
        )
        extra = await connection.fetchval(
            "SELECT count(*) FROM raw_trades_closed WHERE ticket LIKE '9%'"
        )
        state = await run(service, RunKind.FULL)
        copies = await Restoring(service.store)._rows.page(Wanted(table="raw_trades_closed"), 1000)
        assert 0 < len(copies) <= extra
        again = copies[0]
        await connection.execute(
            "INSERT INTO raw_trades_closed SELECT r.* FROM recon_removed_rows AS c CROSS JOIN"
            ' LATERAL jsonb_populate_record(NULL::raw_trades_closed, c.row_data || \'{"profit":'
            " 4242}') AS r WHERE c.removed_id = $1",
            again.removed_id,
        )
        results = await _restore(service, uuid.UUID(str(state["run_id"])))
        assert [removed_id for removed_id, result in results.items() if not result.is_there] == [
            again.removed_id
        ]
        assert (
            await connection.fetchval("SELECT count(*) FROM raw_trades_closed WHERE profit = 4242")
            == 1
        )


async def test_the_command_names_what_was_not_restored_and_ends_with_1(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine, tmp_path: Path
) -> None:
    ids = sandbox.world.account_ids[:2]
    async with warehouse.connect() as connection, service_of() as service:
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = 1 WHERE account_id = ANY($1)", ids
        )
        state = await run(service, RunKind.AUDIT)
        await connection.execute(
            "UPDATE raw_metrics_alltime SET net_profit = 4242 WHERE account_id = $1", ids[0]
        )
        ended = await run_command(
            tmp_path,
            access(warehouse, sandbox),
            "removed",
            "restore",
            "--all-of-run",
            str(state["run_id"]),
        )
        assert (ended.code, _KEPT in ended.stdout) == (1, True), ended.stdout
        rows = await connection.fetch(
            "SELECT net_profit FROM raw_metrics_alltime WHERE account_id = ANY($1) ORDER BY"
            " account_id",
            ids,
        )
        assert [row["net_profit"] for row in rows] == [4242, 1]
