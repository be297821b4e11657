"""Random worlds, damage and faults: healed through a socket, the warehouse equals upstream in every
row and column.
"""

from contextlib import AsyncExitStack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.states import RunKind
from app.sandbox.damage.damage import HEALABLE_KINDS, damage
from app.sandbox.server.faults import Faults
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.world import World
from tests.conftest import SCHEMA, Database, Server
from tests.support.engine import TODAY, difference, engine, fill, run


@settings(
    max_examples=25,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    accounts=st.integers(2, 14),
    seed=st.integers(0, 10_000),
    kinds=st.sets(st.sampled_from(sorted(HEALABLE_KINDS)), min_size=1, max_size=8),
    breadth=st.integers(1, 4),
    bad_answers=st.sampled_from([0.0, 0.0, 0.1, 0.25]),
)
async def test_any_damage_to_any_world_is_healed(
    postgres: Server,
    template: str,
    accounts: int,
    seed: int,
    kinds: set[str],
    breadth: int,
    bad_answers: float,
) -> None:
    world = World.generate(
        accounts, seed=seed, today=TODAY, trades_per_account=10, days=30, contradictory=False
    )
    async with AsyncExitStack() as stack:
        database = Database(
            postgres.database(await stack.enter_async_context(postgres.clone(template, "healed"))),
            SCHEMA,
        )
        sandbox = await stack.enter_async_context(SandboxServer(world))
        service = await stack.enter_async_context(engine(database, sandbox))
        await fill(database, sandbox)
        async with database.connect() as connection:
            done = await damage(
                connection,
                database.schema,
                seed=seed,
                kinds=kinds,  # type: ignore[arg-type]
                accounts_per_kind=breadth,
            )
        sandbox.set_faults(Faults.everything(bad_answers, seed))
        state = await run(service, RunKind.AUDIT)
        sandbox.set_faults(Faults())
        assert (await difference(database, sandbox)).sample == (), (
            f"after {[each.description for each in done]}"
        )
        assert state["status"] == "succeeded"
        again = await run(service, RunKind.FULL)
        assert again["requests"] == 0
        assert sum(again["rows"].values()) == 0  # type: ignore[attr-defined]
