"""When a failed account is tried, and an explained one asked about, again."""

import datetime as dt

FIRST_WAIT = dt.timedelta(minutes=1)
LONGEST_WAIT = dt.timedelta(hours=24)
LONGEST_PAUSE_DAYS = 32
_EARLY = dt.timedelta(hours=4)
"""Less than whole days: a nightly run may reach an account earlier than the night before."""


def next_attempt(failed_attempts: int, now: dt.datetime, *, jitter: float) -> dt.datetime:
    """The time of the next attempt after so many failures in a row (at least 1).

    The wait doubles from a minute to a day; `jitter` from 0 to 1 takes off up to half of it, so
    that accounts spread.
    """
    doublings = min(max(failed_attempts, 1) - 1, 11)
    wait: dt.timedelta = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
    return now + wait * (1 - jitter / 2)


def ask_again(times: int, now: dt.datetime) -> dt.datetime:
    """When upstream is asked again about what it was blamed for so many times (at least 1).

    After 1, 2, 4 days and so on up to 32: one bad night of upstream must not be believed for ever.
    """
    return (
        now + dt.timedelta(days=min(2 ** (min(max(times, 1), 10) - 1), LONGEST_PAUSE_DAYS)) - _EARLY
    )
