"""A run's maintenance, of all accounts or some."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.ids import AccountId, RunId
from app.domain.sequences import pieces, scattered
from app.engine.config import EngineConfig
from app.engine.preparation.maintenance import count, find_ids, maintain, repair_ids
from app.engine.repositories import Repositories
from app.errors import DatabaseError, ReconError, RowRefused, StatementTooSlow, WriteConflict
from app.telemetry import get_logger

_log = get_logger(__name__)
_STRIKES = 8
"""Failing accounts, all failing, before none is blamed."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """Results of maintenance, and accounts that it could not work on.

    `unread` could not be read, rows of `locked` are held by others, those of `refused` are rejected
    by trade_recon, which lacks the `kept_out` among them.
    """

    result: Mapping[str, object]
    unread: Sequence[str] = ()
    locked: Sequence[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    kept_out: frozenset[str] = frozenset()


class RunMaintenance:
    """Maintains the warehouse around failing accounts."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._store = store
        self._config = config
        self._now = now

    async def maintain_all(self, run_id: RunId, *, heals: bool) -> Maintained:
        """Maintain all at once, or in batches where rows fail.

        Without `heals` it only counts. Raises errors no account explains.
        """
        try:
            today = self._config.today(self._now())
            done = await (
                maintain(self._store, today, run_id) if heals else count(self._store, today)
            )
            return Maintained(
                done.as_json(),
                locked=done.accounts_locked,
                refused=done.accounts_refused,
                kept_out=done.accounts_kept_out,
            )
        except (RowRefused, DatabaseError) as error:
            known = await self._store.preparations.oldest_accounts(
                await self._store.preparations.count_accounts()
            )
            _log.warning(
                "The warehouse cannot be read at once; its accounts are read in batches.",
                action="maintenance.in_batches",
                accounts=len(known),
                reason=str(error),
            )
            maintained = await self.maintain_some(run_id, known, heals=heals)
            if not maintained.unread:
                raise
            return replace(
                maintained,
                result={
                    "incomplete": (
                        f"Accounts that were not known before were not looked for: {error}"
                    )
                },
            )

    async def maintain_some(
        self, run_id: RunId, account_ids: Sequence[AccountId], *, heals: bool
    ) -> Maintained:
        """Maintain in batches, split around failing accounts.

        Raises where all fail.
        """
        unread: list[str] = []
        locked: list[str] = []
        refused: dict[str, str] = {}
        came_through = False
        waiting = list(pieces(scattered(account_ids), self._config.batch_size))
        while waiting:
            batch = waiting.pop()
            try:
                # Ingestion may have brought accounts since the last maintenance.
                kept_out = await self._store.account_lists.add_accounts(batch)
                refused |= kept_out
                batch = [account_id for account_id in batch if account_id not in kept_out]
                await self._maintain(run_id, batch, heals=heals)
                came_through = True
            except WriteConflict:
                held = set(await self._store.account_lists.locked_accounts(batch))
                if not held:
                    # The rows are free by now, or no account's: the work waits.
                    raise
                locked += held
                waiting += pieces([each for each in batch if each not in held], len(batch))
            except (RowRefused, StatementTooSlow, DatabaseError) as error:
                if len(batch) > 1:
                    waiting += pieces(batch, -(-len(batch) // 2))
                    continue
                unread += batch
                if len(unread) >= _STRIKES and not came_through:
                    raise
                _log_failed(batch[0], error)
        return Maintained({}, unread, sorted(locked), refused, frozenset(refused))

    async def _maintain(
        self, run_id: RunId, account_ids: Sequence[AccountId], *, heals: bool
    ) -> None:
        today = self._config.today(self._now())
        await (
            repair_ids(self._store, account_ids, today, run_id)
            if heals
            else find_ids(self._store, account_ids, today)
        )
        await self._store.detection.refresh_stats(account_ids, is_first=True)
        await self._store.sweep.follow_state(account_ids)


def _log_failed(account_id: AccountId, error: ReconError) -> None:
    _log.warning(
        "An account cannot be maintained.",
        action="maintenance.failed",
        account_id=account_id,
        reason=str(error),
    )
