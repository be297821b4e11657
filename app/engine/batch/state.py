"""A batch on its way through the flow: what is known of its accounts, what it cost, and whether it
goes on.
"""

import asyncio
import contextlib
import datetime as dt
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from app.domain.accounts.counts import Totals
from app.domain.accounts.hold import Rewritten
from app.domain.accounts.progress import Effort, Progress
from app.domain.accounts.settling import Moving
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.holds.run_guard import RunGuard
from app.domain.issues.codes import Issue
from app.domain.planning.descent import NOTHING, needs_of
from app.domain.planning.estimates import Upstream
from app.domain.planning.planned_request import PlannedRequest
from app.domain.planning.second_shape import disputed
from app.domain.planning.trial_requests import Trials
from app.domain.states import Outcome
from app.domain.verdict.row_issues import found_by_rows
from app.engine.isolation.search import Spent
from app.engine.stopping import StopSignal
from app.store.apply.context import Standing
from app.store.claims.claim import Claim, FirstPass
from app.store.runs.active_runs import ActiveRun
from app.upstream.stats import ApiStatistics

NOTHING_REWRITTEN = Rewritten()


@dataclass(slots=True)
class BatchState:
    """A batch on its way: what is known of its accounts, and what it cost so far.

    `moving` are the dates that still move, the same from the batch's beginning to its end. `unread`
    counts the fetches that could not be completed by account, `ownerless` is what was done for
    nobody in particular, `reassigned` the accounts that were asked for with it, `renamed` those
    that upstream knows by an id that is new here, with that id; `spent` are the requests that the
    search for failing accounts cost, `silent` tells of endpoints that answer nobody; `unfinished`
    are the accounts that wait in the run again when the batch stopped early, `asking` those that
    the reads of this round are for, by table. `guard` judges upstream over all batches of the run;
    `totals` are what the tables counted at first, `earlier` the rows that runs rewrote of accounts
    since those were whole, and `was_held` the accounts that an earlier run left held. `columns` are
    how many of each table are compared where rows are; `noting` is held while what that finds is
    recorded, since tables of one account are read at the same time.
    """

    claim: Claim
    run: ActiveRun
    halt: StopSignal
    moving: Moving
    views: dict[str, AccountView]
    found: dict[str, tuple[Issue, ...]]
    progress: dict[str, Progress]
    guard: RunGuard
    totals: Mapping[str, Totals]
    earlier: Mapping[str, Rewritten]
    was_held: frozenset[str]
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    use: ApiStatistics = field(default_factory=ApiStatistics)
    spent: Spent = field(default_factory=Spent)
    silent: tuple[str, ...] = ()
    unread: Counter[str] = field(default_factory=Counter)
    upstream: Upstream | None = None
    gaps: frozenset[dt.date] = frozenset()
    trials: Trials = field(default_factory=Trials)
    ownerless: Effort = field(default_factory=Effort)
    reassigned: set[str] = field(default_factory=set)
    renamed: set[str] = field(default_factory=set)
    unfinished: set[str] = field(default_factory=set)
    asking: Mapping[Endpoint, frozenset[str]] = field(default_factory=dict)
    columns: dict[Endpoint, int] = field(default_factory=dict)
    noting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_suspected(self, account_id: str) -> bool:
        """Whether the account failed before: it shares no request with those that did not, so that
        it need not be searched for again.
        """
        return self.views[account_id].has_failed or account_id in self.claim.postponed

    @property
    def requests(self) -> int:
        """Requests that were sent for it, whatever came of them."""
        return self.use.requests

    def found_at(self, account_id: str) -> tuple[Issue, ...]:
        """The issues with which the account came, and those that the comparison of its rows
        found.
        """
        return (*self.found[account_id], *self.found_by_rows(account_id))

    def found_by_rows(self, account_id: str) -> tuple[Issue, ...]:
        """The issues that the comparison of an account's rows found, beside those with which it
        came.
        """
        return found_by_rows(
            self.progress[account_id], [issue.code for issue in self.found[account_id]]
        )

    def compares(self, account_id: str) -> bool:
        """Whether all rows that are read of an account are compared: what no count shows, as
        amounts that differ, is told only by that.
        """
        return self.progress[account_id].by_rows or self.views[account_id].money is not None

    def effort_of(self, account_id: str) -> Effort:
        """What is done for an account, or for none that was asked for."""
        return self.progress[account_id].effort if account_id in self.progress else self.ownerless

    @property
    def efforts(self) -> list[Effort]:
        """What was done for each account, and for nobody in particular."""
        return [*(progress.effort for progress in self.progress.values()), self.ownerless]

    def begun(self) -> dict[str, FirstPass]:
        """What was found and done so far, by account."""
        return {
            account_id: FirstPass(
                frozenset(issue.code for issue in self.found_at(account_id)), progress.effort
            )
            for account_id, progress in self.progress.items()
            if progress.effort
        }

    @property
    def stops(self) -> bool:
        """Whether nothing more is begun."""
        return self.halt.is_set

    def note_asking(self, planned: Iterable[PlannedRequest]) -> None:
        """Take in for which accounts the reads of a round are."""
        asking: defaultdict[Endpoint, set[str]] = defaultdict(set)
        for each in planned:
            asking[each.request.endpoint].update(each.account_ids)
        self.asking = {endpoint: frozenset(account_ids) for endpoint, account_ids in asking.items()}

    def note_mended(self, account_ids: Iterable[str], rows: int) -> None:
        """Take in that ids of so many rows were mended at these accounts."""
        for account_id in self.progress.keys() & set(account_ids):
            self.progress[account_id].mended |= rows > 0

    def note_unfinished(self) -> None:
        """Tell the accounts of which something is still to be read, at any level: a plan of the
        next round names only the coarsest.
        """
        self.unfinished = {
            account_id
            for account_id, progress in self.progress.items()
            if progress.left_alone
            or needs_of(self.views[account_id], progress, self.gaps) != NOTHING
            or disputed(self.views[account_id], progress)
        }

    def standing(self, account_id: str) -> Standing:
        """How an account stands before a write."""
        progress = self.progress[account_id]
        return Standing(
            self.totals[account_id],
            progress.effort.rewritten,
            self.earlier.get(account_id, NOTHING_REWRITTEN),
            account_id in self.was_held,
            progress.hold is not None and progress.hold.outcome is Outcome.NEEDS_CONFIRMATION,
            self.claim.confirmed.get(account_id),
        )

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a phase."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - begun
