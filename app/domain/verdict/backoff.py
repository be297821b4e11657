"""When an account that failed may be tried again, and when one that was explained is asked about
again. Pure: no I/O.
"""

import datetime as dt

FIRST_WAIT = dt.timedelta(minutes=1)
LONGEST_WAIT = dt.timedelta(hours=24)
LONGEST_PAUSE_DAYS = 32
_EARLY = dt.timedelta(hours=4)
"""So much less than whole days: a nightly run may come to an account earlier than the night
before.
"""


def next_attempt(failed_attempts: int, now: dt.datetime, *, jitter: float) -> dt.datetime:
    """The earliest time of the next attempt after so many failures in a row (at least 1).

    The wait doubles from one minute to a day; `jitter` from 0 to 1 takes away up to half of it, so
    that accounts that failed together do not come back together.
    """
    doublings = min(max(failed_attempts, 1) - 1, 11)
    wait: dt.timedelta = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
    return now + wait * (1 - jitter / 2)


def ask_again(times: int, now: dt.datetime) -> dt.datetime:
    """When upstream is asked once more about what it could only be blamed for so many times in a
    row (at least 1).

    The pauses are 1, 2, 4 days and so on up to 32: one sick night of upstream must not be believed
    for ever.
    """
    return (
        now + dt.timedelta(days=min(2 ** (min(max(times, 1), 10) - 1), LONGEST_PAUSE_DAYS)) - _EARLY
    )
