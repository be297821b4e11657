"""Where every row is compared, dates that still move only grow, too: a replica of upstream that
lags takes nothing away.
"""

import pytest

from app.domain.states import Outcome, RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import (
    NOW,
    TODAY,
    alltime,
    closed_on,
    counts_on,
    issues_of,
    lose,
    service_at,
    status_of,
    traders,
)


@pytest.mark.parametrize("behind", [1, 4])
@pytest.mark.parametrize("kind", [kind for kind in RunKind if kind is not RunKind.INSPECT])
async def test_a_named_account_keeps_what_a_lagging_upstream_does_not_send_yet_and_is_healed_where_dates_are_settled(
    warehouse: Database, sandbox: SandboxServer, kind: RunKind, behind: int
) -> None:
    account_id = traders(sandbox.world)[0]
    late = closed_on(sandbox.world, account_id, TODAY)[-behind:]
    async with warehouse.connect() as connection:
        before = await alltime(connection, account_id)
        await connection.execute(
            "UPDATE raw_metrics_daily SET net_profit = 7 WHERE account_id = $1 AND date <"
            " '2026-03-05'",
            account_id,
        )
        lose(sandbox.world, late)
        async with service_at(warehouse, sandbox) as service:
            state = await run(service, kind, account_ids=(account_id,))
            assert state["rows"]["removed"] == 0  # type: ignore[index]
        assert await counts_on(connection, account_id, TODAY) == (4, 4, 4)
        assert await alltime(connection, account_id) == before
        assert await issues_of(connection, account_id) == {"unsettled"}
        assert await status_of(connection, account_id) == Outcome.EXPLAINED
        closed = await connection.fetch(
            "SELECT type FROM recon_issue_history WHERE account_id = $1 AND closed_at IS NOT NULL",
            account_id,
        )
        assert "value_drift" in {row["type"] for row in closed}
        sandbox.world.add_trades(late)
        async with service_at(warehouse, sandbox, NOW) as service:
            await run(service, RunKind.FULL)
    assert (await difference(warehouse, sandbox)).sample == ()
