"""Guards an audit against an incomplete upstream."""

from collections.abc import Sequence

from app.domain.holds.limits import HoldLimits
from app.domain.holds.run_guard import undoing
from app.domain.ids import AccountId, RunId
from app.engine.repositories import Repositories
from app.errors import UpstreamSuspect


class AuditGuard:
    """Compares findings with `limits` (None: none)."""

    def __init__(
        self,
        store: Repositories,
        run_id: RunId,
        account_ids: Sequence[AccountId] | None,
        limits: HoldLimits | None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._account_ids = account_ids
        self._limits = limits

    async def judge_absent(self, sample: Sequence[str], asked: int) -> None:
        """Raise UpstreamSuspect if, by this sample, too many of all `asked` are absent."""
        if self._limits is None:
            return
        unseen = set(await self._store.scans.unseen_accounts(self._run_id, self._account_ids))
        # A sample, since an unfinished scan misses accounts that upstream has; known absent ones do
        # not count.
        news = await self._store.scans.count_news(
            [account_id for account_id in sample if account_id in unseen]
        )
        missing, total = round(asked * news / len(sample)), await self._total()
        if self._limits.suspects(missing, total):
            raise UpstreamSuspect(self._limits.suspicion(missing, total, 0))

    async def judge_rekeyed(self) -> None:
        """Have accounts with another natural key upstream read whole.

        Raises UpstreamSuspect above the limits.
        """
        rekeyed = await self._store.scans.count_rekeyed(self._run_id)
        if not rekeyed:
            return
        total = await self._total()
        if self._limits is not None and self._limits.suspects(rekeyed, total):
            raise UpstreamSuspect(self._limits.suspicion_of_keys(rekeyed, total))
        await self._store.scans.note_rekeyed(self._run_id)

    async def judge_lowered(self) -> None:
        """Mark the run if too many accounts have less upstream."""
        if self._limits is None:
            return
        total = await self._total()
        lowered = await self._store.scans.count_lowered(self._run_id)
        if self._limits.suspects(lowered, total):
            reason = self._limits.suspicion(lowered, total, 0) + undoing(self._run_id)
            await self._store.runs.note_suspicion(self._run_id, reason, None)

    async def _total(self) -> int:
        if self._account_ids is None:
            return await self._store.preparations.count_accounts()
        return len(self._account_ids)
