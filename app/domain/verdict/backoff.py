"""When accounts are tried again."""

import datetime as dt

FIRST_WAIT = dt.timedelta(minutes=1)
LONGEST_WAIT = dt.timedelta(hours=24)
LONGEST_PAUSE_DAYS = 32
_EARLY = dt.timedelta(hours=4)
"""Nightly runs may come early."""


def next_attempt(failed_attempts: int, now: dt.datetime, *, jitter: float) -> dt.datetime:
    """When an account is tried again: the wait doubles with each failure in a row from a minute to
    a day, less up to half by `jitter` (0 to 1).
    """
    doublings = min(max(failed_attempts, 1) - 1, 11)
    wait: dt.timedelta = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
    return now + wait * (1 - jitter / 2)


def ask_again(times: int, now: dt.datetime) -> dt.datetime:
    """When upstream is asked again: after 1, 2, 4 and so on up to 32 days."""
    return (
        now + dt.timedelta(days=min(2 ** (min(max(times, 1), 10) - 1), LONGEST_PAUSE_DAYS)) - _EARLY
    )
