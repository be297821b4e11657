"""What the writing side of the warehouse speaks of: slices, what is done to them, and on whose
behalf.
"""

import datetime as dt
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.accounts.counts import Totals
from app.domain.accounts.hold import Hold, Rewritten, Shown
from app.domain.accounts.set_aside import SetAside
from app.domain.accounts.settling import NEVER, MovingFigures
from app.domain.contract.tables import Endpoint
from app.domain.holds.run_guard import Loss, RunGuard
from app.store.schema.raw_tables import WarehouseTable
from app.store.staging.staging import StagedFetch

Looks = Mapping[str, tuple[int, int]]
"""How slices look, by account: rows and the sum of their versions; an account without rows is not
there.
"""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """How slices looked at some time; later writes have the transaction id `horizon` or a higher
    one.
    """

    slices: Looks
    horizon: int

    def unchanged(self, account_id: str, now: Looks) -> bool:
        """Whether the account's slices look the same now."""
        return self.slices.get(account_id) == now.get(account_id)


@dataclass(frozen=True, slots=True)
class Slice:
    """The slices that a fetch proves: these accounts on these dates; None: all dates; for trades:
    first and last date.
    """

    endpoint: Endpoint
    account_ids: tuple[str, ...]
    dates: tuple[dt.date, ...] | None


@dataclass(slots=True)
class Applied:
    """What one fetch did to one account; `kept` are trades of stored rows that upstream does not
    send, by date.

    `withheld` are the dates on which nothing was removed or lowered since they still move (None:
    the alltime row, which upstream says counts no more than `falls_to`), `told` what upstream's
    daily rows count on such dates, and `grew` that rows of such dates were brought in or changed.
    `unheld` are the columns, by table, whose values could not be held as they were sent, though
    their rows were. `sent` tells whether upstream sent any row of it, `hold` that too many of its
    rows would have changed: then nothing was written. `lost` are the rows that were removed, moved,
    lowered or blanked, `lost_days` the dates on which they were lowered or blanked, `gained` those
    overwritten that only hold more than before; `blanks` tells that a figure became empty. `fallen`
    are the rows, by date, that were removed or lost nothing but trades of their count, `shifted`
    those that were moved, between `shifted_days`; on `empty_days` rows came in that have trades and
    no figures of money.
    """

    inserted: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    set_aside: int = 0
    values_nulled: int = 0
    lost: int = 0
    lost_days: set[dt.date | None] = field(default_factory=set)
    fallen: Counter[dt.date | None] = field(default_factory=Counter)
    shifted: int = 0
    shifted_days: set[dt.date | None] = field(default_factory=set)
    empty_days: set[dt.date | None] = field(default_factory=set)
    gained: int = 0
    blanks: bool = False
    kept: dict[dt.date | None, int] = field(default_factory=dict)
    withheld: set[dt.date | None] = field(default_factory=set)
    falls_to: int | None = None
    told: dict[dt.date, int] = field(default_factory=dict)
    grew: bool = False
    refused: SetAside = field(default_factory=SetAside)
    unheld: dict[str, set[str]] = field(default_factory=dict)
    too_narrow: list[dict[str, object]] = field(default_factory=list)
    left_alone: bool = False
    claim_lost: bool = False
    error: str | None = None
    sent: bool = False
    hold: Hold | None = None

    def add(self, other: "Applied") -> None:
        """What another part of the same account came to."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.moved += other.moved
        self.removed += other.removed
        self.lost += other.lost
        self.lost_days |= other.lost_days
        self.fallen += other.fallen
        self.shifted += other.shifted
        self.shifted_days |= other.shifted_days
        self.empty_days |= other.empty_days
        self.gained += other.gained
        self.blanks |= other.blanks
        self.kept.update(other.kept)
        self.withheld |= other.withheld
        self.falls_to = other.falls_to if self.falls_to is None else self.falls_to
        self.grew |= other.grew
        self.refused.take_in(other.refused)
        for table, columns in other.unheld.items():
            self.unheld.setdefault(table, set()).update(columns)
        self.left_alone |= other.left_alone
        self.claim_lost |= other.claim_lost
        self.error = self.error or other.error
        self.hold = self.hold or other.hold

    @property
    def is_settled(self) -> bool:
        """Whether the slice was written and looked through as a whole."""
        return not (self.left_alone or self.claim_lost or self.error or self.hold)

    @property
    def rewritten(self) -> int:
        """Rows that do not stand any more as they stood before."""
        return self.updated + self.moved + self.removed

    @property
    def written(self) -> int:
        """Rows of the raw table that were touched."""
        return self.inserted + self.updated + self.moved + self.removed


_NOTHING = Totals(
    has_alltime=False,
    alltime=0,
    has_daily=False,
    daily=0,
    has_hourly=False,
    hourly=0,
    has_closed=False,
    closed=0,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands before a write, as far as guards are concerned.

    `totals` are what its tables counted when the run began, `rewritten` the rows that this run
    changed already, `earlier` those that it and others changed since the account was whole.
    `was_held` tells that an earlier run left it held, `is_held` that this one holds it: then
    nothing is written. `confirmed` is what somebody confirmed in this run.
    """

    totals: Totals = _NOTHING
    rewritten: int = 0
    earlier: Rewritten = field(default_factory=Rewritten)
    was_held: bool = False
    is_held: bool = False
    confirmed: Shown | None = None


@dataclass(frozen=True, slots=True)
class WriteContext:
    """On whose behalf rows are written: the run, the claim that must still hold, and the seconds
    that one account may take.

    `guard` limits what may change, by how each account is `standing`; without a guard nothing is
    limited. On dates from `moving_from` on nothing is removed or lowered; up to `moving_until`
    upstream can have rows by now. `worker_id` is the process that counts losses.
    """

    run_id: uuid.UUID | None
    claim_id: uuid.UUID
    account_seconds: float
    lease_seconds: float
    guard: RunGuard | None = None
    standing: Mapping[str, Standing] = field(default_factory=dict)
    moving_from: dt.date = NEVER
    moving_until: dt.date = NEVER
    worker_id: uuid.UUID | None = None

    def holds(self, account_id: str) -> bool:
        """Whether nothing of the account may be written."""
        standing = self.standing.get(account_id)
        return standing is not None and standing.is_held


@dataclass(frozen=True, slots=True)
class RemovalEvidence:
    """What else of this run matters to a write.

    `daily_read` are the dates of each account on which daily was read, which alone allow a removal
    (None: all dates); `descending` the accounts whose finer tables must be read wherever a daily
    row's figures change, `moving` what is known of each account's dates that still move. `is_trial`
    tells that upstream is about to be blamed for what still differs.
    """

    daily_read: Mapping[str, frozenset[dt.date] | None] = field(default_factory=dict)
    descending: frozenset[str] = frozenset()
    moving: Mapping[str, MovingFigures] = field(default_factory=dict)
    is_trial: bool = False


@dataclass(slots=True)
class Job:
    """One fetch on its way in: what is written, for whom, and how its slices looked before the
    fetch.

    `beside` tells of refused rows, by ordinal, which row has their place. `came_through` says that
    some part was written, `defective` are the accounts on whose rows PostgreSQL cannot work,
    `reserved` the losses that are counted among processes and not written yet.
    """

    staged: StagedFetch
    table: WarehouseTable
    proven: Slice
    before: Fingerprints
    writer: WriteContext
    witness: RemovalEvidence
    beside: dict[int, dict[str, object]] = field(default_factory=dict)
    defective: set[str] = field(default_factory=set)
    came_through: bool = False
    reserved: dict[str, Loss] = field(default_factory=dict)

    def reserves(self, account_id: str, loss: Loss) -> bool:
        """Whether so much was reserved for the account."""
        reserved = self.reserved.get(account_id)
        return (
            reserved is not None and loss.rows <= reserved.rows and loss.lowers <= reserved.lowers
        )

    def dates(self, part: "Part") -> list[dt.date] | None:
        """The dates that the statements of a part are about."""
        dates = part.dates or self.proven.dates
        return None if dates is None else list(dates)


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction works on: accounts on all proven dates, or one account on some dates,
    and how those looked before.

    `now` is how they look to the transaction itself.
    """

    account_ids: tuple[str, ...]
    dates: tuple[dt.date, dt.date] | None = None
    before: Fingerprints | None = None
    now: Looks | None = None

    @property
    def stored(self) -> int:
        """How many rows are stored there at most; of trades those without an id count for each
        account that they may belong to.
        """
        if self.now is None:
            raise ValueError("the part was not looked at yet")
        return sum(
            self.now[account_id][0] for account_id in self.account_ids if account_id in self.now
        )


@dataclass(slots=True)
class Written:
    """What one transaction did: by account, which slices it changed, and how many rows it inserted
    in each.
    """

    results: dict[str, Applied] = field(default_factory=lambda: defaultdict(Applied))
    changed: dict[str, set[dt.date | None]] = field(default_factory=lambda: defaultdict(set))
    inserted: Counter[tuple[str, dt.date | None]] = field(default_factory=Counter)
    removed: set[tuple[str, dt.date | None]] = field(default_factory=set)

    def note(
        self, account_id: str | None, days: Sequence[dt.date | None], holder: str | None = None
    ) -> Applied:
        """The account's result, its changed slices noted; `holder` is the account under which the
        rows stood before.
        """
        for owner in (account_id, holder):
            if owner is not None:
                self.changed[owner].update(days)
        return self.results[account_id or ""]

    def note_inserted(
        self, account_id: str | None, days: Sequence[dt.date | None], rows: Sequence[int]
    ) -> Applied:
        """The account's result, with so many rows inserted on each of these dates."""
        done = self.note(account_id, days)
        done.inserted += sum(rows)
        if account_id is not None:
            for day, count in zip(days, rows, strict=True):
                self.inserted[account_id, day] += count
        return done

    def note_dropped(self, account_id: str | None, day: dt.date | None) -> None:
        """A row that was inserted is not there."""
        done = self.results[account_id or ""]
        done.inserted = max(0, done.inserted - 1)
        if account_id is not None and self.inserted[account_id, day] > 0:
            self.inserted[account_id, day] -= 1

    def add(self, other: "Written") -> None:
        """Something more that the same transaction did."""
        for account_id, done in other.results.items():
            self.results[account_id].add(done)
        for account_id, days in other.changed.items():
            self.changed[account_id] |= days
        self.inserted.update(other.inserted)
        self.removed |= other.removed
