"""Records batches, and the effort of broken-off ones."""

import asyncio
import contextlib
import datetime as dt
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from app.domain.issues.codes import IssueCode
from app.domain.states import Outcome
from app.domain.verdict.backoff import next_attempt
from app.engine.api_usage import RunApiStats
from app.engine.batch.outcome import AccountPass, result_of
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.end_log import log_end
from app.engine.isolation.budget import Spent
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.store.claims.claim import Claim, Uncounted
from app.store.results.account_result import AccountResult, Terms
from app.telemetry import get_logger

_log = get_logger(__name__)


class BatchRecorder:
    """Records each account once."""

    def __init__(
        self, store: Repositories, config: EngineConfig, now: Callable[[], dt.datetime]
    ) -> None:
        self._store = store
        self._config = config
        self._now = now

    def terms(self) -> Terms:
        """The terms of recording now."""
        now = self._now()
        return Terms(
            self._config.max_attempts,
            lambda failures: next_attempt(failures, now, jitter=random.random()),
            self._config.postpone_seconds,
            self._config.postpone_named_seconds,
            self._config.lease_seconds,
            now,
            self._config.today(now),
        )

    async def record(self, state: BatchState, use: RunApiStats) -> Counter[Outcome]:
        """Record finished accounts; outcomes of those still ours."""
        state.results = await off_loop(self._results, state)
        await use.keep()
        state.suspicion = state.guard.reason
        if state.suspicion is not None:
            # Before the record: if another process ends the run meanwhile, it finds the reason.
            await self._store.runs.note_suspicion(
                state.claim.run_id, state.suspicion, state.run.confirmed_at
            )
        state.is_recording = True
        seconds = time.monotonic() - state.begun
        ours = await self._write(state, seconds)
        await self._note_costs(state)
        outcomes = _log_recorded(state, ours, seconds)
        _keep_unfinished(state)
        return outcomes

    async def suspend_if_suspect(self, state: BatchState) -> None:
        """Suspend the run if upstream is suspect."""
        if state.suspicion is not None and await self._store.control.suspend(
            state.claim.run_id, state.suspicion, state.run.confirmed_at
        ):
            await log_end(self._store, state.claim.run_id, self._config.today(self._now()))

    async def break_off(self, state: BatchState, use: RunApiStats) -> None:
        """Return the accounts, and count their effort."""
        claim = state.claim
        claim.note_broken_off(state.begun_accounts())
        claim.broken_off.uncounted.append(
            Uncounted(state.efforts, state.requests, is_recording=state.is_recording)
        )
        state.guard.forget_compared(state.views)
        with contextlib.suppress(ReconError):
            await use.keep()
            await count_broken_off(self._store, claim)

    def _results(self, state: BatchState) -> list[AccountResult]:
        now = self._now()
        return [
            result_of(
                AccountPass(
                    view,
                    state.progress[account_id],
                    state.found_at(account_id),
                    state.unread[account_id],
                    state.claim.first_pass(account_id),
                    account_id in state.claim.postponed,
                    state.columns,
                ),
                now=now,
                moving_from=state.moving.first,
                flap_seconds=self._config.flap_seconds,
            )
            for account_id, view in state.views.items()
            if account_id not in state.unfinished
        ]

    async def _write(self, state: BatchState, seconds: float) -> list[AccountResult]:
        with state.phase("record"):
            ours = set(
                await self._store.results.record(
                    state.claim,
                    state.results,
                    seconds=round(seconds, 3),
                    requests=state.requests,
                    terms=self.terms(),
                    judged=sorted(IssueCode),
                    rows_compared=state.guard.record_compared(state.views),
                    beside=state.efforts_beside_results(),
                )
            )
        return [result for result in state.results if result.account_id in ours]

    async def _note_costs(self, state: BatchState) -> None:
        run_id = state.claim.run_id
        for phase, spent in state.timings.items():
            await self._store.runs.add_phase(run_id, phase, spent)
        if state.spent != Spent() or state.silent:
            await self._store.runs.note_search(
                run_id, state.spent.new, state.spent.known, " ".join(state.silent)
            )


def _keep_unfinished(state: BatchState) -> None:
    state.claim.note_broken_off(
        {
            account_id: done
            for account_id, done in state.begun_accounts().items()
            if account_id in state.unfinished
        }
    )


def _log_recorded(
    state: BatchState, ours: Sequence[AccountResult], seconds: float
) -> Counter[Outcome]:
    outcomes = Counter(result.outcome for result in ours if not result.postponed)
    untried = sum(result.untried for result in ours)
    postponed = sum(result.postponed for result in ours) - untried
    _log.info(
        "A batch is recorded.",
        action="batch.recorded",
        run_id=str(state.claim.run_id),
        accounts=len(ours) - postponed - untried,
        postponed=postponed,
        untried=untried,
        unfinished=len(state.unfinished),
        requests=state.requests,
        seconds=round(seconds, 2),
        **{outcome.value: count for outcome, count in outcomes.items()},
    )
    return outcomes


async def count_broken_off(store: Repositories, claim: Claim) -> None:
    """Count a claim's broken-off effort for the run."""
    uncounted = claim.broken_off.uncounted
    while uncounted:
        left = uncounted.pop()
        counting = asyncio.create_task(_count(store, claim, left))
        try:
            await asyncio.shield(counting)
        except asyncio.CancelledError:
            # Wait: cancelled halfway, it might be counted twice.
            await asyncio.wait({counting})
            if counting.cancelled() or counting.exception() is not None:
                uncounted.append(left)
            raise
        except ReconError:
            uncounted.append(left)
            raise


async def _count(store: Repositories, claim: Claim, left: Uncounted) -> None:
    # If the answer to a record was lost, a released claim tells that it was made.
    if not left.is_recording or await store.claims.is_held(claim):
        await store.results.add_effort(claim.run_id, left.efforts, left.requests)
