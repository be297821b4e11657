"""Dates that still move only grow: when a lower count of upstream may be written.

A replica of upstream that lags looks just like a correction of upstream, so what it does not count
on dates that still move proves nothing.
"""

import datetime as dt
from dataclasses import dataclass

NEVER = dt.date.max
"""The first date that still moves where none does."""


@dataclass(frozen=True, slots=True)
class Moving:
    """The dates that still move: all from `first` on; `days` are those on which upstream can have
    rows by now.
    """

    first: dt.date = NEVER
    days: tuple[dt.date, ...] = ()

    @property
    def last(self) -> dt.date:
        """The last date on which upstream can have rows by now."""
        return max(self.days, default=self.first)

    def __contains__(self, day: dt.date | None) -> bool:
        """Whether the date still moves; what has no date does not."""
        return day is not None and day >= self.first


@dataclass(frozen=True, slots=True)
class StoredLevels:
    """What the warehouse counts of one account before a write: `daily` in all, and on dates that
    still move.

    `moving` is the sum, over these dates, of the largest count of daily, hourly and closed trades,
    `moving_daily` what daily alone counts there, `moving_finer` the same sum without daily.
    """

    daily: int = 0
    moving: int = 0
    moving_daily: int = 0
    moving_finer: int = 0


@dataclass(frozen=True, slots=True)
class MovingFigures:
    """What a run knows of an account's dates that still move when alltime is written.

    `told` is what upstream's daily rows, read in this run, count there (None: not read), `grew`
    that the run itself brought in rows there, `waits` that a fall was put off before and the dates
    that moved then are not settled yet.
    """

    told: int | None = None
    grew: bool = False
    waits: bool = False

    def allow_fall(self, to: int, stored: StoredLevels) -> bool:
        """Whether alltime may fall to the count `to`: only if what it loses cannot lie in dates
        that still move.

        Either the stored daily rows add up to the new count already, and no finer table counts more
        on these dates; or upstream counts no less there than the warehouse does, so that its
        settled part is what falls.
        """
        if self.waits or (self.grew and stored.moving > stored.moving_finer):
            # Daily rows that came in by this run count what no table here did: alltime may have
            # counted it, and more of it.
            return False
        if to == stored.daily and stored.moving == stored.moving_daily:
            return True
        return self.told is not None and self.told >= stored.moving


UNKNOWN = MovingFigures()
