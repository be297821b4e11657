"""Reports progress of this process's batches."""

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.domain.planning.descent import NOTHING, needs_of
from app.engine.batch.state import BatchState
from app.engine.repositories import Repositories
from app.errors import ReconError
from app.store.claims.batch_progress import Progressed
from app.telemetry import get_logger

if TYPE_CHECKING:
    from app.domain.ids import RunId


_log = get_logger(__name__)
_IN_A_ROW = 200
"""Accounts counted before other tasks get a turn."""
_SHARE = 19


class BatchProgress:
    """Batches under way here."""

    def __init__(self, store: Repositories) -> None:
        self._store = store
        self._states: dict[int, BatchState] = {}
        self._told: dict[RunId, Progressed] = {}
        self._next_at = -math.inf

    @contextlib.contextmanager
    def working(self, state: BatchState) -> Iterator[None]:
        """Report the batch meanwhile."""
        self._states[id(state)] = state
        try:
            yield
        finally:
            self._states.pop(id(state), None)

    async def tell(self) -> None:
        """Write changed progress; counting takes a twentieth of the time."""
        begun = time.monotonic()
        if begun < self._next_at or (not self._states and not self._told):
            return
        figures: defaultdict[RunId, Progressed] = defaultdict(Progressed)
        for state in list(self._states.values()):
            figures[state.run.run_id] += await _progressed(state)
        self._next_at = time.monotonic() + _SHARE * (time.monotonic() - begun)
        if figures == self._told:
            return
        try:
            await self._store.under_way.note(self._store.claims.worker_id, figures)
        except ReconError as error:
            _log.warning(
                "The progress of the batches could not be reported.",
                action="worker.progress_missed",
                reason=str(error),
            )
            return
        self._told = dict(figures)


async def _progressed(state: BatchState) -> Progressed:
    done, written = 0, state.unattributed.written
    for number, (account_id, progress) in enumerate(list(state.progress.items())):
        if number % _IN_A_ROW == _IN_A_ROW - 1:
            await asyncio.sleep(0)
        # A batch that ends meanwhile releases its accounts one by one.
        view = state.views.get(account_id)
        done += view is not None and needs_of(view, progress, state.gaps) == NOTHING
        written += progress.effort.written
    return Progressed(len(state.progress), done, state.requests, written)
