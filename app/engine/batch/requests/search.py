"""A batch's search for failing accounts."""

import dataclasses
import datetime as dt
import random
from collections.abc import Callable

from app.domain.planning.plan import why_not_asked
from app.engine.batch.requests.read import RequestReader
from app.engine.batch.requests.search_reader import SearchReader
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.isolation.budget import Spent
from app.engine.isolation.control_requests import Control, Controls
from app.engine.isolation.search import Search
from app.engine.repositories import Repositories
from app.upstream.client import UpstreamClient

_OWN_CONTROLS = 4
"""Controls from the batch itself."""


class BatchSearches:
    """Begins each batch's search."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        reader: RequestReader,
    ) -> None:
        self._store = store
        self._client = client
        self._config = config
        self._now = now
        self._reader = reader

    def begin(self, state: BatchState) -> Search:
        """A search within the rest of RECON_SEARCH_REQUESTS."""
        most = self._config.search_requests
        return Search(
            self._client,
            Controls(self._client, lambda: self._controls(state)),
            SearchReader(state, self._reader),
            allowance=Spent(most - state.run.searched, most - state.run.searched_known),
            today=self._now().date(),
        )

    async def _controls(self, state: BatchState) -> list[Control]:
        well = await self._store.account_lists.well_accounts(state.claim.account_ids)
        others = [
            Control(each.account_id, each.logins, each.day, quietest=each.quietest) for each in well
        ]
        return [*others, *await self._own_controls(state)]

    async def _own_controls(self, state: BatchState) -> list[Control]:
        """Controls drawn from the batch itself, as no well account is known."""
        traded = [
            view
            for view in state.views.values()
            if any(dataclasses.astuple(view.totals)) and why_not_asked(view) is None
        ]
        drawn = random.sample(traded, min(_OWN_CONTROLS, len(traded)))
        days = await self._store.account_lists.last_days([view.account_id for view in drawn])
        return [
            Control(
                view.account_id,
                view.logins,
                days.get(view.account_id, view.first_day),
                is_well=False,
                by_login=view.by_login,
            )
            for view in drawn
        ]
