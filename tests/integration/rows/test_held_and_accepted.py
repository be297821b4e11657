"""Rows that a guard holds back: they are compared and told, and once accepted they need no word
while they stay the same.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.domain.holds.limits import HoldLimits
from app.domain.issues.codes import IssueCode
from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.engine.service import ReconService
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.rows.test_money import filled, sandbox, traders, upstream, warehouse
from tests.support.altered import altering
from tests.support.engine import engine, run
from tests.support.scripted import Arrival

__all__ = ["filled", "sandbox", "upstream", "warehouse"]

_GUARDED = EngineConfig(
    workers=1, poll_seconds=0.05, postpone_seconds=0, guard=HoldLimits(row_share=0.01, rows=1)
)


@asynccontextmanager
async def _with_wrong_balances(
    warehouse: Database, sandbox: SandboxServer, account: str, balances: list[int]
) -> AsyncIterator[ReconService]:
    """A service whose upstream sends one balance for all dates of an account, the last of
    `balances`.
    """

    def alter(arrival: Arrival, body: bytes) -> bytes:
        if not arrival.path.endswith("metrics/daily"):
            return body
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            row["currentBalance"] = (
                balances[-1] if row["accountId"] == account else row["currentBalance"]
            )
        return json.dumps(answer).encode()

    async with (
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, config=_GUARDED) as service,
    ):
        await run(service, RunKind.FULL)
        api.alter = alter
        yield service


async def test_held_rows_are_told_as_compared_and_differing_and_need_no_word_while_they_are_accepted(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account, balances = traders(sandbox)[0], [5]
    async with _with_wrong_balances(warehouse, sandbox, account, balances) as service:

        async def named() -> Mapping[str, Any]:
            return await run(service, RunKind.FULL, account_ids=(account,))

        held = await named()
        assert held["status"] == "needs_confirmation"
        (daily,) = [
            table for table in held["compared"]["tables"] if table["table"] == "raw_metrics_daily"
        ]
        assert held["compared"]["differing"] == daily["differing"] > 0
        await service.accept(account, IssueCode.VALUE_DRIFT, "told the vendor", None)
        again = await named()
        assert (again["status"], again["left"]["accepted"], again["rows"]["updated"]) == (
            "succeeded",
            1,
            0,
        ), again["left_told"]
        balances.append(6)
        assert (await named())["status"] == "needs_confirmation", (
            "other figures than the accepted ones"
        )
