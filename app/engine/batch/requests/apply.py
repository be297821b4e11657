"""Applies one proven fetch: `FetchApplier.apply`.

Invariants:
1. Writes are counted even if a fetch's write fails halfway.
2. An account counts as read only if all its rows were written or equal.
3. Rows of other accounts count for the run.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from app.domain.contract.tables import Endpoint
from app.domain.ids import AccountId
from app.domain.planning.planned_request import PlannedRequest
from app.engine.batch.progress import add_effort, record_read, record_write
from app.engine.batch.requests.comparison import FetchComparison
from app.engine.batch.requests.fetch import Fetched
from app.engine.batch.requests.history import BatchHistory
from app.engine.batch.requests.other_rows import bring_in_others
from app.engine.batch.requests.shared import without_unseen
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.repositories import Repositories
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Slice
from app.store.apply.results import Applied

_IN_A_ROW = 500
"""Accounts noted before other tasks get a turn."""


class FetchApplier:
    """Writes under the claim's fence."""

    def __init__(self, store: Repositories, config: EngineConfig, history: BatchHistory) -> None:
        self._store = store
        self._config = config
        self._history = history
        self._comparison = FetchComparison(store)

    async def apply(self, state: BatchState, planned: PlannedRequest, fetched: Fetched) -> None:
        """Write rows, and note results at the accounts."""
        unknown_keys = await self._resolve_owners(planned, fetched)
        fetched = without_unseen(state, planned, fetched)
        context = state.write_context(
            planned.account_ids, self._config, self._store.claims.worker_id
        )
        proven = await self._without_renamed(state, planned, fetched)
        compared = await self._comparison.before_write(state, planned, fetched)
        applied = await self._write(state, planned, replace(fetched, proven=proven), context)
        _count_others(state, planned, applied)
        await _note_written(state, planned, fetched, applied, context)
        _note_apart(state, planned)
        for account_id, reason in unknown_keys.items():
            state.progress[account_id].unknown_keys.append(reason)
        await self._comparison.after_write(state, planned, fetched, compared)
        await bring_in_others(self._store, state, planned, fetched, context)
        await self._history.note_daily(state, planned, fetched)

    async def _resolve_owners(
        self, planned: PlannedRequest, fetched: Fetched
    ) -> Mapping[AccountId, str]:
        """Find trades' owners; unknown keys by account."""
        if not planned.request.endpoint.is_trades:
            return {}
        logins = dict(zip(planned.account_ids, planned.logins, strict=True))
        return await self._store.applier.resolve_trades(fetched.staged, logins)

    async def _without_renamed(
        self, state: BatchState, planned: PlannedRequest, fetched: Fetched
    ) -> Slice:
        """The proven slice without accounts renamed upstream."""
        # Others asked for by login have an id, which upstream does not send at this level.
        unknown = [each for each in planned.by_login if state.views[each].by_login]
        if not unknown:
            return fetched.proven
        known = await self._store.holders.note_fetch(fetched.staged, unknown)
        await self._store.account_lists.add_accounts(
            sorted({holder for holders in known.values() for holder in holders})
        )
        for account_id, holders in known.items():
            # Upstream sent its rows, under the new id.
            state.progress[account_id].sent.add(planned.request.endpoint)
            state.renamed.update({account_id, *holders})
        left = tuple(each for each in fetched.proven.account_ids if each not in known)
        return replace(fetched.proven, account_ids=left)

    async def _write(
        self, state: BatchState, planned: PlannedRequest, fetched: Fetched, context: WriteContext
    ) -> Mapping[str, Applied]:
        applied: defaultdict[str, Applied] = defaultdict(Applied)
        try:
            await self._store.applier.apply(
                fetched.staged,
                fetched.proven,
                fetched.before,
                context,
                _evidence(state, planned),
                applied=applied,
            )
        except BaseException:
            for account_id, done in applied.items():
                add_effort(state.effort_of(AccountId(account_id)), done)
            raise
        return applied


def _count_others(
    state: BatchState, planned: PlannedRequest, applied: Mapping[str, Applied]
) -> None:
    others = applied.keys() - set(planned.account_ids)
    for account_id in others:
        add_effort(state.unattributed, applied[account_id])
    if any(applied[account_id].written for account_id in others):
        state.reassigned.update(planned.account_ids)


def _note_apart(state: BatchState, planned: PlannedRequest) -> None:
    """Have accounts asked for by id whose slices changed since a shared read."""
    if planned.shared is not None:
        state.apart[planned.shared].update(
            account_id
            for account_id in planned.account_ids
            if planned.request.endpoint in state.progress[account_id].left_alone
        )


async def _note_written(
    state: BatchState,
    planned: PlannedRequest,
    fetched: Fetched,
    applied: Mapping[str, Applied],
    context: WriteContext,
) -> None:
    for number, account_id in enumerate(planned.account_ids):
        if number % _IN_A_ROW == 0:
            await asyncio.sleep(0)
        progress = state.progress[account_id]
        progress.effort.requests += fetched.requests
        done = applied.get(account_id, Applied())
        record_write(progress, planned, done)
        if (
            done.error is None
            and not done.left_alone
            and not done.claim_lost
            and not context.holds(account_id)
            and done.hold is None
        ):
            record_read(progress, planned)


def _evidence(state: BatchState, planned: PlannedRequest) -> RemovalEvidence:
    progress = {account_id: state.progress[account_id] for account_id in planned.account_ids}
    daily = {each: known.dates_read(Endpoint.DAILY) for each, known in progress.items()}
    return RemovalEvidence(
        {each: None if read.everything else frozenset(read.dates) for each, read in daily.items()},
        frozenset(each for each in planned.account_ids if state.views[each].drifts),
        {each: known.moving_figures for each, known in progress.items()},
        is_trial=planned.is_trial,
    )
