"""When upstream's lower count may be written: unsettled dates only grow.

A lagging replica looks like a correction, so missing rows prove nothing there.
"""

import datetime as dt
from dataclasses import dataclass

NEVER = dt.date.max
"""No date is unsettled."""


@dataclass(frozen=True, slots=True)
class Moving:
    """Unsettled dates: all from `first`; upstream may have rows on `days`."""

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
    """Counts before a write; on unsettled dates `moving` sums the largest, `moving_finer` the
    largest but daily.
    """

    daily: int = 0
    moving: int = 0
    moving_daily: int = 0
    moving_finer: int = 0


@dataclass(frozen=True, slots=True)
class MovingFigures:
    """Unsettled dates' figures when alltime is written.

    `told`: upstream's daily counts (None: unread); `grew`: rows came in; `waits`: a lower count was
    withheld.
    """

    told: int | None = None
    grew: bool = False
    waits: bool = False

    def allow_fall(self, to: int, stored: StoredLevels) -> bool:
        """Whether alltime's loss cannot lie on unsettled dates: stored daily rows match the new
        count and count most there, or upstream counts no less there.
        """
        if self.waits or (self.grew and stored.moving > stored.moving_finer):
            # Daily rows that came in by this run count what no table here did: alltime may have
            # counted it, and more of it.
            return False
        if to == stored.daily and stored.moving == stored.moving_daily:
            return True
        return self.told is not None and self.told >= stored.moving


UNKNOWN = MovingFigures()
