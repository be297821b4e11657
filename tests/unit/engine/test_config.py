"""Which dates still move: whole hours since a date's end, in whatever zone the days of the
warehouse are counted.
"""

import datetime as dt
import itertools
import zoneinfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.engine.config import EngineConfig

_ZONES = sorted(zoneinfo.available_timezones() - {"localtime"})
_FOLDS_AT_MIDNIGHT = "America/St_Johns"
"""Until 2011 its clocks were set back from 00:01 to 23:01."""


def _moment(text: str) -> int:
    """Seconds since 1970, of a time in UTC."""
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp())


def _first_moving(now: dt.datetime, zone: str, settle_hours: float) -> dt.date:
    """The oracle: the first local date that any moment from then on, minute by minute for more than
    a day, belongs to.
    """
    settled_until = now - dt.timedelta(hours=settle_hours)
    local = zoneinfo.ZoneInfo(zone)
    return min(
        (settled_until + dt.timedelta(minutes=minutes)).astimezone(local).date()
        for minutes in range(25 * 60)
    )


@pytest.mark.parametrize(
    ("zone", "now", "hours", "first"),
    [
        # Its last Sunday of winter has 23 hours.
        ("America/New_York", "2025-03-10T03:59", 24, "2025-03-08"),
        ("America/New_York", "2025-03-10T04:00", 24, "2025-03-08"),
        ("America/New_York", "2025-03-10T05:00", 24, "2025-03-09"),
        # The day on which daylight saving ends has 25.
        ("America/New_York", "2025-11-03T04:59", 24, "2025-11-02"),
        ("America/New_York", "2025-11-03T03:59", 24, "2025-11-01"),
        ("America/New_York", "2025-11-03T04:00", 24, "2025-11-02"),
        ("Europe/Berlin", "2025-03-31T22:00", 24, "2025-03-31"),
        ("Europe/Berlin", "2025-03-31T21:59", 24, "2025-03-30"),
        # Where midnight does not exist the day before ends when the clocks are set.
        ("Africa/Cairo", "2024-04-26T21:59", 24, "2024-04-25"),
        ("Africa/Cairo", "2024-04-25T22:00", 0, "2024-04-26"),
        ("Africa/Cairo", "2024-04-25T21:59", 0, "2024-04-25"),
        # Where it exists twice, with the second one.
        (_FOLDS_AT_MIDNIGHT, "2010-11-07T02:30:30", 0, "2010-11-06"),
        (_FOLDS_AT_MIDNIGHT, "2010-11-07T03:30", 0, "2010-11-07"),
        # The clocks of Havana are set back to midnight itself, after which the day before does not
        # come back.
        ("America/Havana", "2024-11-03T04:30", 0, "2024-11-03"),
        # Samoa left out the 30th.
        ("Pacific/Apia", "2011-12-30T10:00", 0, "2011-12-31"),
        ("UTC", "2025-03-10T04:00", 24, "2025-03-09"),
    ],
)
def test_a_date_moves_until_as_many_hours_have_passed_since_its_end(
    zone: str, now: str, hours: float, first: str
) -> None:
    at = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC)
    assert EngineConfig(day_zone=zone, settle_hours=hours).moving_from(at) == dt.date.fromisoformat(
        first
    )


@given(
    st.sampled_from(_ZONES),
    st.integers(_moment("1900-01-02"), _moment("2090-01-01")),
    st.sampled_from([0.0, 1.0, 23.0, 24.0, 25.0, 47.5, 168.0])
    | st.floats(0, 8760, allow_nan=False),
)
@example(_FOLDS_AT_MIDNIGHT, _moment("2010-11-07T02:30:30"), 0.0)
@example("Atlantic/Azores", _moment("2024-10-27T00:30"), 0.0)
@example("Asia/Beirut", _moment("2024-03-30T22:00"), 0.0)
@example("Pacific/Kwajalein", _moment("1993-08-21T12:00"), 0.0)
def test_in_every_zone_the_first_moving_date_is_the_first_that_some_moment_still_belongs_to(
    zone: str, moment: int, hours: float
) -> None:
    now = dt.datetime.fromtimestamp(moment, dt.UTC)
    assert EngineConfig(day_zone=zone, settle_hours=hours).moving_from(now) == _first_moving(
        now, zone, hours
    )


@pytest.mark.parametrize(
    "zone",
    [
        "America/New_York",
        "Europe/London",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Beirut",
        _FOLDS_AT_MIDNIGHT,
    ],
)
def test_over_the_hours_around_each_change_of_the_clocks_no_date_settles_early_or_late(
    zone: str,
) -> None:
    config = EngineConfig(day_zone=zone, settle_hours=24)
    local = zoneinfo.ZoneInfo(zone)
    hours = [
        dt.datetime(2010, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=number)
        for number in range(366 * 24)
    ]
    changes = [
        hour
        for hour, after in itertools.pairwise(hours)
        if hour.astimezone(local).utcoffset() != after.astimezone(local).utcoffset()
    ]
    assert changes
    for change in changes:
        for minutes in range(-180, 180, 7):
            now = change + dt.timedelta(hours=24, minutes=minutes)
            assert config.moving_from(now) == _first_moving(now, zone, 24), now
