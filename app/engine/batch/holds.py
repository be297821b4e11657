"""Holds accounts that are accepted, flapping, or vanished upstream."""

import datetime as dt
from collections.abc import Callable

from app.domain.accounts.hold import Hold
from app.domain.contract.tables import Endpoint
from app.domain.holds.account_holds import vanished
from app.domain.holds.limits import FLAPS
from app.domain.holds.run_guard import Loss
from app.domain.ids import AccountId
from app.domain.issues.acceptance import is_covered
from app.domain.states import Outcome, RunKind
from app.domain.wording.counts import counted
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.off_loop import off_loop
from app.engine.repositories import Repositories


class BatchHolds:
    """Holds accounts back before a batch asks for them, and between its rounds."""

    def __init__(
        self, store: Repositories, config: EngineConfig, now: Callable[[], dt.datetime]
    ) -> None:
        self._store = store
        self._config = config
        self._now = now

    async def cover_accepted(self, state: BatchState) -> None:
        """Ask nothing about accounts of which all open issues are accepted, unless they are named,
        compared by rows, or confirmed.

        Accounts held when accepted stay guarded as held.
        """
        accepted = await self._store.acceptances.of(state.claim.account_ids)
        today = self._config.today(self._now())
        request = state.run.request
        asks = request.compares_rows or request.account_ids is not None or state.run.confirmed
        for account_id in accepted.keys() & state.views.keys():
            valid = {
                code: each for code, each in accepted[account_id].items() if each.until > today
            }
            progress = state.progress[account_id]
            progress.accepted.update(valid)
            if not asks and is_covered(state.views[account_id], valid):
                progress.known = progress.covered = True
        state.was_held |= {
            account_id
            for account_id, by_code in accepted.items()
            if any(each.was_held for each in by_code.values())
        }

    async def hold_flapping(self, state: BatchState) -> None:
        """Hold accounts whose issue keeps reopening, unless named or retried."""
        request = state.run.request
        if request.kind is RunKind.RETRY or request.account_ids is not None:
            return
        reopened = await self._store.issue_history.reopened(state.claim.account_ids)
        for account_id, times in reopened.items():
            # A flapping account is repaired when its hold ends. One that waits for confirmation was
            # not repaired, so nothing could have come back.
            if (
                times >= FLAPS
                and account_id not in state.claim.confirmed
                and state.views[account_id].status
                not in (Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION)
            ):
                state.progress[account_id].hold = _flapping(times)

    async def hold_vanished(self, state: BatchState) -> None:
        """Hold accounts upstream suddenly lacks, unless confirmed."""
        held = await off_loop(_find_vanished, state)
        losses: dict[str, Loss] = {
            account_id: Loss(lowers=True) for account_id in held if account_id not in state.was_held
        }
        if losses:
            state.guard.hold(losses)
            context = state.write_context((), self._config, self._store.claims.worker_id)
            await self._store.applier.note_losses(context, losses)


def _flapping(times: int) -> Hold:
    return Hold(
        Outcome.FLAPPING,
        f"The same issue opened again right after healing, {counted(times, 'time')} in"
        " a row: another writer changes these rows. The account is held back for a"
        " day; reconcile it by name to heal it now.",
    )


def _find_vanished(state: BatchState) -> list[AccountId]:
    found = []
    for account_id, progress in state.progress.items():
        confirmed = state.claim.confirmed.get(account_id)
        is_accepted = confirmed is not None and confirmed.trades is None
        if (
            progress.hold is None
            and not is_accepted
            and progress.dates_read(Endpoint.DAILY).everything
        ):
            progress.hold = vanished(state.views[account_id], progress, state.claim.run_id)
            if progress.hold is not None:
                found.append(account_id)
    return found
