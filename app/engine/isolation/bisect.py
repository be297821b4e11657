"""Isolation: a batch that breaks off by the fault of an account is split until that account stands
alone and fails alone.
"""

import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.domain.accounts.progress import Effort
from app.domain.sequences import scattered
from app.domain.states import Outcome
from app.engine.api_usage import RunApiStats
from app.engine.repositories import Repositories
from app.engine.stopping import StopSignal
from app.errors import (
    ClaimLost,
    ConfigurationError,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    ReconError,
    ResourcesExhausted,
    RowRefused,
    UpstreamError,
    WriteConflict,
)
from app.store.claims.claim import Claim, FirstPass
from app.store.results.account_result import AccountResult, Terms
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger

_log = get_logger(__name__)
_STRIKES = 8
"""When so many accounts of a run failed alone and none came through, it is not the accounts'
fault.
"""
_CONFLICTS = 3
"""So many times a run waits for whoever holds the same rows; then its accounts are tried apart, so
that those that are free go on.
"""
_LOST = 3
"""So many times in a row a run waits where PostgreSQL goes away in a batch and answers right after;
then its accounts are tried apart: the rows of one of them may be what ends the session, by a crash,
a lack of memory, or somebody who kills long statements.
"""
_NOBODYS = (ConfigurationError, UpstreamError, ClaimLost)
"""Errors of the surroundings: they say nothing about an account."""


@dataclass(slots=True)
class _Record:
    """How the batches of a run fared in this process."""

    came_through: bool = False
    conflicts: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Trial:
    """One claim on its way through the flow; `struck` are accounts that failed alone and were not
    blamed for it yet.

    `failed_once` are those that failed alone by what may pass: PostgreSQL ended their session, or
    had no room for them.
    """

    run: ActiveRun
    use: RunApiStats
    halt: StopSignal
    record: _Record
    struck: list[tuple[Claim, Exception]] = field(default_factory=list)
    failed_once: set[str] = field(default_factory=set)


class Flow(Protocol):
    """What claims are taken through: the healing of batches, or their inspection."""

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, halt: StopSignal
    ) -> object:
        """Take the claimed accounts through it and record what came of each."""


Fail = Callable[[Claim, str], Awaitable[None]]
"""Records that the only account of a claim could not go through the flow, with the reason, and
releases it.
"""


class Isolation:
    """Takes claims through the flow, however one of their accounts spoils it."""

    def __init__(self, batches: Flow, store: Repositories, fail: Fail) -> None:
        """Bind the flow, and what records accounts that cannot go through it."""
        self._batches = batches
        self._store = store
        self._record_failure = fail
        self._records: defaultdict[uuid.UUID, _Record] = defaultdict(_Record)

    def forget(self, run_id: uuid.UUID) -> None:
        """The run is over."""
        self._records.pop(run_id, None)

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, halt: StopSignal
    ) -> None:
        """Take the claim through the flow; accounts that alone break it off are recorded as failed,
        with the reason.

        Raises what says nothing about an account, and the error itself where every account meets
        it.
        """
        trial = _Trial(run, use, halt, self._records[run.run_id])
        await self._try(claim, trial)
        trial.record.lost = 0
        if not halt.is_set:
            # Where none came through, others of the warehouse can be read all the same: it is these
            # accounts' own.
            await self._fail_struck(trial)

    async def _try(self, claim: Claim, trial: _Trial) -> None:
        try:
            await self._batches.reconcile(claim, trial.run, trial.use, trial.halt)
        except WriteConflict as error:
            trial.record.conflicts += 1
            if trial.record.conflicts < _CONFLICTS or len(claim.account_ids) == 1:
                raise
            await self._split(claim, error, trial)
        except DatabaseUnavailable as error:
            await self._meet_lost_session(claim, error, trial)
        except _NOBODYS:
            raise
        except Exception as error:  # noqa: BLE001 - any error, also a defect of ours, must not cost the other accounts their turn
            await self._meet_failure(claim, error, trial)
        else:
            trial.record.came_through = True
            await self._fail_struck(trial)

    async def _meet_failure(self, claim: Claim, error: Exception, trial: _Trial) -> None:
        lacked_room = isinstance(error, ResourcesExhausted)
        if lacked_room:
            # Raises DatabaseFull where there is no room for anybody: then it is no account's.
            await self._store.database.require_room()
        if len(claim.account_ids) > 1:
            await self._split(claim, error, trial)
        elif lacked_room:
            await self._try_again(claim, error, trial)
        else:
            await self._strike(claim, error, trial)

    async def _meet_lost_session(
        self, claim: Claim, error: DatabaseUnavailable, trial: _Trial
    ) -> None:
        """Wait for PostgreSQL, unless it answers at once and ended the session of this run several
        times in a row.

        Then the accounts are tried apart; one alone is struck that ended it twice.
        """
        # Without room for anybody it answers, and yet no account is what ends the work.
        if isinstance(error, DatabaseFull) or not await self._answers():
            raise error
        trial.record.lost += 1
        if trial.record.lost < _LOST:
            raise error
        if len(claim.account_ids) > 1:
            await self._split(claim, error, trial)
        else:
            await self._try_again(claim, error, trial)

    async def _try_again(self, claim: Claim, error: Exception, trial: _Trial) -> None:
        """Try an account once more that failed alone by what may have passed; the second time it is
        struck.
        """
        (account_id,) = claim.account_ids
        if account_id in trial.failed_once:
            await self._strike(claim, error, trial)
        else:
            trial.failed_once.add(account_id)
            await self._try(claim, trial)

    async def _answers(self) -> bool:
        """Whether PostgreSQL answers, and takes writes."""
        try:
            return await self._store.reports.is_ready()
        except ReconError:
            return False

    async def _split(self, claim: Claim, error: Exception, trial: _Trial) -> None:
        """Try both halves; a conflict with another writer in one of them is raised after both."""
        _log.warning(
            "A batch broke off; it is split.",
            action="batch.split",
            accounts=len(claim.account_ids),
            reason=repr(error),
        )
        scattered_ids = scattered(claim.account_ids)
        middle = len(scattered_ids) // 2
        conflict: WriteConflict | None = None
        for part in (scattered_ids[:middle], scattered_ids[middle:]):
            if not trial.halt.is_set:
                try:
                    await self._try(replace(claim, account_ids=part), trial)
                except WriteConflict as met:
                    conflict = met
        if conflict is not None:
            raise conflict

    async def _strike(self, claim: Claim, error: Exception, trial: _Trial) -> None:
        """Note that an account failed alone; it is blamed once another came through.

        Raises the error where it is everybody's, or ConfigurationError where the warehouse is not
        as it was when the process began.
        """
        if trial.record.came_through:
            await self._fail(claim, error)
            return
        if not trial.struck:
            await self._require_others(claim, error, trial.run)
        trial.struck.append((claim, error))
        if len(trial.struck) == _STRIKES:
            raise error

    async def _require_others(self, claim: Claim, error: Exception, run: ActiveRun) -> None:
        """Make sure that the tables are fit to work in, and that another account can be read; raise
        `error` if none can.
        """
        await self._store.require_fit()
        detection = self._store.within(run.history_from).detection
        others = [each.account_id for each in await detection.well_accounts(claim.account_ids)]
        for number, account_id in enumerate(others, start=1):
            try:
                await detection.look([account_id])
            except (DatabaseUnavailable, WriteConflict):
                raise
            except ReconError:
                if number == len(others):
                    raise error from None
            else:
                return

    async def _fail_struck(self, trial: _Trial) -> None:
        while trial.struck:
            await self._fail(*trial.struck.pop())

    async def _fail(self, claim: Claim, error: Exception) -> None:
        (account_id,) = claim.account_ids
        said = (
            str(error)
            if isinstance(error, ReconError)
            else f"an error in trade-recon itself: {error!r}"
        )
        if isinstance(error, DatabaseUnavailable):
            said = (
                "PostgreSQL ended the session, twice, where this account alone was read or"
                f" written. {error}"
            )
        _log.error(
            "An account breaks every batch off.",
            action="account.isolated",
            account_id=account_id,
            reason=said,
            exc_info=error,
        )
        try:
            await self._record_failure(claim, said)
        except (RowRefused, DatabaseError) as refused:
            # Its row in trade_recon cannot say that it failed: the run's record alone does, and the
            # claim is given back with the others.
            reason = (
                str(refused)
                if str(refused) == str(error)
                else f"{refused}; the account failed before: {said}"
            )
            await self._store.claims.set_refused_apart(claim.run_id, {account_id: reason})


class FailedHealing:
    """Records accounts that break every batch off as failed: it costs them an attempt."""

    def __init__(self, store: Repositories, terms: Callable[[], Terms]) -> None:
        """Bind where they are recorded, and on which terms."""
        self._store = store
        self._terms = terms

    async def __call__(self, claim: Claim, reason: str) -> None:
        """Record the only account of a claim."""
        (account_id,) = claim.account_ids
        result = AccountResult(
            account_id,
            Outcome.FAILED,
            found=(),
            left=None,
            effort=Effort(),
            failing=True,
            signature="",
            detail=f"The account cannot be reconciled: {reason}",
            before=claim.first_pass(account_id) or FirstPass(),
        )
        await self._store.results.record(
            claim, [result], seconds=0, requests=0, terms=self._terms(), judged=()
        )
