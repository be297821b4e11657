"""Trades that upstream sends without parts of their key are each kept and shown, none counts as
stored, and all go once they are.
"""

from dataclasses import replace

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import Engine
from tests.support.engine import difference, run

_PARTS = ("platform", "broker", "login", "position", "ticket", "tradeDate")


@pytest.mark.parametrize(
    ("missing", "copies"),
    [
        (("position", "ticket"), 1),
        (("ticket",), 6),
        (("login", "platform", "broker"), 1),
        (_PARTS, 1),
        (_PARTS, 6),
    ],
)
async def test_trades_without_keys_are_each_set_aside_until_they_are_stored(
    missing: tuple[str, ...],
    copies: int,
    warehouse: Database,
    sandbox: SandboxServer,
    service_of: Engine,
) -> None:
    async with warehouse.connect() as connection:
        account_id = await connection.fetchval(
            "SELECT account_id FROM raw_metrics_alltime AS a WHERE num_trades >= 8 AND (SELECT"
            " count(*) FROM raw_metrics_alltime AS b WHERE b.login = a.login) = 1 AND (SELECT"
            " count(DISTINCT login) FROM raw_metrics_daily AS d WHERE d.account_id = a.account_id)"
            " = 1 ORDER BY 1 LIMIT 1"
        )
        records = sandbox.world._of_account(Endpoint.CLOSED, account_id)
        whole = list(records)
        records[:6] = [
            replace(
                record,
                row={**(whole[0] if copies > 1 else record).row, **dict.fromkeys(missing)},
                _encoded=None,
            )
            for record in whole[:6]
        ]
        sandbox.world._selections.clear()
        await connection.execute("DELETE FROM raw_trades_closed WHERE account_id = $1", account_id)
        async with service_of() as service:
            state = await run(service, RunKind.FULL)
            assert (state["rows"]["set_aside"], state["rows"]["inserted"]) == (  # type: ignore[index]
                6,
                len(whole) - 6,
            ), state
            assert state["status"] == "completed_with_issues"
            aside = await connection.fetch(
                "SELECT table_name, copies, reason FROM recon_set_aside_rows"
            )
            assert [row["copies"] for row in aside] == [copies] * (6 // copies)
            assert all("key part" in row["reason"] for row in aside)
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1", account_id
                )
                == len(whole) - 6
            )
            records[:6] = whole[:6]
            sandbox.world._selections.clear()
            await run(service, RunKind.RETRY)
            assert await connection.fetchval("SELECT count(*) FROM recon_set_aside_rows") == 0
        assert (await difference(warehouse, sandbox)).is_equal
