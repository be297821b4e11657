"""Isolation: a batch that breaks off by the fault of an account is split until that account stands alone and fails alone."""

import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from app.domain.models import Effort, Outcome
from app.engine.batch import BatchReconciler
from app.engine.halts import Halt
from app.engine.usage import RunUse
from app.errors import (
    ClaimLost,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    ReconError,
    ResourcesExhausted,
    UpstreamError,
    WriteConflict,
)
from app.store.claims import Claim, FirstPass
from app.store.runs import AccountResult, ActiveRun, Runs, Terms
from app.telemetry import get_logger

_log = get_logger(__name__)
_STRIKES = 3
"""When so many accounts of a run fail like this and none comes through, it is not the accounts' fault."""
_NOBODYS = (DatabaseUnavailable, WriteConflict, ConfigurationError, UpstreamError, ClaimLost)
"""Errors of the surroundings: they say nothing about an account."""


@dataclass(slots=True)
class _Record:
    """How the batches of a run fared in this process."""

    came_through: bool = False
    struck: set[str] = field(default_factory=set)


class Isolation:
    """Takes claims through the flow, however one of their accounts spoils it."""

    def __init__(self, batches: BatchReconciler, runs: Runs, terms: Callable[[], Terms]) -> None:
        """Bind the flow, and where accounts are recorded that cannot go through it."""
        self._batches = batches
        self._runs = runs
        self._terms = terms
        self._records: defaultdict[uuid.UUID, _Record] = defaultdict(_Record)

    def forget(self, run_id: uuid.UUID) -> None:
        """The run is over."""
        self._records.pop(run_id, None)

    async def reconcile(self, claim: Claim, run: ActiveRun, use: RunUse, halt: Halt) -> None:
        """Take the claim through the flow; accounts that alone break it off are recorded as failed, with the reason.

        Raises what says nothing about an account, and the error itself where every account meets it.
        """
        try:
            await self._batches.reconcile(claim, run, use, halt)
        except _NOBODYS:
            raise
        except Exception as error:
            if isinstance(error, ResourcesExhausted):
                # Raises DatabaseUnavailable where there is no room for anybody: then it is no account's.
                await self._runs.require_room()
            # Any error, also a defect of ours: it must not cost the other accounts their turn.
            record = self._records[run.run_id]
            if len(claim.account_ids) > 1:
                _log.warning("A batch broke off; it is split.", action="batch.split", accounts=len(claim.account_ids), reason=repr(error))
                middle = len(claim.account_ids) // 2
                for part in (claim.account_ids[:middle], claim.account_ids[middle:]):
                    if not halt.is_set:
                        await self.reconcile(replace(claim, account_ids=part), run, use, halt)
                return
            record.struck.add(claim.account_ids[0])
            is_everybodys = not record.came_through and (len(record.struck) >= _STRIKES or isinstance(error, DatabaseError))
            if is_everybodys:
                raise
            await self._fail(claim, error)
        else:
            self._records[run.run_id].came_through = True

    async def _fail(self, claim: Claim, error: Exception) -> None:
        (account_id,) = claim.account_ids
        said = str(error) if isinstance(error, ReconError) else f"an error in trade-recon itself: {error!r}"
        _log.error("An account breaks every batch off.", action="account.isolated", account_id=account_id, reason=said, exc_info=error)
        result = AccountResult(
            account_id,
            Outcome.FAILED,
            found=(),
            left=None,
            effort=Effort(),
            failing=True,
            signature="",
            detail=f"The account cannot be reconciled: {said}",
            before=claim.postponed.get(account_id, FirstPass()),
        )
        await self._runs.record(claim, [result], seconds=0, requests=0, terms=self._terms(), judged=())
