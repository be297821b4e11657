"""One batch through the flow: detect, plan, fetch, apply, verify, record; the claim came before.

Rounds are shared by the whole batch: each asks for what the last one made worth asking. Metrics are
applied before trades, since a trade finds its account through them. What fails, fails alone: an
account whose rows cannot be fetched or written carries the error, the others go on. One whose rows
could not be fetched goes through the flow once more behind all other accounts of its run, and
carries the error only if that fails too.

Between two requests and between two rounds a batch can stop: what is finished by then is recorded,
the other accounts wait in their run as before. It does so when its run is halted. Where upstream
becomes suspect it goes on with accounts that lose nothing, and stops the run when it is recorded.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.domain.accounts.comparison import ComparedTable
from app.domain.accounts.hold import Hold, Rewritten
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.holds.account_holds import vanished
from app.domain.holds.limits import FLAPS
from app.domain.holds.run_guard import Loss, RunGuard, undoing
from app.domain.issues.codes import Issue, IssueCode
from app.domain.issues.detection import detect, with_open_drift
from app.domain.pins import beside_pins
from app.domain.planning.contradictions import is_short
from app.domain.planning.estimates import Upstream
from app.domain.planning.plan import MAX_ROUNDS, find_gaps, plan_round, why_not_asked
from app.domain.planning.planned_request import PlannedRequest
from app.domain.states import Outcome, RunKind
from app.domain.verdict.backoff import next_attempt
from app.domain.verdict.explanation import descended
from app.domain.wording.counts import counted
from app.engine.api_usage import RunApiStats
from app.engine.batch.accepted import cover
from app.engine.batch.batch_progress import BatchProgress
from app.engine.batch.fetch import Fetched, Fetcher
from app.engine.batch.outcome import Passed, result_of
from app.engine.batch.progress import (
    add_effort,
    forget_left_alone,
    initial_progress,
    note_differing,
    note_given_back,
    note_unequal,
    record_read,
    record_write,
)
from app.engine.batch.read_state import BatchReader
from app.engine.batch.received_rows import bring_in_others
from app.engine.batch.state import BatchState
from app.engine.config import EngineConfig
from app.engine.end_log import log_end
from app.engine.isolation.control_requests import Control, Controls
from app.engine.isolation.search import Search, Spent
from app.engine.preparation.history import find_before, find_forgotten, take_parts
from app.engine.preparation.maintenance import mend_accounts
from app.engine.repositories import Repositories
from app.engine.stopping import StopSignal
from app.errors import (
    ReconError,
    ResourcesExhausted,
    RowRefused,
    StatementTooSlow,
)
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Slice
from app.store.apply.results import Applied
from app.store.claims.claim import Claim, Uncounted
from app.store.results.account_result import AccountResult, Terms
from app.store.runs.active_runs import ActiveRun
from app.telemetry import get_logger
from app.upstream.client import UpstreamClient
from app.upstream.stats import ApiStatistics

if TYPE_CHECKING:
    from app.store.identity.given_back import GivenBack

_log = get_logger(__name__)
_IN_A_ROW = 500
"""Accounts that are noted before others get their turn: a fetch may be for thousands."""
_CONTROLS = 4
"""Accounts of a batch that show whether an endpoint is well, beside those that are known to
agree.
"""
_LOOKS = 3
"""How often a slice is looked at that someone else keeps changing."""


@dataclass(slots=True)
class _Shared:
    """What all batches of this process share: places for fetches, what is under way, the guards of
    runs, and the size of upstream.
    """

    slots: asyncio.Semaphore
    under_way: BatchProgress
    guards: dict[uuid.UUID, tuple[dt.datetime | None, RunGuard]] = field(default_factory=dict)
    measured: tuple[uuid.UUID, Upstream] | None = None


class BatchReconciler:
    """Takes claimed batches through the flow."""

    def __init__(
        self,
        store: Repositories,
        client: UpstreamClient,
        config: EngineConfig,
        now: Callable[[], dt.datetime],
        shared: "_Shared | None" = None,
    ) -> None:
        """Bind the parts; `now` gives the time (aware), so that tests choose it, `shared` is what
        others know of the same runs.
        """
        self._store = store
        self._client = client
        self._config = config
        self._now = now
        self._fetcher = Fetcher(client, store.staging, store.changes)
        self._shared = shared or _Shared(asyncio.Semaphore(config.fetches), BatchProgress(store))
        self._slots, self._guards = self._shared.slots, self._shared.guards

    def within(self, first: dt.date | None) -> "BatchReconciler":
        """The same, for which there are only the dates from `first` on (None: all); what is known
        of runs is shared.
        """
        store = self._store.within(first)
        return (
            self
            if store is self._store
            else BatchReconciler(store, self._client, self._config, self._now, self._shared)
        )

    async def reconcile(
        self, claim: Claim, run: ActiveRun, use: RunApiStats, halt: StopSignal
    ) -> Counter[Outcome]:
        """Heal the claimed accounts and record what came of each; the outcomes of those that were
        still ours and are settled.

        An account whose only trouble is that a fetch could not be completed goes back into the run,
        once. After `halt` only what is finished is recorded. A run that makes upstream suspect is
        stopped.

        `use` records what the run asks of the API. Raises UpstreamRefused and UpstreamUnavailable
        when the API refuses or is out, DatabaseUnavailable when PostgreSQL is gone: nothing is
        recorded then, and what was written is whole.
        """
        bound = self.within(run.history_from)
        if bound is not self:
            return await bound.reconcile(claim, run, use, halt)
        begun = time.monotonic()
        claim = replace(claim, by_rows=run.request.compares_rows)
        views = await self._look(claim.account_ids, claim, is_first=True)
        # In threads, here and below: judging thousands of accounts takes longer than a request to
        # this process should wait.
        earlier = await self._store.results.rewritten(claim.account_ids)
        work = await asyncio.to_thread(
            self._begin, claim, run, halt, views, await self._guard_of(run), earlier
        )
        work.was_held |= cover(
            run,
            work,
            await self._store.acceptances.of(claim.account_ids),
            self._config.today(self._now()),
        )
        news = await asyncio.to_thread(_news, work)
        await self._store.issue_history.open_issues(claim.run_id, news, work.moving.first)
        await self._hold_flapping(work)
        work.seconds["detect"] += time.monotonic() - begun
        is_recording = False
        try:
            with work.use.recording(), self.under_way.working(work):
                await self._heal(work)
            results = await asyncio.to_thread(self._results, work)
            await use.keep()
            reason = work.guard.reason
            if reason is not None:
                # Before the record: whoever ends the run meanwhile finds why.
                await self._store.runs.note_suspicion(claim.run_id, reason, run.confirmed_at)
            is_recording = True
            outcomes = await self._record(work, results, time.monotonic() - begun)
        except (Exception, asyncio.CancelledError):
            # The batch breaks off and its accounts wait again; what it wrote and asked is still
            # counted, and recorded with what comes.
            claim.note_broken_off(work.begun())
            claim.broken_off.uncounted.append(
                Uncounted(work.efforts, work.requests, is_recording=is_recording)
            )
            work.guard.forget_compared(work.views)
            with contextlib.suppress(ReconError):
                await use.keep()
                await count_broken_off(self._store, claim)
            raise
        # Those that go on waiting, since the run was halted.
        claim.note_broken_off(
            {
                account_id: done
                for account_id, done in work.begun().items()
                if account_id in work.unfinished
            }
        )
        if reason is not None and await self._store.control.suspend(
            claim.run_id, reason, run.confirmed_at
        ):
            await log_end(self._store, claim.run_id, self._config.today(self._now()))
        await asyncio.to_thread(_let_go, results, work.views, work.found, work.progress, news)
        return outcomes

    def _begin(
        self,
        claim: Claim,
        run: ActiveRun,
        halt: StopSignal,
        views: dict[str, AccountView],
        guard: RunGuard,
        earlier: Mapping[str, Rewritten],
    ) -> BatchState:
        now = self._now()
        moving = self._config.moving(now, run.history_from)
        return BatchState(
            claim,
            run,
            halt,
            moving,
            views,
            {account_id: detect(view) for account_id, view in views.items()},
            {
                account_id: initial_progress(view, run.request, moving, now)
                for account_id, view in views.items()
            },
            guard,
            {account_id: view.totals for account_id, view in views.items()},
            earlier,
            frozenset(
                account_id
                for account_id, view in views.items()
                if view.status == Outcome.NEEDS_CONFIRMATION
            ),
        )

    @property
    def under_way(self) -> BatchProgress:
        """The batches that are healed at this moment."""
        return self._shared.under_way

    def forget(self, run_id: uuid.UUID) -> None:
        """The run is over."""
        self._guards.pop(run_id, None)

    async def _guard_of(self, run: ActiveRun) -> RunGuard:
        """The judgement of upstream in the run, for all its batches in this process; it begins anew
        when somebody confirms the run.
        """
        stands = not run.confirmed and await self._store.runs.is_suspicion_standing(run.run_id)
        # Without a wait from here on: of two batches that begin at once the later one must find the
        # guard of the other.
        known = self._guards.get(run.run_id)
        guard = known[1] if known is not None and known[0] == run.confirmed_at else None
        if guard is None:
            # An audit has compared all its accounts before its first batch.
            guard = RunGuard(
                self._config.guard,
                run.total if run.request.kind is RunKind.AUDIT else None,
                undoing(run.run_id),
            )
            self._guards[run.run_id] = run.confirmed_at, guard
        recorded = guard.recorded
        guard.recorded = replace(
            recorded, accounts=run.recorded, rows=run.rows_compared, stands=stands
        )
        guard.reason = guard.reason or run.suspicion
        return guard

    def terms(self) -> Terms:
        """On which terms results are recorded now."""
        now = self._now()
        return Terms(
            self._config.max_attempts,
            lambda failures: next_attempt(failures, now, jitter=random.random()),
            self._config.postpone_seconds,
            self._config.postpone_named_seconds,
            self._config.lease_seconds,
            now,
            self._config.today(now),
        )

    async def _heal(self, work: BatchState) -> None:
        await self._survey(work)
        search = self._search(work)
        for look in range(_LOOKS):
            if look:
                forget_left_alone(work.progress.values())
            await self._rounds(work, search)
            await self._give_back(work)
            await self._map_again(work)
            if work.stops:
                work.note_unfinished()
                break
            if not any(
                progress.left_alone for progress in work.progress.values()
            ) and not await self._plan(work):
                break
        work.spent, work.silent = search.spent, tuple(search.silent)
        await self._store.changes.end_descents(await asyncio.to_thread(_descended, work))

    def _search(self, work: BatchState) -> Search:
        async def controls() -> list[Control]:
            well = await self._store.detection.well_accounts(work.claim.account_ids)
            others = [
                Control(each.account_id, each.logins, each.day, quietest=each.quietest)
                for each in well
            ]
            return [*others, *await self._controls_of_batch(work)]

        most = self._config.search_requests
        allowance = Spent(most - work.run.searched, most - work.run.searched_known)
        reader = BatchReader(work, self._read_one)
        return Search(
            self._client,
            Controls(self._client, controls),
            reader,
            allowance=allowance,
            today=self._now().date(),
        )

    async def _controls_of_batch(self, work: BatchState) -> list[Control]:
        """Some accounts of the batch, drawn anew each time: where no other can be read, they speak
        for each other.
        """
        traded = [
            view
            for view in work.views.values()
            if any(dataclasses.astuple(view.totals)) and why_not_asked(view) is None
        ]
        drawn = random.sample(traded, min(_CONTROLS, len(traded)))
        days = await self._store.detection.last_days([view.account_id for view in drawn])
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

    async def _look(
        self, account_ids: Sequence[str], claim: Claim, *, is_first: bool = False
    ) -> dict[str, AccountView]:
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

        return await asyncio.to_thread(
            lambda: {account_id: judged(view) for account_id, view in views.items()}
        )

    async def _rounds(self, work: BatchState, search: Search) -> None:
        for _ in range(MAX_ROUNDS):
            await self._hold_vanished(work)
            if work.stops:
                return
            planned = await self._plan(work)
            if not planned:
                return
            await self._run_round(work, search, planned)
            if work.run.history_from is not None:
                await self._store.histories.note_before(
                    work.run.history_from, take_parts(work.progress)
                )
            touched = sorted({account_id for each in planned for account_id in each.account_ids})
            with work.phase("verify"):
                await asyncio.to_thread(_renew, work.views, await self._look(touched, work.claim))
                await self._note_forgotten(work, touched)

    async def _hold_vanished(self, work: BatchState) -> None:
        """Hold the accounts for which upstream suddenly has nothing, unless somebody confirmed
        that.
        """
        held = await asyncio.to_thread(_find_vanished, work)
        news = {
            account_id: Loss(lowers=True) for account_id in held if account_id not in work.was_held
        }
        if news:
            work.guard.hold(news)
            await self._store.changes.note_losses(self._writer(work, ()), news)

    def _writer(self, work: BatchState, account_ids: Sequence[str]) -> WriteContext:
        return WriteContext(
            work.claim.run_id,
            work.claim.claim_id,
            self._config.account_seconds,
            self._config.lease_seconds,
            work.guard,
            {account_id: work.standing(account_id) for account_id in account_ids},
            work.moving.first,
            work.moving.last,
            self._store.claims.worker_id,
        )

    async def _plan(self, work: BatchState) -> list[PlannedRequest]:
        # Packing thousands of accounts takes a second or more, in which heartbeats and other
        # batches must go on.
        return await asyncio.to_thread(_plan_round, work, self._client.max_ids)

    async def _survey(self, work: BatchState) -> None:
        """What the planner should know beside the accounts themselves: how many upstream has, and
        which dates all of ours lack.
        """
        work.upstream = await self._size(work.claim.run_id)
        short = [
            view
            for view in work.views.values()
            if is_short(view) and not work.progress[view.account_id].known
        ]
        if short:
            coverage = await self._store.detection.coverage([view.account_id for view in short])
            work.gaps = find_gaps(
                short,
                coverage,
                self._now().date(),
                max_ids=self._client.max_ids,
                upstream=work.upstream,
            )

    async def _size(self, run_id: uuid.UUID) -> Upstream:
        """How large the warehouse is, counted once for a run: it is all accounts that are counted,
        and an estimate that is made of it.
        """
        if self._shared.measured is None or self._shared.measured[0] != run_id:
            self._shared.measured = run_id, await self._store.detection.size()
        return self._shared.measured[1]

    async def _give_back(self, work: BatchState) -> None:
        """Give stored metrics rows that upstream does not send for their account to the account
        whose natural key they have.
        """
        given: list[GivenBack] = []
        with work.phase("identity"):
            for endpoint in (Endpoint.DAILY, Endpoint.HOURLY):
                unsent = [
                    (account_id, day)
                    for account_id, progress in work.progress.items()
                    # Of an account that upstream does not have at all, too: by their key they are
                    # another's.
                    if progress.hold is None or progress.hold.absent
                    for day in progress.kept.get(endpoint, {})
                    if day is not None
                ]
                if unsent:
                    claim = work.claim
                    for each in await self._store.identity.give_back(
                        endpoint, unsent, claim.run_id, claim.claim_id, self._config.lease_seconds
                    ):
                        note_given_back(work.progress[each.holder], endpoint, each)
                        given.append(each)
        if given:
            touched = sorted(
                {account_id for each in given for account_id in (each.holder, each.owner)}
            )
            await mend_accounts(
                self._store, touched, self._config.today(self._now()), work.claim.run_id
            )
            await self._store.detection.refresh_stats(
                [account_id for account_id in touched if account_id not in work.views]
            )
            work.note_mended(touched, len(given))
            ours = [account_id for account_id in touched if account_id in work.views]
            work.views.update(await self._look(ours, work.claim))

    async def _map_again(self, work: BatchState) -> None:
        """Judge ids once more where any were in doubt, or rows were written under no account: the
        fetch may have told whose they are.
        """
        doubtful = sorted(
            {
                *work.reassigned,
                *(account_id for account_id, view in work.views.items() if view.findings),
            }
        )
        if doubtful:
            with work.phase("identity"):
                rows = await mend_accounts(
                    self._store, doubtful, self._config.today(self._now()), work.claim.run_id
                )
                work.note_mended(doubtful, rows)
                work.views.update(await self._look(doubtful, work.claim))

    async def _run_round(
        self, work: BatchState, search: Search, planned: Sequence[PlannedRequest]
    ) -> None:
        metrics = [each for each in planned if not each.request.endpoint.is_trades]
        trades = [each for each in planned if each.request.endpoint.is_trades]
        work.note_asking(planned)
        await _read_all(search, metrics)
        identified = sorted(
            {
                account_id
                for each in metrics
                if each.request.endpoint in (Endpoint.ALLTIME, Endpoint.DAILY)
                for account_id in each.account_ids
                if work.progress[account_id].effort.inserted
                or work.progress[account_id].effort.updated
            }
        )
        identified = sorted({*identified, *work.renamed})
        work.renamed.clear()
        if identified:
            with work.phase("identity"):
                rows = await mend_accounts(
                    self._store, identified, self._config.today(self._now()), work.claim.run_id
                )
                work.note_mended(identified, rows)
        await _read_all(search, trades)

    async def _read_one(self, work: BatchState, planned: PlannedRequest) -> int | None:
        """Fetch one request and write its rows; their number, None if the batch stops."""
        try:
            async with self._slots:
                if work.stops:
                    return None
                begun = time.monotonic()
                async with _shared(work, planned), self._fetcher.fetched(planned) as fetched:
                    work.seconds["fetch"] += time.monotonic() - begun
                    with work.phase("apply"):
                        await self._apply(work, planned, fetched)
                    return fetched.rows
        except (RowRefused, StatementTooSlow) as error:
            await self._require_database(error)
            raise

    async def _require_database(self, error: ReconError) -> None:
        """Raise DatabaseUnavailable where a failed statement shows that PostgreSQL itself fails:
        then no account is blamed.
        """
        # A connection that died silently looks like a slow statement.
        await self._store.reports.is_ready()
        if isinstance(error, ResourcesExhausted):
            await self._store.database.require_room()

    async def _apply(self, work: BatchState, planned: PlannedRequest, fetched: Fetched) -> None:
        endpoint = planned.request.endpoint
        strangers: Mapping[str, str] = {}
        if endpoint.is_trades:
            logins = dict(zip(planned.account_ids, planned.logins, strict=True))
            strangers = await self._store.changes.resolve_trades(fetched.staged, logins)
        writer = self._writer(work, planned.account_ids)
        proven = await self._identified(work, planned, fetched)
        compared = await self._compare(work, planned, fetched)
        applied: defaultdict[str, Applied] = defaultdict(Applied)
        try:
            await self._store.changes.apply(
                fetched.staged,
                proven,
                fetched.before,
                writer,
                _witness(work, planned),
                applied=applied,
            )
        except BaseException:
            for account_id, done in applied.items():
                add_effort(work.effort_of(account_id), done)
            raise
        others = applied.keys() - set(planned.account_ids)
        for account_id in others:
            # Rows of no account that can be told, or under an id that was not asked for: they count
            # for the run.
            add_effort(work.ownerless, applied[account_id])
        if any(applied[account_id].written for account_id in others):
            work.reassigned.update(planned.account_ids)
        for number, account_id in enumerate(planned.account_ids):
            if number % _IN_A_ROW == 0:
                await asyncio.sleep(0)
            progress = work.progress[account_id]
            progress.effort.requests += fetched.requests
            done = applied.get(account_id, Applied())
            record_write(progress, planned, done)
            if (
                done.error is None
                and not done.left_alone
                and not done.claim_lost
                and not writer.holds(account_id)
                and done.hold is None
            ):
                record_read(progress, planned)
            if account_id in strangers:
                progress.strangers.append(strangers[account_id])
        await self._compare_again(work, planned, fetched, compared)
        await bring_in_others(self._store, work, planned, fetched, writer)
        await self._note_before(work, planned, fetched)

    async def _compare(
        self, work: BatchState, planned: PlannedRequest, fetched: Fetched
    ) -> dict[str, ComparedTable]:
        """Compare every row before any is written, where that is wanted, and record what no count
        shows as an issue; by account.
        """
        ids = [account_id for account_id in planned.account_ids if work.compares(account_id)]
        if not ids:
            return {}
        work.columns[planned.request.endpoint] = self._store.comparison.columns(fetched.staged)
        await self._store.changes.reject_pinned(fetched.staged)
        compared = await self._store.comparison.compare(fetched.staged, fetched.proven, ids)
        differing = sorted(
            account_id for account_id, found in compared.items() if found.differences
        )
        for account_id in differing:
            note_differing(work.progress[account_id], planned, compared[account_id])
        async with work.noting:
            found = {account_id: work.found_by_rows(account_id) for account_id in differing}
            await self._store.issue_history.note_differing(
                work.claim.run_id, found, work.moving.first
            )
        return compared

    async def _compare_again(
        self,
        work: BatchState,
        planned: PlannedRequest,
        fetched: Fetched,
        compared: Mapping[str, ComparedTable],
    ) -> None:
        """Compare the rows that differed once more, as they stand after the write: only that tells
        whether they are equal.
        """
        differing = [account_id for account_id, found in compared.items() if found.differences]
        again = (
            await self._store.comparison.compare(
                fetched.staged, fetched.proven, differing, is_written=True
            )
            if differing
            else {}
        )
        for account_id, found in compared.items():
            note_unequal(work.progress[account_id], planned, again.get(account_id, found))

    async def _note_before(
        self, work: BatchState, planned: PlannedRequest, fetched: Fetched
    ) -> None:
        """Keep what daily rows tell of accounts before the dates that are compared."""
        if work.run.history_from is not None and planned.request.endpoint is Endpoint.DAILY:
            before = find_before(work.views, work.progress, planned, fetched.staged.before)
            await self._store.histories.note_before(work.run.history_from, before)

    async def _note_forgotten(self, work: BatchState, touched: Sequence[str]) -> None:
        """Keep what alltime counts before the dates that are compared where upstream's daily rows
        tell it no more.
        """
        if work.run.history_from is None:
            return
        forgotten = find_forgotten(
            {account_id: work.views[account_id] for account_id in touched}, work.progress
        )
        if forgotten:
            await self._store.histories.note_before(work.run.history_from, forgotten)
            work.views.update(await self._look(sorted(forgotten), work.claim))

    async def _identified(
        self, work: BatchState, planned: PlannedRequest, fetched: Fetched
    ) -> Slice:
        """What a fetch proves without the accounts that upstream knows by another id now: their
        rows here become those of that account.
        """
        # Others that are asked for by login have an id, which upstream only does not send at this
        # level.
        unknown = [account_id for account_id in planned.by_login if work.views[account_id].by_login]
        if not unknown:
            return fetched.proven
        known = await self._store.holders.note_fetch(fetched.staged, unknown)
        await self._store.detection.add_accounts(
            sorted({holder for holders in known.values() for holder in holders})
        )
        for account_id, holders in known.items():
            # It was not asked for in vain: upstream sent its rows, under that id.
            work.progress[account_id].sent.add(planned.request.endpoint)
            work.renamed.update({account_id, *holders})
        left = tuple(
            account_id for account_id in fetched.proven.account_ids if account_id not in known
        )
        return replace(fetched.proven, account_ids=left)

    async def _hold_flapping(self, work: BatchState) -> None:
        """Hold back the accounts whose same issue opens again and again, unless somebody asked for
        them.
        """
        if work.run.request.kind is RunKind.RETRY or work.run.request.account_ids is not None:
            return
        for account_id, times in (
            await self._store.issue_history.reopened(work.claim.account_ids)
        ).items():
            view, progress = work.views[account_id], work.progress[account_id]
            # One that was held back already is healed when its time is up: it may have come to
            # rest. One that waits for confirmation goes on waiting for that: nothing was healed
            # that could have come back.
            if (
                times >= FLAPS
                and account_id not in work.claim.confirmed
                and view.status not in (Outcome.FLAPPING, Outcome.NEEDS_CONFIRMATION)
            ):
                progress.hold = Hold(
                    Outcome.FLAPPING,
                    f"The same issue opened again right after healing, {counted(times, 'time')} in"
                    " a row: another writer changes these rows. The account is held back for a"
                    " day; reconcile it by name to heal it now.",
                )

    def _results(self, work: BatchState) -> list[AccountResult]:
        now = self._now()
        return [
            result_of(
                Passed(
                    view,
                    work.progress[account_id],
                    work.found_at(account_id),
                    work.unread[account_id],
                    work.claim.first_pass(account_id),
                    account_id in work.claim.postponed,
                    work.columns,
                ),
                now=now,
                moving_from=work.moving.first,
                flap_seconds=self._config.flap_seconds,
            )
            for account_id, view in work.views.items()
            if account_id not in work.unfinished
        ]

    async def _record(
        self, work: BatchState, results: Sequence[AccountResult], seconds: float
    ) -> Counter[Outcome]:
        begun = time.monotonic()
        # What belongs to no account that is recorded now: rows without an owner, and what was done
        # for accounts that go on waiting.
        beside = [
            work.ownerless,
            *(work.progress[account_id].effort for account_id in work.unfinished),
        ]
        ours = set(
            await self._store.results.record(
                work.claim,
                results,
                seconds=round(seconds, 3),
                requests=work.requests,
                terms=self.terms(),
                judged=sorted(IssueCode),
                rows_compared=work.guard.record_compared(work.views),
                beside=beside,
            )
        )
        work.seconds["record"] += time.monotonic() - begun
        for phase, spent in work.seconds.items():
            await self._store.runs.add_phase(work.claim.run_id, phase, spent)
        if work.spent != Spent() or work.silent:
            await self._store.runs.note_search(
                work.claim.run_id, work.spent.new, work.spent.known, " ".join(work.silent)
            )
        outcomes = Counter(
            result.outcome
            for result in results
            if result.account_id in ours and not result.postponed
        )
        untried = sum(result.untried for result in results if result.account_id in ours)
        postponed = (
            sum(result.postponed for result in results if result.account_id in ours) - untried
        )
        _log.info(
            "A batch is recorded.",
            action="batch.recorded",
            run_id=str(work.claim.run_id),
            accounts=len(ours) - postponed - untried,
            postponed=postponed,
            untried=untried,
            unfinished=len(work.unfinished),
            requests=work.requests,
            seconds=round(seconds, 2),
            **{outcome.value: count for outcome, count in outcomes.items()},
        )
        return outcomes


async def count_broken_off(store: Repositories, claim: Claim) -> None:
    """Count for the run what batches of a claim did before they broke off, as far as it was not
    counted yet.
    """
    uncounted = claim.broken_off.uncounted
    while uncounted:
        left = uncounted.pop()
        counting = asyncio.create_task(_count(store, claim, left))
        try:
            await asyncio.shield(counting)
        except asyncio.CancelledError:
            # Cancelled halfway it would not be known whether it was counted, and it would be
            # counted twice.
            await asyncio.wait({counting})
            if counting.cancelled() or counting.exception() is not None:
                uncounted.append(left)
            raise
        except ReconError:
            uncounted.append(left)
            raise


async def _count(store: Repositories, claim: Claim, left: Uncounted) -> None:
    # Of a record whose answer was lost nobody knows whether it was made; then nothing of the claim
    # is held any more.
    if not left.is_recording or await store.claims.is_held(claim):
        await store.results.add_effort(claim.run_id, left.efforts, left.requests)


@contextlib.asynccontextmanager
async def _shared(work: BatchState, planned: PlannedRequest) -> AsyncIterator[None]:
    """What a request takes, and how often it is sent, is shared by its accounts, whatever comes of
    it.
    """
    begun, asked = time.monotonic(), ApiStatistics()
    try:
        with asked.recording():
            yield
    finally:
        accounts = max(len(planned.account_ids), 1)
        seconds, requests = (time.monotonic() - begun) / accounts, asked.requests / accounts
        for account_id in planned.account_ids:
            effort = work.progress[account_id].effort
            effort.seconds += seconds
            effort.own_requests += requests


async def _read_all(search: Search, planned: Sequence[PlannedRequest]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for each in planned:
                group.create_task(search.read(each))
    except ExceptionGroup as errors:
        # One reason is enough for whoever catches it; the others are the same outage seen by other
        # fetches.
        raise errors.exceptions[0] from errors


def _find_vanished(work: BatchState) -> list[str]:
    """Hold the accounts for which upstream has nothing in any table, daily read to its end; which
    they are.
    """
    found = []
    for account_id, progress in work.progress.items():
        confirmed = work.claim.confirmed.get(account_id)
        is_accepted = confirmed is not None and confirmed.trades is None
        if (
            progress.hold is None
            and not is_accepted
            and progress.dates_read(Endpoint.DAILY).everything
        ):
            progress.hold = vanished(work.views[account_id], progress, work.claim.run_id)
            if progress.hold is not None:
                found.append(account_id)
    return found


def _news(work: BatchState) -> dict[str, tuple[Issue, ...]]:
    """What was found at accounts; what an earlier run explained and nothing changed since is open
    under its explanation already.
    """
    return {
        view.account_id: work.found[view.account_id]
        for view in work.views.values()
        if not work.progress[view.account_id].covered
        and (view.explained_as is None or view.explained_as != view.signature)
    }


def _plan_round(work: BatchState, max_ids: int) -> list[PlannedRequest]:
    accounts = [(view, work.progress[account_id]) for account_id, view in work.views.items()]
    suspects = {view.account_id for view, _ in accounts if work.is_suspected(view.account_id)}
    planned = [
        each
        for group in (False, True)
        for each in plan_round(
            [account for account in accounts if (account[0].account_id in suspects) is group],
            max_ids=max_ids,
            upstream=work.upstream,
            gaps=work.gaps,
        )
    ]
    # Last: what still differs when all was read once is asked for in a second shape.
    return planned or work.trials.plan(accounts, max_ids=max_ids, suspects=suspects)


def _renew(views: dict[str, AccountView], looked: Mapping[str, AccountView]) -> None:
    """Put in what was looked at anew, one by one for the reason of `_let_go`."""
    for account_id, view in looked.items():
        views[account_id] = view  # noqa: PERF403 - by dict.update the old ones would go at once


def _let_go(results: list[AccountResult], *known: dict[str, Any]) -> None:
    """Free what is known of accounts one by one: freed all at once, thousands of them keep every
    other thread waiting.
    """
    while results:
        results.pop()
    for accounts in known:
        while accounts:
            accounts.popitem()


def _descended(work: BatchState) -> list[tuple[str, dt.date]]:
    return [
        (account_id, day)
        for account_id, view in work.views.items()
        for day in descended(view, work.progress[account_id])
    ]


def _witness(work: BatchState, planned: PlannedRequest) -> RemovalEvidence:
    """What of this run decides on removals, and on descents."""
    daily = {
        account_id: work.progress[account_id].dates_read(Endpoint.DAILY)
        for account_id in planned.account_ids
    }
    return RemovalEvidence(
        {
            account_id: None if read.everything else frozenset(read.dates)
            for account_id, read in daily.items()
        },
        frozenset(
            account_id for account_id in planned.account_ids if work.views[account_id].drifts
        ),
        {
            account_id: work.progress[account_id].moving_figures
            for account_id in planned.account_ids
        },
        is_trial=planned.is_trial,
    )
