"""An audit's scan that cannot be finished: what it did not show is asked for by id."""

import pytest

from app.domain.contract.tables import PAGE_ROWS, Endpoint
from app.domain.states import RunKind
from app.sandbox.server.faults import Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import Database
from tests.integration.isolation.conftest import NOW, TODAY, Engine, blamed, lose, quick
from tests.support.engine import difference, engine, fill, run
from tests.support.plain import plain


async def test_accounts_behind_the_largest_skip_are_compared_by_id(database: Database) -> None:
    world = World.generate(
        2 * PAGE_ROWS + 103, seed=3, today=TODAY, trades_per_account=1, days=1, contradictory=False
    )
    async with (
        SandboxServer(world) as sandbox,
        engine(database, sandbox, config=quick(), now=lambda: NOW) as service,
    ):
        await fill(database, sandbox)
        async with database.connect() as connection:
            # The scan shows accounts in the order of their ids, so this one is behind its end.
            last = await connection.fetchval("SELECT max(account_id) FROM raw_metrics_alltime")
            await connection.execute(
                "UPDATE raw_metrics_alltime SET net_profit = net_profit + 1 WHERE account_id = $1",
                last,
            )
        for status in (200, 400):
            sandbox.log.reset()
            sandbox.set_faults(Faults(largest_skip=1500, beyond_skip=status))
            state = await run(service, RunKind.AUDIT)
            assert state["status"] == "succeeded"
            assert len({each for request in sandbox.log.requests for each in request.ids}) >= 103
            assert sandbox.log.total < 40
            assert (await difference(database, sandbox)).is_equal


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
async def test_an_api_that_refuses_scans_is_audited_by_id(
    status: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 7)
    sandbox.set_faults(
        Faults(
            rejections=(Rejection(status=status, endpoints=frozenset({Endpoint.ALLTIME}), rows=60),)
        )
    )
    async with service_of() as service:
        state = await run(service, RunKind.AUDIT)
    assert (state["status"], state["accounts"]["healed"]) == ("succeeded", len(losers))  # type: ignore[index]
    assert (await difference(warehouse, sandbox)).is_equal
    assert await blamed(warehouse) == {}


async def test_an_account_about_which_an_audit_gets_no_answer_is_neither_equal_nor_absent(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 7)
    silent = losers[2]
    rules = (
        Rejection(status=422, endpoints=frozenset({Endpoint.ALLTIME}), ids=frozenset({silent})),
        Rejection(status=400, endpoints=frozenset({Endpoint.ALLTIME}), rows=60),
    )
    sandbox.set_faults(Faults(rejections=rules))
    async with service_of() as service:
        state = await run(service, RunKind.AUDIT)
        account = plain(await service.readings.account(silent))
    assert (state["accounts"]["healed"], state["accounts"]["skipped"]) == (len(losers) - 1, 1)  # type: ignore[index]
    assert account["status"] != "reconciled"
    assert await blamed(warehouse) == {}
