"""Unsettled dates only grow: when upstream's lower count may be written.

A lagging replica looks like a correction, so what upstream lacks on unsettled dates proves nothing.
"""

import datetime as dt
from dataclasses import dataclass

NEVER = dt.date.max
"""The first date that still moves where none does."""


@dataclass(frozen=True, slots=True)
class Moving:
    """The unsettled dates: all from `first` on; on `days` upstream can have rows by now."""

    first: dt.date = NEVER
    days: tuple[dt.date, ...] = ()

    @property
    def last(self) -> dt.date:
        """The last date on which upstream can have rows by now."""
        return max(self.days, default=self.first)

    def __contains__(self, day: dt.date | None) -> bool:
        """Whether the date is unsettled; None is not."""
        return day is not None and day >= self.first


@dataclass(frozen=True, slots=True)
class StoredLevels:
    """An account's counts before a write: `daily` in all, and on unsettled dates.

    `moving` sums the largest count by date, `moving_daily` daily alone, `moving_finer` the largest
    but daily.
    """

    daily: int = 0
    moving: int = 0
    moving_daily: int = 0
    moving_finer: int = 0


@dataclass(frozen=True, slots=True)
class MovingFigures:
    """What a run knows of unsettled dates when alltime is written.

    `told` are upstream's daily counts (None: not read), `grew` that rows came in, `waits` that a
    lower count was withheld before.
    """

    told: int | None = None
    grew: bool = False
    waits: bool = False

    def allow_fall(self, to: int, stored: StoredLevels) -> bool:
        """Whether alltime may be lowered: what it loses cannot lie on unsettled dates.

        The stored daily rows match the new count and no finer table counts more there; or upstream
        counts no less there than the warehouse.
        """
        if self.waits or (self.grew and stored.moving > stored.moving_finer):
            # Daily rows that came in by this run count what no table here did: alltime may have
            # counted it, and more of it.
            return False
        if to == stored.daily and stored.moving == stored.moving_daily:
            return True
        return self.told is not None and self.told >= stored.moving


UNKNOWN = MovingFigures()
