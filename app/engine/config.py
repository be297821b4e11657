"""What the engine is told by its composition root."""

import datetime as dt
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from app.domain.accounts.settling import Moving
from app.domain.history import HistoryFrom
from app.domain.holds.limits import HoldLimits


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the flow runs: sizes in accounts, times in seconds.

    `account_seconds` is the longest that writing one account may take, `settle_hours` how long
    after its end a date of `day_zone` still moves, `max_attempts` how many failures in a row
    exhaust an account, `search_requests` how many requests a run may spend in vain on finding the
    accounts that make requests for several fail, `fetches` how many fetches of a batch are under
    way at once. An account of which a fetch could not be completed is read once more at the end of
    its run, not before `postpone_seconds`, so that data in motion comes to rest;
    `postpone_named_seconds` where people named the accounts and wait for them. `grace_seconds` is
    how long a batch may take to its next safe point when it is told to stop, `locked_seconds` how
    long a run waits for accounts whose rows another transaction holds, `retention_days` how long
    the history of runs is kept, `flap_seconds` for how long a flapping account is held back. A run
    of only what changed reads from `overlap_seconds` before the last run on: so far the clock of
    who wrote may be behind. `history` says from which date on the warehouse is compared (None: all
    dates are).
    """

    batch_size: int = 5000
    workers: int = 2
    lease_seconds: float = 60.0
    account_seconds: float = 30.0
    settle_hours: float = 24.0
    day_zone: str = "UTC"
    max_attempts: int = 5
    search_requests: int = 1000
    fetches: int = 4
    postpone_seconds: float = 5.0
    postpone_named_seconds: float = 1.0
    poll_seconds: float = 1.0
    grace_seconds: float = 25.0
    locked_seconds: float = 30.0
    guard: HoldLimits = field(default_factory=HoldLimits)
    retention_days: int = 90
    flap_seconds: float = 86_400.0
    overlap_seconds: float = 3600.0
    history: HistoryFrom | None = None

    def moving_from(self, now: dt.datetime) -> dt.date:
        """The first date that still moves at `now` (aware): it ended less than `settle_hours` ago,
        or has not ended.

        Hours are subtracted from the instant: subtracted from a local time they would be wall-clock
        hours, of which a day in a zone with daylight saving has 23 or 25.
        """
        zone = ZoneInfo(self.day_zone)
        settled_until = now.astimezone(dt.UTC) - dt.timedelta(hours=self.settle_hours)
        day = settled_until.astimezone(zone).date()
        # Clocks that are set back just after midnight begin a date twice: the date before ends only
        # with the second midnight.
        second_midnight = (
            dt.datetime.combine(day, dt.time.min, zone).replace(fold=1).astimezone(dt.UTC)
        )
        if (
            second_midnight > settled_until
            and (second_midnight - dt.datetime.resolution).astimezone(zone).date() < day
        ):
            return day - dt.timedelta(days=1)
        return day

    def today(self, now: dt.datetime) -> dt.date:
        """The business date at `now` (aware)."""
        return now.astimezone(ZoneInfo(self.day_zone)).date()

    def moving(self, now: dt.datetime, history_from: dt.date | None = None) -> Moving:
        """The dates that still move at `now` (aware), none before `history_from`; upstream may be a
        day ahead.
        """
        first, last = (
            max(self.moving_from(now), history_from or dt.date.min),
            now.astimezone(dt.UTC).date() + dt.timedelta(days=1),
        )
        return Moving(
            first,
            tuple(first + dt.timedelta(days=number) for number in range((last - first).days + 1)),
        )
