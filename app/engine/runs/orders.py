"""Orders about runs, noted with reasons."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Sequence

from app.domain.ids import RunId
from app.engine.end_log import log_end
from app.engine.repositories import Repositories
from app.store.runs.orders import Ordered


class RunOrders:
    """Steers runs of all processes.

    Raises NotFound, and Conflict where the state forbids the order; a repeated one changes nothing.
    """

    def __init__(self, store: Repositories, today: Callable[[], dt.date]) -> None:
        self._store = store
        self._today = today

    async def pause(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Pause a run at its next checkpoint."""
        await self._order("pause", run_id, reason, self._store.control.pause(run_id))

    async def resume(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """Resume a paused run."""
        await self._order("resume", run_id, reason, self._store.control.resume(run_id))

    async def cancel(self, run_id: uuid.UUID, reason: str | None = None) -> None:
        """End a run; repairs stay."""
        sentence = "The run was cancelled; what was healed until then stays healed."
        if await self._order(
            "cancel", run_id, reason, self._store.control.cancel(run_id, sentence)
        ):
            await log_end(self._store, RunId(run_id), self._today())

    async def confirm(
        self, run_id: uuid.UUID, account_ids: Sequence[str] | None = None, reason: str | None = None
    ) -> None:
        """Let a run write held accounts, all or these.

        Raises InvalidRequest for others.
        """
        chosen = None if account_ids is None else list(dict.fromkeys(account_ids))
        await self._order(
            "confirm", run_id, reason, self._store.control.confirm(run_id, chosen, self._today())
        )

    async def _order(
        self, ordered: Ordered, run_id: uuid.UUID, reason: str | None, steering: Awaitable[bool]
    ) -> bool:
        is_new = await steering
        if is_new:
            await self._store.orders.note(ordered, run_id, reason)
        return is_new
