"""State of a batch."""

import asyncio
import contextlib
import datetime as dt
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.domain.accounts.counts import Totals
from app.domain.accounts.hold import Rewritten
from app.domain.accounts.progress import Effort, Progress
from app.domain.accounts.settling import Moving
from app.domain.accounts.view import AccountView
from app.domain.contract.tables import Endpoint
from app.domain.holds.run_guard import RunGuard
from app.domain.ids import AccountId
from app.domain.issues.codes import Issue
from app.domain.planning.descent import NOTHING, needs_of
from app.domain.planning.estimates import Upstream
from app.domain.planning.planned_request import PlannedRequest, SharedRead
from app.domain.planning.second_shape import disputed
from app.domain.planning.trial_requests import Trials
from app.domain.states import Outcome
from app.domain.verdict.row_issues import found_by_rows
from app.engine.config import EngineConfig
from app.engine.isolation.budget import Spent
from app.engine.stopping import StopSignal
from app.store.apply.context import Standing, WriteContext
from app.store.claims.claim import Claim, FirstPass
from app.store.results.account_result import AccountResult
from app.store.runs.active_runs import ActiveRun
from app.upstream.stats import ApiStatistics

if TYPE_CHECKING:
    from app.domain.ids import WorkerId


_NOTHING_REWRITTEN = Rewritten()


@dataclass(slots=True)
class BatchState:
    """A batch's accounts and cost.

    At the start: `moving` dates, `found` issues, `totals`, rows `earlier` runs rewrote since an
    account was last whole, accounts that `was_held`. `guard` judges upstream for the whole run.

    In rounds: `unread` failed fetches; effort `unattributed` to accounts, and those whose fetches
    caused it (`reassigned`); `renamed` ids, old and new; `asking` accounts; `noting` guards the
    record of differences.

    At the end: `spent` and `silent` of the search; `unfinished` accounts; `suspicion` that suspends
    the run; `is_recording`: may be recorded. `begun` is monotonic, `timings` are seconds.
    """

    claim: Claim
    run: ActiveRun
    stop: StopSignal
    moving: Moving
    views: dict[AccountId, AccountView]
    found: dict[AccountId, tuple[Issue, ...]]
    progress: dict[AccountId, Progress]
    guard: RunGuard
    earlier: Mapping[AccountId, Rewritten]
    totals: Mapping[AccountId, Totals] = field(init=False)
    was_held: set[AccountId] = field(init=False)
    begun: float = field(default_factory=time.monotonic)
    timings: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    use: ApiStatistics = field(default_factory=ApiStatistics)
    spent: Spent = field(default_factory=Spent)
    silent: tuple[str, ...] = ()
    unread: Counter[AccountId] = field(default_factory=Counter)
    upstream: Upstream | None = None
    gaps: frozenset[dt.date] = frozenset()
    trials: Trials = field(default_factory=Trials)
    unattributed: Effort = field(default_factory=Effort)
    reassigned: set[AccountId] = field(default_factory=set)
    renamed: set[AccountId] = field(default_factory=set)
    unfinished: set[AccountId] = field(default_factory=set)
    shared: set[SharedRead] = field(default_factory=set)
    apart: defaultdict[SharedRead, set[AccountId]] = field(default_factory=lambda: defaultdict(set))
    asking: Mapping[Endpoint, frozenset[AccountId]] = field(default_factory=dict)
    columns: dict[Endpoint, int] = field(default_factory=dict)
    noting: asyncio.Lock = field(default_factory=asyncio.Lock)
    results: list[AccountResult] = field(default_factory=list)
    suspicion: str | None = None
    is_recording: bool = False

    def __post_init__(self) -> None:
        """Keep the state before any write."""
        self.totals = {each: view.totals for each, view in self.views.items()}
        self.was_held = {
            each for each, view in self.views.items() if view.status == Outcome.NEEDS_CONFIRMATION
        }

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is begun."""
        return self.stop.is_set

    @property
    def requests(self) -> int:
        """Requests sent for the batch."""
        return self.use.requests

    def accounts(self) -> list[tuple[AccountView, Progress]]:
        """Each account with its progress."""
        return [(view, self.progress[account_id]) for account_id, view in self.views.items()]

    def renew(self, views: Mapping[AccountId, AccountView]) -> None:
        """Replace views one by one: see `release`."""
        for account_id, view in views.items():
            self.views[account_id] = view

    def release(self) -> None:
        """Free accounts one by one: freed together they would block other threads for long."""
        while self.results:
            self.results.pop()
        known: tuple[dict[AccountId, Any], ...] = (self.views, self.found, self.progress)
        for accounts in known:
            while accounts:
                accounts.popitem()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] += time.monotonic() - begun

    # Issues and needs

    def found_at(self, account_id: AccountId) -> tuple[Issue, ...]:
        """All issues: `found` and `found_by_rows`."""
        return (*self.found[account_id], *self.found_by_rows(account_id))

    def found_by_rows(self, account_id: AccountId) -> tuple[Issue, ...]:
        """Issues that only the comparison of rows found."""
        return found_by_rows(
            self.progress[account_id], [issue.code for issue in self.found[account_id]]
        )

    def compares(self, account_id: AccountId) -> bool:
        """Whether the account's rows are compared."""
        return self.progress[account_id].by_rows or self.views[account_id].money is not None

    def is_suspected(self, account_id: AccountId) -> bool:
        """Whether the account failed before."""
        return self.views[account_id].has_failed or account_id in self.claim.postponed

    def note_asking(self, requests: Iterable[PlannedRequest]) -> None:
        """Note a round's accounts."""
        asking: defaultdict[Endpoint, set[AccountId]] = defaultdict(set)
        for each in requests:
            asking[each.request.endpoint].update(each.account_ids)
        self.asking = {endpoint: frozenset(account_ids) for endpoint, account_ids in asking.items()}

    def needs_more(self) -> bool:
        """Whether anything remains to ask."""
        return any(
            self._needs_read(view, progress) for view, progress in self.accounts()
        ) or self.trials.has_more(self.accounts())

    def note_unfinished(self) -> None:
        """Note accounts with needs at any level."""
        self.unfinished = {
            view.account_id
            for view, progress in self.accounts()
            if self._needs_read(view, progress) or disputed(view, progress)
        }

    def _needs_read(self, view: AccountView, progress: Progress) -> bool:
        return bool(progress.left_alone) or needs_of(view, progress, self.gaps) != NOTHING

    # Writes

    def standing(self, account_id: AccountId) -> Standing:
        """The account before a write, for the guards."""
        progress = self.progress[account_id]
        return Standing(
            self.totals[account_id],
            progress.effort.rewritten,
            self.earlier.get(account_id, _NOTHING_REWRITTEN),
            account_id in self.was_held,
            progress.hold is not None and progress.hold.outcome is Outcome.NEEDS_CONFIRMATION,
            self.claim.confirmed.get(account_id),
        )

    def write_context(
        self, account_ids: Iterable[AccountId], config: EngineConfig, worker_id: "WorkerId"
    ) -> WriteContext:
        """Fence and guards of a write."""
        return WriteContext(
            self.claim.run_id,
            self.claim.claim_id,
            config.account_timeout,
            config.lease_seconds,
            self.guard,
            {account_id: self.standing(account_id) for account_id in account_ids},
            self.moving.first,
            self.moving.last,
            worker_id,
        )

    def note_repaired_ids(self, account_ids: Iterable[AccountId], rows: int) -> None:
        """Note repaired ids at the accounts."""
        for account_id in self.progress.keys() & set(account_ids):
            self.progress[account_id].ids_repaired |= rows > 0

    # Effort

    def effort_of(self, account_id: AccountId) -> Effort:
        """An account's effort; `unattributed` for others."""
        return (
            self.progress[account_id].effort if account_id in self.progress else self.unattributed
        )

    @property
    def efforts(self) -> list[Effort]:
        """All effort."""
        return [*(progress.effort for progress in self.progress.values()), self.unattributed]

    def efforts_beside_results(self) -> Sequence[Effort]:
        """Effort of the batch for accounts that its record leaves out."""
        return [
            self.unattributed,
            *(self.progress[account_id].effort for account_id in self.unfinished),
        ]

    def begun_accounts(self) -> dict[AccountId, FirstPass]:
        """Issues and effort of accounts with effort."""
        return {
            account_id: FirstPass(
                frozenset(issue.code for issue in self.found_at(account_id)), progress.effort
            )
            for account_id, progress in self.progress.items()
            if progress.effort
        }
