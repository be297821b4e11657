"""Detects the issues of a batch's accounts."""

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.domain.accounts.hold import Rewritten
from app.domain.accounts.view import AccountView
from app.domain.holds.run_guard import RunGuard
from app.domain.ids import AccountId
from app.domain.issues.codes import Issue
from app.domain.issues.detection import detect, with_open_drift
from app.domain.pins import beside_pins
from app.engine.batch.progress import initial_progress
from app.engine.batch.run_guards import RunGuards
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories
from app.engine.stopping import StopSignal
from app.store.claims.claim import Claim
from app.store.runs.active_runs import ActiveRun


class Detector:
    """Detects at the start and after each write."""

    def __init__(
        self,
        store: Repositories,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        guards: RunGuards,
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._guards = guards

    async def begin(self, claim: Claim, run: ActiveRun, stop: StopSignal) -> BatchState:
        """Detect the claimed accounts."""
        begun = time.monotonic()
        views = await self.views(claim.account_ids, claim, is_first=True)
        earlier = await self._store.results.rewritten(claim.account_ids)
        guard = await self._guards.of(run)
        state = await off_loop(self._state, claim, run, stop, views, guard, earlier)
        state.begun = begun
        return state

    async def note_found(self, state: BatchState) -> None:
        """Open detected issues in the history."""
        found = await off_loop(_news, state)
        await self._store.issue_history.open_issues(state.claim.run_id, found, state.moving.first)

    async def renew(self, state: BatchState, account_ids: Sequence[AccountId]) -> None:
        """Read accounts again."""
        views = await self.views(account_ids, state.claim)
        await off_loop(state.renew, views)

    async def views(
        self, account_ids: Sequence[AccountId], claim: Claim, *, is_first: bool = False
    ) -> dict[AccountId, AccountView]:
        """The accounts as counted, with drift and pins."""
        views = await self._store.detection.look(
            account_ids, claim.run_id, is_first=is_first, all_logins=claim.by_rows
        )
        surplus = [
            (account_id, day) for account_id, view in views.items() for day in view.surplus_days
        ]
        doubled, now = await self._store.comparison.doubled_days(surplus), self._now()

        def judged(view: AccountView) -> AccountView:
            days = doubled.get(view.account_id)
            return beside_pins(
                with_open_drift(view if days is None else replace(view, doubled=days)), now
            )

        return await off_loop(
            lambda: {account_id: judged(view) for account_id, view in views.items()}
        )

    def _state(
        self,
        claim: Claim,
        run: ActiveRun,
        stop: StopSignal,
        views: dict[AccountId, AccountView],
        guard: RunGuard,
        earlier: Mapping[AccountId, Rewritten],
    ) -> BatchState:
        now = self._now()
        moving = self._config.moving(now, run.history_from)
        known = views.items()
        return BatchState(
            claim,
            run,
            stop,
            moving,
            views,
            {each: detect(view) for each, view in known},
            {each: initial_progress(view, run.request, moving, now) for each, view in known},
            guard,
            earlier,
        )


def _news(state: BatchState) -> dict[AccountId, tuple[Issue, ...]]:
    """Issues to open; unchanged accounts stay explained."""
    return {
        view.account_id: state.found[view.account_id]
        for view in state.views.values()
        if not state.progress[view.account_id].covered
        and (view.explained_as is None or view.explained_as != view.signature)
    }
