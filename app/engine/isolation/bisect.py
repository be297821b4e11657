"""Isolation: a batch that breaks off is split until the account at fault fails alone.

Entry point: `Isolation.reconcile`.

Invariants:
1. An account is blamed only for what another one came through, or where another one can be read.
2. What is everybody's (the API, the key, a lost claim, no room) is raised and blames no account.
3. What may pass (a conflict, a lost session) is waited for first, and blames on repetition alone.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.domain.ids import RunId
from app.domain.sequences import scattered
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
from app.store.claims.claim import Claim
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger

_log = get_logger(__name__)
_STRIKES = 8
"""If so many accounts of a run failed alone and none came through, it is not their fault."""
_CONFLICTS = 3
"""Times a run waits for a conflicting writer; then accounts are tried apart: free ones go on."""
_LOST = 3
"""Lost sessions in a row that a run waits for; then accounts are tried apart: rows of one may be
what ends sessions, by a crash or a lack of memory.
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
    """One claim on its way; `struck` are accounts that failed alone and were not blamed yet.

    `failed_once` failed alone by what may pass: a lost session, or a lack of room.
    """

    run: ActiveRun
    use: RunApiStats
    stop: StopSignal
    record: _Record
    struck: list[tuple[Claim, Exception]] = field(default_factory=list)
    failed_once: set[str] = field(default_factory=set)


class Flow(Protocol):
    """What claims are taken through: reconciliation or inspection."""

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, stop: StopSignal
    ) -> object:
        """Take the claimed accounts through it and record what came of each."""


Fail = Callable[[Claim, str], Awaitable[None]]
"""Records that the only account of a claim failed, with the reason, and releases it."""


class Isolation:
    """Takes claims through the flow, also those that one of their accounts breaks off."""

    def __init__(self, batches: Flow, store: Repositories, fail: Fail) -> None:
        self._batches = batches
        self._store = store
        self._record_failure = fail
        self._records: defaultdict[RunId, _Record] = defaultdict(_Record)

    def forget(self, run_id: RunId) -> None:
        """Drop what is known of a run that is over."""
        self._records.pop(run_id, None)

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, stop: StopSignal
    ) -> None:
        """Take the claim through the flow; accounts that break it off alone are recorded as failed.

        Raises what blames no account, and the error itself where every account meets it.
        """
        trial = _Trial(run, use, stop, self._records[run.run_id])
        await self._isolate(claim, trial)
        trial.record.lost = 0
        if not stop.is_set:
            # Where none came through, others of the warehouse can be read all the same: it is these
            # accounts' own.
            await self._fail_struck(trial)

    async def _isolate(self, claim: Claim, trial: _Trial) -> None:
        """Try the claim, its halves where it breaks off, and so on; a conflict is raised last."""
        conflict: WriteConflict | None = None
        pending = [claim]
        while pending:
            try:
                pending += await self._try(pending.pop(), trial)
            except WriteConflict as met:
                conflict = met
            if trial.stop.is_set:
                break
        if conflict is not None:
            raise conflict

    async def _try(self, claim: Claim, trial: _Trial) -> list[Claim]:
        """Take a claim through the flow; what is to be tried next, from the last to the first."""
        try:
            await self._batches.reconcile(claim, trial.run, trial.use, trial.stop)
        except WriteConflict as error:
            trial.record.conflicts += 1
            if trial.record.conflicts < _CONFLICTS or len(claim.account_ids) == 1:
                raise
            return _halves(claim, error)
        except DatabaseUnavailable as error:
            return await self._meet_lost_session(claim, error, trial)
        except _NOBODYS:
            raise
        except Exception as error:  # noqa: BLE001 - any error, also a defect of ours, must not cost the other accounts their turn
            return await self._meet_failure(claim, error, trial)
        trial.record.came_through = True
        await self._fail_struck(trial)
        return []

    async def _meet_failure(self, claim: Claim, error: Exception, trial: _Trial) -> list[Claim]:
        lacked_room = isinstance(error, ResourcesExhausted)
        if lacked_room:
            # Raises DatabaseFull where there is no room at all: then no account is to blame.
            await self._store.database.require_room()
        if len(claim.account_ids) > 1:
            return _halves(claim, error)
        if lacked_room:
            return await self._try_again(claim, error, trial)
        await self._strike(claim, error, trial)
        return []

    async def _meet_lost_session(
        self, claim: Claim, error: DatabaseUnavailable, trial: _Trial
    ) -> list[Claim]:
        """Wait for PostgreSQL, unless it answers at once and ended several sessions in a row.

        Then accounts are tried apart; one that alone ended it twice is struck.
        """
        # Where there is no room at all it answers, and yet no account is what ends the work.
        if isinstance(error, DatabaseFull) or not await self._answers():
            raise error
        trial.record.lost += 1
        if trial.record.lost < _LOST:
            raise error
        if len(claim.account_ids) > 1:
            return _halves(claim, error)
        return await self._try_again(claim, error, trial)

    async def _try_again(self, claim: Claim, error: Exception, trial: _Trial) -> list[Claim]:
        """Try an account once more whose failure may have passed; strike it the second time."""
        (account_id,) = claim.account_ids
        if account_id in trial.failed_once:
            await self._strike(claim, error, trial)
            return []
        trial.failed_once.add(account_id)
        return [claim]

    async def _answers(self) -> bool:
        """Whether PostgreSQL answers, and takes writes."""
        try:
            return await self._store.reports.is_ready()
        except ReconError:
            return False

    async def _strike(self, claim: Claim, error: Exception, trial: _Trial) -> None:
        """Strike an account that failed alone; it is blamed once another came through.

        Raises the error where it is everybody's, ConfigurationError where the warehouse changed.
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
        """Require that the tables fit and that another account can be read; else raise `error`."""
        await self._store.require_fit()
        store = self._store.within(run.history_from)
        well = await store.account_lists.well_accounts(claim.account_ids)
        others = [each.account_id for each in well]
        for number, account_id in enumerate(others, start=1):
            try:
                await store.detection.look([account_id])
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
        reason = _reason(error)
        _log.error(
            "An account breaks every batch off.",
            action="account.isolated",
            account_id=account_id,
            reason=reason,
            exc_info=error,
        )
        try:
            await self._record_failure(claim, reason)
        except (RowRefused, DatabaseError) as refused:
            # Its row in trade_recon cannot say that it failed: the run's record alone does, and the
            # claim is released with the others.
            both = (
                str(refused)
                if str(refused) == str(error)
                else f"{refused}; the account failed before: {reason}"
            )
            await self._store.claims.set_refused_apart(claim.run_id, {account_id: both})


def _halves(claim: Claim, error: Exception) -> list[Claim]:
    """Both halves of a claim that broke off, the first one last."""
    _log.warning(
        "A batch broke off; it is split.",
        action="batch.split",
        accounts=len(claim.account_ids),
        reason=repr(error),
    )
    account_ids = scattered(claim.account_ids)
    middle = len(account_ids) // 2
    return [
        replace(claim, account_ids=part) for part in (account_ids[middle:], account_ids[:middle])
    ]


def _reason(error: Exception) -> str:
    if isinstance(error, DatabaseUnavailable):
        return (
            "PostgreSQL ended the session, twice, where this account alone was read or"
            f" written. {error}"
        )
    if isinstance(error, ReconError):
        return str(error)
    return f"an error in trade-recon itself: {error!r}"
