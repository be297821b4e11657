"""Records how accounts left batches."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from app.domain.accounts.hold import Rewritten
from app.domain.accounts.progress import Effort
from app.domain.ids import AccountId
from app.domain.sequences import pieces
from app.domain.states import Outcome
from app.domain.verdict.closing import GONE
from app.store.claims.claim import Claim
from app.store.claims.fence import Fence
from app.store.database.pool import Database
from app.store.database.transaction import Connection
from app.store.results.acceptances import Acceptances
from app.store.results.account_result import AccountResult, Terms
from app.store.results.issue_history import IssueHistory
from app.store.results.json_rows import ACCOUNTS_AT_ONCE, encoded_rows, encoded_value
from app.store.results.result_rows import (
    attempt_row,
    batch_counts,
    closing_evidence,
    closings_of,
    compared_by_table,
    rows_written,
    state_row,
)


class Results:
    """Records batches under the fence, hence nothing for expired claims."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries("results/results")
        self._fence = Fence(database)
        self._history = IssueHistory(database)
        self._acceptances = Acceptances(database)

    async def record(  # noqa: PLR0913 - all of one transaction
        self,
        claim: Claim,
        results: Sequence[AccountResult],
        *,
        seconds: float,
        requests: int,
        terms: Terms,
        judged: Sequence[str],
        rows_compared: int = 0,
        beside: Sequence[Effort] = (),
    ) -> list[str]:
        """Record a batch and release its accounts in one transaction; returns those still claimed.

        `judged` are the issue codes that detection decides, `rows_compared` stored rows that met
        complete answers. Postponed accounts only add effort, as does `beside` for others.
        """

        async def write(connection: Connection) -> list[str]:
            ids = [result.account_id for result in results]
            failures = await self._fence.lock_claims(
                connection, ids, claim.claim_id, terms.lease_seconds
            )
            ours = [result for result in results if result.account_id in failures]
            settled = [result for result in ours if not result.postponed]
            postponed = [result for result in ours if result.postponed]
            for piece in pieces(settled, ACCOUNTS_AT_ONCE):
                await self._record_issues(connection, claim, piece, judged)
                await self._record_outcomes(connection, claim, piece, failures, seconds, terms)
                await self._settle_acceptances(connection, piece, judged, terms.today)
            if compared := compared_by_table(settled):
                await connection.execute(self._sql["add_compared"], claim.run_id, compared)
            for piece in pieces(postponed, ACCOUNTS_AT_ONCE):
                await self._postpone(connection, claim.run_id, piece, seconds, terms)
            counts = batch_counts(settled, postponed, requests, beside)
            held = sum(result.newly_held for result in settled)
            await connection.execute(
                self._sql["count_batch"], claim.run_id, *counts, rows_compared, held
            )
            return sorted(failures)

        return await self._database.give_way(write)

    async def _record_issues(
        self,
        connection: Connection,
        claim: Claim,
        results: Sequence[AccountResult],
        judged: Sequence[str],
    ) -> None:
        left = {result.account_id: result.left or () for result in results}
        # In threads, here and below: thousands of accounts would block the event loop.
        closing = await asyncio.to_thread(
            lambda: {
                result.account_id: encoded_value(closings_of(claim, result))
                for result in results
                if result.closings and not result.is_quiet
            }
        )
        others = closing_evidence(claim, Outcome.UNCHANGED, Effort(), GONE)
        await self._history.close_and_open(connection, left, judged, claim.run_id, others, closing)

    async def _record_outcomes(
        self,
        connection: Connection,
        claim: Claim,
        results: Sequence[AccountResult],
        failures: Mapping[str, int],
        seconds: float,
        terms: Terms,
    ) -> None:
        quiet = [result.account_id for result in results if result.is_quiet]
        if quiet:
            await connection.execute(self._sql["record_unchanged"], claim.run_id, seconds, quiet)
        if news := [result for result in results if not result.is_quiet]:
            attempts = await asyncio.to_thread(encoded_rows, map(attempt_row, news))
            states = await asyncio.to_thread(
                encoded_rows,
                (state_row(result, failures[result.account_id], terms) for result in news),
            )
            await connection.execute(self._sql["record_attempts"], claim.run_id, seconds, attempts)
            await connection.execute(
                self._sql["record_accounts"], states, terms.max_attempts, terms.now
            )

    async def _settle_acceptances(
        self,
        connection: Connection,
        results: Sequence[AccountResult],
        judged: Sequence[str],
        today: dt.date | None,
    ) -> None:
        left = {result.account_id: result.left for result in results if result.left is not None}
        seen = {result.account_id: result.seen for result in results if result.seen is not None}
        await self._acceptances.settle(connection, left, judged, today=today, seen=seen)

    async def _postpone(
        self,
        connection: Connection,
        run_id: uuid.UUID,
        results: Sequence[AccountResult],
        seconds: float,
        terms: Terms,
    ) -> None:
        attempts = encoded_rows(map(attempt_row, results))
        pauses = terms.postpone_seconds, terms.postpone_named_seconds
        await connection.execute(self._sql["postpone_accounts"], run_id, seconds, attempts, *pauses)

    async def add_effort(self, run_id: uuid.UUID, efforts: Sequence[Effort], requests: int) -> None:
        """Count effort that belongs to no recorded account."""
        await self._database.execute(
            self._sql["count_batch"],
            run_id,
            0,
            0,
            0,
            0,
            0,
            requests,
            *rows_written(efforts),
            0,
            0,
            0,
            0,
            0,
        )

    async def rewritten(self, account_ids: Sequence[str]) -> dict[AccountId, Rewritten]:
        """Rows rewritten since each account was whole; zeros are left out."""
        rows = await self._database.fetch(self._sql["get_rewritten"], list(account_ids))
        return {row["account_id"]: Rewritten(row["rows"], row["removed"]) for row in rows}
