"""Unsettled dates only grow, as a lagging replica looks like a correction."""

import datetime as dt
from dataclasses import dataclass

NEVER = dt.date.max
"""No date is unsettled."""


@dataclass(frozen=True, slots=True)
class Moving:
    """Unsettled dates from `first`; upstream may have rows on `days`."""

    first: dt.date = NEVER
    days: tuple[dt.date, ...] = ()

    @property
    def last(self) -> dt.date:
        """The last date with possible rows."""
        return max(self.days, default=self.first)

    def __contains__(self, day: dt.date | None) -> bool:
        """Whether it is unsettled; None is not."""
        return day is not None and day >= self.first


@dataclass(frozen=True, slots=True)
class StoredLevels:
    """Stored counts; `moving` sums the largest on unsettled dates, `moving_finer` without daily."""

    daily: int = 0
    moving: int = 0
    moving_daily: int = 0
    moving_finer: int = 0


@dataclass(frozen=True, slots=True)
class MovingFigures:
    """Upstream's unsettled figures: daily counts `told`, whether rows `grew`, or a lower count
    `waits`.
    """

    told: int | None = None
    grew: bool = False
    waits: bool = False

    def allow_fall(self, to: int, stored: StoredLevels) -> bool:
        """Whether alltime's loss lies on settled dates: stored daily rows match and count most on
        unsettled ones, or upstream counts no less there.
        """
        if self.waits or (self.grew and stored.moving > stored.moving_finer):
            # Daily rows that came in by this run count what no table here did: alltime may have
            # counted it, and more of it.
            return False
        if to == stored.daily and stored.moving == stored.moving_daily:
            return True
        return self.told is not None and self.told >= stored.moving


UNKNOWN = MovingFigures()
