"""A fetch being applied, and its parts."""

import datetime as dt
from dataclasses import dataclass, field

from app.domain.holds.run_guard import Loss
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Fingerprints, Slice, Versions
from app.store.schema.raw.tables import WarehouseTable
from app.store.staging.staged_fetch import StagedFetch


@dataclass(slots=True)
class ApplyJob:
    """One fetch being applied, and its slices `before`."""

    staged: StagedFetch
    table: WarehouseTable
    proven: Slice
    before: Fingerprints
    context: WriteContext
    evidence: RemovalEvidence
    beside: dict[int, dict[str, object]] = field(default_factory=dict)
    """Conflicting rows by rejected ordinal."""
    defective: set[str] = field(default_factory=set)
    """Accounts that PostgreSQL cannot process."""
    came_through: bool = False
    """Whether any part succeeded."""
    reserved: dict[str, Loss] = field(default_factory=dict)
    """Losses counted but not written."""

    def reserves(self, account_id: str, loss: Loss) -> bool:
        """Whether the reservation covers the loss."""
        reserved = self.reserved.get(account_id)
        return (
            reserved is not None and loss.rows <= reserved.rows and loss.lowers <= reserved.lowers
        )

    def dates(self, part: "Part") -> list[dt.date] | None:
        """Dates of a part."""
        dates = part.dates or self.proven.dates
        return None if dates is None else list(dates)


@dataclass(frozen=True, slots=True)
class Part:
    """Accounts on all proven dates, or one account on a range with its own fingerprints.

    `now` are versions seen inside the transaction.
    """

    account_ids: tuple[str, ...]
    dates: tuple[dt.date, dt.date] | None = None
    before: Fingerprints | None = None
    now: Versions | None = None

    @property
    def stored(self) -> int:
        """Most stored rows: trades without id count for each possible account."""
        if self.now is None:
            raise ValueError("the versions of the part were not read yet")
        return sum(
            self.now[account_id][0] for account_id in self.account_ids if account_id in self.now
        )
