"""The engine's configuration."""

import datetime as dt
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from app.domain.accounts.settling import Moving
from app.domain.history import HistoryFrom
from app.domain.holds.limits import HoldLimits


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes in accounts, times in seconds.

    `account_timeout` limits a write to one account. A date of `day_zone` settles `settle_hours`
    after its end. `max_attempts` failures in a row exhaust an account. `search_requests` limits
    vain requests, `fetches` concurrent ones. Unread accounts return after `postpone_seconds`
    (`postpone_named_seconds`). `grace_seconds`: from stop to checkpoint; `locked_seconds`: wait for
    locked accounts; `flap_seconds`: hold of flapping ones. `changed_overlap` allows for late
    clocks. `history_from`: None compares all dates.
    """

    batch_size: int = 5000
    workers: int = 2
    lease_seconds: float = 60
    account_timeout: float = 30
    settle_hours: float = 24
    day_zone: str = "UTC"
    max_attempts: int = 5
    search_requests: int = 1000
    fetches: int = 4
    shared_read_bytes: int = 4 * 1024**3
    postpone_seconds: float = 5.0
    postpone_named_seconds: float = 1.0
    poll_seconds: float = 1.0
    grace_seconds: float = 25.0
    locked_seconds: float = 30.0
    guard: HoldLimits = field(default_factory=HoldLimits)
    retention_days: int = 90
    flap_seconds: float = 86_400.0
    changed_overlap: float = 3600
    history_from: HistoryFrom | None = None

    def moving_from(self, now: dt.datetime) -> dt.date:
        """The first unsettled date at `now` (aware).

        Hours count from the instant: days of clock changes are 23 or 25 long.
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
        """Unsettled dates at `now` (aware) from `history_from` on; upstream may be a day ahead."""
        first, last = (
            max(self.moving_from(now), history_from or dt.date.min),
            now.astimezone(dt.UTC).date() + dt.timedelta(days=1),
        )
        return Moving(
            first,
            tuple(first + dt.timedelta(days=number) for number in range((last - first).days + 1)),
        )
