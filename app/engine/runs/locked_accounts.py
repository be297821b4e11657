"""Accounts with locked trade_recon rows."""

import time

from app.domain.ids import RunId
from app.engine.repositories import Repositories
from app.telemetry import get_logger

_log = get_logger(__name__)
_LOOK_SECONDS = 1.0
_NAMED = 20


class LockedAccounts:
    """Fails them after `seconds`."""

    def __init__(self, store: Repositories, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._since: dict[RunId, dict[str, float]] = {}
        self._looked_at: dict[RunId, float] = {}

    def forget(self, run_id: RunId) -> None:
        """Drop an ended run."""
        self._since.pop(run_id, None)
        self._looked_at.pop(run_id, None)

    async def set_apart(self, run_id: RunId) -> None:
        """Fail accounts locked too long."""
        now = time.monotonic()
        if now - self._looked_at.get(run_id, -_LOOK_SECONDS) < _LOOK_SECONDS:
            return
        self._looked_at[run_id] = now
        due = await self._store.claims.due(run_id)
        locked = await self._store.account_lists.locked_accounts(due) if due else []
        before = self._since.get(run_id, {})
        since = self._since[run_id] = {
            account_id: before.get(account_id, now) for account_id in locked
        }
        apart = sorted(
            account_id for account_id, first in since.items() if now - first >= self._seconds
        )
        if apart:
            await self._store.claims.set_locked_apart(run_id, apart)
            _log.warning(
                "Rows of trade_recon are locked by another transaction: their accounts fail, and"
                " the next run takes them.",
                action="claim.locked",
                run_id=str(run_id),
                accounts=len(apart),
                sample=apart[:_NAMED],
            )
