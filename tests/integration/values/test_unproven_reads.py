"""An API that counts wrongly: what cannot be proven whole is held against an account only if it can be for others."""

import json
from collections.abc import Callable

import pytest

from app.domain.models import RunKind
from app.engine.config import EngineConfig
from app.sandbox.process import SandboxServer
from tests.conftest import Database
from tests.engine import difference, engine, run
from tests.integration.upstream.altered import altering
from tests.integration.upstream.scripted import Arrival
from tests.integration.values.conftest import NOW

_CONFIG = EngineConfig(workers=1, poll_seconds=0.05, postpone_seconds=0, postpone_named_seconds=0)
_LOST = {
    "metrics/hourly": "DELETE FROM raw_metrics_hourly WHERE date < '2026-03-10'",
    "trades/closed": "DELETE FROM raw_trades_closed WHERE trade_date < '2026-03-10'",
    "metrics/daily": "DELETE FROM raw_metrics_daily WHERE date < '2026-03-10'",
}


def _one_too_many(path: str, about: str = "") -> Callable[[Arrival, bytes], bytes]:
    """The total of each answer of an endpoint is one too many, where the rows are about an account (or any)."""

    def alter(arrival: Arrival, body: bytes) -> bytes:
        answer = json.loads(body)
        if arrival.path.endswith(path) and about in str(answer) and "total" in answer["Data"]:
            answer["Data"]["total"] += 1
        return json.dumps(answer).encode()

    return alter


async def _charged(warehouse: Database) -> list[str]:
    async with warehouse.connect() as connection:
        rows = await connection.fetch("SELECT account_id FROM trade_recon WHERE failed_attempts > 0")
    return [row["account_id"] for row in rows]


@pytest.mark.parametrize("path", list(_LOST))
async def test_what_can_be_proven_for_nobody_is_held_against_nobody(warehouse: Database, sandbox: SandboxServer, path: str) -> None:
    async with warehouse.connect() as connection, altering(sandbox) as api:
        await connection.execute(_LOST[path])
        async with engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service:
            api.alter = _one_too_many(path)
            state = await run(service, RunKind.FULL)
            assert await _charged(warehouse) == []
            assert f"{path} can be proven whole" in str(state["error"])
            assert int(str(state["requests"])) < 250
            api.alter = lambda _, body: body
            await run(service, RunKind.FULL)
        assert (await difference(warehouse, sandbox)).is_equal


async def test_what_can_be_proven_for_others_is_held_against_the_one(warehouse: Database, sandbox: SandboxServer) -> None:
    async with warehouse.connect() as connection, altering(sandbox) as api:
        await connection.execute(_LOST["metrics/hourly"])
        async with engine(warehouse, api.as_sandbox, now=lambda: NOW, config=_CONFIG) as service:
            api.alter = _one_too_many("metrics/hourly", "acc-00003")
            await run(service, RunKind.FULL)
        assert await _charged(warehouse) == ["acc-00003"]
        assert (await difference(warehouse, sandbox)).account_ids == {"acc-00003"}
