"""A large batch is recorded piece by piece in one transaction: all of its accounts, or none."""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import pytest

from app.domain.accounts.progress import Effort
from app.domain.ids import AccountId, RunId, WorkerId
from app.domain.issues.codes import Issue, IssueCode, Severity
from app.domain.runs.request import RunRequest
from app.domain.states import Outcome, RunKind
from app.domain.verdict.closing import ClosedAs, Closing
from app.store.claims.claim import Claim
from app.store.claims.claims import Claims
from app.store.database.pool import Database as Pool
from app.store.results.account_result import AccountResult, Terms
from app.store.results.issue_history import IssueHistory
from app.store.results.json_rows import ACCOUNTS_AT_ONCE
from app.store.results.results import Results
from app.store.runs.lifecycle import Runs
from tests.conftest import Database

ACCOUNTS = 2 * ACCOUNTS_AT_ONCE + 203
TERMS = Terms(5, lambda _: dt.datetime(2100, 1, 1, tzinfo=dt.UTC), 5, 1, 60.0)
CODES = list(IssueCode)


def _issue(number: int) -> Issue:
    dates = tuple(f"2027-01-0{day + 1}" for day in range(number % 5))
    return Issue(CODES[number % len(CODES)], Severity.HIGH, f"Number {number}.", dates, "None.")


def _result(account_id: str, number: int) -> AccountResult:
    """Every third is quiet, every third healed, every third keeps an issue; each 50th waits."""
    quiet = AccountResult(
        AccountId(account_id),
        Outcome.UNCHANGED,
        (),
        (),
        Effort(),
        failing=False,
        signature="",
        detail=None,
    )
    issue = (_issue(number),)
    if number % 50 == 0:
        return replace(quiet, outcome=Outcome.PARTIAL, found=issue, left=issue, postponed=True)
    match number % 3:
        case 0:
            return quiet
        case 1:
            done = Effort(inserted=number)
            closing = {issue[0].code: Closing(ClosedAs.HEALED)}
            return replace(
                quiet, outcome=Outcome.HEALED, found=issue, effort=done, closings=closing
            )
        case _:
            return replace(quiet, outcome=Outcome.PARTIAL, found=issue, left=issue, failing=True)


@dataclass(frozen=True, slots=True)
class Recorder:
    """A worker that claims all accounts in a run of their own."""

    pool: Pool
    claims: Claims
    runs: Runs
    results: Results
    history: IssueHistory

    async def claim(self) -> Claim:
        run_id: RunId = await self.runs.create(RunRequest(kind=RunKind.RETRY))
        await self.pool.execute(
            "INSERT INTO prop_trading_model.recon_attempts (run_id, account_id, position) SELECT"
            " $1, account_id, row_number() OVER (ORDER BY account_id) FROM"
            " prop_trading_model.trade_recon",
            run_id,
        )
        claim = await self.claims.claim(run_id, ACCOUNTS)
        assert claim is not None
        assert len(claim.account_ids) == ACCOUNTS
        return claim

    async def record(self, claim: Claim, results: Sequence[AccountResult]) -> list[str]:
        return await self.results.record(
            claim, results, seconds=1.0, requests=7, terms=TERMS, judged=sorted(IssueCode)
        )

    async def counted(self, query: str) -> dict[str, int]:
        return {row[0]: row[1] for row in await self.pool.fetch(query)}

    async def open_issues(self) -> dict[str, int]:
        return await self.counted(
            "SELECT type, count(*) FROM prop_trading_model.recon_issue_history"
            " WHERE closed_at IS NULL GROUP BY type"
        )


@pytest.fixture
async def recorder(database: Database) -> AsyncIterator[Recorder]:
    async with Pool.open(database.dsn, database.schema, pool_size=1) as pool:
        await pool.execute(
            "INSERT INTO prop_trading_model.trade_recon (account_id)"
            " SELECT 'account-' || lpad(n::text, 7, '0') FROM generate_series(1, $1) AS n",
            ACCOUNTS,
        )
        recorder = Recorder(
            pool,
            Claims(pool, WorkerId(uuid.uuid4()), TERMS.lease_seconds),
            Runs(pool),
            Results(pool),
            IssueHistory(pool),
        )
        await recorder.claims.beat()
        yield recorder


async def test_each_account_of_a_large_batch_is_recorded_and_counted_once(
    recorder: Recorder,
) -> None:
    claim = await recorder.claim()
    results = [_result(each, number) for number, each in enumerate(claim.account_ids)]
    found = {result.account_id: list(result.found) for result in results}
    await recorder.history.open_issues(claim.run_id, found, dt.date(2027, 3, 1))
    opened = sum(bool(result.found) for result in results)
    assert sum((await recorder.open_issues()).values()) == opened

    assert await recorder.record(claim, results) == sorted(claim.account_ids)

    settled = [result for result in results if not result.postponed]
    outcomes = await recorder.counted(
        "SELECT coalesce(outcome, 'waits'), count(*) FROM prop_trading_model.recon_attempts"
        " GROUP BY 1"
    )
    expected = {
        kind.value: sum(result.outcome is kind for result in settled)
        for kind in (Outcome.UNCHANGED, Outcome.HEALED, Outcome.PARTIAL)
    }
    assert outcomes == {**expected, "waits": len(results) - len(settled)}
    run = await recorder.pool.fetch_row(
        "SELECT unchanged, healed, partial, requests, rows_inserted, postponed"
        " FROM prop_trading_model.recon_runs"
    )
    assert run is not None
    assert tuple(run) == (
        *expected.values(),
        7,
        sum(result.effort.inserted for result in results),
        len(results) - len(settled),
    )
    left = {result.account_id: [i.code.value for i in result.left or ()] for result in settled}
    stored = await recorder.pool.fetch(
        "SELECT account_id::text, issues, claim_id FROM prop_trading_model.trade_recon"
    )
    assert all(row["claim_id"] is None for row in stored)
    issues = {row["account_id"]: json.dumps(row["issues"]) for row in stored}
    assert all(all(code in issues[each] for code in codes) for each, codes in left.items())
    # Those healed are closed with evidence, those left and those that wait are open.
    healed = expected["healed"]
    assert sum((await recorder.open_issues()).values()) == opened - healed
    closed = await recorder.counted(
        "SELECT closing_evidence ->> 'closed_as', count(*)"
        " FROM prop_trading_model.recon_issue_history WHERE closed_at IS NOT NULL GROUP BY 1"
    )
    assert closed == {"healed": healed}


async def test_a_piece_that_cannot_be_recorded_leaves_the_whole_batch_unrecorded(
    recorder: Recorder,
) -> None:
    claim = await recorder.claim()
    last = claim.account_ids[-1]
    await recorder.pool.execute(
        "ALTER TABLE prop_trading_model.recon_attempts ADD CONSTRAINT refuses"
        f" CHECK (account_id <> '{last}' OR outcome IS NULL)"
    )
    results = [_result(each, number) for number, each in enumerate(claim.account_ids)]
    with pytest.raises(Exception, match="refuses"):
        await recorder.record(claim, results)
    assert await recorder.counted(
        "SELECT coalesce(outcome, 'waits'), count(*) FROM prop_trading_model.recon_attempts"
        " GROUP BY 1"
    ) == {"waits": ACCOUNTS}
    assert await recorder.open_issues() == {}
    assert await recorder.claims.is_held(claim)
