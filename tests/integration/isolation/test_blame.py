"""Blame needs a trial: only an account that failed alone, while the endpoint answered others, has
failed.
"""

import datetime as dt
from typing import Any

import pytest

from app.domain.contract.tables import Endpoint
from app.domain.states import RunKind
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.integration.isolation.conftest import Engine, blamed, let_a_day_pass, lose, names_of
from tests.support.engine import difference, run
from tests.support.plain import plain

_SPLITS = 8
"""Requests that are under way when the limit is reached: one for each part of the search."""


def _accounts(state: dict[str, Any]) -> dict[str, int]:
    figures: dict[str, int] = state["accounts"]
    return figures


@pytest.mark.parametrize("status", [400, 403, 413])
async def test_accounts_that_upstream_rejects_are_found_and_all_others_are_healed(
    status: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.CLOSED)
    bad = losers[3::25]
    sandbox.set_faults(
        Faults(
            rejections=(
                Rejection(
                    status=status,
                    ids=await names_of(warehouse, bad),
                    message="Account is suspended.",
                ),
            )
        )
    )
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(bad[0]))
        assert _accounts(state)["healed"] == len(losers) - len(bad)
        assert await blamed(warehouse) == dict.fromkeys(bad, 1)
        assert "Account is suspended." in account["attempts"][0]["detail"]
        assert (await difference(warehouse, sandbox)).account_ids == set(bad)
        # Known by then: the next night asks for them apart from all others.
        sandbox.log.reset()
        await let_a_day_pass(warehouse)
        other = await lose(warehouse, Endpoint.HOURLY, but=lambda account_id: account_id in bad)
        state = await run(service, RunKind.FULL)
    assert _accounts(state)["healed"] == len(other)
    assert await blamed(warehouse) == dict.fromkeys(bad, 2)
    named, healthy = await names_of(warehouse, bad), await names_of(warehouse, other)
    assert not any(
        named.intersection(request.ids) and healthy.intersection(request.ids)
        for request in sandbox.log.requests
    )


@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_ERROR, FaultKind.INVALID_JSON])
async def test_an_account_at_which_upstream_breaks_is_found_like_one_that_it_rejects(
    kind: FaultKind, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 9)
    sandbox.set_faults(Faults(rejections=(Rejection(kind=kind, ids=frozenset({losers[3]})),)))
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
    assert (_accounts(state)["healed"], state["failed"]) == (8, 1)
    assert await blamed(warehouse) == {losers[3]: 1}
    assert sandbox.log.total < 100


@pytest.mark.parametrize("status", [302, 404, 422])
async def test_an_error_that_every_request_meets_fails_the_run_and_costs_nobody_an_attempt(
    status: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.CLOSED, 60)
    async with service_of() as service:
        sandbox.set_faults(Faults(rejections=(Rejection(status=status, message="No such route."),)))
        for _ in range(2):
            sandbox.log.reset()
            state = await run(service, RunKind.FULL)
            assert (state["status"], _accounts(state)["waiting"]) == ("failed", len(losers))
            assert str(status) in str(state["error"])
            assert sandbox.log.total < 12
        audited = await run(service, RunKind.AUDIT)
        assert audited["status"] == "failed"
        assert await blamed(warehouse) == {}
        sandbox.set_faults(NO_FAULTS)
        state = await run(service, RunKind.FULL)
    assert (state["status"], _accounts(state)["healed"], _accounts(state)["skipped"]) == (
        "succeeded",
        len(losers),
        0,
    )


async def test_an_endpoint_that_answers_nobody_stops_only_what_needs_it(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    trades = await lose(warehouse, Endpoint.CLOSED, 20)
    hourly = await lose(warehouse, Endpoint.HOURLY, 50, but=lambda account_id: account_id in trades)
    sandbox.set_faults(
        Faults(
            probabilities={FaultKind.FAILED_STATUS: 1.0},
            only_endpoints=frozenset({Endpoint.CLOSED}),
        )
    )
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(trades[0]))
    assert (state["status"], _accounts(state)["healed"], _accounts(state)["waiting"]) == (
        "failed",
        len(hourly),
        len(trades),
    )
    assert "trades/closed" in str(state["error"])
    assert (account["attempts"][0]["outcome"], account["failed_attempts"]) == (None, 0)
    assert "nothing is held against" in account["attempts"][0]["detail"]
    assert await blamed(warehouse) == {}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_for_everything_ends_the_run(
    status: int, warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    await lose(warehouse, Endpoint.HOURLY, 12)
    sandbox.set_faults(
        Faults(rejections=(Rejection(status=status, message="The key has expired."),))
    )
    async with service_of() as service:
        for kind in (RunKind.FULL, RunKind.AUDIT):
            state = await run(service, kind)
            assert state["status"] == "failed"
            assert "RISK_API_KEY" in str(state["error"])
            assert "The key has expired." in str(state["error"])
    assert sandbox.log.total < 20
    assert await blamed(warehouse) == {}


async def test_403_for_one_account_is_that_accounts_failure(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 12)
    bad = losers[4]
    sandbox.set_faults(
        Faults(
            rejections=(Rejection(status=403, ids=frozenset({bad}), message="Not your account."),)
        )
    )
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(bad))
    assert (state["status"], _accounts(state)["healed"], state["failed"]) == (
        "completed_with_issues",
        len(losers) - 1,
        1,
    )
    assert account["failed_attempts"] == 1
    assert "403" in account["attempts"][0]["detail"]
    assert "Not your account." in account["attempts"][0]["detail"]


async def test_404_for_an_account_while_others_are_answered_is_nothing_of_it_by_id_and_asked_once_more_by_login(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.HOURLY, 12)
    missing = losers[4]
    sandbox.set_faults(
        Faults(
            rejections=(
                Rejection(
                    status=404, ids=frozenset({missing}), endpoints=frozenset({Endpoint.HOURLY})
                ),
            )
        )
    )
    async with service_of() as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(missing))
    assert (_accounts(state)["healed"], state["failed"]) == (len(losers), 0)
    assert account["failed_attempts"] == 0
    alone = [
        request
        for request in sandbox.log.requests
        if request.status == 404 and request.ids == (missing,)
    ]
    assert len(alone) >= 2  # an empty list is believed when it came twice


async def test_a_search_that_spent_its_requests_leaves_the_others_untried_for_the_next_run(
    warehouse: Database, sandbox: SandboxServer, service_of: Engine
) -> None:
    losers = await lose(warehouse, Endpoint.CLOSED)
    bad = losers[2::16]
    sandbox.set_faults(
        Faults(rejections=(Rejection(status=422, ids=await names_of(warehouse, bad)),))
    )
    nights, healed = 0, 0
    async with service_of(search_requests=20) as service:
        while healed < len(losers) - len(bad):
            nights += 1
            assert nights < 8
            sandbox.log.reset()
            state = await run(service, RunKind.FULL)
            healed += _accounts(state)["healed"]
            assert set(await blamed(warehouse)) <= set(bad)
            failing = [request for request in sandbox.log.requests if request.status == 422]
            assert len(failing) < 2 * 20 + 2 * _SPLITS
            if _accounts(state)["waiting"]:
                assert "RECON_SEARCH_REQUESTS" in str(state["error"])
            await let_a_day_pass(warehouse)
    assert nights > 1
    assert (await difference(warehouse, sandbox)).account_ids == set(bad)


async def test_exhausted_accounts_are_looked_at_again_by_audits_and_after_a_day_by_full_runs(
    warehouse: Database, service_of: Engine
) -> None:
    first, second = await lose(warehouse, Endpoint.HOURLY, 2)
    async with warehouse.connect() as connection, service_of() as service:
        exhausted = (
            "UPDATE trade_recon SET reconciliation_status = 'exhausted', failed_attempts = 9,"
            " last_failed_attempt = now() - $2::interval"
        )
        await service.maintain()
        await connection.execute(
            f"{exhausted} WHERE account_id = $1", first, dt.timedelta(hours=25)
        )
        await connection.execute(
            f"{exhausted} WHERE account_id = $1", second, dt.timedelta(hours=23)
        )
        state = await run(service, RunKind.FULL)
        assert (_accounts(state)["healed"], _accounts(state)["skipped"]) == (1, 1)
        assert await blamed(warehouse) == {second: 9}
        state = await run(service, RunKind.AUDIT)
        assert _accounts(state)["healed"] == 1
        assert await blamed(warehouse) == {}
