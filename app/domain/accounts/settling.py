"""Unsettled dates only grow: what upstream lacks there proves nothing, as a lagging replica looks
like a correction.
"""

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
    """Trades as stored: `daily` on all dates, the others on unsettled ones.

    `moving` sums the largest count of any table on each such date, `moving_finer` that of hourly
    rows and closed trades.
    """

    daily: int = 0
    moving: int = 0
    moving_daily: int = 0
    moving_finer: int = 0


@dataclass(frozen=True, slots=True)
class MovingFigures:
    """What upstream's daily rows of unsettled dates show: their trades (`told`, None: not read) and
    whether rows came in (`grew`); `waits`: an earlier run withheld a lower alltime for them.
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
