"""What could not be read whole is read once more at the end of its run, and only then an error:
once, in order, counted once.
"""

import asyncio
import datetime as dt
from typing import Any

import msgspec
import pytest

from app.domain.accounts.progress import Effort
from app.domain.contract.tables import Endpoint
from app.domain.holds.limits import HoldLimits
from app.domain.ids import AccountId
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.sandbox.server.faults import NO_FAULTS, FaultKind, Faults, Rejection
from app.sandbox.server.serving import SandboxServer
from app.sandbox.world.rows import Record
from app.store.claims.claim import Claim
from app.store.results.account_result import AccountResult, Terms
from tests.conftest import Database
from tests.integration.engine.runs.test_claims import process, queued
from tests.integration.engine.test_truth import victim
from tests.support.engine import TODAY, difference, engine, reconcile, run
from tests.support.plain import plain
from tests.support.waiting import PATIENCE

_READINGS = 9
"""Requests that a read of one page costs before it is given up: three readings, each of three looks
at the page.
"""


class _Restless(Record):
    """A row that is another one each time that it is sent."""

    __slots__ = ()

    @property
    def encoded(self) -> msgspec.Raw:
        self._encoded = None
        self.row["numTrades"] = int(str(self.row["numTrades"])) + 1
        return Record.encoded.fget(self)  # type: ignore[attr-defined,no-any-return]


def _lying(
    endpoint: Endpoint, first_n: int | None = None, ids: frozenset[str] | None = None
) -> Faults:
    return Faults(
        probabilities={FaultKind.SMALLER_TOTAL: 1.0},
        only_endpoints=frozenset({endpoint}),
        only_ids=ids,
        first_n=first_n,
    )


async def _names(database: Database, account_id: str) -> frozenset[str]:
    """The ids by which requests name the account."""
    async with database.connect() as connection:
        logins = await connection.fetch(
            "SELECT login FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
    return frozenset((account_id, *(row["login"] for row in logins)))


async def _hurt(database: Database, *tables: str) -> str:
    """An account that lost all its settled rows of the tables."""
    async with database.connect() as connection:
        account_id = await victim(connection)
        for table in tables:
            day = "trade_date" if "trades" in table else "date"
            statement = f"DELETE FROM {table} WHERE account_id = $1 AND {day} < $2"
            assert (
                await connection.execute(statement, account_id, TODAY - dt.timedelta(days=3))
                != "DELETE 0"
            )
    return account_id


async def _attempts(database: Database) -> list[dict[str, Any]]:
    async with database.connect() as connection:
        return [
            dict(row)
            for row in await connection.fetch(
                "SELECT * FROM recon_attempts ORDER BY finished_at, account_id"
            )
        ]


async def test_an_account_that_could_not_be_read_whole_is_read_once_more_and_healed_without_blame(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_metrics_hourly")
    sandbox.set_faults(_lying(Endpoint.HOURLY, first_n=_READINGS))
    async with engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(account_id))
    assert (state["status"], state["accounts"]["postponed"], state["accounts"]["healed"]) == (  # type: ignore[index]
        "succeeded",
        1,
        1,
    )
    assert (account["failed_attempts"], account["attempts"][0]["detail"]) == (0, None)
    assert state["requests"] == sandbox.log.total == _READINGS + 1
    assert (await difference(warehouse, sandbox)).is_equal


async def test_what_cannot_be_read_twice_is_an_error_that_names_what_was_wrong_and_not_read_a_third_time(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_trades_closed")
    sandbox.set_faults(_lying(Endpoint.CLOSED, ids=await _names(warehouse, account_id)))
    async with engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(account_id))
    assert (state["status"], state["accounts"]["postponed"], state["failed"]) == (  # type: ignore[index]
        "completed_with_issues",
        1,
        1,
    )
    assert account["failed_attempts"] == 1
    detail = account["attempts"][0]["detail"]
    assert "trades/closed: The read of trades/closed could not be proven whole" in detail
    assert "beyond the total of" in detail
    assert "second time" in detail
    # The second pass takes one reading less, and one request which shows that the trades of another
    # account can be read.
    assert state["requests"] == sandbox.log.total == _READINGS + 2 * _READINGS // 3 + 1
    assert all(entry["closed_at"] is None for entry in account["history"])
    assert account["history"]


async def test_a_request_that_fails_for_one_account_costs_one_more_pass(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_trades_closed")
    async with warehouse.connect() as connection:
        login = await connection.fetchval(
            "SELECT login FROM raw_metrics_alltime WHERE account_id = $1", account_id
        )
    sandbox.set_faults(
        Faults(rejections=(Rejection(kind=FaultKind.FAILED_STATUS, ids=frozenset({login})),))
    )
    async with engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(account_id))
    assert (state["accounts"]["postponed"], state["failed"]) == (1, 1)  # type: ignore[index]
    assert (account["failed_attempts"], len(account["attempts"])) == (1, 1)
    assert "The query timed out" in account["attempts"][0]["detail"]


async def test_what_both_passes_did_counts_once_in_the_run_the_attempt_and_the_evidence(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_metrics_daily", "raw_trades_closed")
    sandbox.set_faults(_lying(Endpoint.CLOSED, first_n=_READINGS))
    async with warehouse.connect() as connection:
        before = await connection.fetchval(
            "SELECT (SELECT count(*) FROM raw_metrics_daily) + (SELECT count(*) FROM"
            " raw_trades_closed)"
        )
        async with engine(warehouse, sandbox) as service:
            state = await run(service, RunKind.FULL)
            account = plain(await service.readings.account(account_id))
        after = await connection.fetchval(
            "SELECT (SELECT count(*) FROM raw_metrics_daily) + (SELECT count(*) FROM"
            " raw_trades_closed)"
        )
    attempt = account["attempts"][0]
    assert (attempt["outcome"], state["status"], state["accounts"]["postponed"]) == (  # type: ignore[index]
        "healed",
        "succeeded",
        1,
    )
    assert state["rows"]["inserted"] == attempt["rows_inserted"] == after - before  # type: ignore[index]
    # Daily was mended by the first pass, so that only it can have seen this.
    assert "hourly_without_daily" in attempt["issues_found"]
    assert attempt["issues_left"] == []
    assert state["requests"] == sandbox.log.total
    evidence = [entry["closing_evidence"] for entry in account["history"]]
    assert evidence
    assert all(each["inserted"] == after - before for each in evidence)
    assert (await difference(warehouse, sandbox)).is_equal


async def test_what_the_first_pass_healed_stays_and_makes_the_outcome_partial(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_metrics_daily", "raw_trades_closed")
    sandbox.set_faults(_lying(Endpoint.CLOSED, ids=await _names(warehouse, account_id)))
    async with engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL)
        account = plain(await service.readings.account(account_id))
    assert (account["attempts"][0]["outcome"], state["accounts"]["partial"]) == ("partial", 1)  # type: ignore[index]
    assert state["rows"]["inserted"] == account["attempts"][0]["rows_inserted"] > 0  # type: ignore[index]
    still_open = {entry["type"] for entry in account["history"] if entry["closed_at"] is None}
    assert still_open == set(account["attempts"][0]["issues_left"])
    assert "hourly_without_daily" not in still_open
    assert (await difference(warehouse, sandbox)).account_ids == {account_id}


async def test_in_the_second_pass_an_account_that_upstream_always_garbles_fails_alone(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_metrics_hourly")
    async with warehouse.connect() as connection:
        await connection.execute("DELETE FROM raw_metrics_hourly")
    records = sandbox.world._records
    sandbox.world.records(Endpoint.HOURLY, [account_id])
    first = records[Endpoint.HOURLY, account_id][0]
    # Doubled alike in two readings it would be upstream's: here it is another row each time.
    records[Endpoint.HOURLY, account_id].append(
        _Restless(first.key, account_id, first.natural_key, first.profile, dict(first.row))
    )
    async with engine(warehouse, sandbox) as service:
        state = await run(service, RunKind.FULL)
    assert (state["accounts"]["failed"], state["accounts"]["partial"]) == (1, 0)  # type: ignore[index]
    assert state["accounts"]["healed"] > 10  # type: ignore[index]
    failed = [row["account_id"] for row in await _attempts(warehouse) if row["outcome"] == "failed"]
    assert failed == [account_id]
    assert (await difference(warehouse, sandbox)).account_ids == {account_id}


async def test_named_accounts_wait_only_shortly_for_their_second_pass(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_metrics_hourly")
    sandbox.set_faults(_lying(Endpoint.HOURLY, first_n=_READINGS))
    config = EngineConfig(
        workers=1, poll_seconds=0.05, postpone_seconds=3600, postpone_named_seconds=0
    )
    async with engine(warehouse, sandbox, config=config) as service, service.pool.running():
        result = await reconcile(service, account_id)
    assert (result["outcome"], result["issues"]) == ("healed", [])


async def test_a_run_is_not_over_while_a_postponed_account_waits_for_its_time(
    warehouse: Database, sandbox: SandboxServer
) -> None:
    account_id = await _hurt(warehouse, "raw_metrics_hourly")
    sandbox.set_faults(_lying(Endpoint.HOURLY))
    config = EngineConfig(workers=2, poll_seconds=0.02, postpone_seconds=3600)
    async with (
        engine(warehouse, sandbox, config=config) as service,
        warehouse.connect() as connection,
    ):
        run_id = await service.start_run(RunRequest(RunKind.FULL))
        serving = asyncio.create_task(service.pool.run_until_finished(run_id))
        postponed = (
            "SELECT count(*) FROM recon_attempts WHERE postponed_until > now() + interval '3500"
            " seconds'"
        )
        async with asyncio.timeout(PATIENCE):
            while not await connection.fetchval(postponed):  # noqa: ASYNC110 - another process's event
                await asyncio.sleep(0.02)
        asked = sandbox.log.total
        for _ in range(5):
            assert not await service.store.runs.finish(run_id, HoldLimits())
            await asyncio.sleep(0.05)
        state = plain(await service.readings.run_state(run_id))
        assert (state["status"], state["accounts"]["waiting"]) == ("running", 1)
        assert sandbox.log.total == asked
        # Nothing of it is recorded or held, and what was found stays open.
        row = await connection.fetchrow(
            "SELECT * FROM trade_recon WHERE account_id = $1", account_id
        )
        assert row is not None
        assert (row["claim_id"], row["failed_attempts"], row["last_checked"]) == (None, 0, None)
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_issue_history WHERE closed_at IS NULL"
            )
            > 0
        )
        sandbox.set_faults(NO_FAULTS)
        await connection.execute("UPDATE recon_attempts SET postponed_until = now()")
        async with asyncio.timeout(PATIENCE):
            await serving
        assert plain(await service.readings.run_state(run_id))["status"] == "succeeded"


_TERMS = Terms(5, lambda _: dt.datetime.now(dt.UTC), 0, 0, 60)


def _postponed(account_id: str) -> AccountResult:
    issues = (Issue(IssueCode.DAILY_WITHOUT_HOURLY, Severity.HIGH, "", (), ""),)
    return AccountResult(
        AccountId(account_id),
        Outcome.FAILED,
        issues,
        issues,
        Effort(requests=2, inserted=3),
        True,  # noqa: FBT003
        "",
        None,
        postponed=True,
    )


async def _record(store: Repositories, claim: Claim, *results: AccountResult) -> list[str]:
    return await store.results.record(
        claim, results, seconds=1.5, requests=7, terms=_TERMS, judged=sorted(IssueCode)
    )


async def test_postponed_accounts_come_behind_all_that_wait_and_keep_their_mark_when_their_worker_dies(
    warehouse: Database,
) -> None:
    async with (
        process(warehouse) as dead,
        process(warehouse) as alive,
        warehouse.connect() as connection,
    ):
        run_id = await queued(dead)
        first = await dead.claims.claim(run_id, 1)
        assert first is not None
        (account_id,) = first.account_ids
        assert first.postponed == {}
        assert await _record(dead, first, _postponed(account_id)) == [account_id]
        others = await dead.claims.claim(run_id, 29)
        assert others is not None
        assert account_id not in others.account_ids
        assert others.postponed == {}
        again = await dead.claims.claim(run_id, 29)
        assert again is not None
        assert again.account_ids == (account_id,)
        # Killed in the second pass: whoever takes over knows that it is the second.
        await connection.execute(
            "UPDATE recon_workers SET heartbeat_at = now() - interval '1 hour'"
        )
        await connection.execute(
            "UPDATE trade_recon SET claimed_at = now() - interval '1 hour' WHERE account_id = $1",
            account_id,
        )
        await alive.claims.beat()
        taken = await alive.claims.claim(run_id, 1)
        assert taken is not None
        assert taken.account_ids == (account_id,)
        assert taken.postponed == again.postponed
        assert taken.postponed[account_id].found == {IssueCode.DAILY_WITHOUT_HOURLY}
        assert taken.postponed[account_id].effort == Effort(requests=2, inserted=3)
        run_row = await connection.fetchrow(
            "SELECT requests, rows_inserted, postponed, failed FROM recon_runs"
        )
        assert tuple(run_row or ()) == (7, 3, 1, 0)


async def test_a_worker_whose_claim_was_taken_over_postpones_nothing(warehouse: Database) -> None:
    async with (
        process(warehouse) as stale,
        process(warehouse) as alive,
        warehouse.connect() as connection,
    ):
        run_id = await queued(stale)
        claim = await stale.claims.claim(run_id, 1)
        assert claim is not None
        await stale.claims.release(claim)
        taken = await alive.claims.claim(run_id, 1)
        assert taken is not None
        assert taken.account_ids == claim.account_ids
        assert await _record(stale, claim, _postponed(claim.account_ids[0])) == []
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM recon_attempts WHERE postponed_until IS NOT NULL"
            )
            == 0
        )
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM trade_recon WHERE claim_id = $1", taken.claim_id
            )
            == 1
        )


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_claim_reads_its_accounts_from_the_index_in_order(
    warehouse: Database,
    waiting: bool,  # noqa: FBT001
) -> None:
    async with process(warehouse) as store, warehouse.connect() as connection:
        run_id = await queued(store)
        await connection.execute(
            "INSERT INTO recon_attempts (run_id, account_id, position, outcome, postponed_until)"
            " SELECT $1, 'made-up-' || n, n, CASE WHEN $2 OR n % 20 > 0 THEN 'healed' END, CASE"
            " WHEN n % 3 = 0 THEN now() END FROM generate_series(1, 10000) AS n",
            run_id,
            not waiting,
        )
        await connection.execute(
            "INSERT INTO trade_recon (account_id) SELECT 'made-up-' || n FROM generate_series(1,"
            " 10000) AS n"
        )
        await connection.execute("ANALYZE recon_attempts, trade_recon")
        claim = store.database.queries("claims/claims")["claim_accounts"]
        plan = await connection.fetch(f"EXPLAIN {claim}", run_id, run_id, run_id, 50, 60.0)
    text = "\n".join(row[0] for row in plan)
    assert "recon_attempts_waiting" in text
    assert "Sort" not in text
