"""What a fetch did to accounts: by account, and by transaction."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.accounts.hold import Hold
from app.domain.accounts.set_aside import SetAside


@dataclass(slots=True)
class Applied:
    """What one fetch did to one account. A date of None is that of alltime, which has none.

    What is `lost` counts rows that were removed, moved, lowered or blanked; `lost_days` are those
    on which they were lowered or blanked.
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
    """Rows by date that were removed, or lost nothing but trades of their count."""
    shifted: int = 0
    shifted_days: set[dt.date | None] = field(default_factory=set)
    """The dates from and to which the `shifted` rows were moved."""
    empty_days: set[dt.date | None] = field(default_factory=set)
    """Dates on which rows came in that have trades and no figures of money."""
    gained: int = 0
    """Overwritten rows that only hold more than before."""
    blanks: bool = False
    """A figure became empty."""
    kept: dict[dt.date | None, int] = field(default_factory=dict)
    """Trades of stored rows that upstream does not send, by date."""
    withheld: set[dt.date | None] = field(default_factory=set)
    """Unsettled dates on which nothing was removed or lowered."""
    falls_to: int | None = None
    """What upstream's alltime counts, where that was withheld."""
    told: dict[dt.date, int] = field(default_factory=dict)
    """What upstream's daily rows count on unsettled dates."""
    grew: bool = False
    """Rows of unsettled dates were inserted or changed."""
    refused: SetAside = field(default_factory=SetAside)
    unheld: dict[str, set[str]] = field(default_factory=dict)
    """Columns by table whose values could not be held as they were sent, though their rows were."""
    too_narrow: list[dict[str, object]] = field(default_factory=list)
    left_alone: bool = False
    """Another writer changed the slice since the fetch began."""
    claim_lost: bool = False
    error: str | None = None
    sent: bool = False
    """Upstream sent a row of the account."""
    hold: Hold | None = None
    """Too much would have changed: nothing was written."""

    def add(self, other: "Applied") -> None:
        """Take in another part of the same account."""
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
        """Whether the whole slice was written and compared."""
        return not (self.is_left or self.error or self.hold)

    @property
    def is_left(self) -> bool:
        """Whether nothing was written, since another worker or writer has the account."""
        return self.claim_lost or self.left_alone

    @property
    def rewritten(self) -> int:
        """Rows that no longer stand as they stood before."""
        return self.updated + self.moved + self.removed

    @property
    def written(self) -> int:
        """Rows of the raw table that were touched."""
        return self.inserted + self.updated + self.moved + self.removed


@dataclass(slots=True)
class Written:
    """What one transaction did: `changed` slices by account, rows `inserted` and slices `removed`
    from, by account and date.
    """

    results: dict[str, Applied] = field(default_factory=lambda: defaultdict(Applied))
    changed: dict[str, set[dt.date | None]] = field(default_factory=lambda: defaultdict(set))
    inserted: Counter[tuple[str, dt.date | None]] = field(default_factory=Counter)
    removed: set[tuple[str, dt.date | None]] = field(default_factory=set)

    def note(
        self, account_id: str | None, days: Sequence[dt.date | None], holder: str | None = None
    ) -> Applied:
        """The account's result, with changed slices noted; `holder` is the account under which the
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
        """An inserted row is not there."""
        done = self.results[account_id or ""]
        done.inserted = max(0, done.inserted - 1)
        if account_id is not None and self.inserted[account_id, day] > 0:
            self.inserted[account_id, day] -= 1

    def add(self, other: "Written") -> None:
        """Take in what else the transaction did."""
        for account_id, done in other.results.items():
            self.results[account_id].add(done)
        for account_id, days in other.changed.items():
            self.changed[account_id] |= days
        self.inserted.update(other.inserted)
        self.removed |= other.removed
