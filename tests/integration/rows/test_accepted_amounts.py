"""What is accepted of amounts stays as it is, whoever found it, and counts again once it is
accepted no more.
"""

from typing import TYPE_CHECKING, Any

import pytest

from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.rows.test_money import filled, sandbox, spoil, traders, upstream, warehouse
from tests.support.engine import engine, run
from tests.support.plain import plain_report

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["filled", "sandbox", "upstream", "warehouse"]


@pytest.mark.parametrize("found_by", ["inspect", "maintain"])
async def test_an_accepted_correction_is_left_alone_by_runs_that_compare_counts(
    found_by: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    account = traders(sandbox)[2]
    async with warehouse.connect() as connection, engine(warehouse, sandbox) as service:
        await run(service, RunKind.FULL)
        day = await spoil(warehouse, account, "raw_metrics_daily", "net_profit", "date")
        amount = "SELECT net_profit FROM raw_metrics_daily WHERE account_id = $1 AND date = $2"
        corrected = await connection.fetchval(amount, account, day)
        await (service.inspect() if found_by == "inspect" else service.maintain())
        await service.accept(
            account, IssueCode.MONEY_MISMATCH, "a correction of ours, upstream follows", None
        )
        for _ in range(2):
            sandbox.log.reset()
            state: Mapping[str, Any] = await run(service, RunKind.FULL)
            assert (state["status"], state["left"]["accepted"], sandbox.log.total) == (
                "succeeded",
                1,
                0,
            ), state["left_told"]
        assert await connection.fetchval(amount, account, day) == corrected
        other = await spoil(
            warehouse, account, "raw_metrics_daily", "net_profit", "date", "+ 3", "DESC"
        )
        assert other != day
        await run(service, RunKind.FULL)
        assert await connection.fetchval(amount, account, day) == pytest.approx(corrected - 500), (
            "another state than the accepted one"
        )


@pytest.mark.parametrize("how", ["withdrawn", "changed"])
async def test_what_is_accepted_no_more_needs_reconciliation_again(
    how: str, warehouse: Database, sandbox: SandboxServer
) -> None:
    account = traders(sandbox)[0]
    await spoil(warehouse, account, "raw_metrics_daily", "net_profit", "date")
    async with engine(warehouse, sandbox) as service:

        async def statuses() -> object:
            return plain_report(await service.readings.report())["accounts_by_status"]

        await service.inspect()
        before = await statuses()
        await service.accept(account, IssueCode.MONEY_MISMATCH, "the desk knows", None)
        assert await statuses() != before
        if how == "withdrawn":
            await service.withdraw_acceptance(account, IssueCode.MONEY_MISMATCH, "it does not")
        else:
            await spoil(
                warehouse, account, "raw_metrics_daily", "net_profit", "date", "+ 3", "DESC"
            )
            await service.inspect()
        assert await statuses() == before
