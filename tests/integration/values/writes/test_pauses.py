"""What upstream contradicts itself about is asked for with growing pauses where dates are settled,
by each run where they move.
"""

import dataclasses
import datetime as dt
import json
from collections.abc import Callable

import pytest

from app.domain.states import RunKind
from app.engine.config import EngineConfig
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.values.conftest import NOW
from tests.support.altered import altering
from tests.support.engine import engine, run

_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)
_ACCOUNT = "acc-00003"


def _counting(
    count: float | None, *, of: Callable[[dt.date], bool]
) -> Callable[[object, bytes], bytes]:
    """An upstream that sends `count` for each metrics row of the account on such dates."""

    def alter(_arrival: object, body: bytes) -> bytes:
        answer = json.loads(body)
        for row in answer["Data"]["data"]:
            if (
                row.get("accountId") == _ACCOUNT
                and "numTrades" in row
                and ("date" not in row or of(dt.date.fromisoformat(row["date"][:10])))
            ):
                row["numTrades"] = count
        return json.dumps(answer).encode()

    return alter


@pytest.mark.parametrize(
    ("count", "days"),
    [
        # What NULL leaves of the account is another state after the second night than after the
        # first.
        (None, [1, 2, 4, 8]),
        (2.5, [1, 3, 7]),
    ],
)
async def test_an_account_without_usable_counts_is_asked_for_with_growing_pauses(
    count: float | None, days: list[int], warehouse: Database, sandbox: SandboxServer
) -> None:
    now = [NOW]
    async with (
        warehouse.connect() as c,
        altering(sandbox) as api,
        engine(warehouse, api.as_sandbox, now=lambda: now[0], config=_CONFIG) as service,
    ):
        await c.execute("DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'")
        api.alter = _counting(count, of=lambda _: True)
        await run(service, RunKind.FULL)
        asked: list[int] = []
        for day in range(9):
            now[0] = NOW + dt.timedelta(days=day)
            if (await run(service, RunKind.FULL))["requests"]:
                asked.append(day)
        assert asked == days
        assert (await run(service, RunKind.AUDIT))["requests"] > 1  # type: ignore[operator]
        api.alter = lambda _, body: body
        state = await run(service, RunKind.AUDIT)
        assert state["accounts"]["healed"] == 1  # type: ignore[index]


async def test_a_contradiction_on_dates_that_move_is_asked_for_by_each_run(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    async with warehouse.connect() as c, altering(sandbox) as api:
        last = await c.fetchval(
            "SELECT max(date) FROM raw_metrics_daily WHERE account_id = $1 AND num_trades > 0",
            _ACCOUNT,
        )
        config = dataclasses.replace(_CONFIG, settle_hours=24 * ((NOW.date() - last).days + 2))
        await c.execute(
            "DELETE FROM raw_metrics_hourly WHERE date = $1 AND account_id = $2", last, _ACCOUNT
        )
        api.alter = _counting(None, of=lambda day: day == last)
        async with engine(warehouse, api.as_sandbox, now=lambda: NOW, config=config) as service:
            assert all([(await run(service, RunKind.FULL))["requests"] for _ in range(5)])
