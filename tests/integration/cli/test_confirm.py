"""`trade-recon confirm`: the same rules as over HTTP, in a sentence."""

import uuid
from pathlib import Path

from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import TODAY
from tests.support.commands import access, run_command
from tests.support.engine import difference

_SCHEMA = "prop_trading_model"


async def test_a_run_that_holds_is_confirmed_and_one_that_holds_nothing_is_not(
    filled: Database, sandbox: SandboxServer, tmp_path: Path
) -> None:
    account_id = next(
        each for each in sandbox.world.account_ids if len(sandbox.world.trades(each)) > 3
    )
    async with filled.connect() as connection:
        await connection.execute(
            f"UPDATE {_SCHEMA}.raw_trades_closed SET profit = profit + 1 WHERE account_id = $1 AND"
            " trade_date < $2::date - 3",
            account_id,
            TODAY,
        )
        await connection.execute(
            f"UPDATE {_SCHEMA}.raw_metrics_daily SET net_profit = net_profit + 1 WHERE account_id"
            " = $1",
            account_id,
        )
        await connection.execute(
            f"UPDATE {_SCHEMA}.raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id"
            " = $1",
            account_id,
        )
    limited = {**access(filled, sandbox), "RECON_GUARD_ROWS": "2", "RECON_GUARD_ROW_SHARE": "0.01"}
    held = await run_command(
        tmp_path, limited, "reconcile", "--kind", "audit", "--account", account_id
    )
    assert held.code == 1, held.stderr
    async with filled.connect() as connection:
        run_id = await connection.fetchval(f"SELECT run_id FROM {_SCHEMA}.recon_runs")
    assert f"`trade-recon confirm {run_id}`" in held.stdout
    done = await run_command(tmp_path, limited, "confirm", str(run_id))
    assert done.code == 0, done.stderr
    assert f"Confirmed: 1 account that run {run_id} held is compared again" in done.stdout
    assert "succeeded" in done.stdout
    assert (await difference(filled, sandbox)).is_equal
    again = await run_command(tmp_path, limited, "confirm", str(run_id))
    assert (again.code, "it cannot be confirmed. Nothing was changed." in again.stderr) == (
        3,
        True,
    ), again.stderr
    unknown = await run_command(tmp_path, limited, "confirm", str(uuid.uuid4()))
    assert (unknown.code, "There is no run" in unknown.stderr) == (2, True), unknown.stderr
    assert (await run_command(tmp_path, limited, "confirm", "nonsense")).code == 2
