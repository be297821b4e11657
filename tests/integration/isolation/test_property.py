"""Worlds drawn at random, in which upstream rejects requests: nobody is blamed in company, and who
is well is healed.
"""

import random

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.states import RunKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.isolation.conftest import Engine, blamed, let_a_day_pass, lose, names_of
from tests.support.engine import difference, run

_STATUSES = (400, 403, 404, 405, 410, 413, 422)
_ABSENT = (404, 410)


def _sick(chance: random.Random, bad: list[str], names: dict[str, frozenset[str]]) -> Faults:
    """Rules for the accounts that are rejected, each in its own way, and a limit of rows or of
    `skip`, or none.
    """
    rules = [
        Rejection(status=chance.choice(_STATUSES), ids=names[account_id]) for account_id in bad
    ]
    if chance.random() < 1 / 3:
        rules.append(Rejection(status=chance.choice((400, 413, 422)), rows=chance.randint(40, 200)))
    return Faults(
        rejections=tuple(rules),
        largest_skip=chance.choice((None, 1500)),
        beyond_skip=chance.choice((200, 400)),
    )


@pytest.mark.parametrize("seed", range(6))
async def test_only_accounts_that_fail_alone_are_blamed_and_all_others_are_healed(
    seed: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    chance = random.Random(seed)
    endpoint = chance.choice((Endpoint.HOURLY, Endpoint.CLOSED, Endpoint.DAILY))
    losers = await lose(warehouse, endpoint, chance.randint(10, 60))
    bad = chance.sample(losers, chance.randint(1, min(8, len(losers) // 4)))
    names = {account_id: await names_of(warehouse, [account_id]) for account_id in bad}
    faults = _sick(chance, bad, names)
    sandbox.set_faults(faults)
    rejected = {
        next(iter(bad_id for bad_id in bad if bad_id in rule.ids))
        for rule in faults.rejections
        if rule.ids and rule.status not in _ABSENT
    }
    # Accounts that upstream does not have at all are held; here they are not to stop the run.
    async with service_of(guard=HoldLimits(account_share=1.0)) as service:
        for night in range(2):
            sandbox.log.reset()
            await run(service, RunKind.FULL)
            assert set(await blamed(warehouse)) <= rejected, (seed, night)
            assert sandbox.log.total < 40 * (len(bad) + 1) + 4 * len(losers), (seed, night)
            await let_a_day_pass(warehouse)
    # A read that names nobody may have healed some of them.
    left = (await difference(warehouse, sandbox)).account_ids
    assert left <= set(bad), seed
    assert set(await blamed(warehouse)) == left & rejected, seed


@pytest.mark.parametrize("seed", range(2))
async def test_an_api_that_fails_at_random_blames_nobody_for_it(
    seed: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 30)
    kinds = dict.fromkeys(
        (
            FaultKind.INTERNAL_ERROR,
            FaultKind.INVALID_JSON,
            FaultKind.DROPPED_CONNECTION,
            FaultKind.FAILED_STATUS,
        ),
        0.04,
    )
    sandbox.set_faults(Faults(probabilities=kinds, seed=seed))
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
    assert state["accounts"]["healed"] == len(losers)  # type: ignore[index]
    assert await blamed(warehouse) == {}


_LIES = (
    FaultKind.LARGER_TOTAL,
    FaultKind.SMALLER_TOTAL,
    FaultKind.SHIFTING_TOTAL,
    FaultKind.SHORT_PAGE,
    FaultKind.REPEATED_ROW,
    FaultKind.OTHERS_ROWS,
)


@pytest.mark.parametrize("share", ["none", "one", "few", "all"])
@pytest.mark.parametrize("seed", range(2))
async def test_whoever_upstream_lies_about_only_those_it_lies_about_alone_are_charged(
    seed: int, share: str, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    chance = random.Random(f"{seed} {share}")
    endpoint, kind = (
        chance.choice((Endpoint.HOURLY, Endpoint.CLOSED, Endpoint.DAILY)),
        chance.choice(_LIES),
    )
    losers = await lose(warehouse, endpoint, chance.randint(5, 60))
    bad = chance.sample(
        losers, {"none": 0, "one": 1, "few": chance.randint(2, 4), "all": len(losers)}[share]
    )
    ids = None if share == "all" else await names_of(warehouse, bad)
    lies = Faults(
        probabilities={kind: 1.0}, only_endpoints=frozenset({endpoint}), only_ids=ids, seed=seed
    )
    drawn = (seed, share, endpoint.value, kind.value, len(losers), len(bad))
    async with service_of(batch_size=chance.choice((7, 5000))) as service:
        for night in range(2):
            sandbox.set_faults(lies)
            sandbox.log.reset()
            await run(service, chance.choice((RunKind.FULL, RunKind.AUDIT)))
            assert set(await blamed(warehouse)) <= (set() if share == "all" else set(bad)), (
                drawn,
                night,
            )
            assert (await difference(warehouse, sandbox)).account_ids <= set(bad), (drawn, night)
            assert sandbox.log.total < 200, (drawn, night)
            await let_a_day_pass(warehouse)
        sandbox.set_faults(NO_FAULTS)
        await run(service, RunKind.AUDIT)
    assert (await difference(warehouse, sandbox)).is_equal, drawn
    assert await blamed(warehouse) == {}, drawn
