"""Dates that are settled hold the date back through which all is reconciled, whatever the issue is
that names them.
"""

from typing import TYPE_CHECKING, Any

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.clock import SETTLED
from tests.support.engine import TODAY, engine, run
from tests.support.plain import plain_report

if TYPE_CHECKING:
    from collections.abc import Mapping


async def test_a_settled_date_that_lacks_trades_is_not_reconciled_though_they_stand_on_one_that_moves(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        row = await connection.fetchrow(
            "SELECT account_id, trade_date FROM raw_trades_closed WHERE trade_date <= $1::date - 4"
            " ORDER BY trade_date DESC LIMIT 1",
            SETTLED,
        )
        assert row is not None
        account, day = row
        await connection.execute(
            "UPDATE raw_trades_closed SET trade_date = $3 WHERE account_id = $1 AND trade_date"
            " = $2",
            account,
            day,
            TODAY,
        )
        for kind in (RunKind.FULL, RunKind.AUDIT):
            state = await run(service, kind)
            report: Mapping[str, Any] = plain_report(await service.readings.report())
            stored = (
                "SELECT count(*) FROM raw_trades_closed WHERE account_id = $1 AND trade_date = $2"
            )
            assert await connection.fetchval(stored, account, day) == 0
            assert report["reconciled_through"] < day, (kind, state["status"])
            assert [each["account_id"] for each in report["held_back_by"]] == [account]
