"""Splits a batch that breaks off until the account at fault fails alone.

Entry point: `Isolation.reconcile`.

Invariants:
1. An account is blamed only if others came through, or can be read.
2. API, key, claim and disk errors are raised, and blame no account.
3. Conflicts and lost sessions are waited for, and blame only on repetition.
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
"""Failures alone, with none coming through, before none is blamed."""
_CONFLICTS = 3
"""Conflicts before a run tries accounts apart."""
_LOST = 3
"""Sessions lost in a row before accounts are tried apart."""
_OF_SURROUNDINGS = (ConfigurationError, UpstreamError, ClaimLost)
"""Errors of the surroundings."""


@dataclass(slots=True)
class _Record:
    came_through: bool = False
    conflicts: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Trial:
    """A claim on its way; `struck` accounts failed alone, and are not blamed yet."""

    run: ActiveRun
    use: RunApiStats
    stop: StopSignal
    record: _Record
    struck: list[tuple[Claim, Exception]] = field(default_factory=list)
    failed_once: set[str] = field(default_factory=set)


class Flow(Protocol):
    """Reconciliation or inspection of claims."""

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, stop: StopSignal
    ) -> object:
        """Take the accounts through, and record them."""


Fail = Callable[[Claim, str], Awaitable[None]]
"""Records a claim's account as failed, and releases it."""


class Isolation:
    """Takes claims through, around accounts that break them off."""

    def __init__(self, batches: Flow, store: Repositories, fail: Fail) -> None:
        self._batches = batches
        self._store = store
        self._record_failure = fail
        self._records: defaultdict[RunId, _Record] = defaultdict(_Record)

    def forget(self, run_id: RunId) -> None:
        """Drop an ended run."""
        self._records.pop(run_id, None)

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, stop: StopSignal
    ) -> None:
        """Take the claim through; accounts that break off alone are recorded as failed.

        Raises errors that blame none.
        """
        trial = _Trial(run, use, stop, self._records[run.run_id])
        await self._isolate(claim, trial)
        trial.record.lost = 0
        if not stop.is_set:
            # Even if none came through: other accounts can be read, so these are at fault.
            await self._fail_struck(trial)

    async def _isolate(self, claim: Claim, trial: _Trial) -> None:
        """Try the claim, then halves; raise a conflict last."""
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
        """Try a claim; those to try next, last first."""
        try:
            await self._batches.reconcile(claim, trial.run, trial.use, trial.stop)
        except WriteConflict as error:
            trial.record.conflicts += 1
            if trial.record.conflicts < _CONFLICTS or len(claim.account_ids) == 1:
                raise
            return _halves(claim, error)
        except DatabaseUnavailable as error:
            return await self._meet_lost_session(claim, error, trial)
        except _OF_SURROUNDINGS:
            raise
        except Exception as error:  # noqa: BLE001 - any error, also a defect of ours, must not cost the other accounts their turn
            return await self._meet_failure(claim, error, trial)
        trial.record.came_through = True
        await self._fail_struck(trial)
        return []

    async def _meet_failure(self, claim: Claim, error: Exception, trial: _Trial) -> list[Claim]:
        lacked_room = isinstance(error, ResourcesExhausted)
        if lacked_room:
            # Raises DatabaseFull where there is no room at all: no account is to blame.
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
        """Wait for PostgreSQL, or try accounts apart after several losses."""
        # A full database answers, and yet no account is to blame.
        if isinstance(error, DatabaseFull) or not await self._answers():
            raise error
        trial.record.lost += 1
        if trial.record.lost < _LOST:
            raise error
        if len(claim.account_ids) > 1:
            return _halves(claim, error)
        return await self._try_again(claim, error, trial)

    async def _try_again(self, claim: Claim, error: Exception, trial: _Trial) -> list[Claim]:
        (account_id,) = claim.account_ids
        if account_id in trial.failed_once:
            await self._strike(claim, error, trial)
            return []
        trial.failed_once.add(account_id)
        return [claim]

    async def _answers(self) -> bool:
        try:
            return await self._store.reports.is_ready()
        except ReconError:
            return False

    async def _strike(self, claim: Claim, error: Exception, trial: _Trial) -> None:
        """Strike an account: blamed once another came through."""
        if trial.record.came_through:
            await self._fail(claim, error)
            return
        if not trial.struck:
            await self._require_others(claim, error, trial.run)
        trial.struck.append((claim, error))
        if len(trial.struck) == _STRIKES:
            raise error

    async def _require_others(self, claim: Claim, error: Exception, run: ActiveRun) -> None:
        """Raise `error` unless another account can be read."""
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
            # Its row in trade_recon cannot be written: only the run's record tells the failure, and
            # the claim is released with the others.
            both = (
                str(refused)
                if str(refused) == str(error)
                else f"{refused}; the account failed before: {reason}"
            )
            await self._store.claims.set_refused_apart(claim.run_id, {account_id: both})


def _halves(claim: Claim, error: Exception) -> list[Claim]:
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
