"""Trades that a restore brought back under another account's id, or under none: their owner is told
so, and upstream is blamed for nothing.
"""

import pytest

from app.domain.states import RunKind
from app.engine.restore import Restoring
from app.sandbox.server.serving import SandboxServer
from app.store.restore.restore import RemovedRows
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import issues_of, service_at, status_of, traders
from tests.support.plain import plain

_TOLD = (
    "SELECT issues::text LIKE '% under another account id or none%' FROM trade_recon WHERE"
    " account_id = $1"
)
_HELD = "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1"


@pytest.mark.parametrize("under", ["another id", "no id", "no id and no owner known"])
async def test_the_owner_of_trades_that_stand_pinned_under_another_id_is_told(
    under: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    owner, other = traders(sandbox.world)[:2]
    async with warehouse.connect() as connection, service_at(warehouse, sandbox) as service:
        own = await connection.fetchval(_HELD, owner)
        await connection.execute(
            "UPDATE raw_trades_closed SET account_id = $2 WHERE account_id = $1 AND trade_date <"
            " (SELECT max(trade_date) - 3 FROM raw_trades_closed WHERE account_id = $1)",
            owner,
            other if under == "another id" else None,
        )
        lost = own - await connection.fetchval(_HELD, owner)
        assert lost > 0
        state = await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).is_equal
        removed = RemovedRows(service.store.database, service.store.feed)
        waiting = await removed.waiting_of_run(state["run_id"])  # type: ignore[arg-type]
        restoring = Restoring(service.store)
        assert all([each.is_there async for each in restoring.restore(waiting, pins=True)])
        if under == "no id and no owner known":
            # As where the run found the owner by what upstream sent.
            await connection.execute("UPDATE recon_pins SET account_id = NULL")
        again = state
        for kind, named in ((RunKind.FULL, None), (RunKind.AUDIT, None), (RunKind.FULL, (owner,))):
            again = await run(service, kind, account_ids=named)
            assert await connection.fetchval(_HELD, owner) == own - lost, "pinned as restored"
            assert await issues_of(connection, owner) == {"pinned_by_restore"}
            assert await status_of(connection, owner) == "explained"
        assert f"but for {lost} row" in str(again["rests_on"])
        assert await connection.fetchval(_TOLD, owner)
        account = plain(await service.readings.account(owner))
        assert len(account["pinned"]) == min(lost, 100)
        assert {pin["account_id"] for pin in account["pinned"]} == {
            {"another id": other, "no id": owner}.get(under)
        }
        await Restoring(service.store).release(run_id=state["run_id"])  # type: ignore[arg-type]
        await run(service, RunKind.AUDIT)
        assert (await difference(warehouse, sandbox)).is_equal
        assert await issues_of(connection, owner) == set()
