"""When an account that failed may be tried again. Pure: no I/O."""

import datetime as dt

FIRST_WAIT = dt.timedelta(minutes=1)
LONGEST_WAIT = dt.timedelta(hours=24)


def next_attempt(failed_attempts: int, now: dt.datetime, *, jitter: float) -> dt.datetime:
    """The earliest time of the next attempt after so many failures in a row (at least 1).

    The wait doubles from one minute to a day; `jitter` from 0 to 1 takes away up to half of it, so that accounts that
    failed together do not come back together.
    """
    doublings = min(max(failed_attempts, 1) - 1, 11)
    wait: dt.timedelta = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
    return now + wait * (1 - jitter / 2)
