"""The history of issues is true: healed, relabelled or gone by itself, and only what was healed and
comes back flaps.
"""

import datetime as dt
import json
from typing import TYPE_CHECKING

from app.domain.states import RunKind
from app.sandbox.server.serving import SandboxServer
from tests.conftest import Database
from tests.support.engine import difference, run
from tests.support.nights import NOW, TODAY, issues_of, service_at, small_world, status_of, traders

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

_DAY = dt.timedelta(days=1)
_SETTLED = TODAY - 5 * _DAY


async def _settled_day(connection: "Connection", account_id: str) -> dt.date:
    """The first date on which the account has hourly rows."""
    day = await connection.fetchval(
        "SELECT min(date) FROM raw_metrics_hourly WHERE account_id = $1 AND date < $2",
        account_id,
        _SETTLED,
    )
    assert isinstance(day, dt.date)
    return day


async def _lose_hourly(connection: "Connection", account_id: str, day: dt.date) -> None:
    assert (
        await connection.execute(
            "DELETE FROM raw_metrics_hourly WHERE account_id = $1 AND date = $2", account_id, day
        )
        != "DELETE 0"
    )


async def _closings(connection: "Connection", account_id: str) -> list[tuple[str, str, list[str]]]:
    """Code, as what it was closed, and under which codes it is shown since, of each closing in
    order.
    """
    rows = await connection.fetch(
        "SELECT type, closing_evidence FROM recon_issue_history WHERE account_id = $1 AND closed_at"
        " IS NOT NULL ORDER BY closed_at, type",
        account_id,
    )
    evidence = [(row["type"], json.loads(row["closing_evidence"])) for row in rows]
    return [(code, each["closed_as"], each.get("relabelled_as", [])) for code, each in evidence]


async def test_an_account_that_upstream_lacked_in_three_audits_does_not_flap_and_is_healed_at_once(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[0]
    async with warehouse.connect() as connection:
        await _lose_hourly(connection, account_id, await _settled_day(connection, account_id))
        sandbox.world.forget(account_id)
        async with service_at(warehouse, sandbox) as service:
            for _ in range(3):
                await run(service, RunKind.AUDIT)
        assert not [
            closing for closing in await _closings(connection, account_id) if closing[1] == "healed"
        ]
        assert await status_of(connection, account_id) != "flapping"
        async with SandboxServer(small_world()) as well, service_at(warehouse, well) as service:
            state = await run(service, RunKind.AUDIT)
            assert (state["accounts"]["flapping"], state["accounts"]["healed"]) == (0, 1)  # type: ignore[index]
            assert (await difference(warehouse, well)).sample == ()
        assert await status_of(connection, account_id) == "reconciled"


async def test_an_issue_is_closed_as_relabelled_under_the_code_that_tells_of_it_since(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[1]
    async with warehouse.connect() as connection:
        day = await _settled_day(connection, account_id)
        await _lose_hourly(connection, account_id, day)
        sandbox.world.forget(account_id, day + _DAY)
        async with service_at(warehouse, sandbox) as service:
            await run(service, RunKind.FULL)
        assert await issues_of(connection, account_id) == {"absent_upstream"}
        closed = await _closings(connection, account_id)
        assert {closing[0] for closing in closed} == {
            "daily_without_hourly",
            "hourly_daily_mismatch",
            "trade_count_mismatch",
        }
        assert {(as_what, tuple(codes)) for _, as_what, codes in closed} == {
            ("relabelled", ("absent_upstream",))
        }


async def test_an_issue_that_others_mended_is_gone_by_itself_and_one_that_we_mended_is_healed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    ours, theirs = traders(sandbox.world)[2:4]
    async with warehouse.connect() as connection:
        for account_id in (ours, theirs):
            day = await _settled_day(connection, account_id)
            if account_id == theirs:
                await connection.execute(
                    "CREATE TABLE lost AS SELECT * FROM raw_metrics_hourly WHERE account_id ="
                    f" '{account_id}' AND date = '{day}'"
                )
            await _lose_hourly(connection, account_id, day)
        async with service_at(warehouse, sandbox) as service:
            await service.inspect()
            await connection.execute("INSERT INTO raw_metrics_hourly SELECT * FROM lost")
            state = await run(service, RunKind.FULL)
        assert (state["accounts"]["healed"], state["accounts"]["unchanged"]) == (1, 1)  # type: ignore[index]
        assert {closing[1] for closing in await _closings(connection, ours)} == {"healed"}
        assert {closing[1] for closing in await _closings(connection, theirs)} == {"gone"}


async def test_what_is_healed_each_night_and_comes_back_still_flaps(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[4]
    async with warehouse.connect() as connection:
        day = await _settled_day(connection, account_id)
        async with service_at(warehouse, sandbox) as service:
            outcomes = []
            for _ in range(4):
                await _lose_hourly(connection, account_id, day)
                state = await run(service, RunKind.FULL)
                outcomes.append((state["accounts"]["healed"], state["accounts"]["flapping"]))  # type: ignore[index]
        assert outcomes == [(1, 0), (1, 0), (1, 0), (0, 1)]


async def test_what_upstream_did_not_have_is_asked_for_again_with_growing_pauses_and_then_healed(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = traders(sandbox.world)[5]
    asked = []
    async with warehouse.connect() as connection, SandboxServer(small_world()) as sick:
        day = await _settled_day(connection, account_id)
        await _lose_hourly(connection, account_id, day)
        for each in traders(sick.world):
            sick.world.forget(each, day + _DAY)
        for night in range(9):
            async with service_at(warehouse, sick, NOW + night * _DAY) as service:
                asked.append(bool((await run(service, RunKind.FULL))["requests"]))
        # After one, two and four days; what is asked at other times is nothing.
        assert asked == [True, True, False, True, False, False, False, True, False]
        await connection.execute(
            "UPDATE trade_recon SET ask_again_at = NULL WHERE account_id <> $1", account_id
        )
        async with service_at(warehouse, sandbox, NOW + 14 * _DAY) as service:
            assert (await run(service, RunKind.FULL))["requests"] == 0
        async with service_at(warehouse, sandbox, NOW + 15 * _DAY) as service:
            state = await run(service, RunKind.FULL)
        assert state["accounts"]["healed"] == 1  # type: ignore[index]
        assert await issues_of(connection, account_id) == set()
    assert (await difference(warehouse, sandbox)).sample == ()
