"""A fetch on its way into its table, and the parts in which it is written."""

import datetime as dt
from dataclasses import dataclass, field

from app.domain.holds.run_guard import Loss
from app.store.apply.context import RemovalEvidence, WriteContext
from app.store.apply.fingerprints import Fingerprints, Slice, Versions
from app.store.schema.raw.tables import WarehouseTable
from app.store.staging.staged_fetch import StagedFetch


@dataclass(slots=True)
class ApplyJob:
    """One fetch that is being applied: its rows, what they prove, and its slices as they were
    `before` the fetch.
    """

    staged: StagedFetch
    table: WarehouseTable
    proven: Slice
    before: Fingerprints
    context: WriteContext
    evidence: RemovalEvidence
    beside: dict[int, dict[str, object]] = field(default_factory=dict)
    """Of rejected rows, by ordinal, the row that has their place."""
    defective: set[str] = field(default_factory=set)
    """Accounts on whose rows PostgreSQL cannot work."""
    came_through: bool = False
    """Some part was written."""
    reserved: dict[str, Loss] = field(default_factory=dict)
    """Losses that are counted among processes and not written yet."""

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
    """What one transaction works on: accounts on all proven dates, or one account on some dates
    with fingerprints of its own (`before`).

    `now` are the versions that the transaction itself sees.
    """

    account_ids: tuple[str, ...]
    dates: tuple[dt.date, dt.date] | None = None
    before: Fingerprints | None = None
    now: Versions | None = None

    @property
    def stored(self) -> int:
        """How many rows are stored there at most: trades without an id count for each account that
        they may belong to.
        """
        if self.now is None:
            raise ValueError("the versions of the part were not read yet")
        return sum(
            self.now[account_id][0] for account_id in self.account_ids if account_id in self.now
        )
