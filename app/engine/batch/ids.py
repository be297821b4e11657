"""Repairs account ids after fetches and writes."""

import datetime as dt
from collections.abc import Callable, Collection, Sequence

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.detect import Detector
from app.engine.batch.progress import note_given_back
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.preparation.maintenance import repair_ids
from app.engine.repositories import Repositories
from app.store.identity.given_back import GivenBack

_NAMING = (Endpoint.ALLTIME, Endpoint.DAILY)
"""Tables that assign keys to accounts."""


class BatchIds:
    """Repairs ids between fetches."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        detector: Detector,
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._detector = detector

    async def repair_read(self, state: BatchState, metrics: Sequence[PlannedRequest]) -> None:
        """Repair ids between metrics and trades."""
        written = {
            account_id
            for each in metrics
            if each.request.endpoint in _NAMING
            for account_id in each.account_ids
            if state.progress[account_id].effort.inserted
            or state.progress[account_id].effort.updated
        }
        account_ids = sorted(written | state.renamed)
        state.renamed.clear()
        if account_ids:
            with state.phase("identity"):
                await self._repair_and_note(state, account_ids)

    async def repair_doubtful(self, state: BatchState) -> None:
        """Repair doubtful ids, and rows without account."""
        doubtful = {account_id for account_id, view in state.views.items() if view.findings}
        account_ids = sorted(doubtful | state.reassigned)
        if account_ids:
            with state.phase("identity"):
                await self._repair_and_note(state, account_ids)
                await self._look_again(state, account_ids)

    async def give_back(self, state: BatchState) -> None:
        """Give unsent metrics rows to their natural key's owner."""
        given: list[GivenBack] = []
        with state.phase("identity"):
            for endpoint in (Endpoint.DAILY, Endpoint.HOURLY):
                given += await self._give_back(state, endpoint)
        if not given:
            return
        touched = sorted({account_id for each in given for account_id in (each.holder, each.owner)})
        await self._repair_ids(state, touched)
        await self._store.detection.refresh_stats(
            [account_id for account_id in touched if account_id not in state.views]
        )
        state.note_repaired_ids(touched, len(given))
        await self._look_again(state, [each for each in touched if each in state.views])

    async def _give_back(self, state: BatchState, endpoint: Endpoint) -> list[GivenBack]:
        unsent = [
            (account_id, day)
            for account_id, progress in state.progress.items()
            # Also of an account absent upstream: by their key the rows are another's.
            if progress.hold is None or progress.hold.absent
            for day in progress.kept.get(endpoint, {})
            if day is not None
        ]
        if not unsent:
            return []
        claim = state.claim
        given = await self._store.identity.give_back(
            endpoint, unsent, claim.run_id, claim.claim_id, self._config.lease_seconds
        )
        for each in given:
            note_given_back(state.progress[each.holder], endpoint, each)
        return list(given)

    async def _repair_and_note(self, state: BatchState, account_ids: Sequence[AccountId]) -> None:
        rows = await self._repair_ids(state, account_ids)
        state.note_repaired_ids(account_ids, rows)

    async def _repair_ids(self, state: BatchState, account_ids: Sequence[AccountId]) -> int:
        today = self._config.today(self._now())
        return await repair_ids(self._store, account_ids, today, state.claim.run_id)

    async def _look_again(self, state: BatchState, account_ids: Collection[AccountId]) -> None:
        state.views.update(await self._detector.views(list(account_ids), state.claim))
