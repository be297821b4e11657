"""Results by account and by transaction."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.accounts.hold import Hold
from app.domain.accounts.set_aside import NarrowRow, SetAside


@dataclass(slots=True)
class Applied:
    """Result of one fetch for one account; date None means alltime.

    `lost` rows were removed, moved, lowered or blanked, the last two on `lost_days`.
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
    """Rows removed, or with fewer trades, by date."""
    shifted: int = 0
    shifted_days: set[dt.date | None] = field(default_factory=set)
    """Both dates of each move."""
    empty_days: set[dt.date | None] = field(default_factory=set)
    """Dates with inserted rows lacking money figures."""
    gained: int = 0
    """Overwritten rows that lost nothing."""
    blanks: bool = False
    """A figure became empty."""
    kept: dict[dt.date | None, int] = field(default_factory=dict)
    """Trades kept that upstream does not send, by date."""
    withheld: set[dt.date | None] = field(default_factory=set)
    """Unsettled dates."""
    falls_to: int | None = None
    """Withheld alltime count."""
    told: dict[dt.date, int] = field(default_factory=dict)
    """Unsettled daily counts."""
    grew: bool = False
    """Unsettled dates changed."""
    refused: SetAside = field(default_factory=SetAside)
    unheld: dict[str, set[str]] = field(default_factory=dict)
    """Columns stored differently than sent, by table."""
    too_narrow: list[NarrowRow] = field(default_factory=list)
    left_alone: bool = False
    """Changed by another writer."""
    claim_lost: bool = False
    error: str | None = None
    sent: bool = False
    """Upstream sent a row."""
    hold: Hold | None = None

    def add(self, other: "Applied") -> None:
        """Add another part."""
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
        """Whether everything was written and compared."""
        return not (self.is_left or self.error or self.hold)

    @property
    def is_left(self) -> bool:
        """Whether left to another worker or writer."""
        return self.claim_lost or self.left_alone

    @property
    def rewritten(self) -> int:
        """Stored rows changed."""
        return self.updated + self.moved + self.removed

    @property
    def written(self) -> int:
        """All changed rows."""
        return self.inserted + self.updated + self.moved + self.removed


@dataclass(slots=True)
class Written:
    """Result of one transaction; `changed` and `removed` are slices."""

    results: dict[str, Applied] = field(default_factory=lambda: defaultdict(Applied))
    changed: dict[str, set[dt.date | None]] = field(default_factory=lambda: defaultdict(set))
    inserted: Counter[tuple[str, dt.date | None]] = field(default_factory=Counter)
    removed: set[tuple[str, dt.date | None]] = field(default_factory=set)

    def note(
        self, account_id: str | None, days: Sequence[dt.date | None], holder: str | None = None
    ) -> Applied:
        """The account's result, after noting changed slices, also of the previous `holder`."""
        for owner in (account_id, holder):
            if owner is not None:
                self.changed[owner].update(days)
        return self.results[account_id or ""]

    def note_inserted(
        self, account_id: str | None, days: Sequence[dt.date | None], rows: Sequence[int]
    ) -> Applied:
        """Add inserted rows by date."""
        done = self.note(account_id, days)
        done.inserted += sum(rows)
        if account_id is not None:
            for day, count in zip(days, rows, strict=True):
                self.inserted[account_id, day] += count
        return done

    def note_dropped(self, account_id: str | None, day: dt.date | None) -> None:
        """Subtract a row not stored after all."""
        done = self.results[account_id or ""]
        done.inserted = max(0, done.inserted - 1)
        if account_id is not None and self.inserted[account_id, day] > 0:
            self.inserted[account_id, day] -= 1

    def add(self, other: "Written") -> None:
        """Merge another result."""
        for account_id, done in other.results.items():
            self.results[account_id].add(done)
        for account_id, days in other.changed.items():
            self.changed[account_id] |= days
        self.inserted.update(other.inserted)
        self.removed |= other.removed
